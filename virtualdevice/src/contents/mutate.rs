//! A day of use.

use std::sync::Arc;

use cabled_wire::plist::{self, Limits, Value};

use super::builder::DAY;
use super::bulk::Shot;
use super::db;
use super::error::ContentsError;
use super::noise::sentence;
use super::picture::MIN_JPEG_LEN;
use super::seed::Seed;
use crate::fs::{Content, Entry, Fs, Kind, Meta, map};

/// A file's domain and path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The backup domain.
    pub domain: Arc<str>,
    /// The path inside it.
    pub path: Arc<str>,
}

/// What [`mutate`] did, file by file. Times of directories change besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// New files.
    pub added: Vec<Place>,
    /// Files with new contents.
    pub edited: Vec<Place>,
    /// Files that are gone.
    pub removed: Vec<Place>,
    /// Files that moved with the same contents: from where, to where.
    pub renamed: Vec<(Place, Place)>,
    /// The row of the new message in `sms.db`.
    pub message: Option<i64>,
}

impl Changes {
    /// How many files a backup has to send: new, edited and moved ones.
    #[must_use]
    pub fn to_send(&self) -> usize {
        self.added
            .len()
            .saturating_add(self.edited.len())
            .saturating_add(self.renamed.len())
    }
}

/// How many photos are taken and thrown away in a day.
const TAKEN: u64 = 5;
const DELETED: usize = 2;
/// Settings larger than this are nobody's settings.
const MAX_PLIST: u64 = 1 << 20;

struct Day<'a> {
    fs: &'a Fs,
    seed: Seed,
    now: i64,
    changes: Changes,
}

/// Lives a day with a phone: five photos taken, two thrown away, a message received, a note edited, a setting changed,
/// a document written and another renamed.
///
/// A pure function of what is on the phone and `seed`: the day is the one after the newest file of its messages.
/// Whatever a phone does not have is left out. Use another seed for every day.
///
/// # Errors
/// [`ContentsError::Sqlite`] or [`ContentsError::Read`] if a peer has replaced a database by something else;
/// [`ContentsError::Fs`] if the phone is full.
pub fn mutate(fs: &Fs, seed: u64) -> Result<Changes, ContentsError> {
    let last = fs
        .get(map::HOME, db::SMS)
        .map_or(1_700_000_000_000_000_000, |entry| entry.meta.mtime);
    let seed = Seed::new(seed).child("day");
    let mut day = Day {
        fs,
        seed,
        now: last.saturating_add(DAY),
        changes: Changes::default(),
    };
    day.message()?;
    day.note()?;
    day.photos()?;
    day.settings()?;
    day.documents()?;
    Ok(day.changes)
}

fn place(entry: &Entry) -> Place {
    Place {
        domain: Arc::clone(&entry.domain),
        path: Arc::clone(&entry.path),
    }
}

