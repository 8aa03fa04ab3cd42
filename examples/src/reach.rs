//! Finding a device through a usbmux daemon.

use cabled::usbmux::{AttachedDevice, Daemon, DaemonAddr};
use cabled::wire::ids::Udid;

use crate::Failure;

/// Which device, and through which daemon.
#[derive(Clone, Debug, clap::Args)]
pub struct Reach {
    /// The device's UDID; without it, the first one found, by cable if there is one.
    #[arg(long)]
    pub udid: Option<Udid>,
    /// Where the usbmux daemon listens: `UNIX:/path` or `host:port`. Default: USBMUXD_SOCKET_ADDRESS, then the system's.
    #[arg(long)]
    pub socket: Option<DaemonAddr>,
}

impl Reach {
    /// The daemon; nothing is opened yet.
    pub fn daemon(&self) -> Result<Daemon, Failure> {
        Ok(Daemon::new(match &self.socket {
            Some(address) => address.clone(),
            None => DaemonAddr::from_env()?,
        }))
    }

    /// The wanted device, or `None` when it is not attached.
    pub async fn find(&self, daemon: &Daemon) -> Result<Option<AttachedDevice>, Failure> {
        Ok(match &self.udid {
            Some(udid) => daemon.find(udid).await?,
            None => daemon.list().await?.into_iter().max_by_key(AttachedDevice::is_usb),
        })
    }

    /// The wanted device, or an error that says what to do.
    pub async fn device(&self, daemon: &Daemon) -> Result<AttachedDevice, Failure> {
        match (self.find(daemon).await?, &self.udid) {
            (Some(device), _) => Ok(device),
            (None, Some(udid)) => Err(format!("{udid} is not attached; plug it in, or name another --udid").into()),
            (None, None) => Err("no device is attached; plug one in and unlock it".into()),
        }
    }
}
