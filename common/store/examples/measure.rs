//! Measures durable commits, groups and the opening of the state file:
//! `cargo run --release -p tutti-store --example measure [DIRECTORY]`.

#![expect(clippy::unwrap_used, reason = "a tool for developers")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use tutti_store::{Campaign, Clock, RedbStore, StateStore, StateStoreExt as _, SystemClock, Txn, Writer, campaign};

const COMMITS: usize = 3000;
const SUBMITTERS: usize = 64;
const PER_SUBMITTER: usize = 500;

fn txn(n: usize) -> Txn {
    (0..3).fold(Txn::new(), |txn, part| txn.put(format!("job/{:05}/{part}", n % 5000), vec![n as u8; 512]))
}

#[tokio::main]
async fn main() {
    let directory = std::env::args_os().nth(1).unwrap_or_else(|| ".".into());
    let path = std::path::Path::new(&directory).join(format!("measure-{}.redb", std::process::id()));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let store = RedbStore::open(&path, Arc::clone(&clock)).await.unwrap();
    one_by_one(&store).await;
    in_groups(&store, &clock).await;
    let revision = store.put(b"last", b"").await.unwrap();
    timed("compaction of all revisions", store.compact(revision)).await.unwrap();
    println!("file: {} KiB", std::fs::metadata(&path).unwrap().len() >> 10);
    timed("close", store.close()).await;
    println!("file when closed: {} KiB", std::fs::metadata(&path).unwrap().len() >> 10);
    drop(timed("open", RedbStore::open(&path, clock)).await.unwrap());
    std::fs::remove_file(&path).unwrap();
}

async fn one_by_one(store: &RedbStore) {
    let mut times = Vec::with_capacity(COMMITS);
    let start = Instant::now();
    for n in 0..COMMITS {
        let one = Instant::now();
        store.txn(txn(n)).await.unwrap();
        times.push(one.elapsed());
    }
    let rate = COMMITS as f64 / start.elapsed().as_secs_f64();
    times.sort_unstable();
    let (median, high) = (times[COMMITS / 2], times[COMMITS * 99 / 100]);
    println!("commits of 3 x 512 B, one by one: {rate:.0}/s, p50 {median:?}, p99 {high:?}");
}

async fn in_groups(store: &RedbStore, clock: &Arc<dyn Clock>) {
    let shared: Arc<dyn StateStore> = Arc::new(store.clone());
    let who = Campaign { key: b"leader".to_vec(), identity: Vec::new(), ttl: Duration::from_secs(600) };
    let leadership = campaign(Arc::clone(&shared), Arc::clone(clock), &who).await.unwrap();
    let (writer, task) = Writer::new(shared, Arc::clone(clock), leadership.fence());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { task.run().await.unwrap() });
    let start = Instant::now();
    for submitter in 0..SUBMITTERS {
        let writer = writer.clone();
        tasks.spawn(async move {
            for n in 0..PER_SUBMITTER {
                writer.submit(txn(submitter * PER_SUBMITTER + n)).await.unwrap();
            }
        });
    }
    drop(writer);
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let rate = (SUBMITTERS * PER_SUBMITTER) as f64 / start.elapsed().as_secs_f64();
    println!("transactions of 3 x 512 B, {SUBMITTERS} submitters, in groups: {rate:.0}/s ({:.0} puts/s)", rate * 3.0);
}

async fn timed<T>(what: &str, work: impl Future<Output = T>) -> T {
    let start = Instant::now();
    let result = work.await;
    println!("{what}: {:?}", start.elapsed());
    result
}
