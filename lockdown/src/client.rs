//! A plain connection to lockdown: before, or without, a session.

use std::sync::Arc;
use std::time::Duration;

use cabled_wire::WireError;
use cabled_wire::io::{BoxStream, Connect};
use cabled_wire::plist::Value;

use crate::error::Error;
use crate::link::PlistLink;
use crate::msg::{LOCKDOWN_PORT, Message, PairRequest, Reply, ReplyBody, Request, RequestBody};
use crate::options::Options;
use crate::pair_record::PairRecord;
use crate::session::Session;

/// A connection to a device's lockdown without a session (spec: lockdown 2).
///
/// Good for a few values, pairing and opening a session. Methods are not safe to drop half-way: afterwards the
/// connection is unusable, and every call says so.
#[derive(Debug)]
pub struct Lockdown {
    pub(crate) device: Arc<dyn Connect>,
    pub(crate) channel: Channel,
}

impl Lockdown {
    /// Connects; `label` is the client's name, which the device sees.
    ///
    /// # Errors
    /// [`Error::Connect`].
    pub async fn connect(device: Arc<dyn Connect>, label: impl Into<String>) -> Result<Self, Error> {
        Self::connect_with(device, Options::default().label(label)).await
    }

    /// Connects with options.
    ///
    /// # Errors
    /// [`Error::Connect`].
    pub async fn connect_with(device: Arc<dyn Connect>, options: Options) -> Result<Self, Error> {
        let stream = device.connect(LOCKDOWN_PORT).await?;
        Ok(Self {
            device,
            channel: Channel::new(stream, options),
        })
    }

    /// Asks which daemon answers: [`ReplyBody::LOCKDOWN`] on a device that runs normally.
    ///
    /// # Errors
    /// [`Error::Link`], [`Error::Refused`], [`Error::WrongReply`].
    pub async fn query_type(&mut self) -> Result<String, Error> {
        match self.channel.call(RequestBody::QueryType).await? {
            ReplyBody::QueryType { kind, .. } => Ok(kind),
            _ => Err(wrong_reply("QueryType")),
        }
    }

    /// Refuses devices in restore mode and other kinds of lockdown.
    ///
    /// # Errors
    /// [`Error::NotLockdown`], and those of [`Self::query_type`].
    pub async fn expect_lockdown(&mut self) -> Result<(), Error> {
        match self.query_type().await? {
            kind if kind == ReplyBody::LOCKDOWN => Ok(()),
            kind => Err(Error::NotLockdown {
                kind: WireError::excerpt(&kind),
            }),
        }
    }

    /// Reads one key, a whole domain, or (with neither) the default domain; what is not there is `None`.
    ///
    /// Before pairing only a dozen keys of the default domain can be read (spec: lockdown 4.1).
    ///
    /// # Errors
    /// [`Error::Refused`] with `GetProhibited` and others, [`Error::Link`].
    pub async fn get_value(&mut self, domain: Option<&str>, key: Option<&str>) -> Result<Option<Value>, Error> {
        let body = get_value(domain, key);
        match self.channel.value(body.clone()).await {
            Err(error) if error.dropped_by_lockdown() => {
                self.reconnect().await?;
                self.channel.value(body).await
            }
            other => other,
        }
    }

    /// Sets a value. Without a session only `UntrustedHostBUID` may be.
    ///
    /// # Errors
    /// [`Error::Refused`] with `SetProhibited`, `SessionInactive` and others, [`Error::Link`].
    pub async fn set_value(&mut self, domain: Option<&str>, key: &str, value: Value) -> Result<(), Error> {
        self.channel.call(set_value(domain, key, value)).await.map(drop)
    }

    /// Makes the device forget this computer. The record of the host stays where it is.
    ///
    /// # Errors
    /// [`Error::Refused`] with `InvalidHostID` if the device has no such pairing, [`Error::Link`].
    pub async fn unpair(&mut self, record: &PairRecord) -> Result<(), Error> {
        let request = PairRequest {
            record: Some(record.for_device()),
            protocol_version: Some("2".to_owned()),
            ..PairRequest::default()
        };
        self.channel.call(RequestBody::Unpair(request)).await.map(drop)
    }

    /// Has the device check that it knows a pairing (`ValidatePair`). Systems before iOS 7 want it before a session.
    ///
    /// # Errors
    /// [`Error::Refused`] with `InvalidHostID` if the device has no such pairing, and others; [`Error::Link`].
    pub async fn validate_pair(&mut self, record: &PairRecord) -> Result<(), Error> {
        let request = PairRequest {
            record: Some(record.for_device()),
            protocol_version: Some("2".to_owned()),
            ..PairRequest::default()
        };
        self.channel.call(RequestBody::ValidatePair(request)).await.map(drop)
    }

    /// Starts one of the services that need no session, and connects to it; see
    /// [`INSECURE_SERVICE`](crate::services::notification_proxy::INSECURE_SERVICE).
    ///
    /// # Errors
    /// [`Error::Refused`], also with `SessionInactive` for every other service; [`Error::NotEncrypted`] if the device wants
    /// TLS, for which only a session has the keys; [`Error::Connect`], [`Error::Link`].
    pub async fn start_service(&mut self, name: &str) -> Result<BoxStream, Error> {
        let request = RequestBody::StartService {
            service: Some(name.to_owned()),
            escrow_bag: None,
        };
        match self.channel.call(request).await? {
            ReplyBody::ServiceStarted {
                enable_service_ssl: Some(true),
                ..
            } => Err(Error::NotEncrypted),
            ReplyBody::ServiceStarted { port, .. } => Ok(self.device.connect(port).await?),
            _ => Err(wrong_reply("StartService")),
        }
    }

