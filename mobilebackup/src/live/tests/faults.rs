//! Folders that fail: after a stop at any operation the old backup is there or can be had back, or a new run completes.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cabled_devicelink::msg::{Message, Naming, Status};
use cabled_wire::dict;
use cabled_wire::plist::{self, Dictionary, Value};

use super::device::{Device, file, pair};
use super::{Host, U};
use crate::folder::plain::{PlainFolder, Recovery, SnapshotState};
use crate::folder::{
    BackupFolder, CommitPoint, Download, FolderError, FolderRun, Listed, Opener, Purpose, Scope, ScopedPath, Upload,
};
use crate::live::error::BackupError;
use crate::live::request::Request;

/// A plain folder whose operations fail from the `stop`-th on.
struct Faulty {
    inner: PlainFolder,
    faults: Faults,
}

#[derive(Clone)]
struct Faults {
    done: Arc<AtomicUsize>,
    stop: usize,
    /// Only writes fail, and because the disk is full.
    full: bool,
    /// Only the flush at this point fails, once: a system tells of a failed write-back one time only.
    flush: Option<CommitPoint>,
}

impl Faults {
    fn check(&self, write: bool) -> Result<(), FolderError> {
        if self.flush.is_some() || self.full && !write {
            return Ok(());
        }
        if self.done.fetch_add(1, Ordering::Relaxed) < self.stop {
            return Ok(());
        }
        let source = if self.full {
            io::ErrorKind::StorageFull.into()
        } else {
            io::Error::other("pulled")
        };
        Err(FolderError::Io {
            op: "reach",
            path: String::new(),
            source,
        })
    }
}

impl BackupFolder for Faulty {
    fn opener(&self, scope: &Scope) -> Opener {
        let (opener, faults) = (self.inner.opener(scope), self.faults.clone());
        Box::new(move || {
            Ok(Box::new(FaultyRun {
                inner: opener()?,
                faults,
            }))
        })
    }
}

struct FaultyRun {
    inner: Box<dyn FolderRun>,
    faults: Faults,
}

struct FaultyUpload {
    inner: Box<dyn Upload>,
    faults: Faults,
}

impl FolderRun for FaultyRun {
    fn list(&mut self, dir: &ScopedPath) -> Result<Vec<Listed>, FolderError> {
        self.faults.check(false)?;
        self.inner.list(dir)
    }

    fn create_dir(&mut self, dir: &ScopedPath) -> Result<(), FolderError> {
        self.faults.check(false)?;
        self.inner.create_dir(dir)
    }

    fn rename(&mut self, from: &ScopedPath, to: &ScopedPath) -> Result<(), FolderError> {
        self.faults.check(false)?;
        self.inner.rename(from, to)
    }

    fn remove(&mut self, path: &ScopedPath) -> Result<(), FolderError> {
        self.faults.check(false)?;
        self.inner.remove(path)
    }

    fn copy(&mut self, from: &ScopedPath, to: &ScopedPath) -> Result<(), FolderError> {
        self.faults.check(false)?;
        self.inner.copy(from, to)
    }

    fn upload(&mut self, path: &ScopedPath) -> Result<Box<dyn Upload>, FolderError> {
        self.faults.check(false)?;
        Ok(Box::new(FaultyUpload {
            inner: self.inner.upload(path)?,
            faults: self.faults.clone(),
        }))
    }

    fn download(&mut self, path: &ScopedPath) -> Result<Box<dyn Download>, FolderError> {
        self.inner.download(path)
    }

    fn free_space(&mut self) -> Result<u64, FolderError> {
        self.inner.free_space()
    }

    fn commit(&mut self, point: CommitPoint) -> Result<(), FolderError> {
        self.faults.check(false)?;
        if self.faults.flush == Some(point) && self.faults.done.fetch_add(1, Ordering::Relaxed) == 0 {
            return Err(FolderError::Io {
                op: "flush",
                path: String::new(),
                source: io::Error::other("lost"),
            });
        }
        self.inner.commit(point)
    }
}

impl Upload for FaultyUpload {
    fn write(&mut self, data: &[u8]) -> Result<(), FolderError> {
        self.faults.check(true)?;
        self.inner.write(data)
    }

    fn finish(self: Box<Self>) -> Result<(), FolderError> {
        self.faults.check(false)?;
        self.inner.finish()
    }
}

type Contents = BTreeMap<String, Vec<u8>>;

fn contents(files: &[(&str, &str)]) -> Contents {
    files
        .iter()
        .map(|(name, data)| ((*name).to_owned(), data.as_bytes().to_vec()))
        .collect()
}

/// A manifest that says what belongs to the backup, so that a reader can tell old from new.
fn manifest(files: &Contents) -> Vec<u8> {
    files.keys().flat_map(|name| name.bytes().chain([b'\n'])).collect()
}

