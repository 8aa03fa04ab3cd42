//! `Info`, `List`, `Unback` and `Extract`: answered as far as the generation does (spec mobilebackup2 14.7 and 14.8).

use std::sync::Arc;

use cabled_devicelink::msg::Message;
use cabled_wire::plist::{DictExt, Dictionary};
use cabled_wire::secret::SecretString;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::error::{LocalError, Outcome, ServeError, internal, refuse};
use super::fetch;
use super::format::database::{self, Reader};
use super::format::record::Record;
use super::restore::open_metadata;
use super::run::{Source, send_own, whole};
use super::session::Session;
use super::{FileId, fetch::Fetched};
use crate::fs::map;

/// A description of status and properties, in the manner of a phone's debugger.
pub(super) async fn info(session: &mut Session) -> Outcome<String> {
    let codes = session.codes();
    if !session.profile().answers_info_and_list {
        return Err(ServeError::Dropped {
            request: "Info".to_owned(),
        }
        .into());
    }
    let (status, manifest) = super::restore::metadata_plists(session).await?;
    if manifest.is_encrypted {
        return refuse(codes.invalid_password, "Invalid password");
    }
    let date = |time: std::time::SystemTime| {
        let since = time
            .duration_since(std::time::SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        since.as_secs()
    };
    let keys: Vec<&String> = manifest.lockdown.keys().collect();
    Ok(format!(
        "<MBStatus: version={}, date={}, backupState=new, snapshotState={:?}, fullBackup={}>\n\
         <MBProperties: version={}, systemDomainsVersion={}, date={}, encrypted={}, passcodeSet={}, lockdownKeys={keys:?}, \
         applications={}>\n",
        status.version,
        date(status.date),
        status.state,
        u8::from(status.is_full),
        manifest.version,
        manifest.system_domains_version,
        date(manifest.date),
        u8::from(manifest.is_encrypted),
        u8::from(manifest.was_passcode_set),
        manifest.applications.len(),
    ))
}

/// One line of comma-separated values for each file. Phones since iOS 10 look for an index of iOS 9 and fail; this one
/// answers where the profile says so.
pub(super) async fn list(session: &mut Session) -> Outcome<String> {
    let codes = session.codes();
    if !session.profile().answers_info_and_list {
        return refuse(codes.invalid_backup, "Error reading backup database: no Manifest.mbdb");
    }
    let folder = tempfile::tempdir().map_err(|error| internal(codes.generic, &error))?;
    let opened = open_metadata(session, folder.path(), None).await?;
    let list = spawn_blocking(move || -> Result<String, LocalError> {
        let mut out = String::from("domain,path,kind,size,modified\n");
        Reader::open(&opened.database)?.rows(|row| {
            let record = Record::decode(row.file)?;
            let kind = match row.flags {
                database::DIRECTORY => "directory",
                database::SYMLINK => "link",
                _ => "file",
            };
            let (size, modified) = (record.size, record.mtime);
            let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
            out.push_str(&format!(
                "{},{},{kind},{size},{modified}\n",
                quoted(row.domain),
                quoted(row.path)
            ));
            Ok(())
        })?;
        Ok(out)
    });
    let list = list.await.unwrap_or(Err(LocalError::Abandoned));
    list.or_else(|_| refuse(codes.invalid_backup, "Error reading backup database"))
}

/// Writes the whole backup as plain files to `_unback_` on the host. Worked up to iOS 9; later phones read the manifest
/// and drop the link.
pub(super) async fn unback(session: &mut Session, request: &Dictionary) -> Outcome<()> {
    extract_where(session, request, "Unback", |_, _| true).await
}

/// Writes one file to `_unback_`.
pub(super) async fn extract(session: &mut Session, request: &Dictionary) -> Outcome<()> {
    let text = |key: &str| request.opt_text(key).ok().flatten().unwrap_or_default().to_owned();
    let (domain, path) = (text("DomainName"), text("RelativePath"));
    extract_where(session, request, "Extract", move |d, p| d == domain && p == path).await
}

async fn extract_where(
    session: &mut Session,
    request: &Dictionary,
    name: &str,
    chosen: impl Fn(&str, &str) -> bool + Send + 'static,
) -> Outcome<()> {
    let codes = session.codes();
    let password = request
        .opt_text("Password")
        .ok()
        .flatten()
        .map(|text| SecretString::from(text.to_owned()));
    let folder = tempfile::tempdir().map_err(|error| internal(codes.generic, &error))?;
    let password = password.as_ref().map(|password| password.expose().as_bytes());
    let opened = open_metadata(session, folder.path(), password).await?;
    let root = format!("_unback_/{}", session.target);
    create(session, &root).await?;
    if !session.profile().unback {
        return Err(ServeError::Dropped {
            request: name.to_owned(),
        }
        .into());
    }
    let place = opened.database.clone();
    let read = spawn_blocking(move || -> Result<Vec<(FileId, String, i64, Record)>, LocalError> {
        let mut rows = Vec::new();
        Reader::open(&place)?.rows(|row| {
            if chosen(row.domain, row.path) {
                let shown =
                    map::device_path(row.domain, row.path).unwrap_or_else(|| format!("/{}/{}", row.domain, row.path));
                rows.push((row.id, shown, row.flags, Record::decode(row.file)?));
            }
            Ok(())
        })?;
        rows.sort_by(|a, b| a.1.cmp(&b.1));
        Ok(rows)
    });
    let Ok(rows) = read.await.unwrap_or(Err(LocalError::Abandoned)) else {
        return refuse(codes.invalid_backup, "Error reading backup database");
    };
    if rows.is_empty() {
        return refuse(codes.not_found, "No such file or directory in the backup");
    }
    let keys = opened.keys.map(Arc::new);
    for (id, shown, flags, record) in rows {
        let host = format!("{root}{shown}");
        match flags {
            database::DIRECTORY => create(session, &host).await?,
            database::FILE => {
                if let Some((parent, _)) = host.rsplit_once('/') {
                    create(session, parent).await?;
                }
                let key = match (&keys, &record.key) {
                    (Some(keys), Some(key)) => keys.unwrap_file_key(key, Some(record.class)),
                    _ => None,
                };
                copy_out(session, folder.path(), id, &shown, host, key).await?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Fetches a payload, decrypts it, and sends it back under its own name.
async fn copy_out(
    session: &mut Session,
    folder: &std::path::Path,
    id: FileId,
    shown: &str,
    host: String,
    key: Option<super::format::keybag::Key>,
) -> Outcome<()> {
    let codes = session.codes();
    let place = folder.join("payload");
    let stored = format!("{}/{}", session.source, id.stored_path());
    match fetch::file(session, &stored, 50.0, &place, key).await? {
        Fetched::Whole => {}
        Fetched::Missing => return refuse(codes.invalid_backup, "Multiple errors downloading files"),
        Fetched::Damaged => return refuse(codes.invalid_backup, "Error decrypting some files"),
    }
    let file = std::fs::File::open(&place).map_err(|error| internal(codes.generic, &error))?;
    let (sender, mut receiver) = mpsc::channel(fetch::PIPELINE);
    let files = vec![(shown.to_owned(), host, Source::File(file, None))];
    let block = session.profile().upload_block;
    let work = spawn_blocking(move || send_own(files, sender, block));
    let answer = session.link.upload(75.0, 0, &mut receiver).await?;
    let (_, answer) = whole(work.await.unwrap_or(Err(LocalError::Abandoned)), answer)?;
    if answer.is_ok() {
        Ok(())
    } else {
        refuse(codes.files_failed, "Multiple errors uploading files")
    }
}

async fn create(session: &mut Session, path: &str) -> Outcome<()> {
    let message = Message::CreateDirectory {
        path: path.to_owned(),
        options: Dictionary::new(),
        progress: Some(0.0),
    };
    let answer = session.link.ask(&message, "a new directory").await?;
    if answer.is_ok() {
        Ok(())
    } else {
        refuse(session.codes().files_failed, "Error creating directory")
    }
}
