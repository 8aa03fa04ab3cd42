//! What a host asks of lockdown.

use cabled_wire::WireError;
use cabled_wire::ids::{HostId, SystemBuid};
use cabled_wire::plist::{Dictionary, Value};
use cabled_wire::secret::SecretBytes;

use super::Message;
use super::fields::{Builder, Fields};
use crate::pair_record::DeviceSide;

/// One request frame (spec: lockdown 2).
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// `Label`: the client's name. Some clients leave it out of some requests.
    pub label: Option<String>,
    /// What is asked.
    pub body: RequestBody,
    /// Keys that are not of this request, kept whole.
    pub extra: Dictionary,
}

/// The request proper.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum RequestBody {
    /// `QueryType`: which kind of daemon is this?
    QueryType,
    /// `GetValue`: one key, a whole domain, or (with neither) the whole default domain.
    GetValue {
        /// `Domain`; `None` is the default domain. An empty string is read as none.
        domain: Option<String>,
        /// `Key`; `None` asks for all of the domain.
        key: Option<String>,
    },
    /// `SetValue`.
    SetValue {
        /// `Domain`; `None` is the default domain.
        domain: Option<String>,
        /// `Key`; no client leaves it out, but a device must answer one that does.
        key: Option<String>,
        /// `Value`, of any type.
        value: Option<Value>,
    },
    /// `RemoveValue`.
    RemoveValue {
        /// `Domain`; `None` is the default domain.
        domain: Option<String>,
        /// `Key`.
        key: Option<String>,
    },
    /// `Pair`: trust this computer. Asks the user.
    Pair(PairRequest),
    /// `ValidatePair`: only of use before iOS 7.
    ValidatePair(PairRequest),
    /// `Unpair`: forget this computer.
    Unpair(PairRequest),
    /// `ResetPairing`: forget every computer.
    ResetPairing {
        /// `FullReset`.
        full: Option<bool>,
    },
    /// `StartSession`: go on encrypted and authenticated.
    StartSession {
        /// `HostID` of the pairing; a device answers `MissingHostID` when it is absent.
        host_id: Option<HostId>,
        /// `SystemBUID` of the machine.
        system_buid: Option<SystemBuid>,
    },
    /// `StopSession`: back to plain text.
    StopSession {
        /// `SessionID` that `StartSession` returned.
        session_id: Option<String>,
    },
    /// `StartService`: open a port for a service.
    StartService {
        /// `Service`, such as `com.apple.afc`.
        service: Option<String>,
        /// `EscrowBag` of the pair record, to unlock data protection.
        escrow_bag: Option<SecretBytes>,
    },
    /// `Goodbye`.
    Goodbye,
    /// `EnterRecovery`: the device restarts into recovery mode.
    EnterRecovery,
    /// `Activate`: obsolete since iOS 10.
    Activate {
        /// `ActivationRecord`.
        record: Option<Value>,
    },
    /// `Deactivate`.
    Deactivate,
    /// `RSDCheckin`: the opening of a `.shim.remote` service (spec: lockdown 11.2).
    RsdCheckin {
        /// `ProtocolVersion`, "2".
        protocol_version: Option<String>,
        /// `EscrowBag`, when wanted.
        escrow_bag: Option<SecretBytes>,
    },
    /// A request this version does not know; its keys are in [`Request::extra`].
    Unknown {
        /// `Request` as spelled.
        request: String,
    },
}

/// The body of `Pair`, `ValidatePair` and `Unpair`.
///
/// There is no place for a private key: [`DeviceSide`] has none, and drops those that other clients send.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PairRequest {
    /// `PairRecord`; a device answers `MissingPairRecord` when it is absent.
    pub record: Option<DeviceSide>,
    /// `ProtocolVersion`, "2".
    pub protocol_version: Option<String>,
    /// `PairingOptions`.
    pub options: Option<PairingOptions>,
    /// `HostName`: what newer trust dialogues show.
    pub host_name: Option<String>,
}