/// A device that backs up `new` over `old` and gives up at the first failure; did it finish?
async fn device_backs_up(device: &mut Device, old: &Contents, new: &Contents) -> bool {
    device.handshake().await;
    let done = steps(device, old, new).await.is_some();
    device.respond(if done { 0 } else { 104 }, None).await;
    device.goodbye().await;
    done
}

async fn steps(device: &mut Device, old: &Contents, new: &Contents) -> Option<()> {
    let ok = |status: Status| status.is_ok().then_some(());
    let options = Dictionary::new;
    let at = |tail: &str| format!("{U}/{tail}");
    let (status_path, snapshot) = (at("Status.plist"), at("Snapshot"));
    let status = |state: &str| plist::to_binary(&Value::Dictionary(dict! { "SnapshotState" => state }));
    let create = |path: String| Message::CreateDirectory {
        path,
        options: options(),
        progress: None,
    };
    device.download(&[&status_path]).await;
    ok(device.ask(create(snapshot.clone())).await)?;
    ok(device.upload(&[file(&status_path, &status("uploading"))]).await)?;
    let paths: Vec<String> = new.keys().map(|name| at(&format!("Snapshot/{name}"))).collect();
    let files: Vec<_> = paths
        .iter()
        .zip(new.values())
        .map(|(path, data)| file(path, data))
        .collect();
    ok(device.upload(&files).await)?;
    let (manifest_path, manifest) = (at("Snapshot/Manifest.plist"), manifest(new));
    ok(device.upload(&[file(&manifest_path, &manifest)]).await)?;
    ok(device.upload(&[file(&status_path, &status("moving"))]).await)?;
    let moves = |names: Vec<&str>| Message::MoveItems {
        items: names
            .into_iter()
            .map(|name| (at(&format!("Snapshot/{name}")), at(name)))
            .collect(),
        options: options(),
        progress: None,
        naming: Naming::Items,
    };
    ok(device.ask(moves(new.keys().map(String::as_str).collect())).await)?;
    ok(device.ask(moves(vec!["Manifest.plist"])).await)?;
    ok(device.upload(&[file(&status_path, &status("removing"))]).await)?;
    let gone: Vec<String> = old
        .keys()
        .filter(|name| !new.contains_key(*name))
        .map(|name| at(name))
        .collect();
    let removal = |paths| Message::RemoveItems {
        paths,
        options: options(),
        progress: None,
        naming: Naming::Items,
    };
    ok(device.ask(removal(gone)).await)?;
    ok(device.ask(removal(vec![snapshot])).await)?;
    ok(device.upload(&[file(&status_path, &status("finished"))]).await)
}

async fn back_up(folder: &dyn BackupFolder, old: &Contents, new: &Contents) -> Result<(), BackupError> {
    let (mut device, stream) = pair();
    let host = Host::new(Purpose::Backup).run(stream, folder, Request::Backup { force_full: false });
    let (result, done) = tokio::join!(host, device_backs_up(&mut device, old, new));
    assert!(done || result.is_err(), "a failure was taken for success");
    result.map(drop)
}

/// The files of a backup, its own bookkeeping left out.
fn stored(device: &Path) -> (Contents, Vec<u8>) {
    let mut files = Contents::new();
    for entry in fs::read_dir(device.join("ab")).unwrap() {
        let entry = entry.unwrap();
        files.insert(
            format!("ab/{}", entry.file_name().to_str().unwrap()),
            fs::read(entry.path()).unwrap(),
        );
    }
    (files, fs::read(device.join("Manifest.plist")).unwrap())
}

#[tokio::test]
async fn a_stop_at_any_operation_leaves_the_old_backup_or_one_that_a_new_run_completes() {
    let old = contents(&[
        ("ab/same", "same"),
        ("ab/changed", "before"),
        ("ab/gone", "gone"),
        ("ab/empty", ""),
    ]);
    let new = contents(&[
        ("ab/same", "same"),
        ("ab/changed", "after"),
        ("ab/new", "new"),
        ("ab/empty", ""),
    ]);
    let (mut rolled_back, mut completed) = (0, 0);
    for stop in 0.. {
        let root = tempfile::tempdir().unwrap();
        let folder = PlainFolder::new(root.path());
        back_up(&folder, &Contents::new(), &old).await.unwrap();
        let device = folder.device_path(U);
        assert_eq!(stored(&device), (old.clone(), manifest(&old)));

        let faults = Faults {
            done: Arc::default(),
            stop,
            full: false,
            flush: None,
        };
        let result = back_up(
            &Faulty {
                inner: folder.clone(),
                faults,
            },
            &old,
            &new,
        )
        .await;
        let recovery = folder.recovery(U).unwrap();
        match &recovery {
            Recovery::Finished => {
                let (files, manifest_now) = stored(&device);
                let is_new = manifest_now == manifest(&new);
                assert_eq!(files, if is_new { new.clone() } else { old.clone() }, "stop {stop}");
            }
            Recovery::Interrupted {
                state: Some(SnapshotState::Uploading),
                roll_back: true,
            } => {
                assert_eq!(stored(&device), (old.clone(), manifest(&old)), "stop {stop}");
                assert!(folder.roll_back(U).unwrap());
                assert_eq!(folder.recovery(U).unwrap(), Recovery::Finished);
                assert_eq!(stored(&device), (old.clone(), manifest(&old)));
                assert!(!device.join("Snapshot").exists());
                rolled_back += 1;
            }
            Recovery::Interrupted {
                state: Some(SnapshotState::Moving | SnapshotState::Removing),
                ..
            } => {
                back_up(&folder, &old, &new).await.unwrap();
                assert_eq!(stored(&device), (new.clone(), manifest(&new)), "stop {stop}");
                completed += 1;
            }
            other => panic!("stop {stop}: {other:?}"),
        }
        if result.is_ok() {
            assert_eq!(recovery, Recovery::Finished);
            assert_eq!(stored(&device), (new.clone(), manifest(&new)));
            break;
        }
    }
    assert!(
        rolled_back >= 8 && completed >= 8,
        "{rolled_back} rolled back, {completed} completed"
    );
}

