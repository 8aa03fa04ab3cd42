//! One device, step by step.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use cabled::lockdown::msg::ReplyBody;
use cabled::lockdown::services::notification_proxy::{INSECURE_SERVICE, NotificationProxy, names};
use cabled::lockdown::{Error, Lockdown, Options, PairOptions, PairRecord, Trust};
use cabled::usbmux::store::PairRecordId;
use cabled::wire::io::Connect;
use tokio::time::sleep;

use super::Guest;
use cabled_examples::Failure;

/// The name that the device sees.
const LABEL: &str = "usbmuxd";
/// Between two attempts at a device that does not answer; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(30);
/// How long the device may take for one `Pair`. Its user is not waited for: a notification tells of the answer.
const PAIR_LIMIT: Duration = Duration::from_secs(15);

/// How a device wants to be paired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// It has a trust dialogue, and tells when that was answered.
    Dialogue,
    /// It pairs at once, or not at all.
    AtOnce,
}

/// What a pair record is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// The device opened a session.
    Proven,
    /// It refused for a reason of its own, because it is locked for instance.
    Likely,
    /// There is no record, or the device does not know it.
    None,
}

/// What a pairing came to.
enum Outcome {
    Paired,
    /// Its user was asked, or could not be.
    Open,
    Denied,
}

/// Prepares the device and then watches it until it is paired. Ends when nothing is left to do.
///
/// Safe to drop at any time.
pub(super) async fn attend(guest: Arc<Guest>) {
    let mut pause = FIRST_PAUSE;
    loop {
        match guest.prepare().await {
            Ok(After::Nothing) => return,
            Ok(After::Watch) => break,
            Err(error) => {
                // A device new to a computer may need half a minute before it talks at all.
                tracing::info!(udid = %guest.udid, error = &*error, "not ready yet; trying again in {pause:?}");
                sleep(pause).await;
                pause = pause.saturating_mul(2).min(LAST_PAUSE);
            }
        }
    }
    let mut pause = FIRST_PAUSE;
    loop {
        match guest.watch().await {
            Ok(After::Nothing) => return,
            Ok(After::Watch) => {}
            Err(error) => tracing::debug!(udid = %guest.udid, error = &*error, "the watch ended"),
        }
        guest.show();
        sleep(pause).await;
        pause = pause.saturating_mul(2).min(LAST_PAUSE);
    }
}

/// What is left to do.
enum After {
    Nothing,
    /// Wait for the answer to the trust dialogue.
    Watch,
}

impl Guest {
    fn show(&self) {
        self.shared.show(self.id);
    }

    async fn lockdown(self: &Arc<Self>) -> Result<Lockdown, Error> {
        let options = Options::default()
            .label(LABEL)
            .reply_limit(self.shared.options.reply_limit);
        Lockdown::connect_with(Arc::clone(self) as Arc<dyn Connect>, options).await
    }

    /// All steps until the device may be shown. An error says that it did not answer, and is worth another try.
    async fn prepare(self: &Arc<Self>) -> Result<After, Failure> {
        let mut lockdown = self.lockdown().await?;
        let kind = lockdown.query_type().await?;
        if kind != ReplyBody::LOCKDOWN {
            tracing::info!(udid = %self.udid, kind, "no ordinary lockdown; shown as it is");
            return Ok(After::Nothing);
        }
        let record = self.record().await;
        let standing = match &record {
            Some(record) => {
                let standing = standing_of(lockdown, record).await?;
                lockdown = self.lockdown().await?;
                standing
            }
            None => Standing::None,
        };
        if standing == Standing::Proven {
            tracing::info!(udid = %self.udid, "trusts this computer");
            return Ok(After::Nothing);
        }
        let version = text(&mut lockdown, "ProductVersion").await?;
        let class = text(&mut lockdown, "DeviceClass").await?;
        let way = way(class.as_deref(), version.as_deref().unwrap_or("1.0"));
        tracing::debug!(udid = %self.udid, ?standing, ?class, ?version, ?way, "not trusted yet");
        if way == Way::Dialogue {
            self.announce(&mut lockdown).await?;
        }
        if standing == Standing::None {
            match self.pair(&mut lockdown, record).await? {
                Outcome::Paired if way == Way::AtOnce => self.validate(lockdown).await?,
                Outcome::Paired => {}
                Outcome::Open => return Ok(After::Watch),
                Outcome::Denied => return Ok(After::Nothing),
            }
            return Ok(After::Nothing);
        }
        Ok(match way {
            Way::Dialogue => After::Watch,
            Way::AtOnce => After::Nothing,
        })
    }

