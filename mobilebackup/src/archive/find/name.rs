//! What the name of a backup's folder says (spec backup-format, 1 and 18.2).

use std::fmt;

/// When Finder or iTunes archived a backup, by the clock and the time zone of that computer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArchivedAt {
    /// Year.
    pub year: u16,
    /// Month, 1 to 12.
    pub month: u8,
    /// Day, 1 to 31.
    pub day: u8,
    /// Hour, 0 to 23.
    pub hour: u8,
    /// Minute, 0 to 59.
    pub minute: u8,
    /// Second, 0 to 60.
    pub second: u8,
}

/// The name of a backup's folder, taken apart from the right: `<UDID>`, or `<UDID>-YYYYMMDD-HHMMSS` if archived.
///
/// ```
/// use cabled_mobilebackup::archive::find::FolderName;
///
/// let name = FolderName::parse("00008030-001A2B3C4D5E6F70-20220907-105231");
/// assert_eq!(name.device, "00008030-001A2B3C4D5E6F70");
/// assert_eq!(name.archived.map(|at| at.to_string()).as_deref(), Some("2022-09-07 10:52:31"));
/// assert!(name.is_udid());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FolderName<'a> {
    /// What comes before the date: the UDID, unless somebody chose another name.
    pub device: &'a str,
    /// The date of archiving.
    pub archived: Option<ArchivedAt>,
}

impl<'a> FolderName<'a> {
    /// Takes a name apart. UDIDs of recent devices have a hyphen of their own, so one alone means nothing.
    #[must_use]
    pub fn parse(name: &'a str) -> Self {
        /// `-YYYYMMDD-HHMMSS`.
        const SUFFIX: usize = 16;
        let parts = name.len().checked_sub(SUFFIX).and_then(|at| name.split_at_checked(at));
        let archived = parts.and_then(|(device, suffix)| Some((device, ArchivedAt::parse(suffix)?)));
        match archived.filter(|(device, _)| !device.is_empty()) {
            Some((device, at)) => Self {
                device,
                archived: Some(at),
            },
            None => Self {
                device: name,
                archived: None,
            },
        }
    }

    /// Whether the device's part is a UDID: 40 hex digits, or 8, a hyphen and 16.
    #[must_use]
    pub fn is_udid(&self) -> bool {
        let hex = |text: &str| text.bytes().all(|c| c.is_ascii_hexdigit());
        match self.device.split_once('-') {
            Some((head, tail)) => head.len() == 8 && tail.len() == 16 && hex(head) && hex(tail),
            None => self.device.len() == 40 && hex(self.device),
        }
    }
}

impl ArchivedAt {
    fn parse(suffix: &str) -> Option<Self> {
        let (date, time) = suffix.strip_prefix('-')?.split_once('-')?;
        let digits = |text: &str, len| text.len() == len && text.bytes().all(|c| c.is_ascii_digit());
        if !digits(date, 8) || !digits(time, 6) {
            return None;
        }
        let two = |text: &str, at: usize, range: std::ops::RangeInclusive<u8>| {
            let number = text.get(at..)?.get(..2)?.parse().ok()?;
            range.contains(&number).then_some(number)
        };
        Some(Self {
            year: date.get(..4)?.parse().ok()?,
            month: two(date, 4, 1..=12)?,
            day: two(date, 6, 1..=31)?,
            hour: two(time, 0, 0..=23)?,
            minute: two(time, 2, 0..=59)?,
            second: two(time, 4, 0..=60)?,
        })
    }
}

impl fmt::Display for ArchivedAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            year,
            month,
            day,
            hour,
            minute,
            second,
        } = self;
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
    }
}

impl serde::Serialize for ArchivedAt {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
