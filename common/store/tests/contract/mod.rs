//! What every store must do: the same checks for each implementation.
#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of functions that clippy knows as tests")]

use std::sync::Arc;
use std::time::Duration;

use tutti_store::{
    Campaign, Compare, ErrorKind, Event, Lease, LeaseId, MAX_KEY_BYTES, MAX_PAGE, MAX_TXN_BYTES, MAX_TXN_OPERATIONS,
    ManualClock, Operation, RangeRequest, Revision, StateStore, StateStoreExt as _, StoreError, Txn, WatchSource,
    Writer, campaign,
};

/// A fresh store on a clock that stands still.
pub(crate) struct Subject {
    pub(crate) store: Arc<dyn StateStore>,
    pub(crate) clock: ManualClock,
}

/// No wait in these checks is real, so anything this long hangs.
const HANGS: Duration = Duration::from_secs(20);

pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANGS, what).await.expect("hangs")
}

fn kind<T: std::fmt::Debug>(result: Result<T, StoreError>) -> ErrorKind {
    result.unwrap_err().kind()
}

async fn keys(store: &dyn StateStore, request: RangeRequest) -> Vec<String> {
    let page = store.range(request).await.unwrap();
    page.kvs.iter().map(|kv| String::from_utf8(kv.key.clone()).unwrap()).collect()
}

async fn next(watcher: &mut Box<dyn WatchSource>) -> (i64, Vec<String>) {
    let batch = soon(watcher.next()).await.unwrap();
    let events = batch.events.iter().map(|event| match event {
        Event::Put(kv) => format!("{}={}", kv.key.escape_ascii(), kv.value.escape_ascii()),
        Event::Delete(kv) => format!("-{}", kv.key.escape_ascii()),
    });
    (batch.revision.0, events.collect())
}

pub(crate) async fn revisions_and_versions(subject: Subject) {
    let store = subject.store;
    let empty = store.range(RangeRequest::prefix("")).await.unwrap();
    assert_eq!((empty.revision, empty.kvs.len(), empty.more), (Revision(1), 0, false));
    assert_eq!(store.put(b"a", b"1").await.unwrap(), Revision(2));
    let two = store.txn(Txn::new().put("a", "2").put("b", "")).await.unwrap();
    assert_eq!((two.succeeded, two.revision), (true, Revision(3)));
    let a = store.get(b"a").await.unwrap().unwrap();
    assert_eq!((a.create_revision, a.mod_revision, a.version, &a.value[..]), (Revision(2), Revision(3), 2, &b"2"[..]));
    let absent = store.txn(Txn::new().delete("z")).await.unwrap();
    assert_eq!((absent.succeeded, absent.revision), (true, Revision(3)));
    assert_eq!(store.txn(Txn::new()).await.unwrap().revision, Revision(3));
    assert_eq!(store.txn(Txn::new().delete("a").delete("z")).await.unwrap().revision, Revision(4));
    assert_eq!(store.get(b"a").await.unwrap(), None);
    store.put(b"a", b"3").await.unwrap();
    let a = store.get(b"a").await.unwrap().unwrap();
    assert_eq!((a.create_revision, a.mod_revision, a.version), (Revision(5), Revision(5), 1));
}

pub(crate) async fn compares(subject: Subject) {
    let store = subject.store;
    store.put(b"a", b"1").await.unwrap();
    store.put(b"a", b"2").await.unwrap();
    let cases = [
        (Compare::create_revision("a", Revision(2)), true),
        (Compare::create_revision("a", Revision(3)), false),
        (Compare::mod_revision("a", Revision(3)), true),
        (Compare::mod_revision("a", Revision(2)), false),
        (Compare::absent("a"), false),
        (Compare::absent("b"), true),
        (Compare::create_revision("b", Revision::NONE), true),
        (Compare::mod_revision("b", Revision::NONE), true),
        (Compare::mod_revision("b", Revision(1)), false),
    ];
    for (compare, holds) in cases {
        let result = store.txn(Txn::new().when(compare.clone())).await.unwrap();
        assert_eq!(result.succeeded, holds, "{compare:?}");
    }
    let refused = Txn::new().when(Compare::absent("b")).when(Compare::absent("a")).put("c", "");
    let result = store.txn(refused).await.unwrap();
    assert_eq!((result.succeeded, result.revision), (false, Revision(3)));
    assert_eq!(store.get(b"c").await.unwrap(), None);
}

