//! The metadata of a backup that is read before anything else: Status, Manifest.plist, Manifest.db.

use std::path::{Path, PathBuf};

use tokio::task::spawn_blocking;

use super::super::error::{LocalError, Outcome, Stop, internal, refusal_under, refuse};
use super::super::fetch::{self, Fetched};
use super::super::format::keybag::{ClassKeys, Keybag, Locked};
use super::super::format::plists::{MAX_PLIST, Manifest, SnapshotState, Status};
use super::super::run::missing_or;
use super::super::session::Session;

/// A backup, opened.
#[derive(Debug)]
pub(in crate::backup) struct Opened {
    pub(in crate::backup) encrypted: bool,
    /// Class keys; of an unencrypted backup only if its bag opens with the empty password.
    pub(in crate::backup) keys: Option<ClassKeys>,
    /// Manifest.db, decrypted, in the caller's temporary folder.
    pub(in crate::backup) database: PathBuf,
}

/// Downloads and opens the metadata of the source; the database goes into `folder`.
pub(in crate::backup) async fn open(session: &mut Session, folder: &Path, password: Option<&[u8]>) -> Outcome<Opened> {
    let (_, manifest) = plists(session).await?;
    let keys = unlock(session, &manifest, password).await?;
    let codes = session.codes();
    let key = match (&keys, manifest.manifest_key) {
        (Some(keys), Some(key)) if manifest.is_encrypted => {
            let Some(key) = keys.unwrap_file_key(&key, None) else {
                return refuse(codes.invalid_backup, "Error reading backup properties");
            };
            Some(key)
        }
        // iOS 10.0 and 10.1 left the database of an encrypted backup as it was.
        _ => None,
    };
    let database = folder.join("restore.db");
    let path = format!("{}/Manifest.db", session.source);
    match fetch::file(session, &path, 1.0, &database, key).await? {
        Fetched::Whole => Ok(Opened {
            encrypted: manifest.is_encrypted,
            keys,
            database,
        }),
        Fetched::Missing => Err(damaged(
            session,
            "Error reading backup database",
            "No such file or directory",
            4,
        )),
        Fetched::Damaged => refuse(codes.invalid_backup, "Error reading backup database"),
    }
}

/// Status.plist, which must say that the backup is finished, and Manifest.plist.
pub(in crate::backup) async fn plists(session: &mut Session) -> Outcome<(Status, Manifest)> {
    let codes = session.codes();
    let source = session.source.clone();
    let (bytes, answer) = session
        .link
        .download_small(&format!("{source}/Status.plist"), 0.0, 1 << 20)
        .await?;
    let Some(bytes) = bytes else {
        missing_or(&answer, codes.properties, "Error reading status")?;
        return refuse(
            codes.not_found,
            &format!("No such file or directory at path \"{source}/Status.plist\""),
        );
    };
    let Ok(status) = Status::decode(&bytes) else {
        return Err(damaged(session, "Error reading backup status", "Cannot parse it", 11));
    };
    if !matches!(status.state, SnapshotState::Finished | SnapshotState::Other) {
        return refuse(
            codes.invalid_backup,
            "Cannot ensure we restore from a successful backup",
        );
    }
    let (bytes, answer) = session
        .link
        .download_small(&format!("{source}/Manifest.plist"), 0.5, MAX_PLIST)
        .await?;
    let properties = "Error reading backup properties";
    let Some(bytes) = bytes else {
        missing_or(&answer, codes.properties, properties)?;
        return Err(damaged(session, properties, "No such file or directory", 4));
    };
    match Manifest::decode(&bytes) {
        Ok(manifest) => Ok((status, manifest)),
        Err(_) => Err(damaged(
            session,
            properties,
            "Cannot parse a NULL or zero-length data",
            11,
        )),
    }
}

fn damaged(session: &Session, text: &str, under: &str, number: i64) -> Stop {
    Stop::Refuse(refusal_under(session.codes().invalid_backup, text, under, number))
}

/// Opens the keybag; takes as long as its rounds of derivation do.
async fn unlock(session: &mut Session, manifest: &Manifest, password: Option<&[u8]>) -> Outcome<Option<ClassKeys>> {
    let codes = session.codes();
    let Some(bag) = &manifest.keybag else {
        // Builders of unencrypted backups leave the bag out.
        return if manifest.is_encrypted {
            refuse(codes.invalid_backup, "Error reading backup properties")
        } else {
            Ok(None)
        };
    };
    let password = match (password, manifest.is_encrypted) {
        (Some(password), true) => zeroize::Zeroizing::new(password.to_vec()),
        (None, true) => return refuse(codes.invalid_password, "Invalid password"),
        (_, false) => zeroize::Zeroizing::new(Vec::new()),
    };
    let bag = Keybag::decode(bag);
    let opened = match bag {
        Ok(bag) => {
            let open = spawn_blocking(move || bag.open(&password)).await;
            open.map_err(|_| internal(codes.generic, &LocalError::Abandoned))?
        }
        Err(_) => Err(Locked::Damaged),
    };
    match opened {
        Ok(keys) => Ok(Some(keys)),
        Err(_) if !manifest.is_encrypted => Ok(None),
        Err(Locked::WrongPassword) => refuse(codes.invalid_password, "Invalid password"),
        Err(Locked::Damaged) => refuse(codes.invalid_backup, "Error reading backup properties"),
    }
}
