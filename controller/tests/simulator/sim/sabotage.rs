//! Engines that are broken in one way each, to see that the checker bites. One for each invariant; I8 is about Koji
//! tasks, which there are none of yet.

use tutti_controller::{
    history::Cause,
    lifecycle::{Changes, Compose, FailureClass, JobState},
};

/// What is broken. A store that compares nothing (I2) and one that forgets (durability) are the store's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// I1: a verification that is heard twice commits twice.
    CommitsTwice,
    /// I3: nobody notices that a worker is gone.
    ForgetsLostWorkers,
    /// I4: a late message changes a published job.
    ChangesPublished,
    /// I5: the dispatcher forgets the lease of one attempt.
    ForgetsLeases,
    /// I6: outputs are committed and published as reported.
    CommitsUnverified,
    /// Nobody looks whether all stands in the tree before it is called finished.
    NeverLooks,
    /// I7: a failure skips a job that needs nothing of it.
    SkipsUnrelated,
}

impl Sabotage {
    /// Spoils the changes of one event; whether it happens at all.
    pub(crate) fn spoil(self, compose: &Compose, cause: Cause, changes: &mut Changes) -> bool {
        match (self, cause) {
            (Self::ForgetsLostWorkers, Cause::WorkerLost) => return false,
            (Self::ChangesPublished, Cause::Accepted) => {
                let published = compose.numbered().find(|(_, record)| record.state == JobState::Published);
                if let Some((job, record)) = published {
                    let mut record = record.clone();
                    (record.state, record.class) = (JobState::Failed, Some(FailureClass::Tool));
                    changes.jobs.push((job, record));
                }
            }
            (Self::CommitsUnverified, Cause::Succeeded) => {
                for (_, record) in changes.jobs.iter_mut().filter(|(_, record)| record.state == JobState::Verifying) {
                    (record.state, record.committed) = (JobState::Committed, true);
                }
            }
            (Self::SkipsUnrelated, Cause::FailedAttempt) => skip_unrelated(compose, changes),
            _ => {}
        }
        changes.jobs.sort_by_key(|(job, _)| *job);
        true
    }
}

fn skip_unrelated(compose: &Compose, changes: &mut Changes) {
    let Some(because) = changes.jobs.iter().find(|(_, record)| record.state == JobState::Failed).map(|(job, _)| *job)
    else {
        return;
    };
    let changed: Vec<u32> = changes.jobs.iter().map(|(job, _)| *job).collect();
    let free = |job: u32| compose.plan.job(job).is_some_and(|planned| planned.edges.is_empty());
    let other =
        compose.numbered().find(|(job, record)| record.state.is_pending() && !changed.contains(job) && free(*job));
    if let Some((job, record)) = other {
        let mut record = record.clone();
        record.state = JobState::Skipped { because };
        changes.jobs.push((job, record));
    }
}