pub(crate) async fn limits(subject: Subject) {
    let store = subject.store;
    let puts = |count: usize| (0..count).fold(Txn::new(), |txn, n| txn.put(format!("k{n:03}"), "v"));
    let compares = |count: usize| (0..count).fold(Txn::new(), |txn, n| txn.when(Compare::absent(format!("c{n}"))));
    assert!(store.txn(puts(MAX_TXN_OPERATIONS)).await.unwrap().succeeded);
    assert!(store.txn(compares(MAX_TXN_OPERATIONS)).await.unwrap().succeeded);
    let refused = [
        puts(MAX_TXN_OPERATIONS + 1),
        compares(MAX_TXN_OPERATIONS + 1),
        Txn::new().put("a", "1").delete("a"),
        Txn::new().put("a", "1").put("a", "1"),
        Txn::new().put("", "1"),
        Txn::new().when(Compare::absent("")),
        Txn::new().put(vec![b'k'; MAX_KEY_BYTES + 1], "1"),
        Txn::new().put("a", vec![0; MAX_TXN_BYTES]),
    ];
    for txn in refused {
        assert_eq!(kind(store.txn(txn).await), ErrorKind::InvalidArgument);
    }
    let large = vec![7; MAX_TXN_BYTES - 100];
    store.put(b"large", &large).await.unwrap();
    assert_eq!(store.get(b"large").await.unwrap().unwrap().value, large);
    for limit in [0, MAX_PAGE + 1] {
        assert_eq!(kind(store.range(RangeRequest::prefix("").limit(limit)).await), ErrorKind::InvalidArgument);
    }
}

pub(crate) async fn ranges_and_pages(subject: Subject) {
    let store = subject.store;
    for key in ["a", "b/1", "b/2", "b/3", "c", "b"] {
        store.put(key.as_bytes(), b"").await.unwrap();
    }
    store.put(&[b'b', b'/', 0xff], b"").await.unwrap();
    store.txn(Txn::new().delete(vec![b'b', b'/', 0xff])).await.unwrap();
    let store = &*store;
    assert_eq!(keys(store, RangeRequest::prefix("")).await, ["a", "b", "b/1", "b/2", "b/3", "c"]);
    assert_eq!(keys(store, RangeRequest::prefix("b/")).await, ["b/1", "b/2", "b/3"]);
    assert_eq!(keys(store, RangeRequest::between("b", "b/3")).await, ["b", "b/1", "b/2"]);
    assert!(keys(store, RangeRequest::between("c", "b")).await.is_empty());
    assert!(keys(store, RangeRequest::between("b", "b")).await.is_empty());
    assert!(keys(store, RangeRequest::key("a").after("a")).await.is_empty());
    assert_eq!(keys(store, RangeRequest::prefix("b/").after("a")).await, ["b/1", "b/2", "b/3"]);
    let first = store.range(RangeRequest::prefix("b").limit(2)).await.unwrap();
    assert!(first.more);
    // A key that comes later is not in the pages of an earlier revision, one that goes stays.
    store.txn(Txn::new().delete("b/3").put("b/2x", "")).await.unwrap();
    let rest = RangeRequest::prefix("b").after("b/1").at(first.revision);
    assert_eq!(keys(store, rest.clone()).await, ["b/2", "b/3"]);
    assert!(!store.range(rest.limit(2)).await.unwrap().more);
    assert_eq!(keys(store, RangeRequest::prefix("b")).await, ["b", "b/1", "b/2", "b/2x"]);
    let future = RangeRequest::prefix("").at(Revision(1000));
    assert_eq!(kind(store.range(future).await), ErrorKind::InvalidArgument);
    for n in 0..30 {
        let txn = (0..100).fold(Txn::new(), |txn, m| txn.put(format!("n{:04}", n * 100 + m), ""));
        store.txn(txn).await.unwrap();
    }
    let all = store.list(b"n").await.unwrap();
    assert_eq!(all.kvs.len(), 3000);
    assert!(all.kvs.is_sorted_by(|left, right| left.key < right.key));
}

