//! A session with lockdown: authenticated, encrypted, able to start services.

use std::sync::Arc;
use std::time::Duration;

use cabled_wire::io::{BoxStream, Connect, ConnectError};
use cabled_wire::plist::Value;

use crate::client::{Channel, Lockdown, get_value, set_value, wrong_reply};
use crate::error::{Error, Evidence};
use crate::link::LinkError;
use crate::msg::{LockdownError, ReplyBody, RequestBody};
use crate::options::{Escrow, TlsPolicy};
use crate::pair_record::PairRecord;
use crate::tls::{TlsError, TlsIdentity};

/// How often `ServiceLimit` is waited out, one second each.
const SERVICE_LIMIT_RETRIES: u32 = 5;
/// How often a refused service port is tried again: the service may take a moment to listen.
const REFUSED_RETRIES: u32 = 2;
const REFUSED_PAUSE: Duration = Duration::from_millis(100);
/// How long the orderly end of a session may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// A session with a paired device (spec: lockdown 2, 8, 9).
///
/// Methods are not safe to drop half-way: afterwards the session is unusable, and every call says so. Dropping the
/// session closes the connection; [`Self::stop`] does it politely. `InvalidConnection` and `SessionInactive` are
/// answered by opening the session again, once per call.
#[derive(Debug)]
pub struct Session {
    device: Arc<dyn Connect>,
    record: Arc<PairRecord>,
    identity: TlsIdentity,
    channel: Channel,
    session_id: String,
    /// Whether the device has answered anything inside the session: with TLS 1.3 it may refuse us only then.
    proven: bool,
}

impl Session {
    pub(crate) async fn start(lockdown: Lockdown, record: Arc<PairRecord>) -> Result<Self, Error> {
        let Lockdown { device, mut channel } = lockdown;
        let options = channel.options.clone();
        let identity = TlsIdentity::new(&record, options.tls).map_err(Error::PairRecord)?;
        let request = RequestBody::StartSession {
            host_id: Some(record.host_id.clone()),
            system_buid: Some(record.system_buid.clone()),
        };
        let (session_id, encrypted) = match channel.call(request).await {
            Ok(ReplyBody::SessionStarted {
                session_id,
                enable_session_ssl,
            }) => (session_id, enable_session_ssl.unwrap_or(false)),
            Ok(_) => return Err(wrong_reply("StartSession")),
            Err(Error::Refused {
                code: LockdownError::InvalidHostId,
                ..
            }) => {
                return Err(pairing_invalid(&record, Evidence::InvalidHostId));
            }
            Err(error) => return Err(error),
        };
        if encrypted {
            let stream = channel.link.into_stream("opening a session")?;
            let stream = identity
                .handshake(stream, options.handshake_limit)
                .await
                .map_err(|error| match error {
                    TlsError::HostRefused => pairing_invalid(&record, Evidence::HostCertificateRefused),
                    other => Error::Tls(other),
                })?;
            channel = Channel::new(stream, options);
        } else if options.tls != TlsPolicy::AcceptAny {
            return Err(Error::NotEncrypted);
        }
        Ok(Self {
            device,
            record,
            identity,
            channel,
            session_id,
            proven: !encrypted,
        })
    }

    /// The pair record the session runs on.
    #[must_use]
    pub fn record(&self) -> &PairRecord {
        &self.record
    }

