//! Letting SQLite look at its own structures: the index, and the databases among the payloads.

use std::ops::ControlFlow;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

use super::report::{Problem, chain};
use crate::archive::database::Database;
use crate::archive::entry::FileEntry;
use crate::archive::observe::{Observer, Phase, Progress};
use crate::archive::sqlite::DatabaseNote;
use crate::archive::{Archive, ArchiveError};

/// Faults that are asked for: the first ones say enough.
const MOST: usize = 20;

/// What SQLite finds wrong with the index: pages, order, and rows that its indexes have and the table lacks, or the
/// other way round.
pub(super) fn of_index(database: &Database, observer: &mut dyn Observer) -> Result<Vec<String>, ArchiveError> {
    let interrupt = database.connection().get_interrupt_handle();
    let (sender, receiver) = mpsc::channel();
    let found = thread::scope(|scope| {
        scope.spawn(move || {
            // Nobody listens any more after a cancel.
            let _ = sender.send(faults(&database.connection(), "integrity_check"));
        });
        loop {
            match receiver.recv_timeout(Duration::from_millis(50)) {
                Ok(found) => return Some(found),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if observer.on_progress(&Progress::new(Phase::CheckingIndex, 0, None)) == ControlFlow::Break(()) {
                interrupt.interrupt();
                return None;
            }
        }
    });
    match found {
        Some(Ok(faults)) => Ok(faults),
        Some(Err(e)) => Ok(vec![chain(&e)]),
        None => Err(ArchiveError::Cancelled),
    }
}

/// What SQLite finds wrong with a database of the backup, with its log taken in.
pub(super) fn of_payload(archive: &Archive, entry: &FileEntry) -> Vec<Problem> {
    let database = match archive.open_database(entry) {
        Ok(database) => database,
        Err(ArchiveError::Database { source, .. }) => return vec![judge(&source)],
        Err(e) => return vec![Problem::DatabaseDamaged { reason: chain(&e) }],
    };
    let notes = database.notes().iter().filter_map(|note| match note {
        DatabaseNote::LogApplied { .. } | DatabaseNote::JournalApplied { .. } => None,
        note => Some(Problem::Database(note.clone())),
    });
    let mut problems: Vec<Problem> = notes.collect();
    match faults(database.connection(), "quick_check") {
        Ok(faults) => problems.extend(faults.into_iter().map(|reason| Problem::DatabaseDamaged { reason })),
        Err(e) => problems.push(judge(&e)),
    }
    problems
}

/// Damage, or something that this SQLite lacks: apps bring their own tokenizers and collations.
fn judge(error: &rusqlite::Error) -> Problem {
    let reason = chain(error);
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Problem::DatabaseDamaged { reason },
        _ => Problem::DatabaseUnchecked { reason },
    }
}

fn faults(connection: &Connection, pragma: &str) -> Result<Vec<String>, rusqlite::Error> {
    let mut query = connection.prepare(&format!("PRAGMA {pragma}({MOST})"))?;
    let mut rows = query.query([])?;
    let mut faults = Vec::new();
    while let Some(row) = rows.next()? {
        let text: String = row.get(0)?;
        if text != "ok" {
            faults.extend(text.lines().map(|line| line.chars().take(300).collect()));
        }
    }
    faults.truncate(MOST);
    Ok(faults)
}
