//! The beginning of a run: what the host has, and what follows from it (spec mobilebackup2 9.2 and 9.3).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cabled_devicelink::msg::{Detail, Message, Status as Answer};
use cabled_wire::plist::{DictExt, Dictionary};
use tokio::task::spawn_blocking;

use super::super::FileId;
use super::super::error::{LocalError, Outcome, Stop, internal, refusal_under};
use super::super::fetch;
use super::super::format::database::Reader;
use super::super::format::keybag::Key;
use super::super::format::plists::{MAX_PLIST, Manifest, SnapshotState, Status};
use super::super::plan::Base;
use super::super::session::Session;
use super::super::state::Protection;
use crate::profile::LeftoverSnapshot;

/// What the host handed back.
#[derive(Debug, Default)]
pub(super) struct Opening {
    /// A manifest to build on; without it everything is sent.
    pub(super) base: Option<Base>,
    /// Something was there: payloads that nobody lists any more may be left over.
    pub(super) used: bool,
    /// An earlier run was cut off while it sent payloads.
    pub(super) resumable: bool,
    /// An earlier run was cut off: its `Snapshot` goes first.
    pub(super) leftover: bool,
}

/// Downloads the metadata and decides between full and incremental.
pub(super) async fn read(
    session: &mut Session,
    folder: &Path,
    protection: &Protection,
    encrypted: bool,
    force_full: bool,
) -> Outcome<Opening> {
    let codes = session.codes();
    let path = |name: &str, source: &str| format!("{source}/{name}");
    let source = session.source.clone();
    let (bytes, answer) = session
        .link
        .download_small(&path("Status.plist", &source), 0.0, 1 << 20)
        .await?;
    let Some(bytes) = bytes else {
        missing_or(&answer, codes.properties, "Error reading status")?;
        return Ok(Opening::default());
    };
    let invalid =
        |text: &str, under: &str, number| Stop::Refuse(refusal_under(codes.invalid_backup, text, under, number));
    let status = Status::decode(&bytes).map_err(|_| invalid("Error reading backup status", "Cannot parse it", 11))?;
    let mut opening = Opening {
        used: true,
        ..Opening::default()
    };
    // A run cut off before `moving` left the old backup whole; after it, payloads of two runs lie mixed.
    let forgiving = match status.state {
        SnapshotState::Moving | SnapshotState::Removing => {
            opening.leftover = true;
            return Ok(opening);
        }
        SnapshotState::Uploading => true,
        SnapshotState::Finished | SnapshotState::Other => false,
    };
    opening.resumable = forgiving;
    opening.leftover = forgiving && session.profile().leftover_snapshot == LeftoverSnapshot::StartOver;
    let (bytes, answer) = session
        .link
        .download_small(&path("Manifest.plist", &source), 0.0, MAX_PLIST)
        .await?;
    if bytes.is_none() {
        missing_or(&answer, codes.properties, "Error reading backup properties")?;
    }
    let manifest = match &bytes {
        Some(bytes) if !bytes.is_empty() => Manifest::decode(bytes).map_err(|_| (11, "Cannot parse the property list")),
        Some(_) => Err((11, "Cannot parse a NULL or zero-length data")),
        None => Err((4, "No such file or directory")),
    };
    let manifest = match manifest {
        Ok(manifest) => manifest,
        // The host's way to ask for a full backup, or nothing to build on.
        Err(_) if status.is_full || forgiving => return Ok(opening),
        Err((number, under)) => return Err(invalid("Error reading backup properties", under, number)),
    };
    let full = force_full || (status.is_full && session.profile().full_request_beats_manifest);
    if full || !same_keys(&manifest, protection, encrypted) {
        return Ok(opening);
    }
    let key = manifest
        .manifest_key
        .and_then(|key| protection.keys.unwrap_file_key(&key, None));
    let (from, to) = (path("Manifest.db", &source), folder.join("base.db"));
    match load_base(session, &from, to, key, &status.uuid, manifest.date).await? {
        Ok(base) => opening.base = Some(base),
        Err(_) if forgiving => return Ok(opening),
        Err((under, number)) => return Err(invalid("Error reading backup database", under, number)),
    }
    if session.profile().lists_at_start
        && let Some(base) = &opening.base
    {
        let expected = stored_payloads(base, encrypted).map_err(|error| internal(codes.generic, &error))?;
        if !listed(session, expected).await?.missing.is_empty() {
            tracing::debug!("the host lacks payloads of the last backup: sending everything");
            opening.base = None;
        }
    }
    Ok(opening)
}

/// The last backup's database, or what the refusal gives as its cause, with the number.
async fn load_base(
    session: &mut Session,
    from: &str,
    to: PathBuf,
    key: Option<Key>,
    uuid: &str,
    date: SystemTime,
) -> Outcome<Result<Base, (&'static str, i64)>> {
    const UNREADABLE: (&str, i64) = ("The database cannot be read", 11);
    let fetched = fetch::file(session, from, 0.0, &to, key).await?;
    let revisions = session.state.revisions(uuid);
    Ok(match fetched {
        fetch::Fetched::Whole => {
            let load = move || Base::load(Reader::open(&to)?, revisions, date);
            let loaded = spawn_blocking(load).await.unwrap_or(Err(LocalError::Abandoned));
            loaded.map_err(|error| {
                tracing::debug!(%error, "the last backup's database cannot be read");
                UNREADABLE
            })
        }
        fetch::Fetched::Missing => Err(("No such file or directory", 4)),
        fetch::Fetched::Damaged => Err(UNREADABLE),
    })
}

