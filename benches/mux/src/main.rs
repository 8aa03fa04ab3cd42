//! The multiplexer's cores in memory, beside what can be driven of `rusbmux` without USB. `benches/mux.sh` runs it.
//!
//! Both hosts talk to the same end, the core of the virtual phone, through two buffers in one thread; figures are for
//! both ends together. Processor time, so that a busy machine changes little; medians of interleaved rounds.

mod link;
mod ours;
mod peer;

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

/// Counts what is allocated; costs both sides the same.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

/// Bytes handed over at a time.
const WRITE: usize = 64 << 10;

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    ToPhone,
    ToHost,
}

/// A host that carries bytes to or from the phone's core.
trait Host {
    /// Moves about `WRITE` bytes on each of its connections and says how many arrived.
    fn turn(&mut self, way: Way) -> u64;
}

/// One measured figure, all its samples.
struct Row {
    name: String,
    unit: &'static str,
    samples: Vec<f64>,
}

struct Table(Vec<Row>);

impl Table {
    fn add(&mut self, name: String, unit: &'static str, sample: f64) {
        match self.0.iter_mut().find(|row| row.name == name) {
            Some(row) => row.samples.push(sample),
            None => self.0.push(Row {
                name,
                unit,
                samples: vec![sample],
            }),
        }
    }

    fn median(&self, name: &str) -> f64 {
        let row = self.0.iter().find(|row| row.name == name).expect("measured");
        sorted(&row.samples)[row.samples.len() / 2]
    }

    fn print(&self) {
        println!("| measured | median | lowest | highest |\n|---|---|---|---|");
        for row in &self.0 {
            let all = sorted(&row.samples);
            let show = |at: usize| match row.unit {
                "B" => format!("{:.0} B", all[at]),
                unit => format!("{:.3} {unit}", all[at]),
            };
            println!(
                "| {} | {} | {} | {} |",
                row.name,
                show(all.len() / 2),
                show(0),
                show(all.len() - 1)
            );
        }
    }
}

fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut all = samples.to_vec();
    all.sort_by(f64::total_cmp);
    all
}

fn processor() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).expect("below 1e9"),
    )
}

/// Bytes a second in GB, allocations a MB.
fn measure(host: &mut dyn Host, way: Way, goal: u64) -> (f64, f64) {
    let mut warm = 0;
    while warm < goal / 8 {
        warm += host.turn(way);
    }
    let region = Region::new(ALLOCATOR);
    let started = processor();
    let mut moved = 0;
    while moved < goal {
        moved += host.turn(way);
    }
    let took = (processor() - started).as_secs_f64();
    let change = region.change();
    let moved = moved as f64;
    (
        moved / took / 1e9,
        (change.allocations + change.reallocations) as f64 / (moved / 1e6),
    )
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let check = arguments.iter().any(|argument| argument == "--check");
    let (rounds, goal) = if quick { (3, 200_000_000) } else { (7, 2_000_000_000) };
    let mut table = Table(Vec::new());
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        for streams in [1_u16, 64] {
            for (way, arrow) in [(Way::ToPhone, "to the phone"), (Way::ToHost, "to the host")] {
                let hosts: [(&str, Box<dyn Host>); 2] = [
                    ("cabled", Box::new(ours::Ours::new(streams))),
                    ("rusbmux", Box::new(peer::Peer::new(streams))),
                ];
                for (name, mut host) in hosts {
                    let (rate, allocations) = measure(host.as_mut(), way, goal);
                    let what = format!(
                        "{streams} stream{} {arrow}: {name}",
                        if streams == 1 { "" } else { "s" }
                    );
                    table.add(what.clone(), "GB/s", rate);
                    table.add(format!("{what}, allocations a MB"), "", allocations);
                }
            }
        }
        table.add("memory of an idle connection: cabled".into(), "B", ours::idle(1000));
        table.add(
            "memory of an idle connection: rusbmux, its queue alone".into(),
            "B",
            peer::idle(1000),
        );
    }
    table.print();
    let slowest = ["to the phone", "to the host"]
        .map(|arrow| table.median(&format!("1 stream {arrow}: cabled")))
        .into_iter()
        .fold(f64::INFINITY, f64::min);
    let allocations = [
        "1 stream to the phone",
        "1 stream to the host",
        "64 streams to the phone",
        "64 streams to the host",
    ]
    .map(|what| table.median(&format!("{what}: cabled, allocations a MB")))
    .into_iter()
    .fold(0.0, f64::max);
    let idle = table.median("memory of an idle connection: cabled");
    println!("\n| target | wanted | found |\n|---|---|---|");
    println!("| one stream, the slower way | 4 GB/s | {slowest:.2} GB/s |");
    println!("| allocations a MB, the worst of four | 0 | {allocations:.3} |");
    println!("| memory of an idle connection | below 8192 B | {idle:.0} B |");
    // A queue that grows once in a gigabyte is no allocation a packet.
    if check && (slowest < 4.0 || allocations > 0.01 || idle >= 8192.0) {
        std::process::exit(1);
    }
}
