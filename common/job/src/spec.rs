//! The closed description of one job.

use prost::Message;

use crate::{Digest, JobKind, LogicalPath};

/// A job as a closed value: kind, normalised parameters, inputs by digest, named outputs.
///
/// The digest of the canonical bytes is the job key: equal key, same result. The configuration is never an input,
/// only the values that the job uses; hosts, times and the compose's name are not in it unless the job writes them.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct JobSpec {
    /// Kind, as [`JobKind::as_str`].
    #[prost(string, tag = "1")]
    pub kind: String,
    /// [`JobKind::version`] that the spec was made for.
    #[prost(uint32, tag = "2")]
    pub version: u32,
    /// Parameters: the JSON of the kind's struct in [`crate::params`].
    #[prost(string, tag = "3")]
    pub params: String,
    /// Inputs, sorted by name.
    #[prost(message, repeated, tag = "4")]
    pub inputs: Vec<Input>,
    /// Outputs, sorted by name.
    #[prost(message, repeated, tag = "5")]
    pub outputs: Vec<OutputSpec>,
}

/// One input, a blob named by digest.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Input {
    /// Name that the runner asks for, such as `set` or `binary/x86_64`.
    #[prost(string, tag = "1")]
    pub name: String,
    /// SHA-256 of the blob.
    #[prost(bytes = "vec", tag = "2")]
    pub digest: Vec<u8>,
}

/// What an output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum OutputKind {
    /// Refused.
    Unspecified = 0,
    /// One file, which becomes a blob.
    File = 1,
    /// A directory below `target`, described by a manifest, which becomes a blob.
    Tree = 2,
}

/// How a tree output gets to its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum PublishMode {
    /// Not published: file outputs.
    Unspecified = 0,
    /// The directory belongs to this output alone: one rename.
    Directory = 1,
    /// Files are moved one by one into a directory that others write to as well.
    Merge = 2,
}

/// One declared output.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct OutputSpec {
    /// Name, such as `records` or `universe/x86_64`. The runner writes to `staging:NAME`.
    #[prost(string, tag = "1")]
    pub name: String,
    /// What it is.
    #[prost(enumeration = "OutputKind", tag = "2")]
    pub kind: i32,
    /// Logical path that a tree is published to (`compose:Server/x86_64/os/repodata`).
    #[prost(string, tag = "3")]
    pub target: String,
    /// How.
    #[prost(enumeration = "PublishMode", tag = "4")]
    pub mode: i32,
}

/// What one attempt needs of a host while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
pub struct Resources {
    /// Thousandths of a core.
    pub cpu_milli: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
}

/// A spec that is refused.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The bytes are no spec.
    #[error("cannot decode job spec")]
    Decode(#[source] prost::DecodeError),
    /// Unknown kind or another version of it.
    #[error("no runner for {kind}@{version}")]
    Kind {
        /// Kind asked for.
        kind: String,
        /// Version asked for.
        version: u32,
    },
    /// Parameters do not fit the kind.
    #[error("parameters of {kind} do not fit")]
    Params {
        /// Kind.
        kind: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The runner needs an input that the spec does not name.
    #[error("job spec has no input {0:?}")]
    NoInput(String),
    /// The runner makes an output that the spec does not name.
    #[error("job spec has no output {0:?}")]
    NoOutput(String),
    /// An input's or output's fields are not what they must be.
    #[error("job spec: {what} {name:?} is malformed")]
    Malformed {
        /// `input` or `output`.
        what: &'static str,
        /// Its name.
        name: String,
    },
}

impl JobSpec {
    /// Makes a spec with inputs and outputs in canonical order.
    pub fn new<P: serde::Serialize>(
        kind: JobKind,
        params: &P,
        mut inputs: Vec<Input>,
        mut outputs: Vec<OutputSpec>,
    ) -> Result<Self, SpecError> {
        inputs.sort_by(|a, b| a.name.cmp(&b.name));
        outputs.sort_by(|a, b| a.name.cmp(&b.name));
        let params =
            serde_json::to_string(params).map_err(|source| SpecError::Params { kind: kind.to_string(), source })?;
        Ok(Self { kind: kind.to_string(), version: kind.version(), params, inputs, outputs })
    }

    /// Decodes and checks a spec.
    ///
    /// # Errors
    /// [`SpecError`].
    pub fn decode_checked(bytes: &[u8]) -> Result<Self, SpecError> {
        let spec = Self::decode(bytes).map_err(SpecError::Decode)?;
        spec.kind()?;
        for input in &spec.inputs {
            if Digest::try_from(input.digest.as_slice()).is_err() {
                return Err(SpecError::Malformed { what: "input", name: input.name.clone() });
            }
        }
        for output in &spec.outputs {
            output.check()?;
        }
        Ok(spec)
    }

    /// The kind, if this program runs that version of it.
    ///
    /// # Errors
    /// [`SpecError::Kind`].
    pub fn kind(&self) -> Result<JobKind, SpecError> {
        let unknown = || SpecError::Kind { kind: self.kind.clone(), version: self.version };
        let kind: JobKind = self.kind.parse().map_err(|_| unknown())?;
        if kind.version() == self.version { Ok(kind) } else { Err(unknown()) }
    }

    /// The parameters as the kind's struct.
    ///
    /// # Errors
    /// [`SpecError::Params`].
    pub fn params<P: serde::de::DeserializeOwned>(&self) -> Result<P, SpecError> {
        serde_json::from_str(&self.params).map_err(|source| SpecError::Params { kind: self.kind.clone(), source })
    }

    /// Digest of the input `name`.
    ///
    /// # Errors
    /// [`SpecError::NoInput`].
    pub fn input(&self, name: &str) -> Result<Digest, SpecError> {
        let input = self.inputs.iter().find(|input| input.name == name);
        let input = input.ok_or_else(|| SpecError::NoInput(name.to_owned()))?;
        Digest::try_from(input.digest.as_slice())
            .map_err(|_| SpecError::Malformed { what: "input", name: name.to_owned() })
    }

    /// All inputs whose name starts with `prefix`, with the rest of the name, in name order.
    pub fn inputs_below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, Digest)> {
        self.inputs.iter().filter_map(move |input| {
            Some((input.name.strip_prefix(prefix)?, Digest::try_from(input.digest.as_slice()).ok()?))
        })
    }

    /// The output `name`.
    ///
    /// # Errors
    /// [`SpecError::NoOutput`].
    pub fn output(&self, name: &str) -> Result<&OutputSpec, SpecError> {
        self.outputs.iter().find(|o| o.name == name).ok_or_else(|| SpecError::NoOutput(name.to_owned()))
    }

    /// Canonical bytes.
    pub fn encode_canonical(&self) -> Vec<u8> {
        self.encode_to_vec()
    }

    /// The job key.
    pub fn key(&self) -> Digest {
        Digest::of(&self.encode_canonical())
    }
}

