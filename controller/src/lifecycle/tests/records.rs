//! Stored forms.

use tutti_job::{Digest, Fence};

use super::super::{
    AttemptRecord, AttemptResult, DecodeError, Exclusion, FailureClass, Header, JobRecord, JobState, KEPT_ATTEMPTS,
    Output, Status, Timestamp, Usage,
};
use super::{
    Event, Run, chain,
    fixture::{failed, succeeded},
};

fn full() -> JobRecord {
    let attempt = |number: u32| AttemptRecord {
        number,
        executor: u64::MAX,
        worker_id: "builder-s390x-07.example.org".into(),
        offered: Timestamp(1_700_000_000_000),
        started: Some(Timestamp(1_700_000_000_100)),
        ended: Some(Timestamp(1_700_000_100_000)),
        result: AttemptResult::Failed,
        class: Some(FailureClass::NoSpace),
        cause: "no space left on device".into(),
        usage: Usage { cpu_ms: 12345, peak_memory_bytes: 1 << 30, counters: vec![("bytes-read".into(), 1 << 40)] },
    };
    let output =
        |arch: &str| Output { name: format!("universe/{arch}"), digest: Digest::of(arch.as_bytes()), size: 1 << 33 };
    JobRecord {
        state: JobState::Skipped { because: 17 },
        attempt: 9,
        tries: 3,
        fence: Some(Fence { job: 4, attempt: 9, executor: 77 }),
        committed: true,
        attempts: (2..10).map(attempt).collect(),
        outputs: ["aarch64", "ppc64le", "s390x", "x86_64"].map(output).to_vec(),
        reason: "needs trim.Server.x86_64".into(),
        class: Some(FailureClass::Tool),
        hint: "look there".into(),
        ready_at: Some(Timestamp(1)),
        started_at: Some(Timestamp(-2)),
        ended_at: Some(Timestamp(i64::MAX)),
        warnings: vec!["a".into()],
        excluded: vec![Exclusion { worker_id: "w".into(), until: Timestamp(5) }],
        avoid: vec!["v".into()],
        losses: 2,
        full_since: Some(Timestamp(6)),
        not_before: Some(Timestamp(7)),
    }
}

#[test]
fn records_read_back_and_are_small() {
    let record = full();
    let bytes = record.encode();
    assert_eq!(record.attempts.len(), KEPT_ATTEMPTS);
    assert!(bytes.len() <= 2048, "{} bytes", bytes.len());
    assert_eq!(JobRecord::decode(&bytes).unwrap(), record);
    assert_eq!(JobRecord::decode(&JobRecord::default().encode()).unwrap(), JobRecord::default());
    let header = Header {
        status: Status::Doomed,
        doomed_by: Some(0),
        cancelled: true,
        fail_fast: true,
        stopping: true,
        created_at: Timestamp(1),
        started_at: Some(Timestamp(2)),
        ended_at: Some(Timestamp(3)),
        damage: "compose is missing".into(),
    };
    assert_eq!(Header::decode(&header.encode()).unwrap(), header);
    // One of before there was a damage.
    let old = [&[1, 8, 2, 40, 5, 48, 6, 56, 7][..]].concat();
    let header = Header::decode(&old).unwrap();
    assert_eq!((header.status, header.ended_at, header.damage.as_str()), (Status::Finished, Some(Timestamp(7)), ""));
}

#[test]
fn other_versions_and_damage_are_refused() {
    let mut bytes = full().encode();
    bytes[0] = 2;
    let error = JobRecord::decode(&bytes).unwrap_err();
    assert!(error.to_string().contains("job record has version 2"), "{error}");
    assert!(matches!(JobRecord::decode(&[]), Err(DecodeError::Empty { .. })));
    assert!(matches!(Header::decode(&[1, 8, 99]), Err(DecodeError::Value { field: "status", .. })));
    let bytes = full().encode();
    for end in 0..bytes.len() {
        // Cut off anywhere: refused, or read as what is left; never a panic.
        let _ = JobRecord::decode(&bytes[..end]);
    }
}

/// The first release's bytes must be read for ever.
#[test]
fn the_first_version_still_loads() {
    let header = [1, 8, 4, 16, 3, 40, 232, 7];
    let header = Header::decode(&header).unwrap();
    assert_eq!((header.status, header.doomed_by, header.created_at), (Status::Doomed, Some(3), Timestamp(1000)));
    let record = [1, 8, 9, 16, 5, 24, 2, 74, 1, b'x'];
    let record = JobRecord::decode(&record).unwrap();
    assert_eq!((record.state, record.attempt, record.reason.as_str()), (JobState::Skipped { because: 5 }, 2, "x"));
}

