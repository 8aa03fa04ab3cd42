//! Pair records on disk, one file per device.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use cabled_wire::WireError;
use cabled_wire::ids::{SystemBuid, Udid};
use cabled_wire::plist::{DictExt, Dictionary, Limits, Value, read_dict, to_xml};
use cabled_wire::secret::SecretBytes;

/// The largest record kept or handed out, in bytes; real ones have 7 to 10 kB.
pub const MAX_RECORD: usize = 512 << 10;
/// Shorter data is no property list.
const MIN_RECORD: usize = 8;
const CONFIGURATION: &str = "SystemConfiguration";

/// The name of a pair record: 8 to 64 letters, digits and hyphens, in practice a UDID.
///
/// It becomes a file name, so nothing else is let through; nor is the name of the configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PairRecordId(String);

impl PairRecordId {
    /// The name as given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PairRecordId {
    type Err = WireError;

    /// # Errors
    /// [`WireError::Id`].
    fn from_str(text: &str) -> Result<Self, WireError> {
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !plain || !(8..=64).contains(&text.len()) || text.eq_ignore_ascii_case(CONFIGURATION) {
            return Err(WireError::Id {
                what: "pair record id",
                text: WireError::excerpt(text),
            });
        }
        Ok(Self(text.to_owned()))
    }
}

impl From<&Udid> for PairRecordId {
    fn from(udid: &Udid) -> Self {
        Self(udid.to_string())
    }
}

/// A pair record cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// What was to be saved is no property list with a dictionary at its top, or none that anybody could want.
    #[error("the pair record is not a property list dictionary of {MIN_RECORD} to {MAX_RECORD} bytes")]
    NotARecord(#[source] Option<WireError>),
    /// The folder's `SystemConfiguration.plist` is damaged; it is left alone.
    #[error("{path} is damaged; move it away and a new system BUID is made (devices then have to be paired again)")]
    Configuration {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: WireError,
    },
    /// The disk or its permissions.
    #[error("cannot access {path}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A folder of pair records as the daemons keep it. Spec: usbmux, section 5.
///
/// Files are `<UDID>.plist`, readable only by their owner, and replaced as a whole: after a crash there is the old record
/// or the new one. `SystemConfiguration.plist` holds the system BUID and is made on first use. Cheap to clone; file work
/// runs on the runtime's blocking threads. Dropping a future is safe, the file work it started is finished nevertheless.
#[derive(Clone, Debug)]
pub struct PairRecordStore {
    folder: Arc<Folder>,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// One writer at a time, so that two first uses agree on one system BUID.
    lock: Mutex<()>,
}

impl PairRecordStore {
    /// A store in `folder`, which is made (for its owner only) when something is saved.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: Arc::new(Folder {
                path: folder.into(),
                lock: Mutex::new(()),
            }),
        }
    }

    /// The folder that this system's daemons use, or `None` where it is not known. Usually needs root.
    #[must_use]
    pub fn system() -> Option<Self> {
        if cfg!(windows) {
            let data = std::env::var_os("ProgramData")?;
            Some(Self::new(Path::new(&data).join("Apple").join("Lockdown")))
        } else if cfg!(target_os = "macos") {
            Some(Self::new("/var/db/lockdown"))
        } else {
            Some(Self::new("/var/lib/lockdown"))
        }
    }

    /// Where the records are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder.path
    }

    /// This computer's system BUID, made and stored on first use. Taken as it is: others do not write real UUIDs.
    ///
    /// # Errors
    /// [`StoreError::Configuration`], [`StoreError::Io`].
    pub async fn system_buid(&self) -> Result<SystemBuid, StoreError> {
        self.run(Folder::system_buid).await
    }

    /// A record, byte for byte as stored (XML or binary), or `None`.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub async fn read(&self, id: &PairRecordId) -> Result<Option<SecretBytes>, StoreError> {
        let id = id.clone();
        self.run(move |folder| folder.read(&id)).await
    }

    /// Checks that `record` is a property list dictionary and stores its content as XML, unknown keys included.
    ///
    /// # Errors
    /// [`StoreError::NotARecord`] before anything is written; [`StoreError::Io`].
    pub async fn save(&self, id: &PairRecordId, record: &SecretBytes) -> Result<(), StoreError> {
        let (id, record) = (id.clone(), record.clone());
        self.run(move |folder| folder.save(&id, &record)).await
    }

    /// Removes a record; says whether there was one.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub async fn delete(&self, id: &PairRecordId) -> Result<bool, StoreError> {
        let id = id.clone();
        self.run(move |folder| folder.delete(&id)).await
    }

    /// The ids of all records.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub async fn list(&self) -> Result<Vec<PairRecordId>, StoreError> {
        self.run(Folder::list).await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let folder = Arc::clone(&self.folder);
        match tokio::task::spawn_blocking(move || work(&folder)).await {
            Ok(result) => result,
            // The runtime is shutting down, or the work panicked.
            Err(error) => Err(StoreError::Io {
                path: self.folder.path.clone(),
                source: io::Error::other(error),
            }),
        }
    }
}

