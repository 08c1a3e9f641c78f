//! Messages between workers and controllers.

use tutti_controller::lifecycle::{FailureClass, Output};
use tutti_job::{Fence, JobSpec, Resources};

/// One connection of a worker to a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Session(pub u64);

/// What a worker says.
#[derive(Clone, Debug)]
pub(crate) enum Up {
    Hello {
        worker: usize,
        executor: u64,
        total: Resources,
        /// Attempts that run or whose outcomes are not settled, those of earlier incarnations too.
        held: Vec<Fence>,
    },
    Sync {
        running: Vec<Fence>,
    },
    Accept(Fence),
    Reject {
        fence: Fence,
        soft: bool,
    },
    Outcome {
        fence: Fence,
        result: Result<Vec<Output>, FailureClass>,
    },
}

/// What a controller says.
#[derive(Clone, Debug)]
pub(crate) enum Down {
    Welcome,
    Offer { fence: Fence, spec: JobSpec, reserve: Resources },
    Cancel(Fence),
    Commit(Fence),
    Refused(Fence),
    Desired(Vec<Fence>),
}
