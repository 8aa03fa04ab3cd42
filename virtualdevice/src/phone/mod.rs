//! The phone itself: its state, what a user can do to it, and how bytes reach it.

mod apps;
mod builder;
mod connect;
mod person;
mod power;
mod screen;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use cabled_wire::ids::{HostId, SystemBuid, Udid};

use cabled_wire::plist::{Dictionary, Value};
use tokio::sync::{OnceCell, broadcast, watch};
use tokio::time::Instant;

pub use builder::{BuildError, PhoneBuilder};
pub use connect::NetworkPhone;
pub(crate) use connect::Transport;
use power::Power;
pub use screen::PasscodeEntry;

use crate::contents::App;
use crate::fault::Faults;
use crate::fs::Fs;
use crate::lockdown::identity::{DeviceIdentity, IdentityError};
use crate::lockdown::pairing::Pairings;
use crate::lockdown::values::Values;
use crate::log::RequestLog;
use crate::profile::Profile;
use crate::service::afc::AfcState;
use crate::service::ports::Ports;
use screen::Screen;

/// The port lockdown listens on.
pub const LOCKDOWN_PORT: u16 = 62078;

/// How the phone answers a computer that wants to pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pairing {
    /// Trusted at once, with no dialogue.
    AutoTrust,
    /// The dialogue shows until [`Phone::answer_trust`] is called.
    AskUser,
    /// The dialogue shows for this many requests, then the user trusts.
    Pending(u32),
    /// The user refuses.
    Deny,
    /// The screen is locked with a passcode; after [`Phone::unlock`] the user trusts.
    Locked,
}

/// What happened on the phone, for whoever plays its user.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PhoneEvent {
    /// The trust dialogue shows.
    TrustAsked {
        /// The computer.
        system_buid: SystemBuid,
        /// The name shown, where the computer gave one.
        host_name: Option<String>,
    },
    /// A computer is paired.
    Paired {
        /// Its host id.
        host_id: HostId,
    },
    /// A pairing was forgotten.
    Unpaired {
        /// Its host id.
        host_id: HostId,
    },
    /// The screen locked.
    Locked,
    /// The screen was unlocked.
    Unlocked,
    /// The passcode is wanted, for a backup or a new backup password.
    PasscodeAsked,
    /// The user pressed cancel on the backup or sync screen.
    CancelPressed,
    /// The phone went to sleep; heartbeats end.
    Asleep,
    /// The phone goes down; all connections are gone.
    Restarting,
    /// The phone is back.
    Restarted,
    /// The phone was switched off or put into recovery mode: it does not come back by itself.
    SwitchedOff,
}

/// A virtual iPhone or iPad. Cheap to clone; all clones are one phone.
///
/// It serves connections with [`Connect`], in process: port 62078 is lockdown, other ports are those StartService hands
/// out. Everything a user could do to it is a method here.
///
/// [`Connect`]: cabled_wire::io::Connect
#[derive(Clone)]
pub struct Phone {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) udid: Udid,
    pub(crate) profile: Profile,
    pub(crate) seed: u64,
    pub(crate) faults: Faults,
    pub(crate) log: RequestLog,
    pub(crate) values: Mutex<Values>,
    pub(crate) pairings: Mutex<Pairings>,
    screen: Screen,
    pub(crate) ports: Mutex<Ports>,
    pub(crate) notifications: broadcast::Sender<String>,
    pub(crate) heartbeats: watch::Sender<usize>,
    /// Until when each assertion keeps the phone awake.
    pub(crate) awake: Mutex<BTreeMap<u64, Instant>>,
    pub(crate) fs: Fs,
    apps: RwLock<Arc<[App]>>,
    pub(crate) icon_state: Mutex<Option<Vec<Value>>>,
    afc: AfcState,
    pub(crate) backup: crate::backup::State,
    sync: crate::sync::SyncState,
    events: broadcast::Sender<PhoneEvent>,
    identity: OnceCell<Arc<DeviceIdentity>>,
    power: watch::Sender<Power>,
}

