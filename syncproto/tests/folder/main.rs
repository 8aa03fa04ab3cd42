//! Syncs of the virtual phone with a folder of cards and a store on the disk, in which people and other programs add, edit,
//! rename and delete files meanwhile, and the connection breaks: afterwards the folder and the phone say the same, and
//! nothing that anybody entered is missing. Spec: mobilesync, sections 8.6, 15.4 and 15.6.
//!
//! 60 schedules, most of their time spent waiting for the disk; `CABLED_SCHEDULES=n` for more, with `TMPDIR` in memory;
//! `CABLED_SEED=n` to begin at another one, `CABLED_SHOW=1` to see what happens.
#![cfg(feature = "files")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

mod cards;
mod check;
#[path = "../phone/link.rs"]
mod link;
#[path = "../schedules/mod.rs"]
mod schedules;
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
fn any_schedule_of_edits_and_cuts_ends_with_the_same_in_the_folder_and_on_the_phone() {
    schedules::run_all(60, run);
}
