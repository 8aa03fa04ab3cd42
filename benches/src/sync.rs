//! How long the merge engine takes for many records, and how much memory: `benches/sync.sh`.
//!
//! One scenario per process, so that the peak of one is not that of another. Prints medians of processor time.

use std::time::Duration;

use cabled_syncproto::engine::{
    Capabilities, Execution, Extent, FirstSync, Inputs, Outcome, PairState, Policy, Report, Reports, SessionId, Side,
    Standing, Verb, plan,
};
use cabled_syncproto::record::{Change, Changes, Record, RecordId};
use cabled_syncproto::{DataClass, entity};
use cabled_wire::plist::Value;

/// Contacts; each has three to five children, and one in twenty a picture of 4 kB.
const CONTACTS: usize = 50_000;
const PICTURE: usize = 4_096;
const ROUNDS: usize = 5;

/// One contact with its children, as a side tells it.
fn contact(side: Side, n: usize, name: &str) -> Vec<(String, Record)> {
    let id = |kind: &str, k: usize| match side {
        Side::Device => format!("{kind}/{n}/{k}"),
        Side::Computer => format!("person{n}.vcf#{kind}{k}"),
    };
    let own = match side {
        Side::Device => n.to_string(),
        Side::Computer => format!("person{n}.vcf"),
    };
    let mut person = Record::new(entity::CONTACT)
        .with("first name", name)
        .with("last name", format!("Example {n}"))
        .with("company name", format!("Works {}", n % 977));
    if n.is_multiple_of(20) {
        let picture = (0..PICTURE).map(|at| (at.wrapping_mul(31).wrapping_add(n) % 251) as u8);
        person = person.with("image", Value::Data(picture.collect()));
    }
    let mut told = vec![(own.clone(), person)];
    let kinds = [
        (entity::PHONE_NUMBER, "3", format!("+49 89 {n:08}")),
        (entity::EMAIL_ADDRESS, "4", format!("person{n}@example.org")),
        (entity::PHONE_NUMBER, "3", format!("+49 171 {n:07}")),
        (entity::URL, "22", format!("https://people.example/{n}")),
        (entity::EMAIL_ADDRESS, "4", format!("p{n}@work.example")),
    ];
    for (k, (kind, property, value)) in kinds.into_iter().take(3 + n % 3).enumerate() {
        let part = Record::new(kind)
            .with("contact", Value::Array(vec![own.as_str().into()]))
            .with("type", if k == 0 { "home" } else { "work" })
            .with("value", value);
        told.push((id(property, k), part));
    }
    told
}

fn everything(reports: &mut Reports, side: Side) {
    for n in 0..CONTACTS {
        add(reports, side, contact(side, n, &format!("Person {n}")));
    }
}

fn add(reports: &mut Reports, side: Side, told: Vec<(String, Record)>) {
    let changes = told
        .into_iter()
        .map(|(id, record)| (RecordId::new(id).unwrap(), Change::Upsert(record)));
    reports.add(side, Changes::from_iter(changes));
}

fn inputs(session: u8) -> Inputs {
    let mut inputs = Inputs::new(SessionId([session; 16]));
    inputs.policy = Policy::default().first_sync(FirstSync::Merge);
    inputs.capabilities.computer = Capabilities::of_files().nameless_children(true);
    inputs
}

fn report(extent: Extent) -> Report {
    Report::new(extent, Standing::Own)
}

/// Every write was taken.
fn carry_out(execution: &mut Execution) -> usize {
    let mut writes = 0;
    for side in Side::BOTH {
        while let Some(batch) = execution.next_batch(side) {
            let outcomes: Vec<_> = batch
                .writes
                .into_iter()
                .map(|write| {
                    writes += 1;
                    let native = write
                        .new
                        .then(|| RecordId::new(format!("new {}", write.engine)).unwrap());
                    (write.engine, Outcome::Done { native })
                })
                .collect();
            execution.handle_outcomes(side, outcomes);
        }
    }
    writes
}

/// Both sides have everything, and know it.
fn agreed() -> PairState {
    let mut reports = Reports::new(report(Extent::Everything), report(Extent::Everything));
    everything(&mut reports, Side::Device);
    everything(&mut reports, Side::Computer);
    let planned = plan(PairState::new(DataClass::Contacts), reports, &inputs(1));
    assert!(planned.plan().is_empty());
    Execution::new(planned).into_state(0)
}

/// Processor time so far: the machine may have other things to do.
fn spent() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(now.tv_sec).unwrap(), u32::try_from(now.tv_nsec).unwrap())
}

