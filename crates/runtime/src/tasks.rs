//! Tasks and threads with an owner and an end.

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Tasks that end together. Clones are the same group; a child group ends with its parent.
#[derive(Debug, Clone, Default)]
pub struct TaskGroup {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl TaskGroup {
    /// An empty group.
    pub fn new() -> Self {
        Self::default()
    }

    /// A group that can be told to stop by itself. It also stops with this one, which has not ended before it has.
    pub fn child(&self) -> Self {
        Self { tracker: self.tracker.clone(), stop: self.stop.child_token() }
    }

    /// Runs `task` until it ends or the group stops, whichever is first; at a stop it is dropped at its next `await`.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        #[expect(clippy::disallowed_methods, reason = "the one place that spawns on the runtime")]
        tokio::spawn(self.own(task));
    }

    /// `task` as one of the group, for whoever runs it.
    pub(crate) fn own(
        &self,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let stop = self.stop.clone();
        // What waits around it would keep its size three times over, once for each future that it is handed to.
        let task = Box::pin(task);
        self.tracker.track_future(async move {
            stop.run_until_cancelled_owned(task).await;
        })
    }

    /// Tells the group's tasks to stop.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until every task has ended. Cancel-safe.
    pub async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// A named thread that is joined. A panic in it ends the process at once: the threads are stages that everything waits for, a
/// relay without one of them would look alive, and a restart recovers exactly.
#[derive(Debug)]
pub struct Thread(std::thread::JoinHandle<()>);

impl Thread {
    /// Starts `body` on a thread called `name`.
    pub fn start(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let body = move || {
            if catch_unwind(AssertUnwindSafe(body)).is_err() {
                std::process::abort();
            }
        };
        std::thread::Builder::new().name(name.to_owned()).spawn(body).map(Self)
    }

    /// Waits for its end.
    pub fn join(self) {
        let _ = self.0.join();
    }
}
