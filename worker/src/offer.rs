//! Between the protocol's messages and the worker's own types.

use std::time::Duration;

use tutti_job::{Digest, JobSpec, LogicalPath, Root, Volumes};
use tutti_proto::worker::{self as proto, Outcome, outcome};

use crate::{
    FailureClass, RunnerError,
    attempt::{Finished, Order},
    config::Records,
    error::one_line,
    state::{Facts, Key},
    wire::Ending,
};

/// Limit of attempts whose offer names none.
const DEFAULT_WALL: Duration = Duration::from_secs(24 * 3600);
/// Longest job name.
const MAX_NAME: usize = 512;

/// Why an offer is rejected.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: String,
    /// Worth another try here later.
    pub(crate) soft: bool,
}

impl Refusal {
    pub(crate) fn hard(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), soft: false }
    }

    pub(crate) fn soft(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), soft: true }
    }
}

/// Checks an offer and makes an order of it.
pub(crate) fn order(key: &Key, offer: proto::Offer, facts: &Facts) -> Result<Order, Refusal> {
    let spec = JobSpec::decode_checked(&offer.spec).map_err(|error| Refusal::hard(error.to_string()))?;
    let kind = spec.kind().map_err(|error| Refusal::hard(error.to_string()))?;
    if !facts.kinds.contains(&kind) {
        return Err(Refusal::hard(format!("no runner for {kind}")));
    }
    if Digest::of(&offer.spec).as_bytes()[..] != offer.spec_digest[..] {
        return Err(Refusal::hard("the spec is not what its digest says"));
    }
    if offer.job_name.len() > MAX_NAME || offer.job_name.chars().any(char::is_control) {
        return Err(Refusal::hard("the job's name is no name"));
    }
    let mut volumes = Volumes { top: "/".into(), staging: None, maps: facts.maps.clone(), records: None };
    volumes.top =
        volumes.resolve(&path(&offer.compose_dir, Root::File)?).map_err(|error| Refusal::hard(error.to_string()))?;
    if volumes.top.parent().is_none() {
        return Err(Refusal::hard("the compose's directory is /"));
    }
    volumes.staging = Some(volumes.staging_of(&key.fence));
    volumes.records = match &facts.records {
        Records::BesideComposes => volumes.records_beside(),
        Records::In(directory) => Some(directory.clone()),
        Records::Nowhere => None,
    };
    let log = path(&offer.log, Root::Top)?;
    if !log.rest().starts_with("logs/") {
        return Err(Refusal::hard(format!("{log} is not below top:logs/")));
    }
    let log = volumes.resolve(&log).map_err(|error| Refusal::hard(error.to_string()))?;
    let deadlines = offer.deadlines.unwrap_or_default();
    let wall = limit(deadlines.wall.as_ref()).unwrap_or(DEFAULT_WALL);
    let cores = offer.reserve.unwrap_or_default().cpu_milli.div_ceil(1000).max(1);
    Ok(Order {
        compose_id: key.compose_id.clone(),
        fence: key.fence,
        job_name: offer.job_name,
        spec: offer.spec,
        volumes,
        threads: usize::try_from(cores).unwrap_or(1),
        idle: limit(deadlines.idle.as_ref()).unwrap_or(wall),
        wall,
        log,
        traceparent: offer.traceparent,
    })
}

fn path(text: &str, root: Root) -> Result<LogicalPath, Refusal> {
    let path: LogicalPath = text.parse().map_err(|error: tutti_job::PathError| Refusal::hard(error.to_string()))?;
    if path.root() == root { Ok(path) } else { Err(Refusal::hard(format!("{path} has the wrong root"))) }
}

/// A duration that is not negative.
pub(crate) fn duration(value: Option<&prost_types::Duration>) -> Option<Duration> {
    Duration::try_from(*value?).ok()
}

/// A deadline: 0 and absence mean none of its own; at most 30 days, so that sums of times cannot overflow.
fn limit(value: Option<&prost_types::Duration>) -> Option<Duration> {
    duration(value).filter(|value| !value.is_zero()).map(|value| value.min(30 * DEFAULT_WALL))
}

/// Bounds of what a child may report: a message that the controller refuses for its size would be repeated for ever.
const MAX_OUTPUTS: usize = 1000;
const MAX_WARNINGS: usize = 256;
const MAX_COUNTERS: usize = 256;

