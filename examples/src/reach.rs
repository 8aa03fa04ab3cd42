//! Finding a device: through a usbmux daemon, or through the multiplexer in this program.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cabled::usbmux::devices::Devices;
use cabled::usbmux::store::{PairRecordId, PairRecordStore};
use cabled::usbmux::usb::{UsbBus, UsbOptions};
use cabled::usbmux::{AttachedDevice, Daemon, DaemonAddr};
use cabled::wire::ids::{DeviceId, SystemBuid, Udid};
use cabled::wire::io::Connect;
use cabled::wire::secret::SecretBytes;

use crate::Failure;

/// How long devices on USB are waited for; one that does not answer takes half a minute to be given up.
const SETTLED: Duration = Duration::from_secs(40);

/// Which device, and through what.
#[derive(Clone, Debug, clap::Args)]
pub struct Reach {
    /// The device's UDID; without it, the first one found, by cable if there is one.
    #[arg(long)]
    pub udid: Option<Udid>,
    /// Where the usbmux daemon listens: `UNIX:/path` or `host:port`. Default: USBMUXD_SOCKET_ADDRESS, then the system's.
    #[arg(long)]
    pub socket: Option<DaemonAddr>,
    /// Open the device's USB interface in this program, with no daemon.
    #[arg(long, conflicts_with = "socket")]
    pub usb: bool,
    /// Where pair records are kept. Default: with the daemon; with --usb the system's folder, which needs root.
    #[arg(long, value_name = "DIR")]
    pub records: Option<PathBuf>,
}

/// A device that was found, and where its pair records are.
#[derive(Clone, Debug)]
pub struct Reached {
    /// Which device it is.
    pub udid: Udid,
    /// What its ports are reached through.
    pub device: Arc<dyn Connect>,
    /// Where its pair records are.
    pub records: Records,
}

/// Who keeps the pair records.
#[derive(Clone, Debug)]
pub enum Records {
    /// A daemon, which has the device attached under this id.
    Daemon(Daemon, DeviceId),
    /// A folder.
    Store(PairRecordStore),
}

impl Reach {
    /// Whether it was said through what; without, an example may look elsewhere.
    pub fn is_said(&self) -> bool {
        self.udid.is_some() || self.socket.is_some() || self.usb
    }

    /// The daemon; nothing is opened yet.
    pub fn daemon(&self) -> Result<Daemon, Failure> {
        Ok(Daemon::new(match &self.socket {
            Some(address) => address.clone(),
            None => DaemonAddr::from_env()?,
        }))
    }

    /// The wanted device, or `None` when it is not attached.
    pub async fn find(&self) -> Result<Option<Reached>, Failure> {
        if self.usb {
            return self.find_on_usb().await;
        }
        let daemon = self.daemon()?;
        let attached = match &self.udid {
            Some(udid) => daemon.find(udid).await?,
            None => daemon.list().await?.into_iter().max_by_key(AttachedDevice::is_usb),
        };
        let Some(attached) = attached else {
            return Ok(None);
        };
        let mut reached = Reached::at_daemon(&daemon, attached);
        if let Some(folder) = &self.records {
            reached.records = Records::Store(PairRecordStore::new(folder));
        }
        Ok(Some(reached))
    }

    async fn find_on_usb(&self) -> Result<Option<Reached>, Failure> {
        let store = match &self.records {
            Some(folder) => PairRecordStore::new(folder),
            None => PairRecordStore::system().ok_or("name a folder for pair records with --records")?,
        };
        let devices = Devices::builder().usb(UsbBus::start(UsbOptions::default())?).start();
        // Whatever is listed by then has to do.
        let _ = tokio::time::timeout(SETTLED, devices.settled()).await;
        let device = match &self.udid {
            Some(udid) => devices.find(udid),
            None => devices.list().into_iter().next(),
        };
        if device.is_none() {
            for trouble in devices.troubles() {
                eprintln!("{trouble}");
            }
        }
        Ok(device.map(|device| Reached {
            udid: device.udid().clone(),
            device: Arc::new(device),
            records: Records::Store(store),
        }))
    }

    /// The wanted device, or an error that says what to do.
    pub async fn device(&self) -> Result<Reached, Failure> {
        match (self.find().await?, &self.udid) {
            (Some(device), _) => Ok(device),
            (None, Some(udid)) => Err(format!("{udid} is not attached; plug it in, or name another --udid").into()),
            (None, None) => Err("no device is attached; plug one in and unlock it".into()),
        }
    }
}

impl Reached {
    /// A device that a daemon has attached, and whose pair records it keeps.
    pub fn at_daemon(daemon: &Daemon, attached: AttachedDevice) -> Self {
        Self {
            udid: attached.udid.clone(),
            device: Arc::new(daemon.device(&attached)),
            records: Records::Daemon(daemon.clone(), attached.id),
        }
    }
}

impl Records {
    /// This computer's system BUID.
    pub async fn system_buid(&self) -> Result<SystemBuid, Failure> {
        Ok(match self {
            Self::Daemon(daemon, _) => daemon.read_buid().await?,
            Self::Store(store) => store.system_buid().await?,
        })
    }

    /// The stored record of a device.
    pub async fn read(&self, udid: &Udid) -> Result<Option<SecretBytes>, Failure> {
        Ok(match self {
            Self::Daemon(daemon, _) => daemon.read_pair_record(udid).await?,
            Self::Store(store) => store.read(&PairRecordId::from(udid)).await?,
        })
    }

    /// Stores a record.
    pub async fn save(&self, udid: &Udid, record: &SecretBytes) -> Result<(), Failure> {
        match self {
            Self::Daemon(daemon, id) => daemon.save_pair_record(udid, Some(*id), record.expose()).await?,
            Self::Store(store) => store.save(&PairRecordId::from(udid), record).await?,
        }
        Ok(())
    }

    /// Forgets a record.
    pub async fn delete(&self, udid: &Udid) -> Result<(), Failure> {
        match self {
            Self::Daemon(daemon, _) => daemon.delete_pair_record(udid).await?,
            Self::Store(store) => {
                store.delete(&PairRecordId::from(udid)).await?;
            }
        }
        Ok(())
    }
}