impl Day<'_> {
    /// New contents for an existing file.
    fn replace(&mut self, entry: &Entry, content: Content) -> Result<(), ContentsError> {
        let meta = Meta {
            mtime: self.now,
            ctime: self.now,
            ..entry.meta.clone()
        };
        self.fs.put(&entry.domain, &entry.path, Kind::File(content), meta)?;
        self.changes.edited.push(place(entry));
        Ok(())
    }

    fn add(&mut self, domain: &str, path: &str, content: Content) -> Result<(), ContentsError> {
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        self.fs.create_dir_all(domain, parent)?;
        let meta = Meta::file().with_times(self.now);
        let entry = self.fs.put(domain, path, Kind::File(content), meta)?;
        self.touch(domain, parent)?;
        self.changes.added.push(place(&entry));
        Ok(())
    }

    fn remove(&mut self, entry: &Entry) -> Result<(), ContentsError> {
        self.fs.remove(&entry.domain, &entry.path)?;
        self.touch(&entry.domain, entry.parent().unwrap_or_default())?;
        self.changes.removed.push(place(entry));
        Ok(())
    }

    /// The day's time for a directory whose children changed, in place of the host's clock.
    fn touch(&self, domain: &str, path: &str) -> Result<(), ContentsError> {
        let now = self.now;
        Ok(self
            .fs
            .update_meta(domain, path, |meta| (meta.mtime, meta.ctime) = (now, now))?)
    }

    fn message(&mut self) -> Result<(), ContentsError> {
        let Some((entry, content)) = self.file(map::HOME, db::SMS) else {
            return Ok(());
        };
        let (content, row) = db::edit(&content, |db| db::add_message(db, self.seed.child("message"), self.now))?;
        self.changes.message = Some(row);
        self.replace(&entry, content)
    }

    fn note(&mut self) -> Result<(), ContentsError> {
        let Some((entry, content)) = self.file(db::NOTES_DOMAIN, db::NOTES) else {
            return Ok(());
        };
        let (content, row) = db::edit(&content, |db| db::edit_note(db, self.seed.child("note"), self.now))?;
        if row.is_some() {
            self.replace(&entry, content)
        } else {
            Ok(())
        }
    }

    fn photos(&mut self) -> Result<(), ContentsError> {
        let rolls = self.fs.children(map::CAMERA_ROLL, "Media/DCIM");
        let rolls: Vec<_> = rolls.iter().filter(|roll| roll.name().ends_with("APPLE")).collect();
        let shots = |roll: &Entry| self.fs.children(map::CAMERA_ROLL, &roll.path);
        // Numbers go on after the highest one of the last folder.
        let last = rolls.last().map(|roll| {
            shots(roll)
                .iter()
                .filter_map(|shot| number(shot))
                .max()
                .unwrap_or_default()
        });
        let old: Vec<_> = rolls
            .first()
            .into_iter()
            .flat_map(|roll| shots(roll))
            .filter(|shot| shot.is_file())
            .collect();
        let (mut added, mut gone) = (Vec::new(), Vec::new());
        for number in (last.unwrap_or_default() + 1..).take(usize::try_from(TAKEN).unwrap_or_default()) {
            let (shot, seed) = (Shot { number, video: false }, self.seed.child("shot").nth(number));
            let len = MIN_JPEG_LEN + seed.word(1) % 60_000;
            self.add(map::CAMERA_ROLL, &shot.path(), Content::jpeg(seed.value(), len))?;
            added.push((shot, seed));
        }
        let start = usize::try_from(self.seed.word(2))
            .unwrap_or_default()
            .checked_rem(old.len())
            .unwrap_or_default();
        for shot in old
            .iter()
            .cycle()
            .skip(start)
            .take(DELETED.min(old.len().saturating_sub(1)))
        {
            self.remove(shot)?;
            gone.push(Arc::clone(shot));
        }
        let Some((entry, content)) = self.file(map::CAMERA_ROLL, db::PHOTOS) else {
            return Ok(());
        };
        let (content, ()) = db::edit(&content, |db| {
            added
                .iter()
                .try_for_each(|(shot, seed)| db::add_shot(db, *shot, *seed, self.now))?;
            gone.iter().try_for_each(|shot| {
                let folder = shot
                    .parent()
                    .and_then(|parent| parent.strip_prefix("Media/"))
                    .unwrap_or_default();
                db::delete_shot(db, folder, shot.name())
            })
        })?;
        self.replace(&entry, content)
    }

    fn settings(&mut self) -> Result<(), ContentsError> {
        let path = "Library/Preferences/com.apple.mobilesafari.plist";
        let Some((entry, content)) = self.file(map::HOME, path) else {
            return Ok(());
        };
        let Ok(mut dict) = plist::read_dict(&content.to_bytes(MAX_PLIST)?, &Limits::default()) else {
            return Ok(());
        };
        dict.insert("LastQuery".to_owned(), sentence(self.seed.child("query"), 3).into());
        self.replace(&entry, Content::bytes(plist::to_binary(&Value::Dictionary(dict))))
    }

    fn documents(&mut self) -> Result<(), ContentsError> {
        let domain = map::app_domain("com.example.reader");
        let document = format!("Documents/Draft {:08x}.txt", self.seed.word(3) & 0xffff_ffff);
        if self.fs.get(&domain, "Documents").is_none() {
            return Ok(());
        }
        let text = Content::text(self.seed.child("draft").value(), 1000 + self.seed.word(4) % 5000);
        self.add(&domain, &document, text)?;
        let Some((old, _)) = self.file(&domain, "Documents/Read Me.txt") else {
            return Ok(());
        };
        let new = "Documents/Read Me (old).txt";
        self.fs.rename(&domain, &old.path, &domain, new)?;
        self.touch(&domain, "Documents")?;
        let moved = Place {
            domain: Arc::clone(&old.domain),
            path: new.into(),
        };
        self.changes.renamed.push((place(&old), moved));
        Ok(())
    }

    fn file(&self, domain: &str, path: &str) -> Option<(Arc<Entry>, Content)> {
        let entry = self.fs.get(domain, path)?;
        let content = entry.content()?.clone();
        Some((entry, content))
    }
}

/// The number of `Media/DCIM/123APPLE/IMG_4567.JPG` in the whole camera roll, as [`Shot`] counts.
fn number(entry: &Entry) -> Option<u64> {
    let folder: u64 = entry
        .parent()?
        .rsplit('/')
        .next()?
        .strip_suffix("APPLE")?
        .parse()
        .ok()?;
    let in_folder: u64 = entry.name().get(4..8)?.parse().ok()?;
    Some((folder.min(1 << 32)).checked_sub(100)? * 1000 + in_folder % 1000)
}
