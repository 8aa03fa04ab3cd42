//! The end of a run: manifest, moves, removals, and the check of what the host has now.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use cabled_devicelink::msg::{Message, Naming};
use cabled_wire::dict;
use cabled_wire::plist::{Dictionary, Value};
use tokio::task::spawn_blocking;

use super::super::FileId;
use super::super::error::{LocalError, Outcome, refuse};
use super::super::fetch;
use super::super::format::database::Writer;
use super::super::format::keybag::Key;
use super::super::format::plists::{MAX_PLIST, Manifest, SnapshotState};
use super::super::plan::Item;
use super::super::report::BackupReport;
use super::super::script::{Moment, Torture};
use super::super::state::Protection;
use super::payload::{Sent, Source};
use super::{Run, backed_up, expected, opening, share};
use crate::profile::Profile;

/// Paths in one RemoveItems.
const REMOVALS: usize = 128;
/// The class that protects Manifest.db.
const MANIFEST_CLASS: u8 = 4;

/// What the uploads came to.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) items: Arc<Vec<Item>>,
    pub(super) sent: Vec<Sent>,
    /// `domain-path` of payloads that ended in a failure block.
    pub(super) failed: Vec<String>,
    /// Payloads to remove; `None` if only a listing can tell.
    pub(super) stale: Option<Vec<FileId>>,
    pub(super) began: SystemTime,
}

/// What the host must hand back in the end.
#[derive(Debug)]
struct Stored {
    manifest_plist: Vec<u8>,
    manifest_db: [u8; 32],
    status: Vec<u8>,
}

impl Run<'_> {
    /// From the manifest to the verified backup.
    pub(super) async fn commit(
        &mut self,
        writer: Writer,
        protection: &Protection,
        folder: &Path,
        mut finished: Finished,
        full: bool,
    ) -> Outcome<BackupReport> {
        let (manifest_plist, manifest_db) = self.manifest(writer, protection, folder, finished.began).await?;
        self.moment(Moment::BeforeMoving).await?;
        self.torture_late().await?;
        self.status(SnapshotState::Moving, 91.0).await?;
        self.moves(&finished.sent).await?;
        self.status(SnapshotState::Removing, 95.0).await?;
        let failed: HashSet<FileId> = finished.failed.iter().map(|name| id_of(name)).collect();
        let stale = match finished.stale.take() {
            Some(stale) => stale,
            None => {
                let expected = expected(&finished.items, &finished.sent, &failed);
                opening::listed(self.session, expected).await?.strangers
            }
        };
        let target = self.session.target.clone();
        for stale in stale.chunks(REMOVALS) {
            self.remove(
                stale
                    .iter()
                    .map(|id| format!("{target}/{}", id.stored_path()))
                    .collect(),
                96.0,
            )
            .await?;
        }
        self.remove(vec![format!("{target}/Snapshot")], 97.0).await?;
        let status = self.status(SnapshotState::Finished, 97.0).await?;
        self.verify(
            &Stored {
                manifest_plist,
                manifest_db,
                status,
            },
            &finished,
            &failed,
        )
        .await?;
        self.moment(Moment::BeforeResult).await?;
        let entries = backed_up(&finished.items, &failed);
        let files_sent = finished.sent.len() as u64;
        let files = entries.iter().filter(|entry| entry.entry.is_file()).count() as u64;
        Ok(BackupReport {
            uuid: self.uuid.clone(),
            encrypted: self.encrypted,
            full,
            entries,
            files_sent,
            bytes_sent: finished
                .sent
                .iter()
                .fold(0, |sum, sent| sum.saturating_add(sent.stored)),
            files_kept: files.saturating_sub(files_sent),
            files_removed: stale.len() as u64,
            failed: finished.failed,
            elapsed: self.session.started.elapsed(),
        })
    }

    /// Finishes and uploads the two manifest files: the bytes of Manifest.plist, SHA-256 of Manifest.db as stored.
    async fn manifest(
        &mut self,
        writer: Writer,
        protection: &Protection,
        folder: &Path,
        began: SystemTime,
    ) -> Outcome<(Vec<u8>, [u8; 32])> {
        let key = if self.encrypted && self.session.profile().encrypts_manifest_db {
            Some(Key::random().map_err(|error| self.local(&error.into()))?)
        } else {
            None
        };
        let wrapped = key
            .as_ref()
            .and_then(|key| protection.keys.wrap_file_key(MANIFEST_CLASS, key));
        let manifest = manifest_plist(self.session, protection, self.encrypted, wrapped, began).encode();
        let database = folder.join("Manifest.db");
        let finish = move || -> Result<std::fs::File, LocalError> {
            writer.finish()?;
            Ok(std::fs::File::open(database)?)
        };
        let file = spawn_blocking(finish).await.unwrap_or(Err(LocalError::Abandoned));
        let file = file.map_err(|error| self.local(&error))?;
        let target = self.session.target.clone();
        let place = |name: &str| (format!("/var/tmp/{name}"), format!("{target}/Snapshot/{name}"));
        let (db_device, db_host) = place("Manifest.db");
        let (plist_device, plist_host) = place("Manifest.plist");
        let files = vec![
            (db_device, db_host, Source::File(file, key)),
            (plist_device, plist_host, Source::Bytes(manifest.clone())),
        ];
        let stored = self.upload_own(files, 90.5).await?;
        let database = stored.first().map(|(sha256, _)| *sha256).unwrap_or_default();
        Ok((manifest, database))
    }

    pub(super) fn naming(&self) -> Naming {
        if self.script.has(&Torture::LegacyNames) {
            Naming::Files
        } else {
            Naming::Items
        }
    }

    /// Moves every payload out of `Snapshot`, then the manifest files, one message each.
    async fn moves(&mut self, sent: &[Sent]) -> Outcome<()> {
        let target = self.session.target.clone();
        for folder in sent.iter().map(|sent| sent.id.folder()).collect::<BTreeSet<u8>>() {
            self.create(&format!("{target}/{folder:02x}"), 91.0).await?;
        }
        let pair = |name: &str| (format!("{target}/Snapshot/{name}"), format!("{target}/{name}"));
        let per_message = self.session.profile().moves_per_message.max(1);
        let mut done = 0_u64;
        for batch in sent.chunks(per_message) {
            done = done.saturating_add(batch.len() as u64);
            let percent = 4.0_f64.mul_add(share(done, sent.len() as u64), 91.0);
            let items = batch.iter().map(|sent| pair(&sent.id.stored_path())).collect();
            self.move_items(items, percent).await?;
        }
        for name in ["Manifest.db", "Manifest.plist"] {
            self.move_items(vec![pair(name)], 95.0).await?;
        }
        Ok(())
    }

    async fn move_items(&mut self, items: Vec<(String, String)>, percent: f64) -> Outcome<()> {
        let progress = self.session.link.progress(percent);
        let naming = self.naming();
        let message = Message::MoveItems {
            items,
            options: Dictionary::new(),
            progress,
            naming,
        };
        let answer = self.session.link.ask(&message, "a move").await?;
        self.accepted(&answer, "Error moving files into place")
    }

    /// Reads back what the host has and ends with 205 if it is not what was sent.
    async fn verify(&mut self, stored: &Stored, finished: &Finished, failed: &HashSet<FileId>) -> Outcome<()> {
        let target = self.session.target.clone();
        let path = |name: &str| format!("{target}/{name}");
        let (status, _) = self
            .session
            .link
            .download_small(&path("Status.plist"), 98.0, 1 << 20)
            .await?;
        let (manifest, _) = self
            .session
            .link
            .download_small(&path("Manifest.plist"), 98.0, MAX_PLIST)
            .await?;
        let database = fetch::digest(self.session, &path("Manifest.db"), 100.0).await?;
        let code = self.session.codes().invalid_backup;
        if status.as_ref() != Some(&stored.status) {
            return refuse(code, "Error reading backup status");
        }
        if manifest.as_ref() != Some(&stored.manifest_plist) {
            return refuse(code, "Error reading backup properties");
        }
        if database != Some(stored.manifest_db) {
            return refuse(code, "Error reading backup database");
        }
        if self.session.profile().lists_at_end {
            let expected = expected(&finished.items, &finished.sent, failed);
            let listed = opening::listed(self.session, expected).await?;
            if let Some(first) = listed.missing.first() {
                tracing::debug!(%first, missing = listed.missing.len(), "the host lacks payloads");
                return refuse(code, "Manifest references files not in backup");
            }
        }
        Ok(())
    }
}

