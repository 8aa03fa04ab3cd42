//! Checks a backup by reading all of it, and compares it with the phone it came from.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use cabled::mobilebackup::archive::verify::{FileCheck, Report, VerifyOptions};
use cabled::mobilebackup::archive::{Archive, Kind, Observer, Progress};
use cabled::virtualdevice::fs::{Digest, DigestKind};

use crate::Failure;

/// Opens a backup, with the password if it is encrypted, and reads and checks every file in it.
///
/// Blocks, and for an encrypted backup first spends about a second on the password. `on_file` sees every row.
pub fn read_all(
    folder: &Path,
    password: Option<&str>,
    on_file: impl FnMut(&FileCheck) + Send,
    on_bytes: impl FnMut(u64) + Send,
) -> Result<Report, Failure> {
    let mut archive = Archive::open(folder)?;
    if archive.is_locked() {
        archive.unlock(password.ok_or("the backup is encrypted and no password was given")?)?;
    }
    let mut observer = Each { on_file, on_bytes };
    let report = archive.verify(&VerifyOptions::default().sha256(true), &mut observer)?;
    if report.is_sound() {
        return Ok(report);
    }
    let findings: Vec<_> = report
        .damage
        .list
        .iter()
        .take(5)
        .map(|finding| format!("{finding:?}"))
        .collect();
    Err(format!(
        "the backup is damaged, {} findings: {}",
        report.damage.total(),
        findings.join("; ")
    )
    .into())
}

/// Checks a backup as [`read_all`] does, and that it holds exactly what `phone` says: each path, each link's target,
/// each file's SHA-256.
pub fn equals(
    folder: &Path,
    password: Option<&str>,
    phone: &[Digest],
    on_bytes: impl FnMut(u64) + Send,
) -> Result<Report, Failure> {
    let mut expected: BTreeMap<(Arc<str>, Arc<str>), &Digest> = phone
        .iter()
        .map(|digest| ((digest.domain.clone(), digest.path.clone()), digest))
        .collect();
    let mut wrong = Vec::new();
    let report = read_all(
        folder,
        password,
        |check| {
            let entry = &check.entry;
            let key = (Arc::from(&*entry.domain), Arc::from(&*entry.path));
            let same = match (expected.remove(&key).map(|digest| &digest.kind), &entry.kind) {
                (Some(DigestKind::File { sha256, .. }), Kind::File) => check.sha256 == Some(*sha256),
                (Some(DigestKind::Symlink(target)), Kind::Symlink) => entry.link_target.as_deref() == Some(&**target),
                (Some(DigestKind::Directory), Kind::Directory) => true,
                _ => false,
            };
            if !same {
                wrong.push(format!("{}-{}", entry.domain, entry.path));
            }
        },
        on_bytes,
    )?;
    wrong.extend(
        expected
            .keys()
            .map(|(domain, path)| format!("{domain}-{path} (not in the backup)")),
    );
    // The phone writes this file into each backup; it is not part of its tree.
    wrong.retain(|path| !path.starts_with("KeychainDomain-keychain-backup.plist"));
    if wrong.is_empty() {
        return Ok(report);
    }
    let shown: Vec<_> = wrong.iter().take(5).map(String::as_str).collect();
    Err(format!(
        "{} entries of the backup differ from the phone: {}",
        wrong.len(),
        shown.join(", ")
    )
    .into())
}

struct Each<F, B> {
    on_file: F,
    on_bytes: B,
}

impl<F: FnMut(&FileCheck) + Send, B: FnMut(u64) + Send> Observer for Each<F, B> {
    fn on_progress(&mut self, progress: &Progress) -> ControlFlow<()> {
        (self.on_bytes)(progress.bytes);
        ControlFlow::Continue(())
    }

    fn on_file(&mut self, check: &FileCheck) {
        (self.on_file)(check);
    }
}
