//! What is in files, as records, and what has to be written so that the files say what the records say. No I/O.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use crate::engine::{Outcome, Write};
use crate::record::{Change, Changes, Record, RecordId};
use crate::records::{Graph, RecordError, Timestamp};

/// By what files are known that need not be read again, by name.
pub(crate) type Prints<'a> = &'a dyn Fn(&str) -> Option<u64>;

/// Files as records. A book of many files keeps few of them in memory: it hands over what it has read, says which files it
/// needs for a write, and lets go of them again.
pub(crate) trait Book: Debug + Send {
    /// About so many files will come.
    fn expect(&mut self, _files: usize) {}

    /// Takes a file in. The names of files are paths below the folder, with a slash between.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn take(&mut self, sheet: &Arc<str>, text: &str) -> Result<(), String>;

    /// The records of files that were taken in and are not needed any more, for whom they are told. The rest is told from
    /// [`graph`](Self::graph), at the end.
    fn hand_over(&mut self) -> Changes {
        Changes::new()
    }

    /// All files were taken in.
    fn ready(&mut self);

    /// All records that are in memory.
    fn graph(&self) -> &Graph;

    /// What is told of a record, where that is not what the graph has.
    fn told(&self, id: &RecordId) -> Option<Record> {
        self.graph().get(id).cloned()
    }

    /// Records that were there when the files were read last, and are not any more; where only changes are told.
    fn gone(&self) -> Vec<RecordId> {
        Vec::new()
    }

    /// Whether something about the files is such that all of them have to be read to know what they say.
    fn is_odd(&self) -> bool {
        false
    }

    /// What has to be remembered of how the files are read; with `prints`, of the files themselves, too.
    fn token(&self, prints: Option<Prints<'_>>) -> String;

    /// What people should know of the files.
    fn notes(&self) -> Vec<String>;

    /// Files that have to be in memory before a write can be done.
    fn needs(&self, _write: &Write) -> Vec<Arc<str>> {
        Vec::new()
    }

    /// Whether a file was let go.
    fn is_away(&self, _sheet: &str) -> bool {
        false
    }

    /// Takes a file in again that was let go.
    ///
    /// # Errors
    /// Why that cannot be: it is not what it was.
    fn load(&mut self, _sheet: &Arc<str>, _text: &str) -> Result<(), String> {
        Ok(())
    }

    /// Changes records.
    ///
    /// # Errors
    /// The outcome of a write that cannot be done.
    fn apply(&mut self, write: &Write) -> Result<Applied, Outcome>;

    /// Lets go of files, if too many are in memory, and gives those of them that have to be written.
    fn let_go(&mut self, _now: Timestamp) -> Vec<Edit> {
        Vec::new()
    }

    /// Files that change because of all writes together. Each is to be in memory when [`finish`](Self::finish) changes it.
    fn unfinished(&mut self) -> Vec<Arc<str>> {
        Vec::new()
    }

    /// Changes one of the files that [`unfinished`](Self::unfinished) named.
    fn finish(&mut self, _sheet: &str) {}

    /// The files that have to be written. `now` is for marks of the last change, which people and programs read.
    fn edits(&mut self, now: Timestamp) -> Vec<Edit>;
}

/// What a write did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    /// The identifier of a new record.
    pub(crate) native: Option<RecordId>,
    /// The files that change with it.
    pub(crate) sheets: BTreeSet<String>,
    /// A folder that goes with it, once it is empty.
    pub(crate) leaves: Option<String>,
}

impl Applied {
    pub(crate) fn on(sheet: &str) -> Self {
        Self {
            native: None,
            sheets: BTreeSet::from([sheet.to_owned()]),
            leaves: None,
        }
    }

    pub(crate) fn named(self, native: Option<RecordId>) -> Self {
        Self { native, ..self }
    }
}

/// A file that has to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edit {
    pub(crate) sheet: String,
    /// All of it; `None` when it goes.
    pub(crate) text: Option<String>,
    /// Files that have to be in place before, because what goes here comes there.
    pub(crate) after: BTreeSet<String>,
}

