use super::*;
use proto::session_response::Message as Down;
use tutti_job::{JobSpec, OutputSpec};

const ME: u64 = 7;

fn state() -> State {
    State::new(Facts {
        incarnation: ME,
        capacity: Resources { cpu_milli: 4000, memory_bytes: 1 << 30, disk_bytes: 0 },
        kinds: [JobKind::Trim].into(),
        maps: vec![("/srv".into(), "/nfs/srv".into())],
        records: Records::BesideComposes,
        resend: Duration::from_secs(1),
        resend_limit: Duration::from_secs(5),
    })
}

fn fence(job: u32) -> proto::Fence {
    proto::Fence { compose_id: "C-1".into(), job, attempt: 1, executor: ME }
}

fn offer(job: u32) -> proto::Offer {
    let spec = JobSpec::new(JobKind::Trim, &(), vec![], vec![OutputSpec::file("a")]).unwrap();
    proto::Offer {
        fence: Some(fence(job)),
        kind: "trim".into(),
        spec: spec.encode_canonical(),
        spec_digest: spec.key().as_bytes().to_vec(),
        job_name: "trim.Server.x86_64".into(),
        compose_dir: "file:/srv/composes/C-1".into(),
        reserve: Some(Resources { cpu_milli: 1500, memory_bytes: 1 << 20, disk_bytes: 0 }),
        log: "top:logs/x86_64/trim.log".into(),
        ..proto::Offer::default()
    }
}

fn give(state: &mut State, message: Down) -> Vec<Effect> {
    state.receive(5, 1, message, Instant::now())
}

fn rejection(effects: &[Effect]) -> (&str, bool) {
    match effects {
        [Effect::Send(Up::Reject(Reject { reason, soft, .. }))] => (reason, *soft),
        other => panic!("no rejection but {other:?}"),
    }
}

fn done(state: &mut State, job: u32, now: Instant) -> Vec<Effect> {
    let outcome = Outcome { fence: Some(fence(job)), ..Outcome::default() };
    state.finished(&Key::of(&fence(job)).unwrap(), outcome, now)
}

#[test]
fn an_offer_is_accepted_once_and_answered_again() {
    let mut state = state();
    let effects = give(&mut state, Down::Offer(offer(1)));
    let [Effect::Send(Up::Accept(_)), Effect::Start(order)] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!(order.threads, 2);
    assert_eq!(order.volumes.top, PathBuf::from("/nfs/srv/composes/C-1"));
    assert_eq!(order.log, PathBuf::from("/nfs/srv/composes/C-1/logs/x86_64/trim.log"));
    assert!(order.volumes.staging.as_ref().unwrap().ends_with("work/tutti/staging/j1-a1-0000000000000007"));
    assert_eq!(state.free().cpu_milli, 2500);
    let again = give(&mut state, Down::Offer(offer(1)));
    assert!(matches!(again.as_slice(), [Effect::Send(Up::Accept(_))]), "{again:?}");
    done(&mut state, 1, Instant::now());
    assert_eq!(state.free().cpu_milli, 4000);
    let again = give(&mut state, Down::Offer(offer(1)));
    assert!(matches!(again.as_slice(), [Effect::Send(Up::Outcome(_))]), "{again:?}");
    give(&mut state, Down::Commit(proto::Commit { fence: Some(fence(1)) }));
    assert_eq!(rejection(&give(&mut state, Down::Offer(offer(1)))), ("this attempt is over", false));
}

#[test]
fn offers_that_cannot_run_here_are_rejected() {
    type Break = fn(&mut proto::Offer);
    let cases: [(Break, &str, bool); 9] = [
        (|o| o.fence.as_mut().unwrap().executor = 8, "another incarnation", false),
        (|o| o.reserve.as_mut().unwrap().memory_bytes = 2 << 30, "memory", true),
        (|o| o.spec_digest = vec![0; 32], "digest", false),
        (|o| o.spec = b"\xff".to_vec(), "decode", false),
        (|o| o.compose_dir = "file:/".into(), "is /", false),
        (|o| o.compose_dir = "top:x".into(), "wrong root", false),
        (|o| o.log = "top:../../etc/passwd".into(), "unsafe", false),
        (|o| o.log = "top:STATUS".into(), "logs/", false),
        (|o| o.job_name = "a\nb".into(), "name", false),
    ];
    for (change, text, soft) in cases {
        let mut state = state();
        let mut offer = offer(1);
        change(&mut offer);
        let effects = give(&mut state, Down::Offer(offer));
        let found = rejection(&effects);
        assert!(found.0.contains(text) && found.1 == soft, "{found:?} instead of {text}");
        assert_eq!(state.running(), 0);
    }
    let mut state = state();
    state.facts.kinds.clear();
    assert_eq!(rejection(&give(&mut state, Down::Offer(offer(1)))), ("no runner for trim", false));
    state.drain();
    assert_eq!(rejection(&give(&mut state, Down::Offer(offer(1)))), ("draining", true));
}

