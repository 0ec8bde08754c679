//! Nanoseconds of a first match, bytes and microseconds of a rule, by kind of rule and number of rules:
//! `cargo bench --bench matching [-- <name of a workload> ...]`. Answers are asserted before they are timed.

mod workloads;

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use turnout::message::value::Value;
use turnout::rules::limits::Limits;
use turnout::rules::program::{Program, RuleSource};
use workloads::{Known, WORKLOADS, Workload, map};

/// Counts the bytes that are held, as they were asked for.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);

// Safety: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn measure(workload: &Workload, count: usize) -> [f64; 4] {
    let sources: Vec<RuleSource> = (0..count).map(|n| (workload.rule)(n, count)).collect();
    let source_bytes = HELD.load(Ordering::Relaxed);
    let kept = sources.clone();
    let copies = HELD.load(Ordering::Relaxed) - source_bytes;
    let before = HELD.load(Ordering::Relaxed) - copies;
    let began = Instant::now();
    let Ok(program) = Program::build(kept, &["message"], Limits::default()) else {
        return [f64::NAN; 4];
    };
    let build = began.elapsed().as_secs_f64() * 1e6 / count as f64;
    let bytes = (HELD.load(Ordering::Relaxed) as f64 - before as f64) / count as f64;
    // Messages in no order of memory, as many as stay in the cache themselves.
    let numbers: Vec<usize> = (0..256.min(count)).map(|n| n * 7919 % count).collect();
    let values: Vec<Value<'static>> = numbers.iter().map(|&n| map((workload.message)(n, count))).collect();
    let messages: Vec<Known<'_>> = values.iter().map(|value| Known::new(&program, value)).collect();
    for (message, &n) in messages.iter().zip(&numbers) {
        let found = program.first(message).ok().flatten().map(|number| program.rule(number).id.to_string());
        assert_eq!(found, Some(format!("rule-{n}")), "{}", workload.name);
    }
    let mut best = f64::INFINITY;
    for _ in 0..20 {
        let rounds = (20_000 / messages.len()).max(1);
        let began = Instant::now();
        for _ in 0..rounds {
            for message in &messages {
                black_box(program.first(black_box(message)).ok());
            }
        }
        best = best.min(began.elapsed().as_secs_f64() * 1e9 / (rounds * messages.len()) as f64);
    }
    // Rules that come and go.
    let changes = 2000.min(count);
    let began = Instant::now();
    let mut changed = program.clone();
    for n in 0..changes {
        let mut source = (workload.rule)(n, count);
        source.id.push_str("-again");
        if let Ok(more) = changed.with_rule(source) {
            changed = more;
        }
        if let Some(less) = changed.without_rule(&format!("rule-{n}")) {
            changed = less;
        }
    }
    let change = began.elapsed().as_secs_f64() * 1e6 / (2 * changes) as f64;
    [best, bytes, build, change]
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let most = std::env::var("MOST").ok().and_then(|most| most.parse().ok()).unwrap_or(1_000_000);
    println!(
        "{:36} {:>9} {:>10} {:>8} {:>9} {:>11}",
        "workload", "rules", "ns/first", "B/rule", "µs/rule", "µs/change"
    );
    for workload in WORKLOADS {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| workload.name.contains(wanted.as_str())) {
            continue;
        }
        for count in [10, 1_000, 10_000, 100_000, 1_000_000] {
            if count > workload.most || count > most {
                continue;
            }
            let [first, bytes, build, change] = measure(workload, count);
            println!("{:36} {count:>9} {first:>10.0} {bytes:>8.0} {build:>9.2} {change:>11.2}", workload.name);
        }
    }
}
