//! What a phone should hold: how many bytes, how many files, how many of each record.

/// The largest number that a setter takes for a count of files or rows.
const MAX_COUNT: u64 = 10_000_000;
/// The largest payload, 1 PiB.
const MAX_BYTES: u64 = 1 << 50;

/// How to fill a phone. Everything follows from it: the same recipe gives the same phone, to the byte.
///
/// There is a fixed core of some 100 files (databases, settings, apps, odd names and sizes, about 1.5 MB); `files` and
/// `bytes` say how large the whole becomes, with photos, videos, documents and small files sharing what the core
/// leaves. A phone of 50 GB costs no disk and less than 1 KB of memory per file.
///
/// ```
/// use cabled_virtualdevice::contents::{Recipe, fill};
/// use cabled_virtualdevice::fs::Fs;
///
/// let fs = Fs::new(64 << 30);
/// fill(&fs, &Recipe::tiny().seed(7).messages(50))?;
/// assert!(fs.get("HomeDomain", "Library/SMS/sms.db").is_some());
/// # Ok::<(), cabled_virtualdevice::contents::ContentsError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    pub(super) seed: u64,
    pub(super) bytes: u64,
    pub(super) files: u64,
    pub(super) large_files: u64,
    pub(super) now: i64,
    pub(super) contacts: u64,
    pub(super) messages: u64,
    pub(super) attachments: u64,
    pub(super) calls: u64,
    pub(super) notes: u64,
    pub(super) events: u64,
    pub(super) visits: u64,
    pub(super) odd_names: bool,
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $max:expr;)*) => {
        $($(#[$doc])*
        #[must_use]
        pub fn $name(mut self, $name: u64) -> Self {
            self.$name = $name.min($max);
            self
        })*
    };
}

impl Recipe {
    /// For tests: 112 files, 1.9 MB, made in milliseconds.
    #[must_use]
    pub fn tiny() -> Self {
        Self {
            seed: 1,
            bytes: 1_900_000,
            files: 112,
            large_files: 0,
            now: 1_700_000_000,
            contacts: 12,
            messages: 40,
            attachments: 3,
            calls: 20,
            notes: 5,
            events: 8,
            visits: 20,
            odd_names: true,
        }
    }

    /// For showing it: about 200 MB in 2,000 files.
    #[must_use]
    pub fn demo() -> Self {
        let rows = Self {
            contacts: 180,
            messages: 3_000,
            attachments: 60,
            ..Self::tiny()
        };
        Self {
            bytes: 200_000_000,
            files: 2_000,
            calls: 400,
            notes: 80,
            events: 200,
            visits: 1_500,
            ..rows
        }
    }

    /// Many small files, 2 KiB each on average.
    #[must_use]
    pub fn many_small(files: u64) -> Self {
        Self::demo()
            .files(files)
            .bytes(files.min(MAX_COUNT).saturating_mul(2048).max(8 << 20))
    }

    /// The core, and `bytes` in eight large videos.
    #[must_use]
    pub fn few_large(bytes: u64) -> Self {
        Self::tiny().files(0).large_files(8).bytes(bytes)
    }

    setters! {
        /// The seed of all contents; 1 unless set.
        seed: u64::MAX;
        /// Payload of the whole phone in bytes; at most 1 PiB. Met exactly, unless the core and the shortest photos and
        /// videos of so many files need more.
        bytes: MAX_BYTES;
        /// Regular files of the whole phone; at most 10 million. Met exactly, unless the core, the large files and one
        /// file that takes the rest of the bytes are more. Directories and links come on top.
        files: MAX_COUNT;
        /// Videos that share nearly all bytes among them; 0 unless set.
        large_files: 100_000;
        /// People in the address book.
        contacts: MAX_COUNT;
        /// Messages in `sms.db`, and half as many in `ChatStorage.sqlite`.
        messages: MAX_COUNT;
        /// Pictures attached to messages; each is a file of the core.
        attachments: 100_000;
        /// Calls in `CallHistory.storedata`.
        calls: MAX_COUNT;
        /// Notes in `NoteStore.sqlite`.
        notes: MAX_COUNT;
        /// Events in `Calendar.sqlitedb`.
        events: MAX_COUNT;
        /// Visits in Safari's `History.db`.
        visits: MAX_COUNT;
    }

    /// The moment the phone is made for, in seconds since 1970: nothing on it is newer, most things are up to three
    /// years older. November 2023 unless set; clamped to the years 2004 to 2100.
    #[must_use]
    pub fn now(mut self, seconds: i64) -> Self {
        self.now = seconds.clamp(1_072_915_200, 4_102_444_800);
        self
    }

    /// Whether the app `com.example.oddities` holds its odd names: emoji, twins in case and in Unicode form, trailing
    /// dots, colons, names that Windows refuses, 255 bytes, deep folders. On unless set.
    #[must_use]
    pub fn odd_names(mut self, odd_names: bool) -> Self {
        self.odd_names = odd_names;
        self
    }
}

impl Default for Recipe {
    /// [`Recipe::demo`].
    fn default() -> Self {
        Self::demo()
    }
}
