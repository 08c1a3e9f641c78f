//! The stream of `--format json` (docs/json-stream.md).

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Read},
    process::{Child, Command},
    sync::mpsc::{self, Receiver},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::program::{Ended, kill_group, spawn};

/// States in which a job is over.
pub const OVER: [&str; 4] = ["published", "failed", "skipped", "cancelled"];

/// Reads a whole stream; each line must be an object with an `event`.
#[must_use]
pub fn parse(text: &str) -> Vec<Value> {
    text.lines().map(event).collect()
}

fn event(line: &str) -> Value {
    let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("no JSON ({error}): {line}"));
    assert!(value["event"].is_string(), "no event: {line}");
    value
}

/// The text of a field; empty if it has none.
#[must_use]
pub fn text<'a>(event: &'a Value, field: &str) -> &'a str {
    event[field].as_str().unwrap_or_default()
}

/// How an attempt ended: the word before its cause.
#[must_use]
pub fn result_of(attempt: &Value) -> &str {
    text(attempt, "result").split(':').next().unwrap_or_default()
}

/// Whether this event says that a job came to its end.
#[must_use]
pub fn job_over(event: &Value) -> bool {
    text(event, "event") == "job" && OVER.contains(&text(event, "state"))
}

/// Fields of an event and of the objects in it, as `event.field` and `attempt.field`; counters have names of their own.
pub fn fields(event: &Value, found: &mut BTreeSet<String>) {
    let kind = text(event, "event").to_owned();
    object_fields(&kind, event, found);
    if let Some(jobs) = event["jobs"].as_array() {
        jobs.iter().for_each(|job| object_fields("job", job, found));
    }
}

fn object_fields(kind: &str, object: &Value, found: &mut BTreeSet<String>) {
    found.extend(object.as_object().into_iter().flat_map(|map| map.keys()).map(|key| format!("{kind}.{key}")));
    for attempt in object["attempts"].as_array().into_iter().flatten() {
        object_fields("attempt", attempt, found);
    }
}

/// A stream that is still being written.
#[derive(Debug)]
pub struct Live {
    what: String,
    child: Child,
    lines: Receiver<(Instant, String)>,
    errors: Receiver<String>,
    /// All events so far, with the time at which each came.
    pub events: Vec<(Instant, Value)>,
}

impl Live {
    /// Starts a command that writes the stream to its standard output.
    #[must_use]
    pub fn start(mut command: Command) -> Self {
        let what = format!("{command:?}");
        let mut child = spawn(&mut command);
        let (sender, lines) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    let _ = sender.send((Instant::now(), line));
                }
            });
        }
        let (sender, errors) = mpsc::channel();
        if let Some(mut stderr) = child.stderr.take() {
            std::thread::spawn(move || {
                let mut text = String::new();
                let _ = stderr.read_to_string(&mut text);
                sender.send(text)
            });
        }
        Self { what, child, lines, errors, events: Vec::new() }
    }

    /// Process id of the program.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next event; none at the end of the stream.
    pub fn next(&mut self, deadline: Instant) -> Option<Value> {
        let limit = deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(limit) {
            Ok((at, line)) => {
                let event = event(&line);
                self.events.push((at, event.clone()));
                Some(event)
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                panic!("{}: no event in time after {:?}", self.what, self.events.last())
            }
        }
    }

    /// Waits for an event.
    pub fn wait_for(&mut self, limit: Duration, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + limit;
        while let Some(event) = self.next(deadline) {
            if wanted(&event) {
                return event;
            }
        }
        panic!("{} ended before the event came: {:?}", self.what, self.events.last());
    }

    /// Reads to the end and returns what the program did.
    #[must_use]
    pub fn finish(&mut self, limit: Duration) -> Ended {
        let deadline = Instant::now() + limit;
        while self.next(deadline).is_some() {}
        let status = self.child.wait().ok().and_then(|status| status.code()).unwrap_or(-1);
        let stderr = self.errors.recv_timeout(Duration::from_secs(20)).unwrap_or_default();
        let stdout = self.events.iter().map(|(_, event)| format!("{event}\n")).collect();
        Ended { what: self.what.clone(), status, stdout, stderr }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        kill_group(self.child.id());
        let _ = self.child.wait();
    }
}
