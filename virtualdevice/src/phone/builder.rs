//! Describing a phone before it exists.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, RwLock};

use cabled_wire::WireError;
use cabled_wire::ids::Udid;
use tokio::sync::{OnceCell, broadcast, watch};

use super::power::{Power, PowerState};
use super::screen::Screen;
use super::{Inner, Pairing, Phone};
use crate::contents::{self, ContentsError, Recipe};
use crate::fault::Faults;
use crate::fs::Fs;
use crate::lockdown::identity::DeviceIdentity;
use crate::lockdown::pairing::Pairings;
use crate::lockdown::values::{Facts, Values};
use crate::log::RequestLog;
use crate::profile::{GIB, Profile};
use crate::service::afc::AfcState;
use crate::service::ports::Ports;
use crate::sync::SyncState;

/// Notifications and events a slow receiver may fall behind.
const BACKLOG: usize = 256;
/// Bytes of storage of a phone that says nothing else.
const CAPACITY: u64 = 64 * GIB;

/// Describes a phone; [`PhoneBuilder::build`] makes it.
#[derive(Debug, Default)]
#[must_use]
pub struct PhoneBuilder {
    recipe: Option<Recipe>,
    bytes: Option<u64>,
    files: Option<u64>,
    empty: bool,
    profile: Option<Profile>,
    seed: u64,
    name: Option<String>,
    udid: Option<Udid>,
    capacity: Option<u64>,
    passcode: bool,
    unlocks_after_restart: bool,
    pairing: Option<Pairing>,
    identity: Option<DeviceIdentity>,
}

/// No phone could be made from this description.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A made-up UDID was refused; a profile with an odd chip number does this.
    #[error("the profile's facts give no UDID")]
    Udid(#[from] WireError),
    /// The contents do not fit, or could not be made.
    #[error("the phone's contents could not be made")]
    Contents(#[from] ContentsError),
}

impl PhoneBuilder {
    /// The generation. Default: iOS 17.7.
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = Some(profile);
        self
    }

    /// The number every made-up fact and file comes from. Default 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// `DeviceName`. Default: a name with the marketing name in it.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The UDID. Default: one made from the seed, as this generation spells it.
    pub fn udid(mut self, udid: Udid) -> Self {
        self.udid = Some(udid);
        self
    }

    /// What is on the phone. Default: [`Recipe::tiny`]. The phone's seed replaces the recipe's.
    pub fn recipe(mut self, recipe: Recipe) -> Self {
        self.recipe = Some(recipe);
        self
    }

    /// Bytes of payload on the phone; changes the recipe's.
    pub fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// Files on the phone; changes the recipe's.
    pub fn files(mut self, files: u64) -> Self {
        self.files = Some(files);
        self
    }

    /// A phone fresh from the box: no files, no apps of the user. Something to restore onto.
    pub fn empty(mut self) -> Self {
        self.empty = true;
        self
    }

    /// Bytes of storage. Default: 64 GiB, or a quarter more than the contents where that is more.
    pub fn capacity(mut self, bytes: u64) -> Self {
        self.capacity = Some(bytes);
        self
    }

    /// Whether a passcode is set. Default false.
    pub fn passcode(mut self, set: bool) -> Self {
        self.passcode = set;
        self
    }

    /// The user unlocks the phone at once after every restart. Default false.
    pub fn unlocks_after_restart(mut self, unlocks: bool) -> Self {
        self.unlocks_after_restart = unlocks;
        self
    }

    /// How the phone answers computers that want to pair. Default [`Pairing::AutoTrust`].
    ///
    /// [`Pairing::Locked`] sets a passcode and locks the screen.
    pub fn pairing(mut self, pairing: Pairing) -> Self {
        self.pairing = Some(pairing);
        self
    }

    /// The phone's key pair, so that pair records survive this process. Default: made on first use.
    pub fn identity(mut self, identity: DeviceIdentity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Makes the phone and its contents: milliseconds by default, seconds for 100 000 files. Blocks.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn build(self) -> Result<Phone, BuildError> {
        let profile = self.profile.unwrap_or_default();
        let pairing = self.pairing.unwrap_or(Pairing::AutoTrust);
        let facts = Facts::new(&profile, self.seed);
        let udid = match self.udid {
            Some(udid) => udid,
            None => facts.udid(&profile).parse()?,
        };
        let locked = pairing == Pairing::Locked;
        let sync = SyncState::default();
        let (fs, apps) = if self.empty {
            (Fs::new(self.capacity.unwrap_or(CAPACITY)), Vec::new())
        } else {
            let mut recipe = self.recipe.unwrap_or_else(Recipe::tiny).seed(self.seed);
            recipe = self
                .bytes
                .map_or_else(|| recipe.clone(), |bytes| recipe.clone().bytes(bytes));
            recipe = self
                .files
                .map_or_else(|| recipe.clone(), |files| recipe.clone().files(files));
            let wanted = self.bytes.unwrap_or_default();
            let fs = Fs::new(self.capacity.unwrap_or(CAPACITY.max(wanted.saturating_add(wanted / 4))));
            contents::fill(&fs, &recipe)?;
            contents::fill_sync(&sync, &recipe);
            (fs, contents::apps(self.seed))
        };
        let values = Values::new(&profile, &facts, &udid, self.name);
        let inner = Inner {
            udid,
            seed: self.seed,
            faults: Faults::default(),
            log: RequestLog::default(),
            values: Mutex::new(values),
            pairings: Mutex::new(Pairings::new(pairing)),
            screen: Screen::new(self.passcode || locked, locked, self.unlocks_after_restart),
            ports: Mutex::new(Ports::default()),
            notifications: broadcast::Sender::new(BACKLOG),
            afc: AfcState::new(profile.afc.clone()),
            heartbeats: watch::Sender::new(0),
            awake: Mutex::new(BTreeMap::new()),
            fs,
            apps: RwLock::new(apps.into()),
            icon_state: Mutex::new(None),
            backup: crate::backup::State::new(self.seed),
            sync,
            events: broadcast::Sender::new(BACKLOG),
            identity: OnceCell::new_with(self.identity.map(Arc::new)),
            power: watch::Sender::new(Power {
                boot: 0,
                state: PowerState::On,
            }),
            profile,
        };
        Ok(Phone { inner: Arc::new(inner) })
    }
}
