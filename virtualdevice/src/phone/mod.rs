//! The phone itself: its state, what a user can do to it, and how bytes reach it.

mod builder;
mod screen;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use cabled_wire::ids::{HostId, SystemBuid, Udid};
use cabled_wire::io::{BoxFuture, BoxStream, Connect, ConnectError};
use cabled_wire::plist::{Dictionary, Value};
use tokio::sync::{OnceCell, broadcast, watch};
use tokio::time::Instant;

pub use builder::{BuildError, PhoneBuilder};
pub use screen::PasscodeEntry;

use crate::contents::App;
use crate::fault::Faults;
use crate::fs::Fs;
use crate::lockdown::identity::{DeviceIdentity, IdentityError};
use crate::lockdown::pairing::{PairingInfo, Pairings};
use crate::lockdown::values::Values;
use crate::log::RequestLog;
use crate::profile::Profile;
use crate::service::afc::AfcState;
use crate::service::ports::Ports;
use screen::Screen;

/// The port lockdown listens on.
pub const LOCKDOWN_PORT: u16 = 62078;

/// Bytes that a connection holds in each direction.
const PIPE: usize = 256 << 10;

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

/// How a connection reached the phone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Usb,
    Network,
}

/// A virtual iPhone or iPad. Cheap to clone; all clones are one phone.
///
/// It serves connections with [`Connect`], in process: port 62078 is lockdown, other ports are those StartService hands
/// out. Everything a user could do to it is a method here.
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
    events: broadcast::Sender<PhoneEvent>,
    identity: OnceCell<Arc<DeviceIdentity>>,
    power: watch::Sender<Power>,
}

/// Whether the phone runs, and since which boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Power {
    boot: u64,
    state: PowerState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PowerState {
    On,
    RestartingUntil(Instant),
    Off,
}