#[tokio::test]
async fn a_full_disk_is_drained_and_answered_with_its_code() {
    let root = tempfile::tempdir().unwrap();
    let faults = Faults {
        done: Arc::default(),
        stop: 2,
        full: true,
        flush: None,
    };
    let folder = Faulty {
        inner: PlainFolder::new(root.path()),
        faults,
    };
    let (mut device, stream) = pair();
    let device_side = async {
        device.handshake().await;
        let paths: Vec<String> = (0..200).map(|n| format!("{U}/Snapshot/{n}")).collect();
        let data = vec![3_u8; 10_000];
        let files: Vec<_> = paths.iter().map(|path| file(path, &data)).collect();
        let status = device.upload(&files).await;
        assert_eq!((status.code, status.text.as_str()), (-15, "No space left on device"));
        assert!(
            device.ask(Message::GetFreeDiskSpace).await.is_ok(),
            "the stream is in step"
        );
        device
            .respond(104, Some("Multiple errors uploading files (MBErrorDomain/104)"))
            .await;
        device.goodbye().await;
    };
    let host = Host::new(Purpose::Backup).run(stream, &folder, Request::Backup { force_full: false });
    let (result, ()) = tokio::join!(host, device_side);
    assert_eq!(result.unwrap_err().device_code(), Some(104));
    assert!(fs::read_dir(root.path().join(U).join("Snapshot")).unwrap().count() <= 2);
}

#[tokio::test]
async fn one_file_that_cannot_be_stored_is_named_in_a_multi_status() {
    let root = tempfile::tempdir().unwrap();
    let folder = PlainFolder::new(root.path());
    fs::create_dir_all(folder.device_path(U).join("Snapshot/taken")).unwrap();
    let (mut device, stream) = pair();
    let device_side = async {
        device.handshake().await;
        let (taken, free) = (format!("{U}/Snapshot/taken"), format!("{U}/Snapshot/free"));
        let status = device.upload(&[file(&taken, b"x"), file(&free, b"y")]).await;
        let failures = status.file_failures();
        assert_eq!(
            (failures.len(), failures[0].path.as_str(), failures[0].code),
            (1, taken.as_str(), -9)
        );
        device.respond(104, None).await;
        device.goodbye().await;
    };
    let host = Host::new(Purpose::Backup).run(stream, &folder, Request::Backup { force_full: false });
    let (result, ()) = tokio::join!(host, device_side);
    assert!(result.is_err());
    assert_eq!(fs::read(folder.device_path(U).join("Snapshot/free")).unwrap(), b"y");
}

#[tokio::test]
async fn a_flush_that_failed_once_is_not_forgotten() {
    for point in [CommitPoint::Uploaded, CommitPoint::BeforeMoves, CommitPoint::Arranged] {
        let root = tempfile::tempdir().unwrap();
        let folder = Faulty {
            inner: PlainFolder::new(root.path()),
            faults: Faults {
                done: Arc::default(),
                stop: 0,
                full: false,
                flush: Some(point),
            },
        };
        let (mut device, stream) = pair();
        let device_side = async {
            device.handshake().await;
            let (from, to) = (format!("{U}/Snapshot/x"), format!("{U}/x"));
            let mut failures = 0;
            failures += usize::from(!device.upload(&[file(&from, b"x")]).await.is_ok());
            let moving = Message::MoveItems {
                items: vec![(from, to)],
                options: Dictionary::new(),
                progress: None,
                naming: Naming::Items,
            };
            failures += usize::from(!device.ask(moving).await.is_ok());
            assert_eq!(failures, 1, "{point:?}");
            device.respond(0, None).await; // the device overlooks it
            device.goodbye().await;
        };
        let host = Host::new(Purpose::Backup).run(stream, &folder, Request::Backup { force_full: false });
        let (result, ()) = tokio::join!(host, device_side);
        assert!(
            matches!(result, Err(BackupError::Incomplete { .. })),
            "{point:?}: {result:?}"
        );
    }
}