#[test]
fn long_texts_are_cut() {
    let mut run = Run::start(chain(1), false);
    for executor in 0..30 {
        run.ok(Event::Offered { job: 0, executor, worker_id: "w".repeat(500) });
        let fence = run.fence(0);
        run.ok(Event::Rejected { fence, reason: "ä\n".repeat(5000), soft: true });
    }
    for executor in 0..3 {
        run.offer(0, executor);
        let Event::FailedAttempt { fence, class, usage, .. } = failed(run.fence(0), FailureClass::Infra) else {
            panic!()
        };
        let text = "x".repeat(100_000);
        let usage = Usage { counters: vec![("n".repeat(100), 1); 100], ..usage };
        run.ok(Event::FailedAttempt { fence, class, cause: text.clone(), hint: text, usage });
    }
    let size = run.compose.jobs[0].encode().len();
    assert!(size < 8192, "{size} bytes");
    assert!(!run.compose.jobs[0].reason.contains('\n'));
}

/// All that a package set may count (`counters.add` in the worker's runner and in runners/pkgset).
const PACKAGE_SET: [&str; 20] = [
    "checkpoint_bytes",
    "copied_bytes",
    "download_bytes",
    "downloads_taken_over",
    "hashed_bytes",
    "header_bytes",
    "input_read_bytes",
    "pack_index_bytes",
    "packages",
    "records_bytes",
    "records_kept",
    "rpm_files",
    "rpm_files_known",
    "rpm_files_taken_over",
    "rpm_hash_bytes",
    "rpm_payload_bytes",
    "rpm_read_bytes",
    "universe_bytes",
    "universes_known",
    "universes_taken_over",
];

#[test]
fn all_that_a_package_set_counts_is_kept() {
    let mut run = Run::start(chain(1), false);
    run.offer(0, 1);
    let Event::Succeeded { fence, outputs, warnings, usage } = succeeded(run.fence(0)) else { panic!() };
    let counters: Vec<(String, u64)> = PACKAGE_SET.iter().map(|name| ((*name).to_owned(), 1 << 40)).collect();
    let usage = Usage { counters: counters.clone(), ..usage };
    run.ok(Event::Succeeded { fence, outputs, warnings, usage });
    run.ok(Event::VerifiedOk { fence });
    let record = JobRecord::decode(&run.compose.jobs[0].encode()).unwrap();
    assert_eq!(record.attempts[0].usage.counters, counters);
}

#[test]
fn counters_are_bounded() {
    let mut run = Run::start(chain(1), false);
    run.offer(0, 1);
    let Event::Succeeded { fence, outputs, warnings, usage } = succeeded(run.fence(0)) else { panic!() };
    let usage = Usage { counters: (0..100).map(|number| (format!("counter_{number:03}"), number)).collect(), ..usage };
    run.ok(Event::Succeeded { fence, outputs, warnings, usage });
    // Also while its outputs are verified.
    for state in [JobState::Verifying, JobState::Committed] {
        let record = &run.compose.jobs[0];
        let kept = &record.attempts[0].usage.counters;
        assert_eq!((record.state, kept.len(), kept[31].0.as_str()), (state, 32, "counter_031"));
        if state == JobState::Verifying {
            run.ok(Event::VerifiedOk { fence });
        }
    }
}

#[test]
fn a_long_warning_keeps_its_beginning_and_its_cause() {
    let mut run = Run::start(chain(1), false);
    run.offer(0, 1);
    let Event::Succeeded { fence, outputs, usage, .. } = succeeded(run.fence(0)) else { panic!() };
    let long = format!("not kept: {}/ä: No space left on device", "directory/".repeat(400));
    let warnings = vec!["short\n".into(), long];
    run.ok(Event::Succeeded { fence, outputs, warnings, usage });
    let kept = &run.compose.jobs[0].warnings;
    assert_eq!((kept[0].as_str(), kept[1].chars().count()), ("short ", 121));
    assert!(kept[1].starts_with("not kept: dir") && kept[1].ends_with("/ä: No space left on device"), "{}", kept[1]);
}