pub(crate) async fn history_and_compaction(subject: Subject) {
    let store = subject.store;
    for value in ["1", "2", "3"] {
        store.put(b"a", value.as_bytes()).await.unwrap();
    }
    store.put(b"b", b"1").await.unwrap();
    store.txn(Txn::new().delete("b")).await.unwrap();
    let value_at = async |at: i64| {
        let page = store.range(RangeRequest::key("a").at(Revision(at))).await?;
        Ok::<_, StoreError>(page.kvs.first().map(|kv| String::from_utf8(kv.value.clone()).unwrap()))
    };
    assert_eq!(value_at(1).await.unwrap(), None);
    assert_eq!(value_at(3).await.unwrap().as_deref(), Some("2"));
    assert_eq!(kind(store.compact(Revision(7)).await), ErrorKind::InvalidArgument);
    store.compact(Revision(3)).await.unwrap();
    let compacted = ErrorKind::Compacted { compact_revision: Revision(3) };
    assert_eq!(kind(store.compact(Revision(3)).await), compacted);
    assert_eq!(kind(value_at(2).await), compacted);
    assert_eq!(value_at(3).await.unwrap().as_deref(), Some("2"));
    assert_eq!(store.watch(b"".to_vec(), Revision(2)).await.err().unwrap().kind(), compacted);
    let mut watcher = store.watch(b"".to_vec(), Revision(3)).await.unwrap();
    assert_eq!(next(&mut watcher).await, (3, vec!["a=2".to_owned()]));
    store.compact(Revision(6)).await.unwrap();
    // What happened at the compacted revision can still be watched, a delete too.
    let mut late = store.watch(b"".to_vec(), Revision(6)).await.unwrap();
    assert_eq!(next(&mut late).await, (6, vec!["-b".to_owned()]));
    assert_eq!(keys(&*store, RangeRequest::prefix("")).await, ["a"]);
    store.put(b"b", b"2").await.unwrap();
    assert_eq!(store.get(b"b").await.unwrap().unwrap().version, 1);
    store.compact(Revision(7)).await.unwrap();
    assert_eq!(keys(&*store, RangeRequest::prefix("").at(Revision(7))).await, ["a", "b"]);
}

pub(crate) async fn watches(subject: Subject) {
    let store = subject.store;
    store.put(b"x/1", b"a").await.unwrap();
    let mut now = store.watch(b"x/".to_vec(), Revision::NONE).await.unwrap();
    let mut past = store.watch(b"x/".to_vec(), Revision(2)).await.unwrap();
    let mut future = store.watch(b"".to_vec(), Revision(5)).await.unwrap();
    store.txn(Txn::new().put("x/2", "b").put("y", "").delete("x/1")).await.unwrap();
    store.put(b"y", b"other").await.unwrap();
    let both = (3, vec!["x/2=b".to_owned(), "-x/1".to_owned()]);
    assert_eq!(next(&mut past).await, (2, vec!["x/1=a".to_owned()]));
    assert_eq!(next(&mut past).await, both);
    assert_eq!(next(&mut now).await, both);
    // A watcher that waits is woken, and one that is dropped while it waits loses nothing.
    tokio::select! {
        biased;
        _ = now.next() => panic!("nothing has happened"),
        () = tokio::task::yield_now() => {}
    }
    let (event, ()) =
        tokio::join!(next(&mut now), async { assert_eq!(store.put(b"x/3", b"").await.unwrap(), Revision(5)) });
    assert_eq!(event, (5, vec!["x/3=".to_owned()]));
    assert_eq!(next(&mut future).await.0, 5);
    // A slow reader gets everything, in order.
    for n in 0..700 {
        store.put(b"x/4", n.to_string().as_bytes()).await.unwrap();
    }
    for n in 0..700 {
        assert_eq!(next(&mut now).await, (6 + n, vec![format!("x/4={n}")]));
    }
    // And learns when it was too slow.
    let mut slow = store.watch(b"x/".to_vec(), Revision(700)).await.unwrap();
    store.compact(Revision(705)).await.unwrap();
    let error = soon(slow.next()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Compacted { compact_revision: Revision(705) });
}

