//! Records as JSON lines: one value a line, UTF-8, `\n` after each.
//!
//! # Example
//! ```
//! use cabled_mobilebackup::archive::records::jsonl::JsonLines;
//!
//! let mut lines = JsonLines::new(Vec::new());
//! lines.write(&["two", "words\nwith a line end"])?;
//! lines.write(&7)?;
//! assert_eq!(lines.finish()?, b"[\"two\",\"words\\nwith a line end\"]\n7\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! # How it fits
//! Every record of [`records`](super) is `serde::Serialize`; times are RFC 3339 in UTC. Keys whose value is not there
//! are left out. New keys may appear in later versions; known ones keep their meaning.
//!
//! # Limits
//! One record is in memory at a time.

use std::io::{self, Write};

use super::RecordError;

/// Writes one value per line.
#[derive(Debug)]
pub struct JsonLines<W> {
    out: W,
    lines: u64,
}

impl<W: Write> JsonLines<W> {
    /// Writes to `out`, in small pieces: give it a buffered one.
    pub const fn new(out: W) -> Self {
        Self { out, lines: 0 }
    }

    /// Writes one value as one line.
    ///
    /// # Errors
    /// [`RecordError::Io`] if `out` fails; [`RecordError::Json`] for a value that JSON has no form for, such as a map
    /// whose keys are not text.
    pub fn write<T: serde::Serialize + ?Sized>(&mut self, value: &T) -> Result<(), RecordError> {
        serde_json::to_writer(&mut self.out, value).map_err(|error| match error.io_error_kind() {
            Some(_) => RecordError::Io(io::Error::from(error)),
            None => RecordError::Json(error),
        })?;
        self.out.write_all(b"\n")?;
        self.lines = self.lines.saturating_add(1);
        Ok(())
    }

    /// How many lines were written.
    pub const fn lines(&self) -> u64 {
        self.lines
    }

    /// Flushes, and hands the writer back.
    ///
    /// # Errors
    /// Whatever the writer's flush gives.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::from(io::ErrorKind::StorageFull))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_is_told_as_such() {
        let error = JsonLines::new(Full).write("text").unwrap_err();
        assert!(matches!(error, RecordError::Io(e) if e.kind() == io::ErrorKind::StorageFull));
    }
}
