//! One sync with one device, with everything that stands around it.

use std::path::{Path, PathBuf};

use cabled::lockdown::{Escrow, Paired};
use cabled::syncproto::DataClass;
use cabled::syncproto::availability::{Access, Availability};
use cabled::syncproto::guard::{GuardOptions, SyncGuard};
use cabled::syncproto::pair::{Pair, Progress, Request, Synced};
use cabled::syncproto::replica::{BookmarksFile, Device, OnThread, Replica, SingleFile, Vdir};
use cabled::syncproto::session::{SessionOptions, SyncLink};
use cabled::syncproto::store::{FileStore, MemoryStore, StateStore};
use cabled::wire::ids::Udid;
use cabled_examples::Failure;

/// Where the records on this computer are.
#[derive(Clone, Debug)]
pub enum Place {
    /// A folder of files.
    Folder(PathBuf),
    /// One file with everything.
    File(PathBuf),
    /// What the device once told, which is to replace what it has.
    Snapshot(u64),
}

/// A class, its place here, and where it is kept what both sides agreed on.
#[derive(Clone, Debug)]
pub struct Sync {
    pub class: DataClass,
    pub place: Place,
    pub state: PathBuf,
}

impl Sync {
    /// Asks whether the class can be had, takes the lock, syncs, and gives the lock back.
    pub async fn run(&self, paired: &Paired, request: &Request) -> Result<Synced, Failure> {
        let availability = Availability::read(paired, self.class.clone()).await?;
        availability.check(Access::ReadAndWrite)?;
        let store = FileStore::open(&self.state)?;
        let guard = SyncGuard::begin(paired, &GuardOptions::default()).await?;
        let synced = tokio::select! {
            synced = self.exchange(paired, request, store) => synced,
            // The session is dropped: the device keeps nothing of it, and the journal says how far it came.
            () = guard.cancelled() => Err("somebody pressed cancel on the device; nothing is lost".into()),
            _ = tokio::signal::ctrl_c() => Err("stopped; nothing is lost, and the next sync goes on from here".into()),
        };
        guard.close().await;
        synced
    }

    async fn exchange(&self, paired: &Paired, request: &Request, store: FileStore) -> Result<Synced, Failure> {
        let stream = paired.start_service("com.apple.mobilesync", Escrow::IfNeeded).await?;
        let link = SyncLink::connect(stream, SessionOptions::default()).await?;
        let mut device = Device::new(link, self.class.clone());
        if let Some(build) = paired.get_value(None, Some("BuildVersion")).await?
            && let Some(build) = build.as_string()
        {
            device = device.with_build(build);
        }
        match (&self.place, &self.class) {
            (Place::Folder(folder), DataClass::Contacts) => {
                self.pair(device, OnThread::new(Vdir::contacts(folder)), store, request)
                    .await
            }
            (Place::Folder(folder), DataClass::Calendars) => {
                self.pair(device, OnThread::new(Vdir::calendars(folder)), store, request)
                    .await
            }
            (Place::Folder(_), _) => Err("bookmarks are one file: --file bookmarks.html or .json".into()),
            (Place::File(file), DataClass::Contacts) => {
                self.pair(device, OnThread::new(SingleFile::contacts(file)), store, request)
                    .await
            }
            (Place::File(file), DataClass::Calendars) => {
                self.pair(device, OnThread::new(SingleFile::calendars(file)), store, request)
                    .await
            }
            (Place::File(file), _) => {
                self.pair(device, OnThread::new(BookmarksFile::new(file)), store, request)
                    .await
            }
            (Place::Snapshot(number), _) => {
                let records = store.read_snapshot(*number)?.into_memory()?;
                // A pair of its own: what the files and the device agreed on is another matter, and the next sync with them
                // finds that somebody else wrote to the device.
                self.pair(device, records, MemoryStore::default(), request).await
            }
        }
    }

    async fn pair<C: Replica, S: StateStore>(
        &self,
        device: Device,
        computer: C,
        store: S,
        request: &Request,
    ) -> Result<Synced, Failure> {
        let mut pair = Pair::new(self.class.clone(), device, computer, store);
        let synced = pair.sync(request, &mut show).await;
        let (mut device, ..) = pair.into_parts();
        if let Some(link) = device.take_link() {
            link.close().await;
        }
        Ok(synced?)
    }
}

/// What is going on, on one line that changes.
fn show(progress: Progress<'_>) {
    match progress {
        Progress::Planned(plan) => eprintln!("\n{plan}"),
        progress => eprint!("\r{progress:<60}"),
    }
    if matches!(progress, Progress::Committed) {
        eprintln!();
    }
}

/// The user's data folder.
pub fn state_folder(udid: &Udid, class: &DataClass) -> Result<PathBuf, Failure> {
    let variable = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let data = variable("XDG_DATA_HOME").or_else(|| variable("LOCALAPPDATA"));
    let data = data.or_else(|| Some(variable("HOME")?.join(".local/share")));
    let data = data.ok_or("there is no home folder; say where the state is to be kept, with --state")?;
    let class = class.data_type().to_lowercase().replace(' ', "-");
    Ok(data.join("cabled/sync").join(udid.as_str()).join(class))
}

/// What is kept for undo, a line each.
pub fn list_snapshots(state: &Path) -> Result<(), Failure> {
    for snapshot in FileStore::open(state)?.snapshots()? {
        let broken_off = if snapshot.broken_off {
            ", before a sync that broke off"
        } else {
            ""
        };
        println!(
            "{:>4}  {} records, {} s after 1970{broken_off}",
            snapshot.number, snapshot.records, snapshot.at
        );
    }
    Ok(())
}
