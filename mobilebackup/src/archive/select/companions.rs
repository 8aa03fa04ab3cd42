//! The files that belong to a database beside it.

/// What SQLite appends to a database's name for the files it keeps beside it: the log, its index, the journal.
pub const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// The database that a path is a companion of, by its name: `sms.db` for `sms.db-wal`. `None` for any other path.
///
/// ```
/// use cabled_mobilebackup::archive::select::main_of;
///
/// assert_eq!(main_of("Library/SMS/sms.db-wal"), Some("Library/SMS/sms.db"));
/// assert_eq!(main_of("Library/SMS/sms.db"), None);
/// ```
#[must_use]
pub fn main_of(path: &str) -> Option<&str> {
    let main = COMPANIONS.into_iter().find_map(|end| path.strip_suffix(end))?;
    (!main.is_empty() && !main.ends_with('/')).then_some(main)
}
