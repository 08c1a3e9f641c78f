//! What a record says: lines of `key value`, for people too.

use std::fmt;

/// First line.
const MAGIC: &str = "tutti state owner 1";
/// Largest record, bytes.
const MAX: usize = 4096;

/// Whether somebody owns the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Held,
    /// Taken from an owner that was not seen to be dead: whoever follows it works on a copy of the file too.
    Forced,
    Released,
}

/// One record. Texts are empty where the system does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// Counts up from 1.
    pub(crate) number: u64,
    pub(crate) state: State,
    /// Different for each record that is ever written.
    pub(crate) token: String,
    /// Name of the host.
    pub(crate) host: String,
    /// Which machine: `/etc/machine-id`.
    pub(crate) machine: String,
    /// Which start of it: the kernel's boot id.
    pub(crate) boot: String,
    /// Within which process ids and times are to be understood.
    pub(crate) namespaces: String,
    /// Process id.
    pub(crate) process: u32,
    /// When the process started, in the kernel's ticks since boot.
    pub(crate) started: u64,
}

impl Record {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let state = match self.state {
            State::Held => "held",
            State::Forced => "forced",
            State::Released => "released",
        };
        let Self { number, token, host, machine, boot, namespaces, process, started, .. } = self;
        format!(
            "{MAGIC}\nnumber {number}\nstate {state}\nhost {host}\nprocess {process}\nstarted {started}\nboot {boot}\n\
             machine {machine}\nnamespaces {namespaces}\ntoken {token}\n"
        )
        .into_bytes()
    }

    /// Reads a record; the error says what is wrong with it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > MAX {
            return Err(format!("it is longer than {MAX} bytes"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
        let mut lines = text.lines();
        if lines.next() != Some(MAGIC) {
            return Err(format!("it does not begin with {MAGIC:?}"));
        }
        let mut field = |name: &str| -> Result<String, String> {
            let line = lines.next().and_then(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.map(str::to_owned).ok_or_else(|| format!("it has no {name}"))
        };
        let number = |text: String| text.parse::<u64>().map_err(|_| format!("{text:?} is no number"));
        let record = Self {
            number: number(field("number")?)?,
            state: match field("state")?.as_str() {
                "held" => State::Held,
                "forced" => State::Forced,
                "released" => State::Released,
                other => return Err(format!("state {other:?} is not known")),
            },
            host: field("host")?,
            process: u32::try_from(number(field("process")?)?)
                .map_err(|_| "its process is no process id".to_owned())?,
            started: number(field("started")?)?,
            boot: field("boot")?,
            machine: field("machine")?,
            namespaces: field("namespaces")?,
            token: field("token")?,
        };
        if record.number == 0 || record.token.is_empty() {
            return Err("it has no number or token".to_owned());
        }
        Ok(record)
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = if self.host.is_empty() { "unknown" } else { &self.host };
        write!(f, "process {} on host {host}", self.process)
    }
}