/// `PairingOptions` of a `Pair` request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PairingOptions {
    /// `ExtendedPairingErrors`: answer with the reasons a dialogue has.
    pub extended_pairing_errors: Option<bool>,
    /// `SupervisorCertificate`: DER, to pair a supervised device without a dialogue (spec: lockdown 7.3).
    pub supervisor_certificate: Option<Vec<u8>>,
    /// `ChallengeResponse`: DER of the signed challenge.
    pub challenge_response: Option<Vec<u8>>,
    /// Keys not known here.
    pub extra: Dictionary,
}

impl Request {
    /// A request from the client `label`.
    #[must_use]
    pub fn new(label: impl Into<String>, body: RequestBody) -> Self {
        Self {
            label: Some(label.into()),
            body,
            extra: Dictionary::new(),
        }
    }

    /// The value of the `Request` key, which the reply must repeat.
    #[must_use]
    pub fn name(&self) -> &str {
        self.body.name()
    }
}

impl RequestBody {
    /// The value of the `Request` key.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::QueryType => "QueryType",
            Self::GetValue { .. } => "GetValue",
            Self::SetValue { .. } => "SetValue",
            Self::RemoveValue { .. } => "RemoveValue",
            Self::Pair(_) => "Pair",
            Self::ValidatePair(_) => "ValidatePair",
            Self::Unpair(_) => "Unpair",
            Self::ResetPairing { .. } => "ResetPairing",
            Self::StartSession { .. } => "StartSession",
            Self::StopSession { .. } => "StopSession",
            Self::StartService { .. } => "StartService",
            Self::Goodbye => "Goodbye",
            Self::EnterRecovery => "EnterRecovery",
            Self::Activate { .. } => "Activate",
            Self::Deactivate => "Deactivate",
            Self::RsdCheckin { .. } => "RSDCheckin",
            Self::Unknown { request } => request,
        }
    }

    fn decode(name: &str, f: &mut Fields) -> Result<Self, WireError> {
        Ok(match name {
            "QueryType" => Self::QueryType,
            "GetValue" => Self::GetValue {
                domain: domain(f)?,
                key: f.opt_text("Key")?,
            },
            "SetValue" => Self::SetValue {
                domain: domain(f)?,
                key: f.opt_text("Key")?,
                value: f.take("Value"),
            },
            "RemoveValue" => Self::RemoveValue {
                domain: domain(f)?,
                key: f.opt_text("Key")?,
            },
            "Pair" => Self::Pair(PairRequest::decode(f)?),
            "ValidatePair" => Self::ValidatePair(PairRequest::decode(f)?),
            "Unpair" => Self::Unpair(PairRequest::decode(f)?),
            "ResetPairing" => Self::ResetPairing {
                full: f.opt_boolean("FullReset")?,
            },
            "StartSession" => Self::StartSession {
                host_id: f.opt_text("HostID")?.map(|id| id.parse()).transpose()?,
                system_buid: f.opt_text("SystemBUID")?.map(|id| id.parse()).transpose()?,
            },
            "StopSession" => Self::StopSession {
                session_id: f.opt_text("SessionID")?,
            },
            "StartService" => Self::StartService {
                service: f.opt_text("Service")?,
                escrow_bag: f.opt_secret("EscrowBag")?,
            },
            "Goodbye" => Self::Goodbye,
            "EnterRecovery" => Self::EnterRecovery,
            "Activate" => Self::Activate {
                record: f.take("ActivationRecord"),
            },
            "Deactivate" => Self::Deactivate,
            "RSDCheckin" => Self::RsdCheckin {
                protocol_version: f.opt_text("ProtocolVersion")?,
                escrow_bag: f.opt_secret("EscrowBag")?,
            },
            other => Self::Unknown {
                request: other.to_owned(),
            },
        })
    }

    fn build(&self, b: Builder) -> Builder {
        match self {
            Self::GetValue { domain, key } | Self::RemoveValue { domain, key } => {
                b.opt("Domain", domain.as_deref()).opt("Key", key.as_deref())
            }
            Self::SetValue { domain, key, value } => b
                .opt("Domain", domain.as_deref())
                .opt("Key", key.as_deref())
                .opt("Value", value.clone()),
            Self::Pair(pair) | Self::ValidatePair(pair) | Self::Unpair(pair) => pair.build(b),
            Self::ResetPairing { full } => b.opt("FullReset", *full),
            Self::StartSession { host_id, system_buid } => b
                .opt("HostID", host_id.as_ref().map(ToString::to_string))
                .opt("SystemBUID", system_buid.as_ref().map(ToString::to_string)),
            Self::StopSession { session_id } => b.opt("SessionID", session_id.as_deref()),
            Self::StartService { service, escrow_bag } => b
                .opt("Service", service.as_deref())
                .opt_secret("EscrowBag", escrow_bag.as_ref()),
            Self::Activate { record } => b.opt("ActivationRecord", record.clone()),
            Self::RsdCheckin {
                protocol_version,
                escrow_bag,
            } => b
                .opt("ProtocolVersion", protocol_version.as_deref())
                .opt_secret("EscrowBag", escrow_bag.as_ref()),
            Self::QueryType | Self::Goodbye | Self::EnterRecovery | Self::Deactivate | Self::Unknown { .. } => b,
        }
    }
}

