//! Puts entries into an empty phone: parents first, times and numbers the same on every build.

use std::collections::BTreeSet;

use cabled_wire::plist::{self, Dictionary, Value};

use super::error::ContentsError;
use super::seed::Seed;
use crate::fs::{Content, Fs, Kind, Meta};

pub(super) const SECOND: i64 = 1_000_000_000;
pub(super) const DAY: i64 = 86_400 * SECOND;
/// Seconds from 1970 to 2001, where Apple's clocks start.
pub(super) const APPLE_EPOCH: i64 = 978_307_200;

#[derive(Debug)]
pub(super) struct Builder<'a> {
    fs: &'a Fs,
    pub seed: Seed,
    /// The moment the phone is built for, nanoseconds since 1970.
    pub now: i64,
    directories: BTreeSet<(String, String)>,
    files: u64,
    bytes: u64,
}

impl<'a> Builder<'a> {
    pub(super) fn new(fs: &'a Fs, seed: Seed, now: i64) -> Self {
        Self {
            fs,
            seed,
            now,
            directories: BTreeSet::new(),
            files: 0,
            bytes: 0,
        }
    }

    /// Regular files so far.
    pub(super) fn files(&self) -> u64 {
        self.files
    }

    /// Bytes of all files so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A time in the three years before now, the same for the same place.
    pub(super) fn time(&self, domain: &str, path: &str) -> i64 {
        let mut draws = self.seed.child("time").child(domain).child(path).draws();
        let seconds = draws.below_i64(3 * 365 * 86_400);
        self.now - seconds * SECOND - draws.below_i64(SECOND)
    }

    /// A directory and its parents, if they are not there yet.
    pub(super) fn directory(&mut self, domain: &str, path: &str) -> Result<(), ContentsError> {
        if self.directories.contains(&(domain.to_owned(), path.to_owned())) {
            return Ok(());
        }
        let meta = Meta::directory().with_times(self.time(domain, path));
        self.directory_with(domain, path, meta)
    }

    pub(super) fn directory_with(&mut self, domain: &str, path: &str, meta: Meta) -> Result<(), ContentsError> {
        self.parent(domain, path)?;
        self.fs.put(domain, path, Kind::Directory, meta)?;
        self.directories.insert((domain.to_owned(), path.to_owned()));
        Ok(())
    }

    fn parent(&mut self, domain: &str, path: &str) -> Result<(), ContentsError> {
        match path.rsplit_once('/') {
            Some((parent, _)) => self.directory(domain, parent),
            None if path.is_empty() => Ok(()),
            None => self.directory(domain, ""),
        }
    }

    /// A user's file; the protection class is that of most files, with some of every other one.
    pub(super) fn file(&mut self, domain: &str, path: &str, content: Content) -> Result<(), ContentsError> {
        let class = match self.seed.child("class").child(domain).child(path).word(0) % 16 {
            0 => 1,
            1 => 2,
            2..=5 => 4,
            _ => 3,
        };
        let meta = Meta::file()
            .with_times(self.time(domain, path))
            .with_protection_class(class);
        self.file_with(domain, path, content, meta)
    }

    pub(super) fn file_with(
        &mut self,
        domain: &str,
        path: &str,
        content: Content,
        meta: Meta,
    ) -> Result<(), ContentsError> {
        self.parent(domain, path)?;
        self.files += 1;
        self.bytes = self.bytes.saturating_add(content.len());
        self.fs.put(domain, path, Kind::File(content), meta)?;
        Ok(())
    }

    pub(super) fn link(&mut self, domain: &str, path: &str, target: &str) -> Result<(), ContentsError> {
        self.parent(domain, path)?;
        let meta = Meta::symlink().with_times(self.time(domain, path));
        self.fs.put(domain, path, Kind::Symlink(target.to_owned()), meta)?;
        Ok(())
    }

    /// A file with a binary plist.
    pub(super) fn plist(&mut self, domain: &str, path: &str, dict: Dictionary) -> Result<(), ContentsError> {
        self.file(domain, path, Content::bytes(plist::to_binary(&Value::Dictionary(dict))))
    }

    /// The second since 2001 of a moment `days` days and `seconds` seconds before now.
    pub(super) fn apple_time(&self, days: i64, seconds: i64) -> i64 {
        self.now / SECOND - APPLE_EPOCH - days * 86_400 - seconds
    }
}
