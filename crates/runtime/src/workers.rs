//! Threads for tasks that may block.
//!
//! A task that reads files or asks a database would keep a runtime's worker from everybody else. Here it may: these threads do
//! nothing but such tasks, one at a time each, until its next `await`. What is ready waits in one line, first come first served.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use async_task::Runnable;
use parking_lot::{Condvar, Mutex};
use prometheus_client::metrics::gauge::Gauge;

use crate::{TaskGroup, Thread};

/// See the module. The threads end when it is dropped and nothing is ready; what is woken after that does not run any more, so stop its
/// group first.
#[derive(Debug)]
pub struct Workers(Arc<Line>);

#[derive(Debug)]
struct Line {
    ready: Mutex<Ready>,
    arrived: Condvar,
    waiting: Gauge,
}

#[derive(Debug, Default)]
struct Ready {
    tasks: VecDeque<Runnable>,
    closed: bool,
}

impl Workers {
    /// Starts so many threads, but at least one, called `name`. `waiting` says how many tasks are ready and have none; their number is
    /// bounded by who spawns them.
    pub fn start(name: &str, threads: usize, waiting: Gauge) -> io::Result<Self> {
        let workers = Self(Arc::new(Line { ready: Mutex::default(), arrived: Condvar::new(), waiting }));
        for _ in 0..threads.max(1) {
            let line = Arc::clone(&workers.0);
            Thread::start(name, move || line.work())?;
        }
        Ok(workers)
    }

    /// Runs `task` here until it ends or `group` stops. It is not on a runtime: no timers and no sockets of its own.
    pub fn spawn(&self, group: &TaskGroup, task: impl Future<Output = ()> + Send + 'static) {
        let line = Arc::clone(&self.0);
        let (runnable, task) = async_task::spawn(group.own(task), move |runnable| line.put(runnable));
        task.detach();
        runnable.schedule();
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.0.ready.lock().closed = true;
        self.0.arrived.notify_all();
    }
}

impl Line {
    fn put(&self, runnable: Runnable) {
        self.waiting.inc();
        self.ready.lock().tasks.push_back(runnable);
        self.arrived.notify_one();
    }

    fn work(&self) {
        while let Some(runnable) = self.next() {
            self.waiting.dec();
            // As on a runtime, a task that panics ends alone.
            if catch_unwind(AssertUnwindSafe(|| runnable.run())).is_err() {
                tracing::error!("a task panicked");
            }
        }
    }

    fn next(&self) -> Option<Runnable> {
        let mut ready = self.ready.lock();
        loop {
            if let Some(runnable) = ready.tasks.pop_front() {
                return Some(runnable);
            }
            if ready.closed {
                return None;
            }
            self.arrived.wait(&mut ready);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    fn workers(threads: usize) -> Workers {
        Workers::start("worker", threads, Gauge::default()).unwrap()
    }

    #[tokio::test]
    async fn a_task_that_panics_ends_alone() {
        let (workers, group) = (workers(1), TaskGroup::new());
        workers.spawn(&group, async { panic!("for a test") });
        let (done, waits) = oneshot::channel();
        workers.spawn(&group, async move { done.send(()).unwrap() });
        waits.await.expect("the thread is there for the next");
        group.ended().await;
    }

    #[tokio::test]
    async fn a_task_that_waits_leaves_its_thread_to_others_and_goes_on_when_it_is_woken() {
        let (workers, group) = (workers(1), TaskGroup::new());
        let ((question, asked), (answer, answered)) = (oneshot::channel(), oneshot::channel());
        workers.spawn(&group, async move { answer.send(asked.await.unwrap()).unwrap() });
        workers.spawn(&group, async move { question.send(7).unwrap() });
        assert_eq!(answered.await, Ok(7));
    }

    #[tokio::test]
    async fn tasks_end_with_their_group() {
        let (workers, group) = (workers(2), TaskGroup::new());
        let (kept, dropped) = oneshot::channel::<()>();
        workers.spawn(&group, async move {
            let _kept = kept;
            std::future::pending().await
        });
        group.stop();
        group.ended().await;
        assert!(dropped.await.is_err());
        assert_eq!(workers.0.waiting.get(), 0);
    }
}