/// `Domain`, where the empty string means none.
fn domain(f: &mut Fields) -> Result<Option<String>, WireError> {
    Ok(f.opt_text("Domain")?.filter(|domain| !domain.is_empty()))
}

impl PairRequest {
    fn decode(f: &mut Fields) -> Result<Self, WireError> {
        Ok(Self {
            record: f.opt_dict("PairRecord")?.map(DeviceSide::from_dict).transpose()?,
            protocol_version: f.opt_text("ProtocolVersion")?,
            options: f.opt_dict("PairingOptions")?.map(PairingOptions::decode).transpose()?,
            host_name: f.opt_text("HostName")?,
        })
    }

    fn build(&self, b: Builder) -> Builder {
        b.opt("PairRecord", self.record.as_ref().map(DeviceSide::to_plist))
            .opt("ProtocolVersion", self.protocol_version.as_deref())
            .opt("PairingOptions", self.options.as_ref().map(PairingOptions::build))
            .opt("HostName", self.host_name.as_deref())
    }
}

impl PairingOptions {
    fn decode(dict: Dictionary) -> Result<Self, WireError> {
        let mut f = Fields::from_dict(dict);
        Ok(Self {
            extended_pairing_errors: f.opt_boolean("ExtendedPairingErrors")?,
            supervisor_certificate: f.opt_data("SupervisorCertificate")?,
            challenge_response: f.opt_data("ChallengeResponse")?,
            extra: f.rest(),
        })
    }

    fn build(&self) -> Value {
        Builder::on(&self.extra)
            .opt("ExtendedPairingErrors", self.extended_pairing_errors)
            .opt_data("SupervisorCertificate", self.supervisor_certificate.as_deref())
            .opt_data("ChallengeResponse", self.challenge_response.as_deref())
            .build()
    }
}

impl Message for Request {
    fn to_plist(&self) -> Value {
        self.body
            .build(Builder::on(&self.extra))
            .opt("Label", self.label.as_deref())
            .set("Request", self.name())
            .build()
    }

    fn from_plist(value: Value) -> Result<Self, WireError> {
        let mut f = Fields::of(value, "lockdown request")?;
        let name = f.text("Request")?;
        let label = f.opt_text("Label")?;
        let body = RequestBody::decode(&name, &mut f)?;
        Ok(Self {
            label,
            body,
            extra: f.rest(),
        })
    }
}