pub(crate) async fn leases(subject: Subject) {
    let Subject { store, clock } = subject;
    let short = store.grant(Duration::from_millis(300)).await.unwrap();
    assert_eq!(short.ttl, Duration::from_secs(2));
    let Lease { id, ttl } = store.grant(Duration::from_millis(9_001)).await.unwrap();
    assert_eq!(ttl, Duration::from_secs(10));
    assert_eq!(kind(store.grant(Duration::MAX).await), ErrorKind::InvalidArgument);
    let put = |key: &str, lease| Txn::new().and(Operation::put_leased(key, "v", lease));
    store.txn(put("a", id)).await.unwrap();
    store.txn(put("c", id).put("b", "")).await.unwrap();
    store.txn(put("d", id)).await.unwrap();
    store.put(b"d", b"detached").await.unwrap();
    assert_eq!(store.get(b"a").await.unwrap().unwrap().lease, Some(id));
    clock.advance(Duration::from_secs(9));
    assert_eq!(store.keep_alive(id).await.unwrap(), ttl);
    assert_eq!(kind(store.keep_alive(short.id).await), ErrorKind::LeaseLost);
    clock.advance(Duration::from_secs(9));
    assert_eq!(keys(&*store, RangeRequest::prefix("")).await, ["a", "b", "c", "d"]);
    // Nobody asks the store for anything: the watch alone sees the end, as one revision.
    let before = store.range(RangeRequest::prefix("")).await.unwrap().revision;
    let mut watcher = store.watch(b"".to_vec(), before.next()).await.unwrap();
    clock.advance(Duration::from_secs(1));
    assert_eq!(next(&mut watcher).await, (before.0 + 1, vec!["-a".to_owned(), "-c".to_owned()]));
    assert_eq!(kind(store.keep_alive(id).await), ErrorKind::LeaseLost);
    assert_eq!(kind(store.txn(put("e", id)).await), ErrorKind::LeaseLost);
    assert_eq!(kind(store.txn(put("e", LeaseId(999))).await), ErrorKind::LeaseLost);
    // Only what would be done is looked at.
    let skipped = put("e", id).when(Compare::absent("b"));
    assert!(!store.txn(skipped).await.unwrap().succeeded);
}

pub(crate) async fn revoked_leases(subject: Subject) {
    let store = subject.store;
    let first = store.grant(Duration::from_secs(5)).await.unwrap().id;
    let second = store.grant(Duration::from_secs(5)).await.unwrap().id;
    store.txn(Txn::new().and(Operation::put_leased("moved", "", first))).await.unwrap();
    store.txn(Txn::new().and(Operation::put_leased("gone", "", first))).await.unwrap();
    store.txn(Txn::new().and(Operation::put_leased("moved", "", second))).await.unwrap();
    store.revoke(first).await.unwrap();
    assert_eq!(keys(&*store, RangeRequest::prefix("")).await, ["moved"]);
    assert_eq!(kind(store.revoke(first).await), ErrorKind::LeaseLost);
    store.txn(Txn::new().delete("moved")).await.unwrap();
    let before = store.put(b"moved", b"new").await.unwrap();
    store.revoke(second).await.unwrap();
    let page = store.range(RangeRequest::prefix("")).await.unwrap();
    assert_eq!((page.kvs.len(), page.revision), (1, before));
}

fn candidate(name: &str) -> Campaign {
    Campaign { key: b"leader".to_vec(), identity: name.as_bytes().to_vec(), ttl: Duration::from_secs(9) }
}