/// A write that cannot be done, with the reason.
pub(crate) fn failed(reason: impl Into<String>) -> Outcome {
    Outcome::Failed { reason: reason.into() }
}

/// What a write says about a record.
pub(crate) fn is_delete(write: &Write) -> bool {
    write.change == Change::Delete
}

/// The first record that a relationship names.
pub(crate) fn first(record: &Record, key: &str) -> Option<RecordId> {
    record.related(key).ok()?.into_iter().next()
}

/// Puts a record in if what it belongs to can be read, and so written, with it.
pub(crate) fn insert_checked<T>(
    graph: &mut Graph,
    id: &RecordId,
    record: &Record,
    read: impl FnOnce(&Graph) -> Result<T, RecordError>,
) -> Result<(), Outcome> {
    let before = graph.get(id).cloned();
    let put = graph
        .insert(id.clone(), record.clone())
        .map_err(|error| error.to_string());
    let read = put.and_then(|()| read(graph).map(drop).map_err(|error| error.to_string()));
    read.map_err(|reason| {
        match before {
            Some(before) => drop(graph.insert(id.clone(), before)),
            None => drop(graph.remove(id)),
        }
        failed(reason)
    })
}

/// Whether a text can be the name of a file on every system: letters, digits and `-_.@+`, not hidden, no name that a
/// system keeps for itself.
pub(crate) fn is_safe_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@' | '+');
    let stem = text.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let kept = ["con", "prn", "aux", "nul"].contains(&&*stem)
        || (stem.len() == 4 && (stem.starts_with("com") || stem.starts_with("lpt")));
    !text.is_empty()
        && text.len() <= 100
        && text.chars().all(plain)
        && !text.starts_with('.')
        && !text.ends_with('.')
        && !kept
}

/// An identifier for what has none in its file, made of the file's name and the place in it: the same for the same file,
/// whatever is in it.
pub(crate) fn made_id(sheet: &str, number: usize) -> RecordId {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    hash.update(b"cabled file item\0");
    hash.update(sheet.as_bytes());
    hash.update((number as u64).to_be_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    let mut bytes = [0_u8; 16];
    for (to, from) in bytes.iter_mut().zip(digest) {
        *to = from;
    }
    if let Some(version) = bytes.get_mut(6) {
        *version = (*version & 0x0f) | 0x80;
    }
    if let Some(variant) = bytes.get_mut(8) {
        *variant = (*variant & 0x3f) | 0x80;
    }
    let id = crate::engine::EngineId::from_bytes(bytes);
    RecordId::new(id.to_string()).unwrap_or_else(|_| RecordId::placeholder())
}

/// Another name for a record whose own is taken.
pub(crate) fn copy_id(id: &RecordId, sheet: &str, number: usize) -> RecordId {
    let mark = made_id(sheet, number);
    RecordId::new(format!("{id}/copy/{mark}")).unwrap_or(mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_texts_are_no_names() {
        for bad in [
            "", "..", "../x", ".hidden", "a/b", "a\\b", "a\0", "con", "NUL.ics", "com1", "lpt9.vcf", "a.", "ä", "a b",
            "a:b",
        ] {
            assert!(!is_safe_name(bad), "{bad}");
        }
        assert!(!is_safe_name(&"x".repeat(101)));
        for good in [
            "ann",
            "0b7c2e1a-5a00-4d2e-8f00-000000000001",
            "a.b@example.org",
            "console",
        ] {
            assert!(is_safe_name(good), "{good}");
        }
    }

    #[test]
    fn made_names_depend_on_the_file_and_the_place_alone() {
        assert_eq!(made_id("a.vcf", 0), made_id("a.vcf", 0));
        assert_ne!(made_id("a.vcf", 0), made_id("a.vcf", 1));
        assert_ne!(made_id("a.vcf", 0), made_id("b.vcf", 0));
    }
}
