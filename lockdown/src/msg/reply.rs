//! What lockdown answers.

use cabled_wire::WireError;
use cabled_wire::plist::{Dictionary, Value};
use cabled_wire::secret::SecretBytes;

use super::Message;
use super::code::LockdownError;
use super::fields::{Builder, Fields};
use super::request::{Request, RequestBody};

/// One reply frame (spec: lockdown 2).
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// `Request`: the request this answers, repeated. Only some `Unpair` and `QueryType` replies lack it.
    pub request: Option<String>,
    /// What is answered.
    pub body: ReplyBody,
    /// `Result`, which every reply had until about iOS 4: `Success` or `Failure`.
    pub result: Option<String>,
    /// Keys that are not of this reply, kept whole; in a refusal also the repeated `Key`, `Domain`, `Service`.
    pub extra: Dictionary,
}

/// The answer proper.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ReplyBody {
    /// To `QueryType`.
    QueryType {
        /// `Type`: [`ReplyBody::LOCKDOWN`], or [`ReplyBody::RESTORED`] in restore mode.
        kind: String,
        /// `RestoreProtocolVersion`, in restore mode only.
        restore_protocol_version: Option<i64>,
    },
    /// To `GetValue`, `SetValue` and `RemoveValue`.
    Value {
        /// `Domain`, repeated.
        domain: Option<String>,
        /// `Key`, repeated.
        key: Option<String>,
        /// `Value`; repeated by `SetValue`.
        value: Option<Value>,
    },
    /// To `Pair`: trusted.
    Paired {
        /// `EscrowBag`; watches and locked supervised devices return none.
        escrow_bag: Option<SecretBytes>,
    },
    /// To `StartSession`.
    SessionStarted {
        /// `SessionID`: an upper-case UUID.
        session_id: String,
        /// `EnableSessionSSL`: TLS starts right after this frame. Absent is false.
        enable_session_ssl: Option<bool>,
    },
    /// To `StartService`.
    ServiceStarted {
        /// `Service`, repeated.
        service: Option<String>,
        /// `Port` on the device, to be reached the way lockdown was.
        port: u16,
        /// `EnableServiceSSL`: TLS starts right after connecting. Absent is false.
        enable_service_ssl: Option<bool>,
    },
    /// Success with nothing to say; also the `StartService` of a `.shim.remote` service, which has no port.
    Done,
    /// Refused.
    Failed {
        /// `Error`.
        code: LockdownError,
        /// `DetailedError`, beside `InternalError`.
        detail: Option<String>,
        /// `ExtendedResponse`, such as the challenge beside `MCChallengeRequired`.
        extended: Option<Value>,
    },
}

impl ReplyBody {
    /// `Type` of the ordinary daemon.
    pub const LOCKDOWN: &'static str = "com.apple.mobile.lockdown";
    /// `Type` in restore mode, which speaks another protocol.
    pub const RESTORED: &'static str = "com.apple.mobile.restored";

    /// A refusal with nothing beside the code.
    #[must_use]
    pub fn failed(code: LockdownError) -> Self {
        Self::Failed {
            code,
            detail: None,
            extended: None,
        }
    }
}

impl Reply {
    /// An answer to `request`, with its `Request` repeated.
    #[must_use]
    pub fn to(request: &Request, body: ReplyBody) -> Self {
        Self {
            request: Some(request.name().to_owned()),
            body,
            result: None,
            extra: Dictionary::new(),
        }
    }

    /// A refusal of `request`, with `Request`, `Key`, `Domain` and `Service` repeated as devices do.
    #[must_use]
    pub fn refusing(request: &Request, code: LockdownError) -> Self {
        let mut reply = Self::to(request, ReplyBody::failed(code));
        let mut echo = |name: &str, value: &Option<String>| {
            if let Some(value) = value {
                reply.extra.insert(name.to_owned(), Value::from(value.as_str()));
            }
        };
        match &request.body {
            RequestBody::GetValue { domain, key }
            | RequestBody::SetValue { domain, key, .. }
            | RequestBody::RemoveValue { domain, key } => {
                echo("Domain", domain);
                echo("Key", key);
            }
            RequestBody::StartService { service, .. } => echo("Service", service),
            _ => {}
        }
        reply
    }