pub(crate) async fn leaders_follow_each_other(subject: Subject) {
    let Subject { store, clock } = subject;
    let stand = |name| {
        let (store, clock) = (Arc::clone(&store), Arc::new(clock.clone()));
        async move { campaign(store, clock, &candidate(name)).await.unwrap() }
    };
    let first = soon(stand("first")).await;
    assert!(first.is_valid());
    assert_eq!(store.get(b"leader").await.unwrap().unwrap().create_revision, first.epoch().0);
    let fenced = |fence: &tutti_store::Leadership| Txn::new().when(fence.fence().compare()).put("k", "");
    assert!(store.txn(fenced(&first)).await.unwrap().succeeded);
    // While the first is kept alive, the second waits.
    let mut second = Box::pin(stand("second"));
    for _ in 0..20 {
        tokio::select! {
            biased;
            _ = &mut second => panic!("two leaders"),
            () = first.keep() => panic!("lost"),
            () = async { clock.advance(Duration::from_secs(1)); tokio::time::sleep(Duration::from_millis(5)).await } => {}
        }
    }
    assert!(first.is_valid());
    // Silent, it stops believing before the store lets the key go.
    clock.advance(Duration::from_secs(6));
    soon(first.lost()).await;
    assert!(!first.is_valid());
    assert!(store.get(b"leader").await.unwrap().is_some());
    clock.advance(Duration::from_secs(3));
    let second = soon(second).await;
    assert!(second.epoch() > first.epoch());
    assert!(!store.txn(fenced(&first)).await.unwrap().succeeded);
    assert!(store.txn(fenced(&second)).await.unwrap().succeeded);
    second.resign().await.unwrap();
    let third = soon(stand("third")).await;
    assert!(third.epoch() > second.epoch());
}

pub(crate) async fn writer_commits_in_groups(subject: Subject) {
    let Subject { store, clock } = subject;
    let clock = Arc::new(clock);
    let leader = campaign(Arc::clone(&store), clock.clone(), &candidate("writer")).await.unwrap();
    let (writer, task) = Writer::new(Arc::clone(&store), clock, leader.fence());
    let mut running = tokio::task::JoinSet::new();
    running.spawn(task.run());
    let before = store.range(RangeRequest::key("n")).await.unwrap().revision;
    // 200 callers of one key and one of their own each; compares make every lost or doubled one visible.
    let mut callers = tokio::task::JoinSet::new();
    for n in 0..200 {
        let (writer, store) = (writer.clone(), Arc::clone(&store));
        callers.spawn(async move {
            let own = format!("own/{n}");
            let txn = Txn::new().when(Compare::absent(own.clone())).put(own.clone(), "1");
            assert!(writer.submit(txn.clone()).await.unwrap().succeeded);
            assert!(!writer.submit(txn).await.unwrap().succeeded);
            loop {
                let count = store.get(b"count").await.unwrap();
                let (at, value) = count.map_or((Revision::NONE, 0), |kv| {
                    (kv.mod_revision, String::from_utf8(kv.value).unwrap().parse::<i32>().unwrap())
                });
                let txn = Txn::new().when(Compare::mod_revision("count", at)).put("count", (value + 1).to_string());
                if n >= 20 || writer.submit(txn).await.unwrap().succeeded {
                    return;
                }
            }
        });
    }
    while let Some(ended) = soon(callers.join_next()).await {
        ended.unwrap();
    }
    assert_eq!(store.get(b"count").await.unwrap().unwrap().value, b"20");
    assert_eq!(store.list(b"own/").await.unwrap().kvs.len(), 200);
    let after = store.range(RangeRequest::key("n")).await.unwrap().revision;
    assert!(after.0 - before.0 < 200, "{} revisions for 220 transactions", after.0 - before.0);
    // Another leader: the old writer is refused and ends.
    leader.resign().await.unwrap();
    assert!(writer.submit(Txn::new().put("late", "")).await.is_err());
    assert!(soon(running.join_next()).await.unwrap().unwrap().is_err());
    assert_eq!(store.get(b"late").await.unwrap(), None);
}
