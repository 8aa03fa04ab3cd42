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
#[path = "../schedules/mod.rs"]
mod schedules;
mod sides;
mod world;

use world::World;

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
    schedules::run_all(1_000, run);
}
