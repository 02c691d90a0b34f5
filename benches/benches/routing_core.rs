//! The routing core alone: what a decision costs with 10,000 agents of 1,000 profiles and up to 100,000 conversations of 1,000
//! classes waiting. First some figures that criterion does not give (percentiles, their growth, memory), then criterion's own.
//!
//! Every agent is busy and the queues are long: a slot becomes free, the queue manager decides who gets it, the decision comes
//! back with its events, a newcomer takes the place of who was served. Only the named part of that circle is timed.
//!
//! `cargo bench -p kaiwa-bench --bench routing_core -- sweep` shows what a decision costs against the number of agents, profiles,
//! classes and waiting conversations, and draws it (`benches/plots/decision_cost.svg`).

#![allow(unsafe_code)] // a global allocator that counts
#![allow(clippy::print_stdout)] // a program that reports

#[path = "routing_core/shop.rs"]
mod shop;
#[path = "routing_core/sweep.rs"]
mod sweep;
#[path = "routing_core/whole.rs"]
mod whole;

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use hdrhistogram::Histogram;
use shop::{Policies, Shop, Size};
use whole::Whole;

struct Counting;

static LIVE_BYTES: AtomicIsize = AtomicIsize::new(0);

// SAFETY: every call is handed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE_BYTES.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE_BYTES.fetch_add(size as isize - layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Time that this thread has spent on a core, so that neighbours on a shared machine do not count; a system call, for batches.
/// Elsewhere than on Linux, time that has passed.
fn cpu_time() -> Duration {
    #[cfg(target_os = "linux")]
    {
        #[repr(C)]
        struct Timespec {
            seconds: i64,
            nanos: i64,
        }
        unsafe extern "C" {
            fn clock_gettime(clock: i32, time: *mut Timespec) -> i32;
        }
        const THREAD_CPU_TIME: i32 = 3;
        let mut time = Timespec { seconds: 0, nanos: 0 };
        // SAFETY: `time` is as the C library wants it on 64-bit Linux, and outlives the call.
        let failed = unsafe { clock_gettime(THREAD_CPU_TIME, &mut time) };
        assert_eq!(failed, 0, "the thread has a clock");
        Duration::new(time.seconds as u64, time.nanos as u32)
    }
    #[cfg(not(target_os = "linux"))]
    {
        use std::sync::OnceLock;
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }
}

const FEW: usize = 1_000;
const MANY: usize = 100_000;
/// Slots that become free together, where decisions are taken in a batch.
const BATCH: usize = 1_000;

/// Processor time in `decide` for `decisions` of them, taken in batches.
fn batched(shop: &mut Shop, decisions: u64, explained: bool) -> Duration {
    let (mut spent, mut made) = (Duration::ZERO, 0);
    while made < decisions {
        shop.free(BATCH);
        let from = cpu_time();
        let taken = black_box(shop.decide(BATCH, explained));
        spent += cpu_time() - from;
        made += taken.len() as u64;
        shop.land(taken);
    }
    spent.mul_f64(decisions as f64 / made as f64)
}

