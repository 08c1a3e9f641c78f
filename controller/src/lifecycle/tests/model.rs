//! Whole runs in random order against a model that knows only how each job would end.

use proptest::prelude::*;

use super::{Event, FailureClass, JobState, Run, Status, failed, fixture, job, lost, succeeded};
use crate::plan::{At, Edge, Need, Plan};

/// Published rather than committed, soft rather than required, and whether there is an edge at all (0).
type EdgeBits = (bool, bool, u8);

/// Random plans: each job takes edges of random kind to earlier ones.
pub(super) fn plans() -> impl Strategy<Value = Plan> {
    let edge = (any::<bool>(), any::<bool>(), 0u8..4);
    proptest::collection::vec((proptest::collection::vec(edge, 0..12), any::<bool>()), 1..12).prop_map(|jobs| {
        let planned = |(number, (bits, failable)): (usize, (Vec<EdgeBits>, bool))| {
            let edges = bits.into_iter().take(number).enumerate().filter(|(_, (_, _, wanted))| *wanted == 0);
            let edge = |(job, (published, soft, _)): (usize, EdgeBits)| Edge {
                job: job as u32,
                at: if published { At::Published } else { At::Committed },
                need: if soft { Need::IfItSucceeds } else { Need::Required },
            };
            let mut planned = job(number as u32, edges.map(edge).collect());
            planned.failable = failable;
            planned
        };
        fixture::plan_of(jobs.into_iter().enumerate().map(planned).collect())
    })
}

/// How a job ends when it runs.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Good,
    Broken,
    /// Fails so many times for reasons of its host.
    Flaky(u32),
    /// Its worker is lost so many times.
    Lost(u32),
}

impl Fate {
    fn of(byte: u8) -> Self {
        match byte % 8 {
            0 => Self::Broken,
            1 => Self::Flaky(u32::from(byte / 8) % 5),
            2 => Self::Lost(u32::from(byte / 8) % 5),
            _ => Self::Good,
        }
    }

    fn succeeds(self) -> bool {
        match self {
            Self::Good => true,
            Self::Broken => false,
            Self::Flaky(times) | Self::Lost(times) => times < super::super::MAX_TRIES,
        }
    }
}

/// The model: a job whose needs are alive ends by its fate, any other is skipped.
fn expected(plan: &Plan, fates: &[Fate]) -> (Vec<char>, Status) {
    let mut ends: Vec<char> = Vec::new();
    let (mut doomed, mut incomplete) = (false, false);
    for (job, fate) in plan.jobs.iter().zip(fates) {
        let dead = |edge: &Edge| edge.need == Need::Required && ends[edge.job as usize] != 'P';
        let end = match (job.edges.iter().any(dead), fate.succeeds()) {
            (true, _) => 'S',
            (false, true) => 'P',
            (false, false) => 'F',
        };
        doomed |= end != 'P' && !job.failable;
        incomplete |= end != 'P';
        ends.push(end);
    }
    let status = match (doomed, incomplete) {
        (true, _) => Status::Doomed,
        (false, true) => Status::FinishedIncomplete,
        (false, false) => Status::Finished,
    };
    (ends, status)
}

/// What the world says next about a job, seen its state and fate.
fn next(run: &Run, job: u32, fate: Fate) -> Option<Event> {
    let record = &run.compose.jobs[job as usize];
    let fence = record.fence;
    let executor = u64::from(job) * 1000 + u64::from(record.attempt);
    Some(match (record.state, fence) {
        (JobState::Ready, _) => Event::Offered { job, executor, worker_id: format!("w{executor}") },
        (JobState::Offered, Some(fence)) => Event::Accepted { fence },
        (JobState::Running, Some(fence)) => match fate {
            Fate::Broken => failed(fence, FailureClass::Tool),
            Fate::Flaky(times) if record.tries < times => failed(fence, FailureClass::Infra),
            Fate::Lost(times) if record.losses < times => lost(fence.executor),
            Fate::Good | Fate::Flaky(_) | Fate::Lost(_) => succeeded(fence),
        },
        (JobState::Verifying, Some(fence)) => Event::VerifiedOk { fence },
        (JobState::Committed, _) => Event::Published { job },
        _ => return None,
    })
}

proptest! {
    /// Whatever the order, and with every message said again at any time: each run ends (I3), as the model says.
    #[test]
    fn every_run_ends_as_the_model_says(
        plan in plans(),
        fates in proptest::collection::vec(any::<u8>(), 12),
        order in proptest::collection::vec((any::<u32>(), any::<bool>()), 1..60),
    ) {
        let fates: Vec<Fate> = fates.into_iter().map(Fate::of).collect();
        let (ends, status) = expected(&plan, &fates);
        let count = plan.jobs.len();
        let mut run = Run::start(plan, false);
        let mut said: Vec<Event> = Vec::new();
        let mut order = order.into_iter().cycle();
        for step in 0.. {
            prop_assert!(step < 5000, "no end: {}", run.states());
            if run.compose.is_ended() {
                break;
            }
            let (pick, again) = order.next().unwrap();
            if again && !said.is_empty() {
                let event = said[(pick as usize + step) % said.len()].clone();
                let lost = matches!(event, Event::WorkerLost { .. } | Event::Offered { .. });
                if !lost {
                    run.ok(event);
                }
            }
            let from = (pick as usize + step) % count;
            let able = (0..count).map(|offset| ((from + offset) % count) as u32);
            let event = able.into_iter().find_map(|job| next(&run, job, fates[job as usize]));
            let look = || run.compose.is_to_be_looked_at().then_some(Event::Looked { damage: None });
            let event = event.or_else(look);
            let Some(event) = event else { panic!("nothing to do in {}", run.states()) };
            said.push(event.clone());
            run.ok(event);
        }
        prop_assert_eq!(run.states(), ends.iter().collect::<String>());
        prop_assert_eq!(run.compose.header.status, status);
        for event in said {
            if let Ok(effects) = run.apply(event) {
                let offers = effects.iter().any(|effect| matches!(effect, super::Effect::SendOffer { .. }));
                prop_assert!(!offers);
            }
        }
        prop_assert_eq!(run.states(), ends.iter().collect::<String>());
    }
}
