//! The values of lockdown's `Error` key.

use std::fmt;

use cabled_wire::plist::Value;

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $wire:literal,)+) => {
        /// Why lockdown refused, in its own words (spec: lockdown 3).
        ///
        /// Unknown codes are kept as spelled, so that a log shows them and a proxy passes them on.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum LockdownError {
            $($(#[doc = $doc])+ $name,)+
            /// `Result: Failure` with no `Error` beside it, as systems before iOS 5 answer.
            Unstated,
            /// A code this version does not know, as the device spelled it.
            Other(String),
            /// An `Error` that is no string; what it holds is kept whole.
            NotText(Box<Value>),
        }

        impl LockdownError {
            /// Every code with a name of its own.
            pub const NAMED: &'static [Self] = &[$(Self::$name),+];

            /// The code as lockdown spells it; `None` for [`Self::Unstated`] and [`Self::NotText`].
            #[must_use]
            pub fn as_str(&self) -> Option<&str> {
                match self {
                    $(Self::$name => Some($wire),)+
                    Self::Other(text) => Some(text),
                    Self::Unstated | Self::NotText(_) => None,
                }
            }
        }

        impl From<&str> for LockdownError {
            fn from(text: &str) -> Self {
                match text {
                    $($wire => Self::$name,)+
                    other => Self::Other(other.to_owned()),
                }
            }
        }
    };
}

codes! {
    /// `InvalidResponse`: the device did not understand its own daemon's answer.
    InvalidResponse = "InvalidResponse",
    /// `MissingKey`: no such key.
    MissingKey = "MissingKey",
    /// `MissingValue`: no such value, or none given.
    MissingValue = "MissingValue",
    /// `GetProhibited`: this client may not read the value.
    GetProhibited = "GetProhibited",
    /// `SetProhibited`: this client may not set the value.
    SetProhibited = "SetProhibited",
    /// `RemoveProhibited`: this client may not remove the value.
    RemoveProhibited = "RemoveProhibited",
    /// `ImmutableValue`: the value cannot be changed.
    ImmutableValue = "ImmutableValue",
    /// `PasswordProtected`: locked with a passcode.
    PasswordProtected = "PasswordProtected",
    /// `DeviceLocked`: the newer form of `PasswordProtected`.
    DeviceLocked = "DeviceLocked",
    /// `EscrowLocked`: the escrow bag opens nothing before the first unlock after a boot.
    EscrowLocked = "EscrowLocked",
    /// `UserDeniedPairing`: the user chose not to trust this computer.
    UserDeniedPairing = "UserDeniedPairing",
    /// `PairingDialogResponsePending`: the trust dialogue is showing.
    PairingDialogResponsePending = "PairingDialogResponsePending",
    /// `MissingHostID`: no host id given.
    MissingHostId = "MissingHostID",
    /// `InvalidHostID`: the device does not know this pairing.
    InvalidHostId = "InvalidHostID",
    /// `SessionActive`: a session already runs on this connection.
    SessionActive = "SessionActive",
    /// `SessionInactive`: the request needs a session.
    SessionInactive = "SessionInactive",
    /// `MissingSessionID`: no session id given.
    MissingSessionId = "MissingSessionID",
    /// `InvalidSessionID`: not the session of this connection.
    InvalidSessionId = "InvalidSessionID",
    /// `MissingService`: no service name given.
    MissingService = "MissingService",
    /// `InvalidService`: no such service, or its developer image is not mounted.
    InvalidService = "InvalidService",
    /// `ServiceLimit`: too many instances of the service run.
    ServiceLimit = "ServiceLimit",
    /// `ServiceProhibited`: not allowed by policy, transport or entitlement.
    ServiceProhibited = "ServiceProhibited",
    /// `MissingPairRecord`: no pair record given.
    MissingPairRecord = "MissingPairRecord",
    /// `InvalidPairRecord`: the pair record is damaged or incomplete.
    InvalidPairRecord = "InvalidPairRecord",
    /// `SavePairRecordFailed`: the device could not store the pairing.
    SavePairRecordFailed = "SavePairRecordFailed",
    /// `PairingProhibitedOverThisConnection`: pairing needs USB.
    PairingProhibitedOverThisConnection = "PairingProhibitedOverThisConnection",
    /// `MissingActivationRecord`: no activation record given.
    MissingActivationRecord = "MissingActivationRecord",
    /// `InvalidActivationRecord`: the activation record is not accepted.
    InvalidActivationRecord = "InvalidActivationRecord",
    /// `FMiPProtected`: Find My is on, which blocks erasing and restoring.
    FmipProtected = "FMiPProtected",
    /// `MCProtected`: a configuration profile forbids it.
    McProtected = "MCProtected",
    /// `MCChallengeRequired`: a supervised device wants its challenge signed (spec: lockdown 7.3).
    McChallengeRequired = "MCChallengeRequired",
    /// `InvalidConnection`: lockdown dropped the logical connection.
    InvalidConnection = "InvalidConnection",
    /// `InvalidRequest`: an unknown `Request`.
    InvalidRequest = "InvalidRequest",
    /// `UnsupportedWatchKey`: a value that watches do not have.
    UnsupportedWatchKey = "UnsupportedWatchKey",
    /// `MalformedCommand`: a service could not read the request.
    MalformedCommand = "MalformedCommand",
    /// `InternalError`: the device failed; `DetailedError` may say more.
    InternalError = "InternalError",
}

impl LockdownError {
    /// Whether the user must unlock the device, after which the same request may succeed.
    #[must_use]
    pub fn needs_unlock(&self) -> bool {
        matches!(self, Self::PasswordProtected | Self::DeviceLocked | Self::EscrowLocked)
    }

    /// Whether a read that got this answer simply found nothing.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::MissingKey | Self::MissingValue)
    }

    /// What a person can do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::PasswordProtected | Self::DeviceLocked | Self::EscrowLocked => "unlock the device and try again",
            Self::UserDeniedPairing => "plug the device in again and choose Trust",
            Self::PairingDialogResponsePending => "answer the trust question on the device",
            Self::InvalidHostId | Self::MissingHostId | Self::InvalidPairRecord | Self::MissingPairRecord => {
                "pair this computer with the device again"
            }
            Self::PairingProhibitedOverThisConnection => "connect the device with a cable to pair it",
            Self::FmipProtected => "turn Find My off on the device and try again",
            Self::McProtected | Self::ServiceProhibited => "ask who manages the device; its policy forbids this",
            Self::McChallengeRequired => "give the supervision identity of the organisation that manages the device",
            Self::ServiceLimit => "close other programs that use the device and try again",
            Self::InvalidConnection | Self::SessionInactive | Self::SessionActive => "connect again",
            Self::SavePairRecordFailed => "free some space on the device and restart it",
            _ => "try again; if it stays, restart the device and report this with a trace log",
        }
    }
}

impl fmt::Display for LockdownError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_str() {
            Some(code) => f.write_str(code),
            None if *self == Self::Unstated => f.write_str("a failure without a reason"),
            None => f.write_str("a structured error"),
        }
    }
}

impl std::error::Error for LockdownError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_code_is_read_back_as_itself() {
        for code in LockdownError::NAMED {
            let text = code.as_str().unwrap();
            assert_eq!(LockdownError::from(text), *code);
        }
        assert_eq!(LockdownError::NAMED.len(), 36);
    }

    #[test]
    fn an_unknown_code_is_kept_as_spelled() {
        let code = LockdownError::from("BrandNewReason");
        assert_eq!(code, LockdownError::Other("BrandNewReason".to_owned()));
        assert_eq!(code.to_string(), "BrandNewReason");
    }
}
