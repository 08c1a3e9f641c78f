//! Between wire types and ours.

use tutti_job::Fence;
use tutti_proto::worker;

/// A fence as the wire has it.
pub(crate) fn fence_to(compose_id: &str, fence: &Fence) -> worker::Fence {
    worker::Fence {
        compose_id: compose_id.to_owned(),
        job: fence.job,
        attempt: fence.attempt,
        executor: fence.executor,
    }
}

/// Compose id and fence of a wire fence; `None` where a message has none.
pub(crate) fn fence_from(fence: Option<worker::Fence>) -> Option<(String, Fence)> {
    let fence = fence?;
    let ours = Fence { job: fence.job, attempt: fence.attempt, executor: fence.executor };
    Some((fence.compose_id, ours))
}

/// Milliseconds since 1970 as a wire timestamp.
pub(crate) fn timestamp(millis: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: millis.div_euclid(1000), nanos: (millis.rem_euclid(1000) * 1_000_000) as i32 }
}
