//! Syncs of the virtual phone with records on a computer, cut off at any byte of any message and at any step of the computer:
//! afterwards both sides have everything that anybody entered, once. Spec: mobilesync, sections 15.6 and 15.9.
//!
//! 1,000 schedules; `CABLED_SCHEDULES=100000` for the long run, `CABLED_SEED=n` to begin at another one, `CABLED_SHOW=1` to see
//! what happens.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

mod check;
mod edits;
mod link;
mod sides;
mod world;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;

use world::World;

/// A number from the environment.
fn number(name: &str, otherwise: u64) -> u64 {
    let said = std::env::var(name).ok().and_then(|number| number.parse().ok());
    said.unwrap_or(otherwise)
}

/// Runs one schedule to its end.
fn run(seed: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(World::new(seed).run());
}

#[test]
fn any_schedule_of_edits_and_cuts_ends_with_everything_on_both_sides() {
    let (first, count) = (number("CABLED_SEED", 0), number("CABLED_SCHEDULES", 1_000));
    let mut failures: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let hook = std::panic::take_hook();
    if std::env::var_os("CABLED_SHOW").is_none() {
        std::panic::set_hook(Box::new(|_| {}));
    }
    for seed in first..first + count {
        let Err(cause) = std::panic::catch_unwind(AssertUnwindSafe(|| run(seed))) else {
            continue;
        };
        let text = cause.downcast_ref::<String>().cloned();
        let text = text.or_else(|| cause.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let text: String = text
            .unwrap_or_default()
            .chars()
            .filter(|c| !c.is_ascii_digit())
            .take(70)
            .collect();
        failures.entry(text).or_default().push(seed);
    }
    std::panic::set_hook(hook);
    let failed: usize = failures.values().map(Vec::len).sum();
    failures.values_mut().for_each(|seeds| seeds.truncate(5));
    assert!(
        failures.is_empty(),
        "{failed} of {count} schedules failed: {failures:#?}"
    );
}
