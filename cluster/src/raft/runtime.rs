//! The runtime that openraft spawns on: tokio, with randomness that a simulation can seed.
//!
//! openraft brings `DeterministicRng`, whose seed lives in a task-local, so every task that openraft is called from
//! must be inside its scope or the process panics. A simulation runs on one thread of its own, where a thread-local
//! seed is enough and has no such trap.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use futures::FutureExt;
use openraft::rt::deterministic_rng::DeterministicRng;
use openraft::rt::{AsyncRuntime, OptionalSend};
use parking_lot::Mutex;
use rand::Rng;

#[allow(deprecated, reason = "openraft's own crate for it is no dependency of ours")]
type Tokio = openraft::impls::TokioRuntime;
type Seeded = DeterministicRng<Tokio>;

thread_local! {
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
    static GATE: RefCell<Option<Gate>> = const { RefCell::new(None) };
}

/// From now on the randomness of openraft on this thread (election timeouts) follows from `seed`: for a simulation that
/// runs on this one thread.
pub fn seed_this_thread(seed: u64) {
    SEED.set(Some(seed));
}

/// Lets the raft cores of a simulated node stand still, as a stopped process would: while it is shut they do nothing, and
/// when it opens they find that all their timers have passed. Clones are the same gate.
#[derive(Clone, Default)]
pub struct Gate(Arc<Mutex<GateState>>);

#[derive(Default)]
struct GateState {
    shut: bool,
    waiting: Vec<Waker>,
}

impl Gate {
    /// Nothing within goes on.
    pub fn shut(&self) {
        self.0.lock().shut = true;
    }

    /// Everything within goes on.
    pub fn open(&self) {
        let mut state = self.0.lock();
        state.shut = false;
        state.waiting.drain(..).for_each(Waker::wake);
    }

    /// Puts a future within, with every task that openraft spawns from it.
    pub async fn within<T>(self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        std::future::poll_fn(|context| {
            {
                let mut state = self.0.lock();
                if state.shut {
                    state.waiting.push(context.waker().clone());
                    return Poll::Pending;
                }
            }
            let before = GATE.replace(Some(self.clone()));
            let polled = future.as_mut().poll(context);
            GATE.set(before);
            polled
        })
        .await
    }
}

pub(crate) fn next_seed() -> u64 {
    let Some(seed) = SEED.get() else {
        return rand::rng().random();
    };
    // SplitMix64.
    let next = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    SEED.set(Some(next));
    let z = (next ^ (next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[derive(Debug)]
pub(crate) struct Runtime {
    inner: Tokio,
}

impl AsyncRuntime for Runtime {
    type JoinError = <Tokio as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <Tokio as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <Tokio as AsyncRuntime>::Sleep;
    type Instant = <Tokio as AsyncRuntime>::Instant;
    type TimeoutError = <Tokio as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <Tokio as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = <Seeded as AsyncRuntime>::ThreadLocalRng;
    type Mpsc = <Tokio as AsyncRuntime>::Mpsc;
    type Watch = <Tokio as AsyncRuntime>::Watch;
    type Oneshot = <Tokio as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <Tokio as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        match GATE.with_borrow(Option::clone) {
            None => Tokio::spawn(future),
            Some(gate) => Tokio::spawn(gate.within(future)),
        }
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        Tokio::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        Tokio::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Self::Timeout<R, F> {
        Tokio::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: Self::Instant, future: F) -> Self::Timeout<R, F> {
        Tokio::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        Tokio::is_panic(join_error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        Seeded::scope(next_seed(), async { Seeded::thread_rng() })
            .now_or_never()
            .expect("a future without await is ready")
    }

    fn new(threads: usize) -> Self {
        Self {
            inner: Tokio::new(threads),
        }
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.inner.block_on(future)
    }

    fn spawn_blocking<F, T>(f: F) -> impl Future<Output = Result<T, io::Error>> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        Tokio::spawn_blocking(f)
    }
}