#[test]
fn full_workers_reject_softly() {
    let mut state = state();
    for job in 1..=2 {
        assert_eq!(give(&mut state, Down::Offer(offer(job))).len(), 2);
    }
    assert!(rejection(&give(&mut state, Down::Offer(offer(3)))).1);
    done(&mut state, 1, Instant::now());
    assert_eq!(give(&mut state, Down::Offer(offer(3))).len(), 2);
}

#[test]
fn deposed_controllers_are_ignored() {
    let mut state = state();
    give(&mut state, Down::Offer(offer(1)));
    let now = Instant::now();
    assert!(state.receive(4, 2, Down::Desired(proto::Desired { fences: vec![] }), now).is_empty());
    assert!(state.receive(4, 3, Down::Offer(offer(2)), now).is_empty());
    assert_eq!((state.running(), state.held().1), (1, 5));
    let effects = state.receive(6, 1, Down::Desired(proto::Desired { fences: vec![] }), now);
    assert!(matches!(effects.as_slice(), [Effect::Stop(..)]));
    assert_eq!(state.held().1, 6);
}

#[test]
fn outcomes_are_repeated_with_growing_pauses_until_settled() {
    let mut state = state();
    give(&mut state, Down::Offer(offer(1)));
    let mut now = Instant::now();
    assert_eq!(done(&mut state, 1, now).len(), 1);
    let mut pauses = Vec::new();
    for _ in 0..5 {
        let due = state.next_due().unwrap();
        assert!(state.due(due - Duration::from_millis(1)).is_empty());
        pauses.push((due - now).as_secs());
        now = due;
        assert_eq!(state.due(now).len(), 1);
    }
    assert_eq!(pauses, [1, 2, 4, 5, 5]);
    state.connected(now);
    assert_eq!(state.due(now).len(), 1);
    let effects = give(&mut state, Down::Refused(Refused { fence: Some(fence(1)), reason: "late".into() }));
    assert!(matches!(effects.as_slice(), [Effect::Forget(_, _, Leftovers::Remove)]), "{effects:?}");
    assert_eq!((state.next_due(), state.unsettled()), (None, 0));
}

#[test]
fn what_is_not_desired_is_stopped_and_what_is_refused_reports_nothing() {
    let mut state = state();
    for job in 1..=2 {
        give(&mut state, Down::Offer(offer(job)));
    }
    let effects = give(&mut state, Down::Desired(proto::Desired { fences: vec![fence(2), fence(9)] }));
    let [Effect::Stop(key, stop)] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!((key.fence.job, stop.failure.class), (1, FailureClass::Cancelled));
    let effects = give(&mut state, Down::Refused(Refused { fence: Some(fence(2)), reason: "stale".into() }));
    assert!(matches!(effects.as_slice(), [Effect::Stop(..)]));
    let effects = done(&mut state, 2, Instant::now());
    assert!(matches!(effects.as_slice(), [Effect::Forget(..)]), "{effects:?}");
    assert!(matches!(done(&mut state, 1, Instant::now()).as_slice(), [Effect::Send(Up::Outcome(_))]));
    // Finished attempts are not desired any more, and are not forgotten for that.
    assert!(give(&mut state, Down::Desired(proto::Desired { fences: vec![] })).is_empty());
    assert_eq!(state.held().0, [fence(1)]);
}

#[test]
fn messages_about_unknown_attempts_do_nothing() {
    let mut state = state();
    let other = Some(fence(3));
    for message in [
        Down::Commit(proto::Commit { fence: other.clone() }),
        Down::Commit(proto::Commit { fence: None }),
        Down::Refused(Refused { fence: other, reason: String::new() }),
        Down::Offer(proto::Offer::default()),
    ] {
        assert!(give(&mut state, message).is_empty());
    }
}

#[test]
fn a_cancelled_attempt_whose_offer_never_arrived_is_answered() {
    let mut state = state();
    let cancel = || Down::Cancel(proto::Cancel { fence: Some(fence(3)), grace: None });
    let effects = give(&mut state, cancel());
    assert_eq!(rejection(&effects), ("it was not begun here before it was cancelled", true));
    // One that ended is spoken of by its outcome alone.
    give(&mut state, Down::Offer(offer(3)));
    done(&mut state, 3, Instant::now());
    assert!(give(&mut state, cancel()).is_empty());
}

#[test]
fn progress_is_told_once_per_change() {
    let mut state = state();
    give(&mut state, Down::Offer(offer(1)));
    let key = Key::of(&fence(1)).unwrap();
    assert_eq!(state.take_progress(), None);
    for done in 1..=3 {
        state.progress(&key, Status { phase: "p".into(), done, total: 3, condition: None });
    }
    assert!(state.has_progress());
    let Some(Up::Progress(progress)) = state.take_progress() else { panic!() };
    assert_eq!((progress.jobs.len(), progress.jobs[0].done), (1, 3));
    assert_eq!(state.take_progress(), None);
    assert_eq!(state.sync().running[0].done, 3);
}

