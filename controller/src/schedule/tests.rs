use proptest::prelude::*;
use tutti_job::JobKind;

use super::*;

const MIB: u64 = 1024 * 1024;

fn resources(cores: u32, mib: u64) -> Resources {
    Resources { cpu_milli: cores * 1000, memory_bytes: mib * MIB }
}

fn job(number: u32, critical_path: u64) -> ReadyJob {
    ReadyJob {
        compose: "C".into(),
        job: number,
        name: JobName::new(JobKind::Createrepo, format!("V{number}"), "x86_64"),
        capability: "createrepo@1".into(),
        arch: None,
        resources: resources(1, 256),
        alone: false,
        excluded: vec![],
        avoid: vec![],
        critical_path,
        ready_at: Timestamp(0),
    }
}

fn worker(id: &str, cores: u32, mib: u64) -> WorkerView {
    WorkerView {
        id: id.into(),
        executor: 1,
        arch: "x86_64".into(),
        run_arches: vec!["i686".into()],
        kinds: vec!["createrepo@1".into()],
        free: resources(cores, mib),
        total: resources(cores, mib),
        draining: false,
        connected: true,
        running: 0,
    }
}

fn placed(assignments: &[Assignment]) -> Vec<(u32, &str)> {
    assignments.iter().map(|assignment| (assignment.job, assignment.worker_id.as_str())).collect()
}

/// The one reason of the one job that one worker cannot have.
fn reason(job: &ReadyJob, worker: &WorkerView) -> String {
    let (assignments, unplaced) = schedule(std::slice::from_ref(job), std::slice::from_ref(worker), Timestamp(0));
    assert_eq!(assignments, []);
    let [Unplaced { reasons, .. }] = unplaced.as_slice() else { panic!("{unplaced:?}") };
    let [(id, reason)] = reasons.as_slice() else { panic!("{reasons:?}") };
    assert_eq!(*id, worker.id);
    reason.clone()
}

#[test]
fn the_longest_chain_goes_first_and_then_age() {
    let older = ReadyJob { ready_at: Timestamp(-5), ..job(2, 10) };
    let jobs = [job(0, 10), job(1, 99), older];
    let (assignments, unplaced) = schedule(&jobs, &[worker("a", 2, 1024)], Timestamp(0));
    assert_eq!(placed(&assignments), [(1, "a"), (2, "a")]);
    assert_eq!(unplaced[0].job, 0);
    assert_eq!(
        unplaced[0].reasons,
        [("a".into(), "has 0.0 cores and 512 MiB free, the job needs 1.0 cores and 256 MiB".into())]
    );
}

#[test]
fn work_is_spread() {
    let jobs = [job(0, 4), job(1, 3), job(2, 2)];
    let (assignments, _) = schedule(&jobs, &[worker("b", 4, 4096), worker("a", 4, 4096)], Timestamp(0));
    assert_eq!(placed(&assignments), [(0, "a"), (1, "b"), (2, "a")]);
}

#[test]
fn a_job_too_big_for_all_runs_alone_on_the_biggest() {
    let big = ReadyJob { resources: resources(8, 9000), ..job(0, 9) };
    let workers = [worker("large", 2, 4096), worker("small", 4, 2048)];
    let (assignments, unplaced) = schedule(&[big.clone(), job(1, 1)], &workers, Timestamp(0));
    assert_eq!(placed(&assignments), [(0, "large"), (1, "small")]);
    assert_eq!(assignments[0].reserve, workers[0].total);
    assert!(assignments[0].note.as_ref().unwrap().contains("runs alone on large"));
    assert_eq!(unplaced, []);
    let busy = WorkerView { running: 1, ..workers[0].clone() };
    assert!(reason(&big, &busy).contains("must run alone; 1 others run"));
}

#[test]
fn each_worker_has_its_reason() {
    let it = worker("w", 2, 1024);
    assert_eq!(reason(&job(0, 1), &WorkerView { connected: false, ..it.clone() }), "is not connected");
    assert_eq!(reason(&job(0, 1), &WorkerView { draining: true, ..it.clone() }), "is draining");
    assert_eq!(reason(&job(0, 1), &WorkerView { kinds: vec![], ..it.clone() }), "cannot run createrepo@1");
    let s390x = ReadyJob { arch: Some("s390x".into()), ..job(0, 1) };
    assert_eq!(reason(&s390x, &it), "is x86_64, the job needs s390x");
    let i686 = ReadyJob { arch: Some("i686".into()), ..job(0, 1) };
    assert_eq!(placed(&schedule(&[i686], std::slice::from_ref(&it), Timestamp(0)).0), [(0, "w")]);
    let excluded = ReadyJob { excluded: vec!["w".into()], ..job(0, 1) };
    assert_eq!(reason(&excluded, &it), "refused the job a short while ago");
    let (_, unplaced) = schedule(&[job(0, 1)], &[], Timestamp(0));
    assert_eq!(unplaced[0].reasons, [(String::new(), "no worker is known".into())]);
}