/// Every payload of the last backup, with its length at the host's.
fn stored_payloads(base: &Base, encrypted: bool) -> Result<HashMap<FileId, Option<u64>>, LocalError> {
    let stored = |size| {
        if encrypted {
            super::super::format::cipher::padded(size)
        } else {
            size
        }
    };
    let sizes = base.recorded_sizes()?;
    Ok(sizes.into_iter().map(|(id, size)| (id, Some(stored(size)))).collect())
}

/// Records can be kept only if the keys in them can be.
fn same_keys(manifest: &Manifest, protection: &Protection, encrypted: bool) -> bool {
    if manifest.is_encrypted != encrypted {
        return false;
    }
    let bag = manifest
        .keybag
        .as_deref()
        .map(super::super::format::keybag::Keybag::decode);
    // Nothing in an unencrypted backup depends on its bag.
    !encrypted || matches!(bag, Some(Ok(bag)) if bag.uuid == protection.keys.bag)
}

/// A file the host does not have is normal; one it cannot deliver is not.
pub(in crate::backup) fn missing_or(answer: &Answer, code: i64, text: &str) -> Outcome<()> {
    let failures = answer.file_failures();
    let code_of = |code: i64| code == cabled_devicelink::status::NO_ENTRY || code == -2;
    // Some hosts end the file with a failure block and list nothing.
    let missing = failures.iter().all(|failure| code_of(failure.code)) && matches!(answer.code, 0 | -13 | -6);
    if missing {
        return Ok(());
    }
    Err(super::super::error::refused_by_host(code, text, answer))
}

/// What a listing of the stored payloads showed.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// Expected payloads that are not there, or have another length.
    pub(super) missing: Vec<FileId>,
    /// Payloads nobody expected.
    pub(super) strangers: Vec<FileId>,
}

/// Lists the device's directory and the payload folders in it, and compares with what should be there; `None` for a
/// payload of unknown length. Directories that do not exist are not listed: pymobiledevice3 ends the session on one.
pub(super) async fn listed(session: &mut Session, mut expected: HashMap<FileId, Option<u64>>) -> Outcome<Listed> {
    let target = session.target.clone();
    let mut out = Listed::default();
    let root = list(session, &target).await?;
    let folders = root
        .iter()
        .filter(|(_, value)| file_type(value) == "DLFileTypeDirectory");
    let folders: Vec<String> = folders
        .map(|(name, _)| name.clone())
        .filter(|name| is_payload_folder(name))
        .collect();
    for folder in folders {
        for (name, value) in list(session, &format!("{target}/{folder}")).await? {
            let Some(id) = FileId::parse(&name).filter(|_| name.starts_with(&folder)) else {
                continue;
            };
            let size = value
                .as_dictionary()
                .and_then(|entry| entry.opt_integer("DLFileSize").ok().flatten());
            let size = size.and_then(|size| u64::try_from(size).ok());
            match expected.remove(&id) {
                Some(None) => {}
                Some(wanted) if wanted == size => {}
                Some(_) => out.missing.push(id),
                None => out.strangers.push(id),
            }
        }
    }
    out.missing.extend(expected.into_keys());
    Ok(out)
}

/// Payloads in `Snapshot`, with their lengths.
pub(super) async fn staged(session: &mut Session) -> Outcome<HashMap<FileId, u64>> {
    let mut out = HashMap::new();
    let target = session.target.clone();
    if !list(session, &target).await?.contains_key("Snapshot") {
        return Ok(out);
    }
    let snapshot = format!("{target}/Snapshot");
    let folders: Vec<String> = list(session, &snapshot)
        .await?
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    for folder in folders.iter().filter(|name| is_payload_folder(name)) {
        for (name, value) in list(session, &format!("{snapshot}/{folder}")).await? {
            let size = value
                .as_dictionary()
                .and_then(|entry| entry.opt_integer("DLFileSize").ok().flatten());
            if let (Some(id), Some(size)) = (FileId::parse(&name), size.and_then(|size| u64::try_from(size).ok())) {
                out.insert(id, size);
            }
        }
    }
    Ok(out)
}

fn is_payload_folder(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn file_type(value: &cabled_wire::plist::Value) -> &str {
    let entry = value.as_dictionary();
    entry
        .and_then(|entry| entry.opt_text("DLFileType").ok().flatten())
        .unwrap_or_default()
}

async fn list(session: &mut Session, path: &str) -> Outcome<Dictionary> {
    let message = Message::ContentsOfDirectory {
        path: path.to_owned(),
        options: Dictionary::new(),
    };
    let answer = session.link.ask(&message, "a directory listing").await?;
    match answer.detail {
        Detail::Dict(entries) if answer.code == 0 => Ok(entries),
        _ if answer.code == 0 => Ok(Dictionary::new()),
        _ => {
            let code = session.codes().files_failed;
            Err(super::super::error::refused_by_host(
                code,
                "Error listing backup directory",
                &answer,
            ))
        }
    }
}