impl Input {
    /// Names a blob.
    pub fn new(name: impl Into<String>, digest: Digest) -> Self {
        Self { name: name.into(), digest: digest.as_bytes().to_vec() }
    }
}

impl OutputSpec {
    /// A file output.
    pub fn file(name: impl Into<String>) -> Self {
        Self { name: name.into(), kind: OutputKind::File.into(), target: String::new(), mode: 0 }
    }

    /// A tree output that owns its target directory.
    pub fn directory(name: impl Into<String>, target: &LogicalPath) -> Self {
        Self {
            name: name.into(),
            kind: OutputKind::Tree.into(),
            target: target.to_string(),
            mode: PublishMode::Directory.into(),
        }
    }

    /// A tree output whose files are moved into a shared directory.
    pub fn merge(name: impl Into<String>, target: &LogicalPath) -> Self {
        Self { mode: PublishMode::Merge.into(), ..Self::directory(name, target) }
    }

    /// Whether this is a tree output.
    pub fn is_tree(&self) -> bool {
        self.kind == i32::from(OutputKind::Tree)
    }

    fn check(&self) -> Result<(), SpecError> {
        let bad = || SpecError::Malformed { what: "output", name: self.name.clone() };
        LogicalPath::new(crate::Root::Staging, self.name.as_str()).map_err(|_| bad())?;
        let kind = OutputKind::try_from(self.kind).map_err(|_| bad())?;
        let mode = PublishMode::try_from(self.mode).map_err(|_| bad())?;
        match (kind, mode) {
            (OutputKind::File, PublishMode::Unspecified) if self.target.is_empty() => Ok(()),
            (OutputKind::Tree, PublishMode::Directory | PublishMode::Merge) => {
                self.target.parse::<LogicalPath>().map(|_| ()).map_err(|_| bad())
            }
            _ => Err(bad()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::TrimParams;

    #[test]
    fn keys_ignore_the_order_of_makers_and_see_every_field() {
        let params = TrimParams { variants: vec![] };
        let inputs = |order: [u8; 2]| order.map(|n| Input::new(n.to_string(), Digest::of(&[n]))).to_vec();
        let spec = |order, output: &str| {
            JobSpec::new(JobKind::Trim, &params, inputs(order), vec![OutputSpec::file(output)]).unwrap()
        };
        assert_eq!(spec([1, 2], "a").key(), spec([2, 1], "a").key());
        assert_ne!(spec([1, 2], "a").key(), spec([1, 2], "b").key());
        assert_ne!(spec([1, 2], "a").key(), spec([1, 3], "a").key());
        let bytes = spec([1, 2], "a").encode_canonical();
        assert_eq!(JobSpec::decode_checked(&bytes).unwrap(), spec([1, 2], "a"));
    }

    #[test]
    fn unknown_kinds_and_versions_are_refused() {
        let mut spec =
            JobSpec::new(JobKind::Trim, &TrimParams { variants: vec![] }, vec![], vec![OutputSpec::file("a")]).unwrap();
        spec.version = 999;
        assert!(matches!(JobSpec::decode_checked(&spec.encode_canonical()), Err(SpecError::Kind { .. })));
        spec.version = 1;
        spec.outputs[0].name = "../../etc".into();
        assert!(matches!(JobSpec::decode_checked(&spec.encode_canonical()), Err(SpecError::Malformed { .. })));
    }
}