/// A lock that a panic elsewhere leaves usable: every change under these locks is made in one step.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Phone {
    /// A phone to be described; [`PhoneBuilder::build`] makes it.
    #[must_use]
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

    /// The apps of the user.
    #[must_use]
    pub fn apps(&self) -> Arc<[App]> {
        Arc::clone(&self.inner.apps.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Installs an app, or replaces one of the same bundle id; its containers are made empty where they are missing.
    ///
    /// Posts `com.apple.mobile.application_installed`.
    pub fn install(&self, app: App) {
        for domain in app.domains() {
            // A container that is there already keeps its data.
            if self.inner.fs.get(&domain, "").is_none() {
                let _ = self.inner.fs.create_dir_all(&domain, "");
            }
        }
        self.change_apps(|apps| {
            apps.retain(|other| other.bundle_id != app.bundle_id);
            apps.push(app);
        });
        self.notify("com.apple.mobile.application_installed");
    }

    /// Removes an app and its containers; false if there is none.
    ///
    /// Posts `com.apple.mobile.application_uninstalled`.
    pub fn uninstall(&self, bundle_id: &str) -> bool {
        let mut gone = None;
        self.change_apps(|apps| {
            let at = apps.iter().position(|app| app.bundle_id == bundle_id);
            gone = at.map(|at| apps.remove(at));
        });
        let Some(app) = gone else { return false };
        for domain in app.domains() {
            // A group's container may be shared and gone already.
            let _ = self.inner.fs.remove_all(&domain, "");
        }
        self.notify("com.apple.mobile.application_uninstalled");
        true
    }

    fn change_apps(&self, change: impl FnOnce(&mut Vec<App>)) {
        let mut apps = self.inner.apps.write().unwrap_or_else(PoisonError::into_inner);
        let mut list = apps.to_vec();
        change(&mut list);
        *apps = list.into();
    }

    /// What the phone knows about backups: password, last runs, what waits for a restart.
    #[must_use]
    pub fn backup_state(&self) -> &crate::backup::State {
        &self.inner.backup
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

    // Pairing.

    /// Answers every trust dialogue that shows; true if one did.
    ///
    /// Posts `com.apple.mobile.lockdown.request_pair`, on which a host pairs again.
    pub fn answer_trust(&self, trust: bool) -> bool {
        let answered = locked(&self.inner.pairings).answer(trust);
        if answered {
            self.notify("com.apple.mobile.lockdown.request_pair");
        }
        answered
    }

    /// Changes how the phone answers computers from now on; dialogues that show stay.
    pub fn set_pairing(&self, pairing: Pairing) {
        locked(&self.inner.pairings).set_mode(pairing);
    }

    /// The computers this phone trusts.
    #[must_use]
    pub fn pairings(&self) -> Vec<PairingInfo> {
        locked(&self.inner.pairings).list()
    }

    /// Forgets every computer and every answer, as "Reset Location & Privacy" does.
    pub fn forget_pairings(&self) {
        let forgotten = locked(&self.inner.pairings).forget_all();
        for host_id in forgotten {
            self.emit(PhoneEvent::Unpaired { host_id });
        }
    }

    /// Whether an escrow bag is that of a pairing of this phone.
    #[must_use]
    pub fn escrow_bag_is_known(&self, escrow_bag: &[u8]) -> bool {
        locked(&self.inner.pairings).knows_escrow_bag(escrow_bag)
    }

    // The screen, and the person in front of it.

    /// Whether a passcode is set.
    #[must_use]
    pub fn has_passcode(&self) -> bool {
        self.inner.screen.has_passcode()
    }

    /// Sets or removes the passcode.
    pub fn set_passcode(&self, set: bool) {
        self.inner.screen.set_passcode(set);
    }

    /// Whether data protection is in force: a passcode is set and the screen is locked.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.inner.screen.is_locked()
    }

    /// Whether the phone was unlocked since its last start, or has no passcode.
    #[must_use]
    pub fn unlocked_since_start(&self) -> bool {
        self.inner.screen.unlocked_since_start()
    }

    /// Locks the screen.
    pub fn lock(&self) {
        self.inner.screen.lock();
        self.emit(PhoneEvent::Locked);
    }

    /// Unlocks the screen.
    pub fn unlock(&self) {
        self.inner.screen.unlock();
        self.emit(PhoneEvent::Unlocked);
    }

    /// How the person in front of the phone reacts to a passcode prompt.
    pub fn set_passcode_entry(&self, entry: PasscodeEntry) {
        self.inner.screen.set_entry(entry);
    }

    /// Types the passcode into every prompt that shows; true if one did.
    pub fn enter_passcode(&self) -> bool {
        self.inner.screen.enter_passcode()
    }

    /// Shows the passcode prompt and waits for the person: true once the passcode was typed in.
    ///
    /// Posts `com.apple.LocalAuthentication.ui.presented` and `.dismissed`. Ends with false after
    /// [`Profile::passcode_timeout`], or at once when the person cancels. With no passcode set: true, no prompt.
    /// Safe to drop: the prompt goes away.
    pub async fn ask_passcode(&self) -> bool {
        if !self.has_passcode() {
            return true;
        }
        self.notify("com.apple.LocalAuthentication.ui.presented");
        let prompt = self.inner.screen.prompt();
        self.emit(PhoneEvent::PasscodeAsked);
        let entered = prompt.answered(self.inner.profile.passcode_timeout).await;
        self.notify("com.apple.LocalAuthentication.ui.dismissed");
        entered
    }

    /// The user presses cancel on the backup or sync screen: posts `com.apple.itunes-client.syncCancelRequest`.
    pub fn press_cancel(&self) {
        self.emit(PhoneEvent::CancelPressed);
        self.notify("com.apple.itunes-client.syncCancelRequest");
    }

    /// Turns Find My on or off; a restore is refused while it is on.
    pub fn set_find_my(&self, on: bool) {
        self.set_value(Some("com.apple.fmip"), "IsAssociated", on);
    }

    /// Whether Find My is on.
    #[must_use]
    pub fn find_my(&self) -> bool {
        self.value(Some("com.apple.fmip"), "IsAssociated")
            .and_then(|v| v.as_boolean())
            .unwrap_or(false)
    }

    /// Finishes the setup assistant, or not: backups are refused before.
    pub fn set_setup_done(&self, done: bool) {
        self.set_value(Some("com.apple.purplebuddy"), "SetupDone", done);
        self.set_value(Some("com.apple.PurpleBuddy"), "SetupDone", done);
    }

    /// Whether the setup assistant is finished.
    #[must_use]
    pub fn setup_done(&self) -> bool {
        self.value(Some("com.apple.purplebuddy"), "SetupDone")
            .and_then(|v| v.as_boolean())
            .unwrap_or(true)
    }

    // Power.

    /// Sends the phone to sleep: heartbeats say `SleepyTime` and end. False while an assertion keeps it awake.
    pub fn fall_asleep(&self) -> bool {
        let now = Instant::now();
        let awake = locked(&self.inner.awake).values().any(|until| *until > now);
        if !awake {
            self.emit(PhoneEvent::Asleep);
        }
        !awake
    }

    /// Restarts the phone: every connection ends, ports are closed, and for [`Profile::restart_time`] it is gone.
    ///
    /// With a passcode the screen comes back locked, unless [`PhoneBuilder::unlocks_after_restart`] is on.
    pub fn reboot(&self) {
        let until = Instant::now().checked_add(self.inner.profile.restart_time);
        let state = until.map_or(PowerState::On, PowerState::RestartingUntil);
        self.go_down(state, PhoneEvent::Restarting);
        let phone = self.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(phone.inner.profile.restart_time).await;
                phone.emit(PhoneEvent::Restarted);
                phone.notify("com.apple.springboard.finishedstartup");
            });
        }
    }

    /// Switches the phone off: every connection ends and none can be made until [`switch_on`](Self::switch_on).
    pub fn switch_off(&self) {
        self.go_down(PowerState::Off, PhoneEvent::SwitchedOff);
    }

    /// Switches the phone on again; without effect on one that runs.
    pub fn switch_on(&self) {
        let mut was_off = false;
        self.inner.power.send_if_modified(|power| {
            was_off = power.state == PowerState::Off;
            if was_off {
                power.state = PowerState::On;
            }
            was_off
        });
        if was_off {
            self.emit(PhoneEvent::Restarted);
        }
    }

    fn go_down(&self, state: PowerState, event: PhoneEvent) {
        locked(&self.inner.ports).close_all();
        self.inner.screen.restarted();
        self.inner.backup.restarted(&self.inner.fs);
        self.emit(event);
        self.inner.power.send_modify(|power| {
            *power = Power {
                boot: power.boot.wrapping_add(1),
                state,
            }
        });
    }

    /// Whether connections can be made: not switched off, not restarting.
    #[must_use]
    pub fn is_on(&self) -> bool {
        match self.inner.power.borrow().state {
            PowerState::On => true,
            PowerState::RestartingUntil(until) => Instant::now() >= until,
            PowerState::Off => false,
        }
    }

    // Connections.

    /// The same phone reached over Wi-Fi: it does not pair there, and wants a heartbeat.
    #[must_use]
    pub fn over_network(&self) -> NetworkPhone {
        NetworkPhone { phone: self.clone() }
    }

    fn open(&self, port: u16, transport: Transport) -> Result<BoxStream, ConnectError> {
        if !self.is_on() {
            return Err(ConnectError::Gone);
        }
        let no_runtime = |_| ConnectError::Io(std::io::Error::other("a virtual phone needs a tokio runtime"));
        let runtime = tokio::runtime::Handle::try_current().map_err(no_runtime)?;
        let service = if port == LOCKDOWN_PORT {
            None
        } else {
            let open = locked(&self.inner.ports)
                .take(port)
                .ok_or(ConnectError::Refused { port })?;
            if self.inner.faults.take_refused_connection(&open.service) {
                return Err(ConnectError::Refused { port });
            }
            Some(open)
        };
        let (near, far) = tokio::io::duplex(PIPE);
        let phone = self.clone();
        runtime.spawn(async move {
            let far: BoxStream = Box::new(far);
            let mut power = phone.inner.power.subscribe();
            let boot = power.borrow_and_update().boot;
            let work = async {
                match service {
                    None => crate::lockdown::serve(phone.clone(), far, transport).await,
                    Some(open) => crate::service::run(phone.clone(), open, far, transport).await,
                }
            };
            tokio::select! {
                () = work => {}
                // The phone went down: everything it was doing is gone with it.
                _ = power.wait_for(|now| now.boot != boot) => {}
            }
        });
        Ok(Box::new(near))
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

impl Connect for Phone {
    /// Ready at once. Needs a tokio runtime: what serves the connection runs on it as a task of its own.
    fn connect(&self, port: u16) -> BoxFuture<'_, Result<BoxStream, ConnectError>> {
        Box::pin(async move { self.open(port, Transport::Usb) })
    }

    fn udid(&self) -> Option<&Udid> {
        Some(&self.inner.udid)
    }
}

/// A [`Phone`] as a network sees it; made by [`Phone::over_network`].
#[derive(Clone, Debug)]
pub struct NetworkPhone {
    phone: Phone,
}

impl Connect for NetworkPhone {
    fn connect(&self, port: u16) -> BoxFuture<'_, Result<BoxStream, ConnectError>> {
        Box::pin(async move { self.phone.open(port, Transport::Network) })
    }

    fn udid(&self) -> Option<&Udid> {
        Some(&self.phone.inner.udid)
    }

    fn is_network(&self) -> bool {
        true
    }
}

impl Transport {
    /// Over the network: ends when no heartbeat has run for the profile's grace. Over USB: never.
    pub(crate) async fn heartbeat_lost(self, phone: &Phone) {
        if self == Self::Usb {
            return std::future::pending().await;
        }
        let grace: Duration = phone.profile().heartbeat_grace;
        let mut alive = phone.inner.heartbeats.subscribe();
        loop {
            // Errors cannot happen while `phone` holds the sender.
            let _ = alive.wait_for(|n| *n == 0).await;
            if tokio::time::timeout(grace, alive.wait_for(|n| *n > 0)).await.is_err() {
                return;
            }
        }
    }
}
