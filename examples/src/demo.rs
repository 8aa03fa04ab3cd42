//! Backups of a phone that does not exist, for trying the tools that read backups.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cabled::mobilebackup::archive::build::{BuildOptions, Builder, Details};
use cabled::wire::ids::Udid;

use crate::Failure;

/// 2026-03-01 08:00:00 UTC, when the first of them was made.
const FIRST: u64 = 1_772_352_000;

const DAY: u64 = 24 * 60 * 60;

/// Builds the backup that the phone made on its day `generation`, 0 the first, as `folder`. Between two of them
/// pictures come, a note goes and messages grow.
pub fn backup(folder: &Path, generation: u32) -> Result<PathBuf, Failure> {
    let udid: Udid = "00008140-0011223344556677".parse()?;
    let seconds = FIRST + u64::from(generation) * DAY;
    let options = BuildOptions::default()
        .udid(udid)
        .device_name("Demo iPhone")
        .date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    let mut builder = Builder::create(folder, options)?;
    let started = i64::try_from(FIRST)?;
    let now = i64::try_from(seconds)?;
    let old = || Details::default().modified(started - 86_400);
    let mut file = |domain: &str, path: &str, len: usize, details: &Details| -> Result<(), Failure> {
        // Contents that follow from the name, so that the same file is the same in every generation.
        let seed = path.bytes().fold(7_u8, |a, b| a.wrapping_mul(31).wrapping_add(b));
        let contents: Vec<u8> = (0..len).map(|i| seed.wrapping_add(i.to_le_bytes()[0])).collect();
        builder.file(domain, path, &contents[..], details)?;
        Ok(())
    };
    let grown = usize::try_from(generation)? * 4096;
    let messages = Details::default().modified(now);
    file("HomeDomain", "Library/SMS/sms.db", 40_960 + grown, &messages)?;
    file("HomeDomain", "Library/AddressBook/AddressBook.sqlitedb", 32_768, &old())?;
    file(
        "HomeDomain",
        "Library/CallHistoryDB/CallHistory.storedata",
        20_480 + grown,
        &messages,
    )?;
    file("HomeDomain", "Library/Safari/Bookmarks.db", 16_384, &old())?;
    file(
        "HomeDomain",
        "Library/Preferences/com.apple.springboard.plist",
        900,
        &old(),
    )?;
    file(
        "MediaDomain",
        "Library/SMS/Attachments/3f/15/ABC/picture.heic",
        60_000,
        &old(),
    )?;
    for number in 1..=20 + generation * 5 {
        let picture = format!("Media/DCIM/100APPLE/IMG_{number:04}.HEIC");
        let details = old().attribute("com.apple.assetsd.originalFilename", format!("IMG_{number:04}.HEIC"));
        file(
            "CameraRollDomain",
            &picture,
            90_000 + 1000 * usize::try_from(number)?,
            &details,
        )?;
    }
    if generation == 0 {
        file("AppDomain-com.example.notes", "Documents/to do.txt", 120, &old())?;
    }
    file("AppDomain-com.example.notes", "Documents/diary.txt", 2_000, &messages)?;
    file(
        "AppDomainGroup-group.com.example.notes.shared",
        "store.sqlite",
        24_576,
        &old(),
    )?;
    file(
        "AppDomainPlugin-com.example.notes.widget",
        "Library/Preferences/widget.plist",
        300,
        &old(),
    )?;
    builder.symlink(
        "AppDomain-com.example.notes",
        "Library/latest",
        "/var/mobile/Documents/diary.txt",
        &old(),
    )?;
    Ok(builder.finish()?.folder)
}
