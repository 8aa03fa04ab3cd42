//! Pairing: certificates, the trust dialogue, and what the device gives in return.

use std::fmt;
use std::ops::ControlFlow;
use std::time::Duration;

use cabled_wire::ids::{HostId, SystemBuid};
use cabled_wire::secret::SecretBytes;
use tokio::time::Instant;

use crate::certificates::{Certificates, RsaPublicKey};
use crate::client::{Lockdown, get_value, wrong_reply};
use crate::error::Error;
use crate::msg::{LockdownError, PairRequest, PairingOptions, ReplyBody, RequestBody};
use crate::pair_record::PairRecord;

/// Where a pairing stands; told to the observer after every answer of the device, at least once a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trust {
    /// Keys and certificates are being made.
    Preparing,
    /// The device is locked with its passcode: it shows no dialogue until somebody unlocks it.
    Locked,
    /// "Trust this computer?" is on the screen; since iOS 11 the passcode is asked for as well.
    WaitForUser,
    /// The connection was lost, as some systems do while the dialogue shows; it is being opened again.
    Reconnecting,
    /// The user chose not to trust this computer.
    Denied,
    /// The device trusts this computer.
    Trusted,
}

impl Trust {
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Self::Locked => "unlock the device and pair again",
            Self::Reconnecting => "plug the device in again and pair again",
            _ => "answer the trust question on the device and pair again",
        }
    }
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Preparing => "making certificates",
            Self::Locked => "waiting for the device to be unlocked",
            Self::WaitForUser => "waiting for the trust question to be answered",
            Self::Reconnecting => "connecting again",
            Self::Denied => "trust was denied",
            Self::Trusted => "trusted",
        })
    }
}

/// Watches a pairing, to tell the person in front of the device what to do; `Break` stops it.
///
/// Closures of the same shape are observers.
pub trait PairObserver: Send {
    /// Called at each state, and again at each poll while it lasts.
    fn on_trust(&mut self, state: Trust) -> ControlFlow<()>;
}

impl<F: FnMut(Trust) -> ControlFlow<()> + Send> PairObserver for F {
    fn on_trust(&mut self, state: Trust) -> ControlFlow<()> {
        self(state)
    }
}

/// Options of [`Lockdown::pair`].
#[derive(Clone, Debug)]
pub struct PairOptions {
    system_buid: SystemBuid,
    host_id: Option<HostId>,
    host_name: Option<String>,
    previous: Option<PairRecord>,
    give_up_after: Duration,
    poll_every: Duration,
}

impl PairOptions {
    /// Options for this computer. The system BUID comes from the usbmux daemon (`ReadBUID`) or our own store: it must
    /// stay the same, since the user's answer hangs on it.
    #[must_use]
    pub fn new(system_buid: SystemBuid) -> Self {
        Self {
            system_buid,
            host_id: None,
            host_name: None,
            previous: None,
            give_up_after: Duration::from_secs(300),
            poll_every: Duration::from_secs(1),
        }
    }

    /// The host id of the new pairing. Default: a random one.
    #[must_use]
    pub fn host_id(mut self, host_id: HostId) -> Self {
        self.host_id = Some(host_id);
        self
    }

    /// `HostName`: what newer trust dialogues show. Default: none is sent.
    #[must_use]
    pub fn host_name(mut self, name: impl Into<String>) -> Self {
        self.host_name = Some(name.into());
        self
    }

    /// An older record of the same device, whose escrow bag is kept when the device returns none. Default: none.
    #[must_use]
    pub fn previous(mut self, record: PairRecord) -> Self {
        self.previous = Some(record);
        self
    }

    /// How long the user may take to unlock and answer, altogether. Default: 5 minutes.
    #[must_use]
    pub fn give_up_after(mut self, limit: Duration) -> Self {
        self.give_up_after = limit;
        self
    }

    /// How often the device is asked whether the user has answered. Default: every second.
    #[must_use]
    pub fn poll_every(mut self, pause: Duration) -> Self {
        self.poll_every = pause;
        self
    }
}

