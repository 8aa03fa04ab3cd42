//! Reading and replacing files so that each is, at any moment, either as it was or as it is to be.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

/// How many files wait for the disk at once.
const FLUSHERS: usize = 32;

/// How long a temporary file of an earlier session is left alone: another session may be at work with it.
const LEFTOVER: Duration = Duration::from_secs(3600);

/// What a file held when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag([u8; 32]);

impl Tag {
    pub(crate) fn of(content: &[u8]) -> Self {
        Self(Sha256::digest(content).into())
    }
}

/// By what a file that was not written to is known, without reading it: size, times, and where there is one its number on
/// the disk.
pub(crate) fn print(found: &Metadata, settled: SystemTime) -> Option<u64> {
    let modified = found.modified().ok()?;
    let (number, changed) = on_disk(found);
    let changed = changed.unwrap_or(modified);
    // What was written a moment ago may be written again without any of this showing it.
    if modified.max(changed) >= settled {
        return None;
    }
    let mut hash = Sha256::new();
    hash.update(found.len().to_be_bytes());
    hash.update(number.to_be_bytes());
    for time in [modified, changed] {
        let (before, since) = match time.duration_since(UNIX_EPOCH) {
            Ok(since) => (false, since),
            Err(error) => (true, error.duration()),
        };
        hash.update([u8::from(before)]);
        hash.update(since.as_nanos().to_be_bytes());
    }
    let digest: [u8; 32] = hash.finalize().into();
    let (first, _) = digest.split_first_chunk()?;
    Some(u64::from_be_bytes(*first))
}

/// A file's number, and when anything about it was last changed: no program can set that.
#[cfg(unix)]
fn on_disk(found: &Metadata) -> (u64, Option<SystemTime>) {
    use std::os::unix::fs::MetadataExt;
    let seconds = u64::try_from(found.ctime()).ok();
    let nanoseconds = u32::try_from(found.ctime_nsec()).unwrap_or_default().min(999_999_999);
    let time = seconds.and_then(|seconds| UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds)));
    (found.ino(), time)
}

#[cfg(not(unix))]
fn on_disk(_: &Metadata) -> (u64, Option<SystemTime>) {
    (0, None)
}

/// The disk. In tests it can fail at any step.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// How many more changes it makes; `None` for no end.
    #[cfg(test)]
    pub(crate) steps: Option<u32>,
    /// The failure that comes then.
    #[cfg(test)]
    pub(crate) failure: Option<io::ErrorKind>,
}

impl Disk {
    #[cfg(not(test))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "in tests it can fail")]
    fn step(&mut self) -> io::Result<()> {
        Ok(())
    }