#[test]
fn a_worker_where_it_failed_is_the_last_resort() {
    let shy = ReadyJob { avoid: vec!["a".into()], ..job(0, 1) };
    let (a, b) = (worker("a", 4, 4096), worker("b", 1, 512));
    assert_eq!(placed(&schedule(std::slice::from_ref(&shy), &[a.clone(), b.clone()], Timestamp(0)).0), [(0, "b")]);
    let full = WorkerView { free: resources(0, 0), ..b };
    assert_eq!(schedule(std::slice::from_ref(&shy), &[a.clone(), full], Timestamp(0)).0, [], "it waits for the other");
    assert_eq!(placed(&schedule(&[shy], &[a], Timestamp(0)).0), [(0, "a")], "there is no other");
}

#[test]
fn a_job_that_waits_long_is_not_passed_for_ever() {
    let wide = ReadyJob { resources: resources(2, 256), ..job(0, 9) };
    let half = WorkerView { free: resources(1, 1024), running: 1, ..worker("w", 2, 1024) };
    let jobs = [wide, job(1, 1)];
    let early = schedule(&jobs, std::slice::from_ref(&half), Timestamp(HOLD_AFTER_MS - 1));
    assert_eq!(placed(&early.0), [(1, "w")]);
    let (assignments, unplaced) = schedule(&jobs, &[half], Timestamp(HOLD_AFTER_MS));
    assert_eq!(assignments, []);
    assert_eq!(unplaced[1].reasons[0].1, "is kept free for createrepo.V0.x86_64, which waits for room");
}

proptest! {
    /// Every job is placed or says why, no worker gets more than it has, and the order of the arguments is of no account.
    #[test]
    fn placements_are_sound(
        jobs in proptest::collection::vec((1u32..6, 1u64..64, 0u64..5, 0i64..90_000, 0u8..8), 0..12),
        workers in proptest::collection::vec((0u32..6, 0u64..64, any::<bool>()), 0..5),
    ) {
        let make = |(number, (cores, mib, path, age, flags)): (usize, (u32, u64, u64, i64, u8))| ReadyJob {
            resources: resources(cores, mib * 64),
            ready_at: Timestamp(100_000 - age),
            avoid: if flags & 1 == 0 { vec![] } else { vec!["w0".into()] },
            excluded: if flags & 6 == 6 { vec!["w1".into()] } else { vec![] },
            ..job(number as u32, path)
        };
        let mut jobs: Vec<ReadyJob> = jobs.into_iter().enumerate().map(make).collect();
        let make = |(number, (cores, mib, draining)): (usize, (u32, u64, bool))| WorkerView {
            draining,
            ..worker(&format!("w{number}"), cores, mib * 64)
        };
        let mut workers: Vec<WorkerView> = workers.into_iter().enumerate().map(make).collect();
        let (assignments, unplaced) = schedule(&jobs, &workers, Timestamp(100_000));
        let mut all: Vec<u32> = assignments.iter().map(|a| a.job).chain(unplaced.iter().map(|u| u.job)).collect();
        all.sort_unstable();
        prop_assert_eq!(all, (0..jobs.len() as u32).collect::<Vec<_>>());
        prop_assert!(unplaced.iter().all(|job| job.reasons.len() == workers.len().max(1)));
        for worker in &workers {
            let here: Vec<&Assignment> = assignments.iter().filter(|a| a.worker_id == worker.id).collect();
            prop_assert!(here.is_empty() || !worker.draining);
            prop_assert!(here.iter().map(|a| a.reserve.cpu_milli).sum::<u32>() <= worker.total.cpu_milli);
            prop_assert!(here.iter().map(|a| a.reserve.memory_bytes).sum::<u64>() <= worker.total.memory_bytes);
            for assignment in here {
                prop_assert!(!jobs[assignment.job as usize].excluded.contains(&worker.id));
            }
        }
        // Idle workers that can run the kind never leave all jobs waiting.
        let open = |job: &ReadyJob| workers.iter().any(|w| !w.draining && !job.excluded.contains(&w.id));
        prop_assert!(!jobs.iter().any(open) || !assignments.is_empty());
        jobs.reverse();
        workers.reverse();
        prop_assert_eq!(schedule(&jobs, &workers, Timestamp(100_000)), (assignments, unplaced));
    }
}

#[test]
fn r8_a_suspect_runs_alone_and_a_worker_is_kept_free_for_it_at_once() {
    let suspect = ReadyJob { alone: true, avoid: vec!["a".into()], ..job(1, 1) };
    let busy = |id: &str| WorkerView { running: 1, free: resources(3, 4000), ..worker(id, 4, 4096) };
    let workers = [busy("a"), busy("b")];
    let (placed, waiting) = schedule(&[suspect.clone(), job(2, 0), job(3, 0)], &workers, Timestamp(0));
    // It waits for the worker where it did not fail, and the others do not go there.
    assert_eq!(waiting[0].job, 1, "{waiting:?}");
    assert!(placed.iter().all(|assignment| assignment.worker_id == "a") && placed.len() == 2, "{placed:?}");
    let (placed, _) = schedule(&[suspect, job(2, 0)], &[busy("a"), worker("b", 4, 4096)], Timestamp(0));
    assert_eq!((placed[0].worker_id.as_str(), placed[0].reserve), ("b", resources(4, 4096)), "all of it");
    assert_eq!(placed[1].worker_id, "a");
}