impl Folder {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.to_owned();
        move |source| StoreError::Io { path, source }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.plist"))
    }

    /// As spelled first; then in the canonical spelling of a UDID, which is how we write it.
    fn find(&self, id: &PairRecordId) -> PathBuf {
        let exact = self.file(id.as_str());
        if exact.exists() { exact } else { self.canonical(id) }
    }

    fn canonical(&self, id: &PairRecordId) -> PathBuf {
        let udid: Result<Udid, _> = id.as_str().parse();
        self.file(udid.as_ref().map_or(id.as_str(), Udid::as_str))
    }

    fn read(&self, id: &PairRecordId) -> Result<Option<SecretBytes>, StoreError> {
        read_file(&self.find(id))
    }

    fn save(&self, id: &PairRecordId, record: &SecretBytes) -> Result<(), StoreError> {
        let bytes = record.expose();
        if !(MIN_RECORD..=MAX_RECORD).contains(&bytes.len()) {
            return Err(StoreError::NotARecord(None));
        }
        let limits = Limits::default()
            .with_bytes(MAX_RECORD)
            .with_depth(16)
            .with_nodes(65_536);
        let dict = read_dict(bytes, &limits).map_err(|error| StoreError::NotARecord(Some(error)))?;
        let _one_at_a_time = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.replace(&self.canonical(id), dict)
    }

    fn delete(&self, id: &PairRecordId) -> Result<bool, StoreError> {
        let path = self.find(id);
        let _one_at_a_time = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        match fs::remove_file(&path) {
            Ok(()) => {
                sync_folder(&self.path);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Self::io(&path)(error)),
        }
    }

    fn list(&self) -> Result<Vec<PairRecordId>, StoreError> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Self::io(&self.path)(error)),
        };
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry.map_err(Self::io(&self.path))?.file_name();
            ids.extend(name.to_str().and_then(|name| name.strip_suffix(".plist")?.parse().ok()));
        }
        ids.sort_by(|a: &PairRecordId, b| a.0.cmp(&b.0));
        Ok(ids)
    }

    fn system_buid(&self) -> Result<SystemBuid, StoreError> {
        let path = self.file(CONFIGURATION);
        let _one_at_a_time = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let damaged = |source| StoreError::Configuration {
            path: path.clone(),
            source,
        };
        loop {
            let found = read_file(&path)?;
            let mut dict = match &found {
                Some(bytes) => read_dict(bytes.expose(), &Limits::default().with_bytes(MAX_RECORD)).map_err(damaged)?,
                None => Dictionary::new(),
            };
            if let Some(buid) = dict.opt_text("SystemBUID").map_err(damaged)? {
                return buid.parse().map_err(damaged);
            }
            let buid = SystemBuid::random();
            // Apple's file has more keys; they stay.
            dict.insert("SystemBUID".to_owned(), buid.as_str().into());
            let instead_of = if found.is_some() { Old::Replace } else { Old::Keep };
            match self.write(&path, dict, instead_of) {
                // Another program was quicker: its word counts.
                Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {}
                written => return written.map(|()| buid),
            }
        }
    }

    fn replace(&self, path: &Path, dict: Dictionary) -> Result<(), StoreError> {
        self.write(path, dict, Old::Replace)
    }

    /// Writes beside the file, flushes, renames over it.
    fn write(&self, path: &Path, dict: Dictionary, old: Old) -> Result<(), StoreError> {
        make_private_folder(&self.path).map_err(Self::io(&self.path))?;
        let write = || -> io::Result<()> {
            // Mode 0600 from the start; removed again if anything below fails.
            let mut file = tempfile::Builder::new()
                .prefix(".")
                .suffix(".tmp")
                .tempfile_in(&self.path)?;
            let bytes = SecretBytes::from(to_xml(&Value::Dictionary(dict)));
            file.write_all(bytes.expose())?;
            file.write_all(b"\n")?;
            file.as_file().sync_all()?;
            let kept = match old {
                Old::Replace => file.persist(path),
                Old::Keep => file.persist_noclobber(path),
            };
            kept.map(drop).map_err(|error| error.error)
        };
        write().map_err(Self::io(path))?;
        sync_folder(&self.path);
        Ok(())
    }
}

