//! One function for many items, in order, on several threads.
//!
//! Threads live as long as the call. A pool that outlives it would cost less to wake (a thread costs some 20 µs, a
//! batch of 10,000 messages 10 ms) but is dead in a forked process, and web servers fork. The calling thread works
//! too, so a batch is done even where no thread can be started.

use std::any::Any;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Items that a thread takes at a time: some 100 µs of work, so that taking costs nothing and the ends come close
/// together. A batch of no more than this is done by the calling thread alone.
pub const CHUNK: usize = 128;

/// The work panicked: a bug of the crate, reported instead of an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a batch panicked, which is a bug in turnout: {0}")]
pub struct Panicked(pub String);

/// The threads that this process may run at once, asked once: it means reading files.
pub fn cores() -> NonZeroUsize {
    static CORES: OnceLock<NonZeroUsize> = OnceLock::new();
    *CORES.get_or_init(|| thread::available_parallelism().unwrap_or(NonZeroUsize::MIN))
}

/// `work` of each number below `count`, in order, on up to `threads` threads with the calling one.
///
/// # Errors
/// [`Panicked`] if `work` does. No panic leaves this function.
pub fn each<R: Send>(
    count: usize,
    threads: NonZeroUsize,
    work: impl Fn(usize) -> R + Sync,
) -> Result<Vec<R>, Panicked> {
    let chunks = count.div_ceil(CHUNK);
    let next = AtomicUsize::new(0);
    let run = || {
        let mut done: Vec<(usize, Vec<R>)> = Vec::new();
        loop {
            // Relaxed: only that no chunk is taken twice matters; answers are handed over by joining the thread.
            let chunk = next.fetch_add(1, Ordering::Relaxed);
            if chunk >= chunks {
                return done;
            }
            let start = chunk * CHUNK;
            done.push((chunk, (start..count.min(start + CHUNK)).map(&work).collect()));
        }
    };
    let mut done = thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads.get().min(chunks))
            .map_while(|_| thread::Builder::new().name("turnout-batch".to_owned()).spawn_scoped(scope, run).ok())
            .collect();
        // Caught, for the threads must be joined. The work shares nothing but the counter, which stays right.
        let mut results = vec![catch_unwind(AssertUnwindSafe(run))];
        results.extend(helpers.into_iter().map(thread::ScopedJoinHandle::join));
        let mut done = Vec::with_capacity(chunks);
        for result in results {
            done.extend(result.map_err(|payload| Panicked(said(payload.as_ref())))?);
        }
        Ok(done)
    })?;
    done.sort_unstable_by_key(|&(chunk, _)| chunk);
    let mut answers = Vec::with_capacity(count);
    answers.extend(done.into_iter().flat_map(|(_, answers)| answers));
    Ok(answers)
}

/// What a panic said.
fn said(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|&text| text.to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no reason given".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threads(count: usize) -> NonZeroUsize {
        NonZeroUsize::new(count).unwrap()
    }

    #[test]
    fn answers_stand_in_order_whatever_the_number_of_threads() {
        for count in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 10 * CHUNK + 7] {
            for workers in [1, 2, 7, 100] {
                let answers = each(count, threads(workers), |number| {
                    if number % 97 == 0 {
                        thread::yield_now();
                    }
                    number * 2
                });
                assert_eq!(answers, Ok((0..count).map(|number| number * 2).collect::<Vec<_>>()), "{count}, {workers}");
            }
        }
    }

    #[test]
    fn a_small_batch_stays_on_the_calling_thread() {
        let here = thread::current().id();
        let ids = each(CHUNK, threads(8), |_| thread::current().id()).unwrap();
        assert!(ids.into_iter().all(|id| id == here));
    }

    #[test]
    fn several_threads_work_at_once() {
        let barrier = std::sync::Barrier::new(2);
        // Would hang if one thread did both chunks.
        let answers = each(2 * CHUNK, threads(2), |number| number % CHUNK == 0 && barrier.wait().is_leader()).unwrap();
        assert_eq!(answers.into_iter().filter(|&leader| leader).count(), 1);
    }

    #[test]
    fn a_panic_of_any_worker_is_an_error() {
        for bad in [0, CHUNK, 5 * CHUNK + 3] {
            for workers in [1, 3] {
                let result = each(6 * CHUNK, threads(workers), |number| {
                    assert!(number != bad, "number {number} is bad");
                    number
                });
                assert_eq!(result, Err(Panicked(format!("number {bad} is bad"))));
            }
        }
        let result: Result<Vec<()>, _> = each(1, threads(1), |_| std::panic::panic_any(7));
        assert_eq!(result, Err(Panicked("no reason given".to_owned())));
    }
}
