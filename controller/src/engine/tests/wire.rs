//! Session messages that are lost, said again, late or out of order, by a worker that is welcome at the real engine.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use tokio::sync::mpsc;
use tutti_proto::{
    compose as api,
    worker::{self as wire, session_request::Message as Up, session_response::Message as Down},
};

use super::rig::{self, Does, Rig, hello, tell, work};
use crate::{
    engine::{Handle, SessionId},
    history,
};

type Receiver = mpsc::Receiver<Result<wire::SessionResponse, tonic::Status>>;

/// A worker at the end of a bad line.
struct Rough {
    seed: u64,
    handle: Handle,
    session: SessionId,
    receiver: Receiver,
    target: PathBuf,
    /// All that it ever said, to be said again at any time.
    said: Vec<Up>,
    /// What it made, by attempt: an offer that comes twice is one attempt.
    made: BTreeMap<(u32, u32), Up>,
    repeated: usize,
    lost: usize,
    failed: usize,
}

impl Rough {
    async fn connect(rig: &Rig, seed: u64) -> Self {
        let (sender, receiver) = mpsc::channel(1024);
        let handle = rig.handle().clone();
        let session = handle.connect_worker(hello("rough", 1), sender).await.unwrap();
        let target = rig.target().to_owned();
        let (said, made) = (Vec::new(), BTreeMap::new());
        Self { seed: seed * 2 + 1, handle, session, receiver, target, said, made, repeated: 0, lost: 0, failed: 0 }
    }

    /// A number below the limit (splitmix64).
    fn below(&mut self, limit: usize) -> usize {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit.max(1) as u64) as usize
    }

    async fn say(&mut self, message: Up) {
        self.said.push(message.clone());
        if self.below(3) == 0 {
            // It will be said again some time, as all that was ever said.
            self.lost += 1;
            return;
        }
        tell(&self.handle, self.session, message).await;
    }

    async fn hear(&mut self, message: Down) {
        if let Down::Refused(refused) = &message {
            let fence = refused.fence.clone().unwrap_or_default();
            let good = |made: &Up| matches!(made, Up::Outcome(outcome) if succeeded(outcome));
            let refused_good = self.made.get(&(fence.job, fence.attempt)).is_some_and(good);
            assert!(!refused_good, "what was made is refused, and would be removed: {refused:?}");
        }
        let Down::Offer(offer) = message else { return };
        let fence = offer.fence.clone().unwrap();
        self.say(Up::Accept(wire::Accept { fence: offer.fence.clone() })).await;
        let outcome = match self.made.get(&(fence.job, fence.attempt)).cloned() {
            Some(outcome) => outcome,
            None if fence.attempt == 1 && self.below(3) == 0 => {
                // What is said of this attempt comes again while the next one is under way, and after.
                self.failed += 1;
                failure(&offer)
            }
            None => Up::Outcome(work(&offer, Does::Everything, &self.target).unwrap()),
        };
        self.made.insert((fence.job, fence.attempt), outcome.clone());
        self.say(outcome).await;
    }

    /// Old words in any order, the newest too; a heartbeat, and now and then a new connection.
    async fn babble(&mut self) {
        for _ in 0..4 {
            if !self.said.is_empty() {
                let old = self.below(self.said.len());
                self.repeated += 1;
                tell(&self.handle, self.session, self.said[old].clone()).await;
            }
        }
        tell(&self.handle, self.session, Up::Sync(wire::Sync::default())).await;
        if self.below(40) == 0 {
            let (sender, receiver) = mpsc::channel(1024);
            self.session = self.handle.connect_worker(hello("rough", 1), sender).await.unwrap();
            self.receiver = receiver;
        }
    }

    async fn run(&mut self) {
        let mut beat = tokio::time::interval(Duration::from_millis(2));
        loop {
            tokio::select! {
                _ = beat.tick() => self.babble().await,
                response = self.receiver.recv() => {
                    if let Some(message) = response.and_then(Result::ok).and_then(|response| response.message) {
                        self.hear(message.clone()).await;
                        if self.below(4) == 0 {
                            self.hear(message).await;
                        }
                    }
                }
            }
        }
    }
}

fn succeeded(outcome: &wire::Outcome) -> bool {
    matches!(outcome.result, Some(wire::outcome::Result::Success(_)))
}

fn failure(offer: &wire::Offer) -> Up {
    let class = wire::FailureClass::Infra.into();
    let failure = wire::Failure { class, cause: "a bad day".into(), hint: String::new() };
    let result = Some(wire::outcome::Result::Failure(failure));
    Up::Outcome(wire::Outcome { fence: offer.fence.clone(), result, ..Default::default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn r7_lost_repeated_and_late_messages_change_nothing() {
    let (mut repeated, mut lost, mut failed) = (0, 0, 0);
    for seed in 0..6 {
        let rig = Rig::start().await;
        let id = rig.submit().await;
        let mut worker = Rough::connect(&rig, seed).await;
        let show = tokio::select! {
            show = rig.ended(&id) => show,
            () = worker.run() => unreachable!("it never ends"),
        };
        // And after the end as well.
        for _ in 0..50 {
            worker.babble().await;
        }
        assert_eq!(rig::word(&show), api::ComposeStatus::Finished, "seed {seed}");
        let after = rig.handle().show(id.clone()).await.unwrap();
        for job in &after.jobs {
            assert_eq!(job.state(), api::JobState::Published, "seed {seed}: {}", job.name);
            let committed = job.attempts.iter().filter(|attempt| attempt.result == "committed").count();
            assert_eq!(committed, 1, "seed {seed}: {job:?}");
            assert!(job.attempts.len() <= 2, "seed {seed}: {job:?}");
        }
        repeated += worker.repeated;
        lost += worker.lost;
        failed += worker.failed;
        let target = rig.stop_and_keep().await;
        let violations = history::check_directory(&target.path().join(&id), true).unwrap();
        assert!(violations.is_empty(), "seed {seed}: {violations:?}");
    }
    assert!(repeated > 100 && lost > 10 && failed > 3, "{repeated} repeated, {lost} lost, {failed} failed");
}