/// A lock that a panic elsewhere leaves usable: every change under these locks is made in one step.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Phone {
    /// A phone to be described; [`PhoneBuilder::build`] makes it.
    pub fn builder() -> PhoneBuilder {
        PhoneBuilder::default()
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// The UDID, spelled as this generation spells it.
    #[must_use]
    pub fn udid(&self) -> &Udid {
        &self.inner.udid
    }

    /// The quirks of this phone's generation.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.inner.profile
    }

    /// The number all made-up facts of this phone come from.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.inner.seed
    }

    /// The storage: what AFC, house_arrest and the backup service read and write.
    #[must_use]
    pub fn fs(&self) -> &Fs {
        &self.inner.fs
    }

    /// What the phone knows about backups: password, last runs, what waits for a restart.
    #[must_use]
    pub fn backup_state(&self) -> &crate::backup::State {
        &self.inner.backup
    }

    /// The records that sync exchanges, and how the sync agent behaves.
    #[must_use]
    pub fn sync(&self) -> &crate::sync::SyncState {
        &self.inner.sync
    }

    /// How AFC behaves, what is scripted for it, and which files it has locked.
    #[must_use]
    pub fn afc(&self) -> &AfcState {
        &self.inner.afc
    }

    /// What will go wrong.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.inner.faults
    }

    /// What peers asked.
    #[must_use]
    pub fn log(&self) -> &RequestLog {
        &self.inner.log
    }

    /// `DeviceName`.
    #[must_use]
    pub fn name(&self) -> String {
        let name = self.value(None, "DeviceName").and_then(Value::into_string);
        name.unwrap_or_default()
    }

    /// A lockdown value as a paired computer in a session reads it; `None` is the default domain.
    ///
    /// `DevicePublicKey` is told by [`identity`](Self::identity).
    #[must_use]
    pub fn value(&self, domain: Option<&str>, key: &str) -> Option<Value> {
        crate::lockdown::values::read(self, domain, key)
    }

    /// All lockdown values of a domain.
    #[must_use]
    pub fn domain(&self, domain: Option<&str>) -> Dictionary {
        crate::lockdown::values::read_domain(self, domain)
    }

    /// Sets a lockdown value, whatever it is; hosts may set few ([`Values`](crate::lockdown::values) says which).
    ///
    /// Notifications that belong to the value are posted.
    pub fn set_value(&self, domain: Option<&str>, key: &str, value: impl Into<Value>) {
        crate::lockdown::values::write(self, domain, key, Some(value.into()));
    }

    /// Removes a lockdown value.
    pub fn remove_value(&self, domain: Option<&str>, key: &str) {
        crate::lockdown::values::write(self, domain, key, None);
    }

    /// Posts a notification to every observer, such as `com.apple.mobile.backup.domain_changed`.
    pub fn notify(&self, name: &str) {
        // An error only says that nobody listens.
        let _ = self.inner.notifications.send(name.to_owned());
    }

    /// All notifications posted from now on, by the phone or by hosts.
    ///
    /// A receiver that falls 256 behind loses the oldest.
    #[must_use]
    pub fn notifications(&self) -> broadcast::Receiver<String> {
        self.inner.notifications.subscribe()
    }

    /// What happens on the phone from now on. A receiver that falls 256 behind loses the oldest.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<PhoneEvent> {
        self.inner.events.subscribe()
    }

    pub(crate) fn emit(&self, event: PhoneEvent) {
        let _ = self.inner.events.send(event);
    }

    /// The key pair that makes this phone this phone; made on first use, which takes a moment.
    ///
    /// Safe to drop: the next call makes or finds the key.
    ///
    /// # Errors
    /// [`IdentityError`] if no key could be made.
    pub async fn identity(&self) -> Result<Arc<DeviceIdentity>, IdentityError> {
        let make = || async {
            let made = tokio::task::spawn_blocking(DeviceIdentity::generate).await;
            made.map_err(|_| IdentityError::Generate)?.map(Arc::new)
        };
        self.inner.identity.get_or_try_init(make).await.cloned()
    }
}

impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Phone")
            .field("udid", &self.inner.udid)
            .field("profile", &self.inner.profile.name)
            .finish_non_exhaustive()
    }
}