/// The id of `domain-path`.
fn id_of(name: &str) -> FileId {
    // The id hashes exactly this text, wherever the domain ends.
    FileId::of_name(name)
}

fn manifest_plist(
    session: &super::super::session::Session,
    protection: &Protection,
    encrypted: bool,
    manifest_key: Option<[u8; 44]>,
    date: SystemTime,
) -> Manifest {
    let profile: &Profile = session.profile();
    let phone = &session.phone;
    let mut lockdown = Dictionary::new();
    for key in [
        "BuildVersion",
        "DeviceClass",
        "DeviceName",
        "ProductType",
        "ProductVersion",
        "SerialNumber",
        "UniqueDeviceID",
    ] {
        if let Some(value @ Value::String(_)) = phone.value(None, key) {
            lockdown.insert(key.to_owned(), value);
        }
    }
    for domain in [
        "com.apple.Accessibility",
        "com.apple.MobileDeviceCrashCopy",
        "com.apple.TerminalFlashr",
        "com.apple.mobile.data_sync",
        "com.apple.mobile.iTunes.accessories",
        "com.apple.mobile.wireless_lockdown",
    ] {
        lockdown.insert(domain.to_owned(), Value::Dictionary(phone.domain(Some(domain))));
    }
    Manifest {
        version: profile.manifest_version.clone(),
        date,
        system_domains_version: profile.system_domains_version.clone(),
        was_passcode_set: phone.has_passcode(),
        is_encrypted: encrypted,
        keybag: Some(protection.bag.encode()),
        manifest_key,
        lockdown,
        applications: applications(session),
    }
}

/// One entry for each app, plug-in and group that has a domain in the backup.
fn applications(session: &super::super::session::Session) -> Dictionary {
    let mut out = Dictionary::new();
    for domain in session.phone.fs().domains() {
        let kinds = [
            ("AppDomain-", "Data/Application"),
            ("AppDomainPlugin-", "Data/PluginKitPlugin"),
            ("AppDomainGroup-", "Shared/AppGroup"),
        ];
        let found = kinds
            .iter()
            .find_map(|(prefix, class)| Some((domain.strip_prefix(prefix)?, *class)));
        let Some((identifier, class)) = found else { continue };
        let mut entry = dict! { "CFBundleIdentifier" => identifier, "ContainerContentClass" => class };
        if class == "Data/Application" {
            let uuid = crate::fs::map::container_uuid(&domain).to_string().to_uppercase();
            let name = identifier.rsplit('.').next().unwrap_or(identifier);
            entry.insert(
                "Path".into(),
                format!("/var/containers/Bundle/Application/{uuid}/{name}.app").into(),
            );
            entry.insert("CFBundleVersion".into(), "1".into());
        }
        out.insert(identifier.to_owned(), Value::Dictionary(entry));
    }
    out
}