    /// The stored pair record, if it is one.
    async fn record(&self) -> Option<PairRecord> {
        let stored = self.shared.store.read(&PairRecordId::from(&self.udid)).await;
        match stored {
            Ok(stored) => PairRecord::parse(stored?.expose()).ok(),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "no pair record can be read");
                None
            }
        }
    }

    /// Tells the device which computer this is, so that it can ask for a pairing.
    async fn announce(&self, lockdown: &mut Lockdown) -> Result<(), Failure> {
        let buid = self.shared.store.system_buid().await?;
        match lockdown
            .set_value(None, "UntrustedHostBUID", buid.as_str().into())
            .await
        {
            Err(error @ Error::Refused { .. }) => {
                tracing::debug!(udid = %self.udid, %error, "does not want to know this computer");
                Ok(())
            }
            other => Ok(other?),
        }
    }

    /// Asks for trust once. What the user says is not waited for.
    async fn pair(&self, lockdown: &mut Lockdown, previous: Option<PairRecord>) -> Result<Outcome, Failure> {
        let mut options = PairOptions::new(self.shared.store.system_buid().await?).give_up_after(PAIR_LIMIT);
        if let Some(previous) = previous {
            options = options.previous(previous);
        }
        let mut last = Trust::Preparing;
        let mut once = |state: Trust| {
            last = state;
            match state {
                Trust::WaitForUser | Trust::Locked | Trust::Reconnecting => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        };
        match lockdown.pair(options, &mut once).await {
            Ok(record) => {
                let xml = record.to_plist_xml();
                self.shared.store.save(&PairRecordId::from(&self.udid), &xml).await?;
                tracing::info!(udid = %self.udid, "paired with this computer");
                self.shared.paired(self.id);
                Ok(Outcome::Paired)
            }
            Err(Error::UserDeniedPairing) => {
                tracing::info!(udid = %self.udid, "trust was denied on the device");
                Ok(Outcome::Denied)
            }
            Err(Error::Cancelled) if last == Trust::Reconnecting => Err(Error::Cancelled.into()),
            Err(Error::Cancelled | Error::TrustTimedOut { .. }) => {
                match last {
                    Trust::Locked => tracing::info!(udid = %self.udid, "unlock the device to pair it"),
                    _ => tracing::info!(udid = %self.udid, "tap Trust on the device to pair it"),
                }
                Ok(Outcome::Open)
            }
            Err(error @ (Error::Connect(_) | Error::Link(_))) => Err(error.into()),
            Err(error) => {
                tracing::warn!(udid = %self.udid, %error, "cannot be paired");
                Ok(Outcome::Open)
            }
        }
    }

    /// What systems before iOS 7 want after `Pair`; its failure is no reason to hide the device.
    async fn validate(self: &Arc<Self>, mut lockdown: Lockdown) -> Result<(), Failure> {
        let Some(record) = self.record().await else {
            return Ok(());
        };
        let valid = async {
            lockdown.validate_pair(&record).await?;
            lockdown.start_session(&record).await
        };
        match valid.await {
            Ok(session) => session.stop().await,
            Err(error) => tracing::debug!(udid = %self.udid, %error, "the new pairing could not be checked"),
        }
        Ok(())
    }

    /// Shows the device and waits for what it says about trust.
    async fn watch(self: &Arc<Self>) -> Result<After, Failure> {
        let mut lockdown = self.lockdown().await?;
        let stream = match lockdown.start_service(INSECURE_SERVICE).await {
            Ok(stream) => stream,
            Err(error @ Error::Refused { .. }) => {
                tracing::debug!(udid = %self.udid, %error, "cannot be watched");
                return Ok(After::Nothing);
            }
            Err(error) => return Err(error.into()),
        };
        lockdown.close().await;
        let mut proxy = NotificationProxy::new(stream);
        proxy.observe(names::REQUEST_PAIR).await?;
        proxy.observe(names::REQUEST_HOST_BUID).await?;
        self.show();
        while let Some(name) = proxy.next().await? {
            tracing::debug!(udid = %self.udid, name, "notified");
            match name.as_str() {
                names::REQUEST_PAIR => match self.pair_again().await? {
                    Outcome::Paired | Outcome::Denied => return Ok(After::Nothing),
                    Outcome::Open => {}
                },
                names::REQUEST_HOST_BUID => self.announce(&mut self.lockdown().await?).await?,
                _ => {}
            }
        }
        Ok(After::Watch)
    }

    /// The user has answered. Another program may have been quicker, in which case its record counts.
    async fn pair_again(self: &Arc<Self>) -> Result<Outcome, Failure> {
        let record = self.record().await;
        if let Some(record) = &record
            && standing_of(self.lockdown().await?, record).await? == Standing::Proven
        {
            return Ok(Outcome::Paired);
        }
        self.pair(&mut self.lockdown().await?, record).await
    }
}

/// Tries a session with a pair record.
async fn standing_of(lockdown: Lockdown, record: &PairRecord) -> Result<Standing, Failure> {
    let proof = async {
        let mut session = lockdown.start_session(record).await?;
        // With TLS 1.3 a device that does not know us says so only now.
        let proof = session.get_value(None, Some("ProductVersion")).await;
        session.stop().await;
        proof
    };
    match proof.await {
        Ok(_) => Ok(Standing::Proven),
        Err(error) if error.needs_pairing() || matches!(error, Error::Tls(_)) => {
            tracing::info!(%error, "the stored pair record is of no use");
            Ok(Standing::None)
        }
        Err(error @ (Error::Connect(_) | Error::Link(_))) => Err(error.into()),
        Err(error) => {
            tracing::debug!(%error, "no session, but not for want of a pairing");
            Ok(Standing::Likely)
        }
    }
}

/// A value that everybody may read; `None` when the device refuses.
async fn text(lockdown: &mut Lockdown, key: &str) -> Result<Option<String>, Failure> {
    match lockdown.get_value(None, Some(key)).await {
        Ok(value) => Ok(value.and_then(|value| value.into_string())),
        Err(Error::Refused { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The trust dialogue came with iOS 7, watchOS 2 and tvOS 9. iPods of any version go the other way, as ever.
pub(super) fn way(class: Option<&str>, version: &str) -> Way {
    let major: u32 = version
        .split('.')
        .next()
        .and_then(|major| major.parse().ok())
        .unwrap_or(1);
    let since = match class {
        Some("iPhone" | "iPad") => 7,
        Some("Watch") => 2,
        Some("AppleTV") => 9,
        _ => return Way::AtOnce,
    };
    if major >= since { Way::Dialogue } else { Way::AtOnce }
}