/// Keeps a child's report within bounds, whatever the child says.
fn tame(mut finished: Finished) -> Finished {
    let long = |text: &String| text.len() > MAX_NAME;
    if let Ending::Success { outputs, warnings } = &mut finished.ending {
        warnings.truncate(MAX_WARNINGS);
        warnings.iter_mut().for_each(|warning| *warning = one_line(warning));
        if outputs.len() > MAX_OUTPUTS || outputs.iter().any(|output| long(&output.name)) {
            finished.ending = Ending::Failure(RunnerError::tool("the child reported too many outputs").into());
        }
    }
    if let Ending::Failure(failure) = &mut finished.ending {
        failure.cause = one_line(&failure.cause);
        failure.hint = one_line(&failure.hint);
    }
    finished.counters = finished.counters.into_iter().filter(|(name, _)| !long(name)).take(MAX_COUNTERS).collect();
    finished
}

/// The message that reports how an attempt ended.
pub(crate) fn outcome(key: &Key, finished: Finished) -> Outcome {
    let finished = tame(finished);
    let result = match finished.ending {
        Ending::Success { outputs, warnings } => {
            let output = |output: crate::Output| proto::Output {
                name: output.name,
                digest: output.digest.as_bytes().to_vec(),
                size_bytes: output.size,
            };
            outcome::Result::Success(proto::Success { outputs: outputs.into_iter().map(output).collect(), warnings })
        }
        Ending::Failure(failure) => outcome::Result::Failure(proto::Failure {
            class: class(failure.class).into(),
            cause: failure.cause,
            hint: failure.hint,
        }),
    };
    let counters = finished.counters.into_iter().map(|(name, value)| proto::Counter { name, value });
    Outcome {
        fence: Some(key.to_proto()),
        result: Some(result),
        usage: Some(proto::Usage {
            cpu: prost_types::Duration::try_from(finished.cpu).ok(),
            peak_memory_bytes: finished.peak_memory,
            counters: counters.collect(),
        }),
        started: Some(finished.started.into()),
        ended: Some(finished.ended.into()),
    }
}

fn class(class: FailureClass) -> proto::FailureClass {
    match class {
        FailureClass::Infra => proto::FailureClass::Infra,
        FailureClass::Input => proto::FailureClass::Input,
        FailureClass::Tool => proto::FailureClass::Tool,
        FailureClass::Timeout => proto::FailureClass::Timeout,
        FailureClass::Cancelled => proto::FailureClass::Cancelled,
        FailureClass::Poisoned => proto::FailureClass::Poisoned,
        FailureClass::External => proto::FailureClass::External,
        FailureClass::NoSpace => proto::FailureClass::NoSpace,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;
    use std::time::SystemTime;

    fn report(ending: Ending) -> Outcome {
        let key = Key { compose_id: "C".into(), fence: tutti_job::Fence { job: 1, attempt: 1, executor: 1 } };
        let counters = (0..1000).map(|n| (format!("counter-{n}"), n)).collect();
        let (started, ended) = (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH);
        let (cpu, peak_memory, conditions) = (Duration::ZERO, 0, Vec::new());
        outcome(&key, Finished { ending, counters, cpu, peak_memory, started, ended, conditions })
    }

    #[test]
    fn reports_stay_small_whatever_the_child_says() {
        let text = "x\n".repeat(1_000_000);
        let output = crate::Output { name: "o".into(), digest: Digest::of(b""), size: 0 };
        let many = Ending::Success { outputs: vec![output.clone(); 2000], warnings: vec![] };
        assert!(matches!(report(many).result, Some(outcome::Result::Failure(_))));
        let warnings = vec![text.clone(); 500];
        let small = report(Ending::Success { outputs: vec![output], warnings });
        assert!(matches!(&small.result, Some(outcome::Result::Success(success)) if success.warnings.len() == 256));
        assert!(small.encoded_len() < 1 << 20, "{}", small.encoded_len());
        let failure = crate::wire::Failure { class: FailureClass::Tool, cause: text.clone(), hint: text };
        assert!(report(Ending::Failure(failure)).encoded_len() < 1 << 16);
    }
}