    /// Opens a session: `StartSession`, then TLS pinned to the pair record. Dropping the future closes the connection.
    ///
    /// # Errors
    /// [`Error::PairingInvalid`] if the device does not know the pairing (with TLS 1.3 that may show only in the first
    /// request), [`Error::PairRecord`] for a damaged record, [`Error::Tls`], [`Error::NotEncrypted`],
    /// [`Error::Refused`], [`Error::Link`].
    pub async fn start_session(self, record: &PairRecord) -> Result<Session, Error> {
        Session::start(self, Arc::new(record.clone())).await
    }

    /// Closes the connection.
    pub async fn close(self) {
        self.channel.link.close(Duration::from_secs(1)).await;
    }

    pub(crate) async fn reconnect(&mut self) -> Result<(), Error> {
        let stream = self.device.connect(LOCKDOWN_PORT).await?;
        self.channel = Channel::new(stream, self.channel.options.clone());
        Ok(())
    }
}

pub(crate) fn get_value(domain: Option<&str>, key: Option<&str>) -> RequestBody {
    RequestBody::GetValue {
        domain: domain.map(str::to_owned),
        key: key.map(str::to_owned),
    }
}

pub(crate) fn set_value(domain: Option<&str>, key: &str, value: Value) -> RequestBody {
    RequestBody::SetValue {
        domain: domain.map(str::to_owned),
        key: Some(key.to_owned()),
        value: Some(value),
    }
}

pub(crate) fn wrong_reply(request: &str) -> Error {
    Error::WrongReply {
        request: request.to_owned(),
    }
}

/// Requests and replies over one stream, plain or TLS.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) link: PlistLink,
    pub(crate) options: Options,
}

impl Channel {
    pub(crate) fn new(stream: BoxStream, options: Options) -> Self {
        Self {
            link: PlistLink::new(stream),
            options,
        }
    }

    /// One request and its reply within the ordinary time limit; a refusal is an error.
    pub(crate) async fn call(&mut self, body: RequestBody) -> Result<ReplyBody, Error> {
        self.call_within(body, self.options.reply_limit).await
    }

    pub(crate) async fn call_within(&mut self, body: RequestBody, limit: Duration) -> Result<ReplyBody, Error> {
        let phase = phase(&body);
        let request = Request::new(self.options.label.as_str(), body);
        let name = request.name().to_owned();
        tracing::debug!(request = %name, "to lockdown");
        let reply = self.link.ask::<Value>(&request, phase, limit).await?;
        match check(&name, reply) {
            Ok(ReplyBody::Failed { code, detail, .. }) => {
                tracing::debug!(request = %name, %code, "refused by lockdown");
                Err(Error::Refused {
                    request: name,
                    code,
                    detail,
                })
            }
            Ok(body) => Ok(body),
            Err(CheckError::Echo(got)) => {
                self.link.give_up();
                Err(Error::WrongEcho { request: name, got })
            }
            Err(CheckError::Wire(source)) => {
                self.link.give_up();
                Err(crate::LinkError::Wire { phase, source }.into())
            }
        }
    }

    /// `GetValue`, where absent is no error.
    pub(crate) async fn value(&mut self, body: RequestBody) -> Result<Option<Value>, Error> {
        match self.call(body).await {
            Ok(ReplyBody::Value { value, .. }) => Ok(value),
            Ok(_) => Err(wrong_reply("GetValue")),
            Err(error) if error.code().is_some_and(crate::msg::LockdownError::is_absent) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

enum CheckError {
    Echo(String),
    Wire(WireError),
}

/// Reads a reply to `request` and insists that it repeats it.
///
/// Two exceptions from the field (spec: lockdown 1, 2): `QueryType` and `Unpair` may lack the echo, and `Unpair` may
/// be answered as `ValidatePair`.
fn check(request: &str, reply: Value) -> Result<ReplyBody, CheckError> {
    let mut reply = reply;
    if let Some(dict) = reply.as_dictionary_mut()
        && !dict.contains_key("Request")
        && matches!(request, "QueryType" | "Unpair")
    {
        dict.insert("Request".to_owned(), Value::from(request));
    }
    let reply = Reply::from_plist(reply).map_err(CheckError::Wire)?;
    match reply.request.as_deref() {
        Some(echo) if echo == request => Ok(reply.body),
        Some("ValidatePair") if request == "Unpair" => Ok(reply.body),
        other => Err(CheckError::Echo(WireError::excerpt(other.unwrap_or_default()))),
    }
}

fn phase(body: &RequestBody) -> &'static str {
    match body {
        RequestBody::QueryType => "asking what kind of device it is",
        RequestBody::GetValue { .. } => "reading a value",
        RequestBody::SetValue { .. } => "setting a value",
        RequestBody::RemoveValue { .. } => "removing a value",
        RequestBody::Pair(_) => "pairing",
        RequestBody::Unpair(_) => "unpairing",
        RequestBody::StartSession { .. } => "opening a session",
        RequestBody::StopSession { .. } => "closing the session",
        RequestBody::StartService { .. } => "starting a service",
        _ => "waiting for lockdown",
    }
}