    #[cfg(test)]
    fn step(&mut self) -> io::Result<()> {
        match &mut self.steps {
            Some(0) => Err(self.failure.unwrap_or(io::ErrorKind::Other).into()),
            Some(left) => {
                *left = left.saturating_sub(1);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Writes a new file beside the one it is going to replace. It is on the disk after [`flush`].
    pub(crate) fn stage(&mut self, temporary: &Path, content: &[u8], like: &Path) -> io::Result<File> {
        self.step()?;
        let mut file = OpenOptions::new().write(true).create_new(true).open(temporary)?;
        let written = self.step().and_then(|()| file.write_all(content));
        let kept = written.and_then(|()| match fs::metadata(like) {
            Ok(old) => file.set_permissions(old.permissions()),
            Err(_) => Ok(()),
        });
        kept.map(|()| file)
    }

    /// Puts a staged file in its place; `new` where there must be none yet.
    pub(crate) fn place(&mut self, temporary: &Path, to: &Path, new: bool) -> io::Result<()> {
        self.step()?;
        if !new {
            return fs::rename(temporary, to);
        }
        match fs::hard_link(temporary, to) {
            Ok(()) => self.step().and_then(|()| fs::remove_file(temporary)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            // A file system without links.
            Err(_) if !exists(to) => fs::rename(temporary, to),
            Err(_) => Err(io::ErrorKind::AlreadyExists.into()),
        }
    }

    pub(crate) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.step()?;
        fs::remove_file(path)
    }

    /// Makes a folder unless it is there.
    pub(crate) fn make_folder(&mut self, path: &Path) -> io::Result<()> {
        self.step()?;
        match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            done => done,
        }
    }

    pub(crate) fn remove_folder(&mut self, path: &Path) -> io::Result<()> {
        self.step()?;
        fs::remove_dir(path)
    }
}

/// Opens a file for [`flush`]. It may be one that nobody may write to: it has the permissions of the file it replaces.
pub(crate) fn to_flush(path: &Path) -> io::Result<File> {
    if cfg!(unix) {
        return File::open(path);
    }
    OpenOptions::new().write(true).open(path)
}

/// Waits until the disk has all of these files. Several wait at once: a disk that takes milliseconds to confirm one file
/// confirms many in the same time, and folders have tens of thousands. Gives what failed, by the file's place in the list.
pub(crate) fn flush(files: &[File]) -> Vec<(usize, io::Error)> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut failed = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = files.get(at) else { return failed };
            failed.extend(file.sync_all().err().map(|error| (at, error)));
        }
    };
    std::thread::scope(|scope| {
        let spare = FLUSHERS.min(files.len()).saturating_sub(1);
        // This thread works, too: where no other can be had it does all of it.
        let others: Vec<_> = (0..spare)
            .map_while(|_| std::thread::Builder::new().spawn_scoped(scope, work).ok())
            .collect();
        let mut failed = work();
        for other in others {
            match other.join() {
                Ok(theirs) => failed.extend(theirs),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        failed
    })
}

/// Whether something is there, a link that leads nowhere too.
pub(crate) fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Waits until the disk has what was done in a folder. Windows has no call for it; its file systems keep the order.
pub(crate) fn flush_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(path)?.sync_all()?;
    }
    Ok(())
}

/// A whole file of at most `max` bytes, and how it stood before it was read; `None` when it is not there.
pub(crate) fn read(path: &Path, max: u64) -> io::Result<Option<(Vec<u8>, Metadata)>> {
    let file = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
        // Opening a pipe would wait for its other end.
        Ok(found) if !found.is_file() => return Err(io::Error::other("it is no file")),
        Ok(_) => File::open(path)?,
    };
    let found = file.metadata()?;
    let likely = usize::try_from(found.len().min(1 << 20)).unwrap_or_default();
    let mut content = Vec::with_capacity(likely.saturating_add(1));
    file.take(max.saturating_add(1)).read_to_end(&mut content)?;
    if content.len() as u64 > max {
        return Err(io::Error::other(format!(
            "it is larger than the {max} bytes that are allowed"
        )));
    }
    Ok(Some((content, found)))
}

/// What a file holds now; `None` when it is not there.
pub(crate) fn tag(path: &Path, max: u64) -> io::Result<Option<Tag>> {
    Ok(read(path, max)?.map(|(content, _)| Tag::of(&content)))
}

/// The name of a temporary file, which every program that uses such folders passes over.
pub(crate) fn temporary_name(session: &str, number: u32) -> String {
    format!(".cabled-{session}-{number}.tmp")
}

/// Whether a name is one that [`temporary_name`] gives.
pub(crate) fn is_temporary(name: &str) -> bool {
    let middle = name.strip_prefix(".cabled-").and_then(|name| name.strip_suffix(".tmp"));
    let Some((session, number)) = middle.and_then(|middle| middle.rsplit_once('-')) else {
        return false;
    };
    session.len() == 36
        && session.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// Removes a temporary file that an earlier session left, unless it is so young that a session may still need it.
pub(crate) fn remove_leftover(path: &Path) {
    let modified = fs::symlink_metadata(path).and_then(|found| found.modified());
    let old = modified.is_ok_and(|modified| {
        SystemTime::now()
            .duration_since(modified)
            .is_ok_and(|age| age > LEFTOVER)
    });
    if old && let Err(error) = fs::remove_file(path) {
        tracing::debug!(%error, "a temporary file of an earlier session stays");
    }
}