impl Lockdown {
    /// Pairs this computer with the device and returns the record to store (0600: it holds private keys).
    ///
    /// Makes certificates, sends their public part, and asks again with the same record every second until the user
    /// has answered. A connection lost meanwhile is opened again. No private key leaves the host. The record is worth
    /// storing at once; a session started with it proves it. Dropping the future leaves the dialogue on the device.
    ///
    /// # Errors
    /// [`Error::UserDeniedPairing`]; [`Error::TrustTimedOut`] with what was being waited for; [`Error::Cancelled`] by
    /// the observer; [`Error::NotLockdown`]; [`Error::NoDeviceKey`]; [`Error::Refused`] with
    /// `PairingProhibitedOverThisConnection`, `MCChallengeRequired` and others; [`Error::Link`].
    ///
    /// Spec: lockdown 5 to 7.
    pub async fn pair(&mut self, options: PairOptions, observer: &mut dyn PairObserver) -> Result<PairRecord, Error> {
        self.expect_lockdown().await?;
        tell(observer, Trust::Preparing)?;
        // Before Pair: once a dialogue is pending, iOS 7 refuses to give the address away.
        let wifi = match self.get_value(None, Some("WiFiAddress")).await {
            Err(Error::Refused { .. }) => None, // useful later, not needed
            other => other?,
        };
        let wifi = wifi.as_ref().and_then(|value| value.as_string()).map(str::to_owned);
        let key = self
            .channel
            .value(get_value(None, Some("DevicePublicKey")))
            .await?
            .ok_or(Error::NoDeviceKey)?;
        let key = RsaPublicKey::from_pem(key.as_data().ok_or(Error::NoDeviceKey)?).map_err(Error::Certificates)?;
        let mut record = new_record(&key, wifi, &options).await?;
        let bag = self.ask_for_trust(&record, &options, observer).await?;
        record.escrow_bag = bag.or_else(|| options.previous.and_then(|previous| previous.escrow_bag));
        // The pairing is made: whether the observer wants to go on no longer matters.
        let _ = observer.on_trust(Trust::Trusted);
        Ok(record)
    }

    /// Polls `Pair` with one record until it is answered; returns the escrow bag.
    async fn ask_for_trust(
        &mut self,
        record: &PairRecord,
        options: &PairOptions,
        observer: &mut dyn PairObserver,
    ) -> Result<Option<SecretBytes>, Error> {
        let give_up = Instant::now().checked_add(options.give_up_after);
        let mut state = Trust::WaitForUser;
        loop {
            let left = give_up.map_or(options.give_up_after, |at| at.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Err(Error::TrustTimedOut {
                    waiting_for: state,
                    after: options.give_up_after,
                });
            }
            let answer = match state {
                Trust::Reconnecting => match self.reconnect().await {
                    Ok(()) => self.channel.call_within(pair_request(record, options), left).await,
                    Err(error) => Err(error),
                },
                _ => self.channel.call_within(pair_request(record, options), left).await,
            };
            state = match answer {
                Ok(ReplyBody::Paired { escrow_bag }) => return Ok(escrow_bag),
                Ok(_) => return Err(wrong_reply("Pair")),
                Err(Error::Link(crate::LinkError::TimedOut { .. })) => continue, // the deadline is over: say so above
                Err(error) => waiting_state(error, observer)?,
            };
            tell(observer, state)?;
            tokio::time::sleep(options.poll_every.min(left)).await;
        }
    }
}

/// Which refusals mean that a person has to act, or that the link only went away.
fn waiting_state(error: Error, observer: &mut dyn PairObserver) -> Result<Trust, Error> {
    match &error {
        Error::Refused { code, .. } if code.needs_unlock() => Ok(Trust::Locked),
        Error::Refused {
            code: LockdownError::PairingDialogResponsePending,
            ..
        } => Ok(Trust::WaitForUser),
        Error::Refused {
            code: LockdownError::UserDeniedPairing,
            ..
        } => {
            let _ = observer.on_trust(Trust::Denied);
            Err(Error::UserDeniedPairing)
        }
        error if error.dropped_by_lockdown() => Ok(Trust::Reconnecting),
        Error::Link(link) if link.is_gone() => Ok(Trust::Reconnecting),
        Error::Connect(_) => Ok(Trust::Reconnecting),
        _ => Err(error),
    }
}

fn tell(observer: &mut dyn PairObserver, state: Trust) -> Result<(), Error> {
    match observer.on_trust(state) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::Cancelled),
    }
}

fn pair_request(record: &PairRecord, options: &PairOptions) -> RequestBody {
    RequestBody::Pair(PairRequest {
        record: Some(record.for_device()),
        protocol_version: Some("2".to_owned()),
        options: Some(PairingOptions {
            extended_pairing_errors: Some(true),
            ..PairingOptions::default()
        }),
        host_name: options.host_name.clone(),
    })
}

/// A record with fresh keys; making them takes tenths of a second, on a thread of its own.
async fn new_record(key: &RsaPublicKey, wifi: Option<String>, options: &PairOptions) -> Result<PairRecord, Error> {
    let key = key.clone();
    let made = tokio::task::spawn_blocking(move || Certificates::issue(&key, std::time::SystemTime::now()));
    let made = made
        .await
        .map_err(|_| Error::ShuttingDown)?
        .map_err(Error::Certificates)?;
    Ok(PairRecord {
        host_id: options.host_id.clone().unwrap_or_else(HostId::random),
        system_buid: options.system_buid.clone(),
        device_certificate: made.device,
        host_certificate: made.host,
        root_certificate: made.root,
        host_private_key: made.host_key,
        root_private_key: Some(made.root_key),
        escrow_bag: None,
        wifi_mac_address: wifi,
        extra: cabled_wire::plist::Dictionary::new(),
    })
}
