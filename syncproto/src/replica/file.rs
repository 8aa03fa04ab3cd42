//! What folders and single files have in common.

mod book;
mod desk;
mod disk;
mod groups;
mod people;

pub(crate) use book::Book;
pub(crate) use desk::{Desk, unavailable};
pub(crate) use disk::{is_temporary, remove_leftover};
pub use people::Groups;
pub(crate) use people::People;

use crate::records::{CivilDate, Timestamp};

/// `20261122T051000Z`.
fn stamp(time: Timestamp) -> String {
    let CivilDate { year, month, day } = time.date();
    let seconds = time.time_of_day();
    let (hour, minute) = (seconds.div_euclid(3600), seconds.div_euclid(60).rem_euclid(60));
    let second = seconds.rem_euclid(60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}
