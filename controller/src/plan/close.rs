//! From a job of the plan to the closed value that a worker gets.

use tutti_job::{Digest, Input, JobSpec, OutputSpec};

use super::{Need, PlanJob};

/// A job that cannot be closed yet.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// A needed input has not been made.
    #[error("{job} needs input {input:?}, which job {producer} has not made")]
    NoInput {
        /// The job to close.
        job: String,
        /// Name of the input.
        input: String,
        /// Number of the job that makes it.
        producer: u32,
    },
}

/// Makes the closed spec of a job whose edges hold. `outputs_of` gives the digest of an output of another job.
///
/// Inputs from jobs that it can do without are left out when they were not made.
///
/// # Errors
/// [`CloseError::NoInput`].
pub fn close(job: &PlanJob, outputs_of: &dyn Fn(u32, &str) -> Option<Digest>) -> Result<JobSpec, CloseError> {
    let mut inputs: Vec<Input> =
        job.fixed_inputs.iter().map(|(name, digest)| Input::new(name.as_str(), *digest)).collect();
    for (name, derived) in &job.derived_inputs {
        match outputs_of(derived.job, &derived.output) {
            Some(digest) => inputs.push(Input::new(name.as_str(), digest)),
            None if job.edge_to(derived.job).is_some_and(|edge| edge.need == Need::IfItSucceeds) => {}
            None => {
                return Err(CloseError::NoInput {
                    job: job.name.to_string(),
                    input: name.clone(),
                    producer: derived.job,
                });
            }
        }
    }
    inputs.sort_by(|a, b| a.name.cmp(&b.name));
    let mut outputs: Vec<OutputSpec> = job.outputs.clone();
    outputs.sort_by(|a, b| a.name.cmp(&b.name));
    let kind = job.name.kind;
    Ok(JobSpec { kind: kind.to_string(), version: kind.version(), params: job.params_json.clone(), inputs, outputs })
}

/// JSON of output specs, which are protobuf messages.
pub(super) mod outputs {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
    use tutti_job::{LogicalPath, OutputSpec, PublishMode};

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Output {
        name: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        directory: Option<LogicalPath>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        merge: Option<LogicalPath>,
    }

    pub(in crate::plan) fn serialize<S: Serializer>(outputs: &[OutputSpec], serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error as _;
        let mut list = Vec::with_capacity(outputs.len());
        for output in outputs {
            let mut item = Output { name: output.name.clone(), directory: None, merge: None };
            if output.is_tree() {
                let target = Some(output.target.parse::<LogicalPath>().map_err(S::Error::custom)?);
                match PublishMode::try_from(output.mode) {
                    Ok(PublishMode::Merge) => item.merge = target,
                    Ok(PublishMode::Directory) => item.directory = target,
                    Ok(PublishMode::Unspecified) | Err(_) => return Err(S::Error::custom("tree output without mode")),
                }
            }
            list.push(item);
        }
        list.serialize(serializer)
    }

    pub(in crate::plan) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<OutputSpec>, D::Error> {
        let list = Vec::<Output>::deserialize(deserializer)?;
        list.into_iter()
            .map(|item| match (item.directory, item.merge) {
                (None, None) => Ok(OutputSpec::file(item.name)),
                (Some(target), None) => Ok(OutputSpec::directory(item.name, &target)),
                (None, Some(target)) => Ok(OutputSpec::merge(item.name, &target)),
                (Some(_), Some(_)) => Err(D::Error::custom(format!("output {:?} has two targets", item.name))),
            })
            .collect()
    }
}