    /// Reads one key, a whole domain, or (with neither) the default domain; what is not there is `None`.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Link`]; [`Error::PairingInvalid`] in the first call of a session.
    pub async fn get_value(&mut self, domain: Option<&str>, key: Option<&str>) -> Result<Option<Value>, Error> {
        match self.call(get_value(domain, key)).await {
            Ok(ReplyBody::Value { value, .. }) => Ok(value),
            Ok(_) => Err(wrong_reply("GetValue")),
            Err(error) if error.code().is_some_and(LockdownError::is_absent) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sets a value. Devices ignore some silently: read back what matters.
    ///
    /// # Errors
    /// [`Error::Refused`] with `SetProhibited`, `ImmutableValue` and others, [`Error::Link`];
    /// [`Error::PairingInvalid`] in the first call of a session.
    pub async fn set_value(&mut self, domain: Option<&str>, key: &str, value: Value) -> Result<(), Error> {
        self.call(set_value(domain, key, value)).await.map(drop)
    }

    /// Removes a value.
    ///
    /// # Errors
    /// [`Error::Refused`] with `RemoveProhibited` and others, [`Error::Link`]; [`Error::PairingInvalid`] in the first
    /// call of a session.
    pub async fn remove_value(&mut self, domain: Option<&str>, key: &str) -> Result<(), Error> {
        let body = RequestBody::RemoveValue {
            domain: domain.map(str::to_owned),
            key: Some(key.to_owned()),
        };
        self.call(body).await.map(drop)
    }

    /// Starts a service and connects to it, with [`Escrow::IfNeeded`].
    ///
    /// # Errors
    /// As [`Self::start_service_with`].
    pub async fn start_service(&mut self, name: &str) -> Result<BoxStream, Error> {
        self.start_service_with(name, Escrow::IfNeeded).await
    }

    /// Starts a service and connects to it; the stream is encrypted where the device says so.
    ///
    /// `ServiceLimit` is waited out for five seconds, a port that refuses is tried three times.
    ///
    /// # Errors
    /// [`Error::Refused`] with `InvalidService`, `PasswordProtected` and others, [`Error::Connect`], [`Error::Tls`],
    /// [`Error::Link`]; [`Error::PairingInvalid`] in the first call of a session.
    pub async fn start_service_with(&mut self, name: &str, escrow: Escrow) -> Result<BoxStream, Error> {
        let (port, encrypted) = self.service_port(name, escrow).await?;
        let stream = self.connect_to_service(port).await?;
        if !encrypted {
            return Ok(stream);
        }
        Ok(self
            .identity
            .handshake(stream, self.channel.options.handshake_limit)
            .await?)
    }

    /// `StartService` with its rules about locked devices and busy services.
    async fn service_port(&mut self, name: &str, escrow: Escrow) -> Result<(u16, bool), Error> {
        let mut with_bag = escrow == Escrow::Always;
        let mut full = 0_u32;
        loop {
            let bag = self.record.escrow_bag.clone();
            let may_add_bag = escrow == Escrow::IfNeeded && !with_bag && bag.is_some();
            let body = RequestBody::StartService {
                service: Some(name.to_owned()),
                escrow_bag: bag.filter(|_| with_bag),
            };
            match self.call(body).await {
                Ok(ReplyBody::ServiceStarted {
                    port,
                    enable_service_ssl,
                    ..
                }) => {
                    return Ok((port, enable_service_ssl.unwrap_or(false)));
                }
                Ok(_) => return Err(wrong_reply("StartService")),
                Err(error) if error.needs_unlock() && may_add_bag => {
                    tracing::debug!(service = name, "locked; asking again with the escrow bag");
                    with_bag = true;
                }
                Err(error) if error.code() == Some(&LockdownError::ServiceLimit) && full < SERVICE_LIMIT_RETRIES => {
                    full = full.saturating_add(1);
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn connect_to_service(&self, port: u16) -> Result<BoxStream, Error> {
        let mut refused = 0_u32;
        loop {
            match self.device.connect(port).await {
                Err(ConnectError::Refused { .. }) if refused < REFUSED_RETRIES => {
                    refused = refused.saturating_add(1);
                    tokio::time::sleep(REFUSED_PAUSE).await;
                }
                other => return Ok(other?),
            }
        }
    }

    /// Ends the session: `StopSession` inside TLS, TLS closed, stream closed. Services that were started go on.
    ///
    /// Whatever goes wrong here changes nothing, so it is not an error. Takes 2 seconds at most beyond one reply.
    pub async fn stop(mut self) {
        let body = RequestBody::StopSession {
            session_id: Some(self.session_id.clone()),
        };
        if let Err(error) = self.channel.call_within(body, CLOSE_LIMIT).await {
            tracing::debug!(%error, "the session did not end in an orderly way");
        }
        self.channel.link.close(CLOSE_LIMIT).await;
    }

    /// One request; repeated once in a fresh session when lockdown dropped this one.
    async fn call(&mut self, body: RequestBody) -> Result<ReplyBody, Error> {
        match self.call_once(body.clone()).await {
            Err(error) if error.dropped_by_lockdown() => {
                tracing::warn!(%error, "lockdown dropped the session; opening another");
                let options = self.channel.options.clone();
                let lockdown = Lockdown::connect_with(Arc::clone(&self.device), options).await?;
                *self = Self::start(lockdown, Arc::clone(&self.record)).await?;
                self.call_once(body).await
            }
            other => other,
        }
    }

    async fn call_once(&mut self, body: RequestBody) -> Result<ReplyBody, Error> {
        let result = self.channel.call(body).await;
        match &result {
            Err(Error::Link(link)) if !self.proven && link.is_gone() && !matches!(link, LinkError::Unusable) => {
                Err(pairing_invalid(&self.record, Evidence::HostCertificateRefused))
            }
            Err(Error::Link(_)) => result,
            _ => {
                self.proven = true;
                result
            }
        }
    }
}

fn pairing_invalid(record: &PairRecord, evidence: Evidence) -> Error {
    Error::PairingInvalid {
        host_id: record.host_id.clone(),
        evidence,
    }
}
