//! The model of spec mobilesync 15.3: a simulated device and computers, edits, losses, skips, failures and cuts, erased and
//! restored devices, row numbers given out again, selections that change; afterwards quiet sessions, after which both sides
//! have to be the same. In no session is a deletion planned where the table of 15.5 forbids it. 1,000 schedules;
//! `CABLED_SCHEDULES=100000` for the long run, `CABLED_SEED` for where it begins, `CABLED_SHOW` to see the plans.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

mod edits;
#[path = "../schedules/mod.rs"]
mod schedules;
mod session;
mod store;
mod world;

use world::World;

#[test]
fn any_schedule_of_edits_failures_and_cuts_converges() {
    schedules::run_all(1_000, |seed| World::new(seed).run());
}

#[test]
fn what_did_not_get_to_the_computer_is_not_agreed_because_the_device_spells_it_in_another_way() {
    World::new(61433).run();
}