    /// The same reply with `Result: Success`, on which some clients insist after `StopSession`.
    #[must_use]
    pub fn with_result_success(mut self) -> Self {
        self.result = Some("Success".to_owned());
        self
    }
}

impl ReplyBody {
    fn decode(request: Option<&str>, result: Option<&str>, f: &mut Fields) -> Result<Self, WireError> {
        if let Some(error) = f.take("Error") {
            let code = match error {
                Value::String(text) => LockdownError::from(text.as_str()),
                other => LockdownError::NotText(Box::new(other)),
            };
            return Self::decode_failure(code, f);
        }
        if result == Some("Failure") {
            return Self::decode_failure(LockdownError::Unstated, f);
        }
        Ok(match request {
            Some("QueryType") => Self::QueryType {
                kind: f.text("Type")?,
                restore_protocol_version: f.opt_integer("RestoreProtocolVersion")?,
            },
            Some("GetValue" | "SetValue" | "RemoveValue") => Self::Value {
                domain: f.opt_text("Domain")?,
                key: f.opt_text("Key")?,
                value: f.take("Value"),
            },
            Some("Pair") => Self::Paired {
                escrow_bag: f.opt_secret("EscrowBag")?,
            },
            Some("StartSession") => Self::SessionStarted {
                session_id: f.text("SessionID")?,
                enable_session_ssl: f.opt_boolean("EnableSessionSSL")?,
            },
            Some("StartService") => match f.opt_integer("Port")? {
                None => Self::Done,
                Some(port) => Self::ServiceStarted {
                    service: f.opt_text("Service")?,
                    port: service_port(port)?,
                    enable_service_ssl: f.opt_boolean("EnableServiceSSL")?,
                },
            },
            _ => Self::Done,
        })
    }

    fn decode_failure(code: LockdownError, f: &mut Fields) -> Result<Self, WireError> {
        Ok(Self::Failed {
            code,
            detail: f.opt_text("DetailedError")?,
            extended: f.take("ExtendedResponse"),
        })
    }

    fn build(&self, b: Builder) -> Builder {
        match self {
            Self::QueryType {
                kind,
                restore_protocol_version,
            } => b
                .set("Type", kind.as_str())
                .opt("RestoreProtocolVersion", *restore_protocol_version),
            Self::Value { domain, key, value } => b
                .opt("Domain", domain.as_deref())
                .opt("Key", key.as_deref())
                .opt("Value", value.clone()),
            Self::Paired { escrow_bag } => b.opt_secret("EscrowBag", escrow_bag.as_ref()),
            Self::SessionStarted {
                session_id,
                enable_session_ssl,
            } => b
                .set("SessionID", session_id.as_str())
                .opt("EnableSessionSSL", *enable_session_ssl),
            Self::ServiceStarted {
                service,
                port,
                enable_service_ssl,
            } => b
                .opt("Service", service.as_deref())
                .set("Port", u64::from(*port))
                .opt("EnableServiceSSL", *enable_service_ssl),
            Self::Done => b,
            Self::Failed { code, detail, extended } => {
                let error = match code {
                    LockdownError::NotText(value) => Some((**value).clone()),
                    code => code.as_str().map(Value::from),
                };
                b.opt("Error", error)
                    .opt("DetailedError", detail.as_deref())
                    .opt("ExtendedResponse", extended.clone())
            }
        }
    }
}

/// `Port`: 1 to 65535.
fn service_port(port: i64) -> Result<u16, WireError> {
    match u16::try_from(port) {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(WireError::Invalid {
            what: "Port",
            value: port.unsigned_abs(),
        }),
    }
}

impl Message for Reply {
    fn to_plist(&self) -> Value {
        let unstated = matches!(
            self.body,
            ReplyBody::Failed {
                code: LockdownError::Unstated,
                ..
            }
        );
        let result = self.result.as_deref().or(unstated.then_some("Failure"));
        self.body
            .build(Builder::on(&self.extra))
            .opt("Request", self.request.as_deref())
            .opt("Result", result)
            .build()
    }

    fn from_plist(value: Value) -> Result<Self, WireError> {
        let mut f = Fields::of(value, "lockdown reply")?;
        let request = f.opt_text("Request")?;
        let result = f.opt_text("Result")?;
        let body = ReplyBody::decode(request.as_deref(), result.as_deref(), &mut f)?;
        Ok(Self {
            request,
            body,
            result,
            extra: f.rest(),
        })
    }
}
