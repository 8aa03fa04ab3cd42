//! What can go wrong with lockdown, and what to do about it.

use std::time::Duration;

use cabled_wire::ids::HostId;
use cabled_wire::io::ConnectError;

use crate::certificates::CertificateError;
use crate::link::LinkError;
use crate::msg::LockdownError;
use crate::pairing::Trust;
use crate::tls::TlsError;

/// A request to lockdown, a pairing, a session or the start of a service failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No stream to the device.
    #[error("the device cannot be reached")]
    Connect(#[from] ConnectError),
    /// The stream failed, stayed silent or carried nonsense.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The device said no, in its own words.
    #[error("the device refused {request} with `{code}`; {}", code.remedy())]
    Refused {
        /// The request, as it is named on the wire.
        request: String,
        /// The device's code.
        code: LockdownError,
        /// `DetailedError`, where the device gave one.
        detail: Option<String>,
    },
    /// The device does not know this pairing any more, or never did.
    #[error("the pairing is invalid on the device (host {host_id}, {evidence}); pair it again")]
    PairingInvalid {
        /// The host id of our pair record.
        host_id: HostId,
        /// How it showed.
        evidence: Evidence,
    },
    /// TLS failed for another reason than a removed pairing.
    #[error("TLS with the device failed")]
    Tls(#[from] TlsError),
    /// The device wants a session without TLS, which [`crate::TlsPolicy`] does not allow.
    #[error("the device wants a session without encryption, which is refused")]
    NotEncrypted,
    /// Our own pair record is damaged.
    #[error("the pair record of this device is damaged; pair it again")]
    PairRecord(#[source] CertificateError),
    /// The device's public key cannot be used, or certificates could not be made.
    #[error("no certificates could be made for this device")]
    Certificates(#[source] CertificateError),
    /// The device has no `DevicePublicKey` to pair with.
    #[error("the device gives no public key to pair with; restart it and try again")]
    NoDeviceKey,
    /// The reply repeats another request, or none.
    #[error("the device answered another request (`{got}`) than {request}")]
    WrongEcho {
        /// What was asked.
        request: String,
        /// What was answered, cut to 200 characters.
        got: String,
    },
    /// The reply lacks what this request is about.
    #[error("the device's answer to {request} is of another kind")]
    WrongReply {
        /// What was asked.
        request: String,
    },
    /// The device is in restore mode, or of a kind with another lockdown.
    #[error("the device runs `{kind}` in place of lockdown; is it in restore mode? restart it")]
    NotLockdown {
        /// `Type` of its answer to `QueryType`.
        kind: String,
    },
    /// The user chose not to trust this computer.
    #[error("trust was denied on the device; plug it in again and choose Trust")]
    UserDeniedPairing,
    /// Nobody unlocked the device or answered its trust dialogue in time.
    #[error("pairing gave up after {} seconds while {waiting_for}", after.as_secs())]
    TrustTimedOut {
        /// What was being waited for.
        waiting_for: Trust,
        /// How long.
        after: Duration,
    },
    /// The observer of a pairing stopped it.
    #[error("pairing was cancelled")]
    Cancelled,
    /// The certificates' task did not finish: the runtime is shutting down.
    #[error("the program is shutting down")]
    ShuttingDown,
}

/// How a removed pairing showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Evidence {
    /// `InvalidHostID` in answer to `StartSession`.
    InvalidHostId,
    /// The device ended TLS after it saw our certificate.
    HostCertificateRefused,
}

impl std::fmt::Display for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::InvalidHostId => "unknown host id",
            Self::HostCertificateRefused => "certificate refused",
        })
    }
}

impl Error {
    /// The device's own code, where it refused.
    #[must_use]
    pub fn code(&self) -> Option<&LockdownError> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }

    /// Whether unlocking the device and trying again may help.
    #[must_use]
    pub fn needs_unlock(&self) -> bool {
        self.code().is_some_and(LockdownError::needs_unlock)
    }

    /// Whether only pairing anew helps. Nothing is deleted on its own.
    #[must_use]
    pub fn needs_pairing(&self) -> bool {
        matches!(
            self,
            Self::PairingInvalid { .. } | Self::PairRecord(_) | Self::Tls(TlsError::NotThePairedDevice)
        )
    }

    /// What a person can do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Connect(ConnectError::Refused { .. }) => "try again; the service may not be ready yet",
            Self::Connect(_) => "check the cable, unlock the device and try again",
            Self::Link(link) => link.remedy(),
            Self::Refused { code, .. } => code.remedy(),
            Self::PairingInvalid { .. } | Self::PairRecord(_) => "pair this computer with the device again",
            Self::Tls(TlsError::NotThePairedDevice) => "make sure it is your device that answers, then pair it again",
            Self::Tls(TlsError::NothingInCommon) => "use a device with iOS 10 or later",
            Self::UserDeniedPairing => "plug the device in again and choose Trust",
            Self::TrustTimedOut { waiting_for, .. } => waiting_for.remedy(),
            Self::NotLockdown { .. } | Self::NoDeviceKey => "restart the device and try again",
            Self::NotEncrypted => "allow it with TlsPolicy::AcceptAny if the link is your own",
            Self::Cancelled | Self::ShuttingDown => "start again when you are ready",
            Self::Tls(_) | Self::Certificates(_) | Self::WrongEcho { .. } | Self::WrongReply { .. } => {
                "try again; if it stays, restart the device and report this with a trace log"
            }
        }
    }

    /// Lockdown dropped the logical connection: worth one reconnect (spec: lockdown 3).
    pub(crate) fn dropped_by_lockdown(&self) -> bool {
        matches!(
            self.code(),
            Some(LockdownError::InvalidConnection | LockdownError::SessionInactive)
        )
    }
}