/// What may happen, in any order.
#[derive(Clone, Debug)]
enum Step {
    Offer { job: u32, epoch: u64 },
    Cancel(u32),
    Commit(u32),
    Refused(u32),
    Desired(Vec<u32>),
    Finished(u32),
    Later,
    Connected,
    Drain,
}

fn steps() -> impl proptest::strategy::Strategy<Value = Vec<Step>> {
    use proptest::prelude::*;
    let job = || 1..6u32;
    let step = prop_oneof![
        6 => (job(), 3..6u64).prop_map(|(job, epoch)| Step::Offer { job, epoch }),
        1 => job().prop_map(Step::Cancel),
        2 => job().prop_map(Step::Commit),
        1 => job().prop_map(Step::Refused),
        1 => proptest::collection::vec(job(), 0..5).prop_map(Step::Desired),
        4 => job().prop_map(Step::Finished),
        2 => Just(Step::Later),
        1 => Just(Step::Connected),
        1 => Just(Step::Drain),
    ];
    proptest::collection::vec(step, 0..60)
}

fn take(state: &mut State, step: Step, now: &mut Instant) -> Vec<Effect> {
    let give = |state: &mut State, message| state.receive(5, 1, message, *now);
    match step {
        Step::Offer { job, epoch } => state.receive(epoch, 1, Down::Offer(offer(job)), *now),
        Step::Cancel(job) => give(state, Down::Cancel(proto::Cancel { fence: Some(fence(job)), grace: None })),
        Step::Commit(job) => give(state, Down::Commit(proto::Commit { fence: Some(fence(job)) })),
        Step::Refused(job) => give(state, Down::Refused(Refused { fence: Some(fence(job)), reason: "stale".into() })),
        Step::Desired(jobs) => {
            give(state, Down::Desired(proto::Desired { fences: jobs.into_iter().map(fence).collect() }))
        }
        Step::Finished(job) => done(state, job, *now),
        Step::Later => {
            *now += Duration::from_secs(1);
            state.due(*now)
        }
        Step::Connected => {
            state.connected(*now);
            state.due(*now)
        }
        Step::Drain => {
            state.drain();
            Vec::new()
        }
    }
}

proptest::proptest! {
    /// No attempt starts twice or while draining; outcomes are of ended attempts; only a settled attempt is
    /// forgotten; what is reserved comes back.
    #[test]
    fn attempts_run_once_whatever_is_said(steps in steps()) {
        let mut state = state();
        let mut now = Instant::now();
        let (mut started, mut ended, mut settled) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut draining = false;
        for step in steps {
            match &step {
                Step::Drain => draining = true,
                Step::Finished(job) if started.contains(job) => { ended.insert(*job); }
                Step::Commit(job) | Step::Refused(job) => { settled.insert(*job); }
                _ => {}
            }
            for effect in take(&mut state, step, &mut now) {
                match effect {
                    Effect::Start(order) => {
                        proptest::prop_assert!(!draining && started.insert(order.fence.job));
                    }
                    Effect::Send(Up::Outcome(outcome)) => {
                        proptest::prop_assert!(ended.contains(&outcome.fence.unwrap().job));
                    }
                    Effect::Forget(key, ..) => {
                        proptest::prop_assert!(ended.contains(&key.fence.job) && settled.contains(&key.fence.job));
                    }
                    Effect::Stop(key, _) => proptest::prop_assert!(started.contains(&key.fence.job)),
                    Effect::Send(_) => {}
                }
            }
            let running = started.difference(&ended).count();
            proptest::prop_assert_eq!(state.running(), running);
            proptest::prop_assert_eq!(state.free().cpu_milli, 4000 - 1500 * u32::try_from(running).unwrap());
            proptest::prop_assert_eq!(state.sync().running.len() + state.unsettled(), state.held().0.len());
        }
    }
}

#[test]
fn checkpoints_of_a_failed_attempt_stay_for_the_next() {
    let failure = proto::outcome::Result::Failure(proto::Failure::default());
    let success = proto::outcome::Result::Success(proto::Success::default());
    for (result, leftovers) in [(failure, Leftovers::KeepCheckpoints), (success, Leftovers::Remove)] {
        let mut state = state();
        give(&mut state, Down::Offer(offer(1)));
        let outcome = Outcome { fence: Some(fence(1)), result: Some(result), ..Outcome::default() };
        state.finished(&Key::of(&fence(1)).unwrap(), outcome, Instant::now());
        let effects = give(&mut state, Down::Commit(proto::Commit { fence: Some(fence(1)) }));
        assert!(matches!(effects.as_slice(), [Effect::Forget(_, _, kept)] if *kept == leftovers), "{effects:?}");
    }
}