/// What happens to a file that is there when another is written.
#[derive(Clone, Copy)]
enum Old {
    Replace,
    /// An error.
    Keep,
}

fn read_file(path: &Path) -> Result<Option<SecretBytes>, StoreError> {
    let read = || -> io::Result<SecretBytes> {
        let limit = u64::try_from(MAX_RECORD).unwrap_or(u64::MAX);
        let mut bytes = Vec::new();
        fs::File::open(path)?
            .take(limit.saturating_add(1))
            .read_to_end(&mut bytes)?;
        if bytes.len() > MAX_RECORD {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "no pair record is that large",
            ));
        }
        Ok(SecretBytes::from(bytes))
    };
    match read() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Folder::io(path)(error)),
    }
}

fn make_private_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// The rename itself has to survive a power cut. Not every system can flush a folder; that is no reason to fail.
fn sync_folder(path: &Path) {
    if cfg!(unix)
        && let Err(error) = fs::File::open(path).and_then(|folder| folder.sync_all())
    {
        tracing::debug!(%error, "the folder of pair records could not be flushed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UDID: &str = "00008030-001A2B3C4D5E6F70";

    fn record(host: &str) -> SecretBytes {
        SecretBytes::from(cabled_wire::plist::to_binary(
            &cabled_wire::dict! { "HostID" => host, "Odd" => 7 }.into(),
        ))
    }

    fn store() -> (tempfile::TempDir, PairRecordStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = PairRecordStore::new(folder.path().join("deep/lockdown"));
        (folder, store)
    }

    #[tokio::test]
    async fn a_saved_record_keeps_its_content_and_is_private() {
        let (_folder, store) = store();
        let id: PairRecordId = UDID.parse().unwrap();
        assert_eq!(store.read(&id).await.unwrap(), None);
        store.save(&id, &record("A")).await.unwrap();
        store.save(&id, &record("B")).await.unwrap();
        let bytes = store.read(&id).await.unwrap().unwrap();
        assert!(bytes.expose().starts_with(b"<?xml"));
        let dict = read_dict(bytes.expose(), &Limits::default()).unwrap();
        assert_eq!((dict.text("HostID").unwrap(), dict.integer("Odd").unwrap()), ("B", 7));
        assert_eq!(store.list().await.unwrap(), std::slice::from_ref(&id));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&store.folder().join(format!("{UDID}.plist"))), 0o600);
            assert_eq!(mode(store.folder()), 0o700);
        }
        assert_eq!(
            fs::read_dir(store.folder()).unwrap().count(),
            1,
            "no temporary file is left"
        );
        assert!(store.delete(&id).await.unwrap());
        assert!(!store.delete(&id).await.unwrap());
        assert_eq!(store.read(&id).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_file_of_another_program_is_handed_out_byte_for_byte() {
        let (_folder, store) = store();
        fs::create_dir_all(store.folder()).unwrap();
        let odd = b"<plist version='1.0'><dict>\r\n</dict></plist>";
        fs::write(store.folder().join(format!("{UDID}.plist")), odd).unwrap();
        for spelling in [UDID, &UDID.to_lowercase(), &UDID.replace('-', "")] {
            assert_eq!(
                store.read(&spelling.parse().unwrap()).await.unwrap().unwrap().expose(),
                odd,
                "{spelling}"
            );
        }
    }

    #[tokio::test]
    async fn what_is_no_record_is_not_saved() {
        let (_folder, store) = store();
        let id: PairRecordId = UDID.parse().unwrap();
        for bytes in [
            &b""[..],
            b"short",
            b"not a property list",
            b"<plist version=\"1.0\"><array/></plist>",
        ] {
            let result = store.save(&id, &SecretBytes::from(bytes)).await;
            assert!(matches!(result, Err(StoreError::NotARecord(_))), "{result:?}");
        }
        assert_eq!(store.read(&id).await.unwrap(), None);
    }

    #[test]
    fn an_id_that_could_be_another_file_is_refused() {
        for id in [
            "../../etc/passwd",
            "a/b/c/d/e/f",
            "short",
            "",
            "SystemConfiguration",
            "systemconfiguration",
            "a.b.c.d.e",
        ] {
            assert!(id.parse::<PairRecordId>().is_err(), "{id}");
        }
        assert!("f".repeat(65).parse::<PairRecordId>().is_err());
    }

    #[tokio::test]
    async fn all_callers_get_one_system_buid_and_other_keys_stay() {
        let (_folder, store) = store();
        let callers: Vec<_> = (0..8)
            .map(|_| {
                tokio::spawn({
                    let store = store.clone();
                    async move { store.system_buid().await.unwrap() }
                })
            })
            .collect();
        let mut buids = Vec::new();
        for caller in callers {
            buids.push(caller.await.unwrap());
        }
        buids.dedup();
        let [buid] = &buids[..] else { panic!("{buids:?}") };
        assert_eq!(buid.as_str().as_bytes()[14], b'4', "a version 4 UUID");

        let path = store.folder().join("SystemConfiguration.plist");
        fs::write(&path, to_xml(&cabled_wire::dict! { "HostID" => "H" }.into())).unwrap();
        let fresh = store.system_buid().await.unwrap();
        let dict = read_dict(&fs::read(&path).unwrap(), &Limits::default()).unwrap();
        assert_eq!(
            (dict.text("HostID").unwrap(), dict.text("SystemBUID").unwrap()),
            ("H", fresh.as_str())
        );

        fs::write(&path, "garbage").unwrap();
        assert!(matches!(
            store.system_buid().await,
            Err(StoreError::Configuration { .. })
        ));
        assert_eq!(fs::read(&path).unwrap(), b"garbage", "left alone");
    }

    #[test]
    fn two_programs_that_start_at_once_agree_on_one_system_buid() {
        let folder = tempfile::tempdir().unwrap();
        // Each has a lock of its own, as two processes have.
        let programs: Vec<_> = (0..8)
            .map(|_| {
                let path = folder.path().to_owned();
                std::thread::spawn(move || {
                    let lock = Mutex::new(());
                    Folder { path, lock }.system_buid().unwrap()
                })
            })
            .collect();
        let mut buids: Vec<_> = programs.into_iter().map(|program| program.join().unwrap()).collect();
        buids.dedup();
        assert_eq!(buids.len(), 1, "{buids:?}");
    }

    #[tokio::test]
    async fn the_configuration_that_usbmuxd_wrote_is_read() {
        let (_folder, store) = store();
        fs::create_dir_all(store.folder()).unwrap();
        let path = cabled_golden::path(&format!("{}/SystemConfiguration.plist", cabled_golden::USBMUXD));
        fs::copy(path, store.folder().join("SystemConfiguration.plist")).unwrap();
        assert_eq!(
            store.system_buid().await.unwrap().as_str(),
            "DCFF9382-E37F-D0F8-9749-A3690037FF53"
        );
    }
}