/// Time that passes in each single decision, one freed slot at a time.
fn singly(shop: &mut Shop, decisions: usize, explained: bool) -> Histogram<u64> {
    let mut nanos = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("a range and three digits");
    // A batch may have left room for others (an offer to several gives some back): everybody is busy from here on.
    shop.exhaust();
    while nanos.len() < decisions as u64 {
        shop.free(1);
        let from = Instant::now();
        let taken = black_box(shop.decide(1, explained));
        let spent = from.elapsed();
        if !taken.is_empty() {
            nanos.saturating_record(spent.as_nanos() as u64);
        }
        shop.land(taken);
    }
    nanos
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What criterion does not tell: percentiles of single decisions, how they grow with what waits, and memory.
fn figures() {
    for (name, policies) in [
        ("longest idle, strict priority", Policies::Plain),
        ("four choices and two orders mixed", Policies::Mixed),
        ("every feature on", Policies::Everything),
    ] {
        println!("\n== {name}: 10,000 agents, 1,000 profiles, 1,000 classes, {MANY} waiting");
        let (mut few, mut many) = (Shop::new(Size::of(FEW), policies), Shop::new(Size::of(MANY), policies));
        for (what, explained) in [("choice alone", false), ("choice with explanation", true)] {
            batched(&mut many, 20_000, explained);
            let rates = (0..5)
                .map(|_| 50_000.0 / batched(&mut many, 50_000, explained).as_secs_f64())
                .collect();
            // Both sizes by turns, so that what else the machine does hits both.
            let rounds: Vec<_> = (0..7)
                .map(|_| {
                    (
                        singly(&mut few, 20_000, explained),
                        singly(&mut many, 20_000, explained),
                    )
                })
                .collect();
            let of = |quantile: f64| {
                let at = |h: &Histogram<u64>| h.value_at_quantile(quantile) as f64;
                (
                    median(rounds.iter().map(|r| at(&r.0)).collect()),
                    median(rounds.iter().map(|r| at(&r.1)).collect()),
                )
            };
            let ((few_50, many_50), (few_99, many_99)) = (of(0.5), of(0.99));
            let ratio = median(
                rounds
                    .iter()
                    .map(|r| r.1.value_at_quantile(0.99) as f64 / r.0.value_at_quantile(0.99) as f64)
                    .collect(),
            );
            println!(
                "{what}: {:.0} decisions per second of one core, in batches of {BATCH}; single: p50 {many_50:.0} ns, p99 {many_99:.0} ns \
                 (with {FEW} waiting: p50 {few_50:.0} ns, p99 {few_99:.0} ns); p99 ratio {ratio:.2}",
                median(rates)
            );
        }
    }
    memory();
    let mut whole = Whole::new(MANY);
    whole.circle(5_000);
    let rates: Vec<f64> = (0..5).map(|_| 10_000.0 / whole.circle(10_000).as_secs_f64()).collect();
    println!(
        "\nwith apply (decide, State::apply, observe, settle): {:.0} decisions per second of one core",
        median(rates)
    );
}

fn memory() {
    let live = || LIVE_BYTES.load(Ordering::Relaxed);
    let mut before = live();
    let empty = Shop::new(Size::of(0), Policies::Plain).into_manager();
    let without = live() - before;
    before = live();
    let full = Shop::new(Size::of(MANY), Policies::Plain).into_manager();
    let with = live() - before;
    black_box((&empty, &full));
    println!(
        "\nmemory of the queue manager: {} bytes per waiting conversation ({MANY} of them), {} KiB without any",
        (with - without) / MANY as isize,
        without / 1024
    );
}

fn criteria(criterion: &mut Criterion) {
    for waiting in [FEW, MANY] {
        let mut group = criterion.benchmark_group(format!("routing_core/{waiting}_waiting"));
        group
            .throughput(Throughput::Elements(1))
            .sample_size(20)
            .measurement_time(Duration::from_secs(3));
        let mut shop = Shop::new(Size::of(waiting), Policies::Plain);
        group.bench_function("choice", |b| b.iter_custom(|n| batched(&mut shop, n, false)));
        group.bench_function("choice_with_explanation", |b| {
            b.iter_custom(|n| batched(&mut shop, n, true))
        });
        drop(shop);
        let mut whole = Whole::new(waiting);
        group.bench_function("choice_with_apply", |b| b.iter_custom(|n| whole.circle(n)));
        group.finish();
    }
}

fn main() {
    // `cargo test --benches` only wants to know that it runs.
    let asked = |word: &str| std::env::args().any(|argument| argument == word);
    let trial = asked("--test");
    if asked("sweep") {
        sweep::run();
        return;
    }
    if !trial {
        figures();
    }
    let mut criterion = Criterion::default().configure_from_args();
    criteria(&mut criterion);
    criterion.final_summary();
}