#[derive(Default)]
struct Times {
    rows: Vec<(&'static str, Vec<Duration>)>,
}

impl Times {
    fn of<T>(&mut self, what: &'static str, work: impl FnOnce() -> T) -> T {
        let start = spent();
        let made = work();
        self.took(what, spent() - start);
        if std::env::var_os("STEPS").is_some() {
            eprintln!("{what}: {:.0} MiB, peak {:.0} MiB", memory("VmRSS"), memory("VmHWM"));
        }
        made
    }

    fn took(&mut self, what: &'static str, took: Duration) {
        match self.rows.iter_mut().find(|(name, _)| *name == what) {
            Some((_, times)) => times.push(took),
            None => self.rows.push((what, vec![took])),
        }
    }

    fn print(&mut self, scenario: &str) {
        for (what, times) in &mut self.rows {
            times.sort();
            println!("| {scenario}: {what} | {:.3} s |", times[times.len() / 2].as_secs_f64());
        }
    }
}

/// A line of `/proc/self/status`, in MiB.
fn memory(name: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    let kib = line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

/// Both sides tell everything for the first time; `one_sided` leaves the computer empty.
fn first(times: &mut Times, one_sided: bool) {
    let mut reports = Reports::new(report(Extent::Everything), report(Extent::Everything));
    times.of("taking the reports in", || {
        everything(&mut reports, Side::Device);
        if !one_sided {
            everything(&mut reports, Side::Computer);
        }
    });
    let planned = times.of("plan", || {
        plan(PairState::new(DataClass::Contacts), reports, &inputs(1))
    });
    times.of("hash of the plan", || planned.plan().hash());
    let creates = planned.plan().count(Side::Computer, Verb::Create);
    let mut execution = times.of("execution", || Execution::new(planned));
    let writes = times.of("batches", || carry_out(&mut execution));
    assert_eq!(creates > 0, one_sided);
    assert_eq!(writes > 0, one_sided);
    // As a session does that is about to commit: it is kept on the disk, and forgotten.
    let doubtful = times.of("state for the journal", || execution.doubtful_state(0));
    drop(doubtful);
    let state = times.of("state", || execution.into_state(0));
    assert!(state.len() > 4 * CONTACTS);
}

/// Ten changes on the device; the computer tells nothing or everything.
fn fast(times: &mut Times, state: PairState, computer: Extent, round: usize) -> PairState {
    let mut reports = Reports::new(report(Extent::Changes), report(computer));
    if computer == Extent::Everything {
        for n in 0..CONTACTS {
            let name = if round > 0 && n % 5_000 == 7 {
                format!("Changed {n} {}", round - 1)
            } else {
                format!("Person {n}")
            };
            add(&mut reports, Side::Computer, contact(Side::Computer, n, &name));
        }
    }
    for n in (0..CONTACTS).filter(|n| n % 5_000 == 7) {
        let mut told = contact(Side::Device, n, &format!("Changed {n} {round}"));
        told.truncate(1);
        add(&mut reports, Side::Device, told);
    }
    let start = spent();
    let planned = times.of("plan", || plan(state, reports, &inputs(2 + round as u8)));
    assert_eq!(
        planned.plan().count(Side::Computer, Verb::Update),
        10,
        "{}",
        planned.plan()
    );
    assert_eq!(planned.plan().actions.computer.len(), 10);
    assert!(planned.plan().actions.device.is_empty());
    let mut execution = times.of("execution", || {
        let _ = planned.plan().hash();
        Execution::new(planned)
    });
    times.of("batches", || carry_out(&mut execution));
    let doubtful = times.of("state for the journal", || execution.doubtful_state(0));
    let state = times.of("state", || execution.into_state(0));
    times.took("all of it", spent() - start);
    assert_eq!(doubtful.len(), state.len());
    state
}

fn main() {
    let scenario = std::env::args().nth(1).unwrap_or_default();
    let mut times = Times::default();
    let rounds = std::env::args().nth(2).map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    match &*scenario {
        "first" | "one-sided" => (0..rounds).for_each(|_| first(&mut times, scenario == "one-sided")),
        "fast" | "fast-full" => {
            let computer = if scenario == "fast" {
                Extent::Changes
            } else {
                Extent::Everything
            };
            let mut state = agreed();
            println!(
                "| {scenario}: memory with the state of {} records | {:.0} MiB |",
                state.len(),
                memory("VmRSS")
            );
            // The peak from here on.
            let _ = std::fs::write("/proc/self/clear_refs", "5");
            for round in 0..rounds {
                state = fast(&mut times, state, computer, round);
            }
        }
        _ => {
            eprintln!("bench_sync first | one-sided | fast | fast-full [rounds]");
            std::process::exit(2);
        }
    }
    times.print(&scenario);
    println!("| {scenario}: peak memory | {:.0} MiB |", memory("VmHWM"));
}
