//! Opening a backup, with its password if it has one.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

use cabled::mobilebackup::archive::{Archive, ArchiveError, OpenOptions, Phase, Progress};

use zeroize::Zeroizing;

use crate::{Failure, password};

/// Opens a backup and unlocks it. A folder that another program decrypted is opened as such.
pub fn archive(folder: &Path) -> Result<Archive, Failure> {
    let mut archive = match Archive::open(folder) {
        Err(ArchiveError::AlreadyDecrypted) => {
            eprintln!(
                "{} was decrypted by another program; files are read as they are",
                folder.display()
            );
            OpenOptions::default().already_decrypted(true).open(folder)?
        }
        opened => opened?,
    };
    if archive.is_locked() {
        let password = Zeroizing::new(password::ask(&format!("Password of {}", folder.display()))?);
        let mut last = 0;
        let mut show = |progress: &Progress| {
            let percent = progress.done * 100 / progress.total.unwrap_or(1).max(1);
            if progress.phase == Phase::DerivingKey && percent != last {
                last = percent;
                eprint!("\runlocking: {percent} %");
                let _ = std::io::stderr().flush();
            }
            ControlFlow::Continue(())
        };
        let unlocked = archive.unlock_observed(password.as_bytes(), &mut show);
        eprintln!();
        match unlocked {
            // A password with accents may have been typed in another form; this tries them all.
            Err(ArchiveError::WrongPassword) if !password.is_ascii() => archive.unlock(&password)?,
            unlocked => drop(unlocked?),
        }
    }
    Ok(archive)
}
