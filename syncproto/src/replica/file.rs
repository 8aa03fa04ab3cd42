//! All contacts, or all calendars, in a single file.
//!
//! # Example
//! The calendars of a file that another program wrote:
//! ```
//! use cabled_syncproto::engine::SessionId;
//! use cabled_syncproto::replica::{OnThread, OpenRequest, Replica, SingleFile, Told};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let file = folder.path().join("home.ics");
//! std::fs::write(&file, "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:tea\r\nDTSTART:20260701T160000Z\r\n\
//!     SUMMARY:Tea\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n")?;
//!
//! let mut calendars = OnThread::new(SingleFile::calendars(&file));
//! calendars.open(OpenRequest::new(SessionId([7; 16]))).await?;
//! let Told::Batch(changes) = calendars.read().await? else { panic!("there is a calendar") };
//! // The calendar and its event.
//! assert_eq!(changes.len(), 2);
//! calendars.abort("that was all").await?;
//! # Ok(())
//! # }
//! ```
//! # How it fits together
//! As in [`vdir`](super::vdir), but every change replaces the one file: the new one is written beside it and flushed before
//! the device is written to, and takes its place only if the file is as it was read. Its permissions are kept. A link to
//! the file is followed once; what it leads to is replaced, the link stays. Several calendars are several `VCALENDAR`s.
//!
//! # Limits
//! The file has at most 256 MiB. One that is not there is made by the first sync; after that its absence is
//! [`ReplicaError::Unavailable`](super::ReplicaError::Unavailable), never "all deleted".
//! Spec: mobilesync, sections 8.6 and 15.6.

mod book;
mod desk;
mod disk;
mod events;
mod groups;
mod index;
mod people;
mod shelf;
mod single;
#[cfg(test)]
mod tests;

pub(crate) use book::Book;
pub(crate) use book::{Applied, Edit, Prints, failed, first, is_delete};
pub(crate) use desk::{Desk, unavailable};
pub(crate) use disk::print;
pub(crate) use disk::{is_temporary, remove_leftover};
pub(crate) use events::{Events, Layout};
pub(crate) use groups::hidden_file;
pub(crate) use index::Remembered;
pub use people::Groups;
pub(crate) use people::People;
pub(crate) use single::One;
pub use single::SingleFile;

use crate::records::{CivilDate, Timestamp};

/// `20261122T051000Z`.
fn stamp(time: Timestamp) -> String {
    let CivilDate { year, month, day } = time.date();
    let (hour, minute, second) = time.clock();
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}
