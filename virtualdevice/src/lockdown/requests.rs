//! What each request comes to. Spec: lockdown, sections 2, 9 and 13.

use bytes::Bytes;
use cabled_lockdown::msg::{LockdownError, Reply, ReplyBody, Request, RequestBody};
use cabled_wire::ids::HostId;
use cabled_wire::plist::{Dictionary, Value};

use super::pairing_requests;
use super::values;
use crate::phone::{Phone, Transport, locked};
use crate::service::ports::OpenPort;
use crate::service::{self, INSECURE_NOTIFICATION_PROXY};

/// What happens after the reply.
#[derive(Debug)]
pub(super) enum Next {
    Request,
    /// TLS begins, with this device certificate (DER).
    StartTls(Bytes),
    /// TLS ends and the stream goes on in plain text.
    StopTls,
    Close,
    SwitchOff,
}

/// One connection's session, or the lack of one.
#[derive(Debug)]
pub(super) struct Session {
    transport: Transport,
    active: Option<Active>,
}

#[derive(Debug)]
struct Active {
    id: String,
    device_certificate: Bytes,
}

type Answer = Result<(ReplyBody, Next), LockdownError>;

fn done() -> Answer {
    Ok((ReplyBody::Done, Next::Request))
}

impl Session {
    pub(super) fn new(transport: Transport) -> Self {
        Self {
            transport,
            active: None,
        }
    }

    pub(super) fn is_active(&self) -> bool {
        self.active.is_some()
    }

    fn needed(&self) -> Result<&Active, LockdownError> {
        self.active.as_ref().ok_or(LockdownError::SessionInactive)
    }

    pub(super) async fn handle(&mut self, phone: &Phone, request: &Request) -> (Reply, Next) {
        match self.answer(phone, request).await {
            Ok((body, next)) => {
                let mut reply = Reply::to(request, body);
                let profile = phone.profile();
                if matches!(request.body, RequestBody::Unpair(_)) && profile.unpair_answers_validate_pair {
                    reply.request = Some("ValidatePair".to_owned());
                }
                if matches!(request.body, RequestBody::StopSession { .. }) && profile.stop_session_says_success {
                    reply = reply.with_result_success();
                }
                (reply, next)
            }
            Err(code) => (Reply::refusing(request, code), Next::Request),
        }
    }

    async fn answer(&mut self, phone: &Phone, request: &Request) -> Answer {
        match &request.body {
            RequestBody::QueryType => {
                let kind = ReplyBody::LOCKDOWN.to_owned();
                Ok((
                    ReplyBody::QueryType {
                        kind,
                        restore_protocol_version: None,
                    },
                    Next::Request,
                ))
            }
            RequestBody::GetValue { domain, key } => self.get_value(phone, domain.clone(), key.clone()).await,
            RequestBody::SetValue { domain, key, value } => {
                self.set_value(phone, domain.clone(), key.clone(), value.clone())
            }
            RequestBody::RemoveValue { domain, key } => self.remove_value(phone, domain.clone(), key.clone()),
            RequestBody::Pair(pair) => {
                let escrow_bag = pairing_requests::pair(phone, pair, self.transport).await?;
                Ok((ReplyBody::Paired { escrow_bag }, Next::Request))
            }
            RequestBody::ValidatePair(pair) => pairing_requests::validate(phone, pair).and_then(|()| done()),
            RequestBody::Unpair(pair) => pairing_requests::unpair(phone, pair).and_then(|()| done()),
            RequestBody::ResetPairing { .. } => {
                self.needed()?;
                phone.forget_pairings();
                done()
            }
            RequestBody::StartSession { host_id, .. } => self.start(phone, host_id.as_ref()),
            RequestBody::StopSession { session_id } => self.stop(session_id.as_deref()),
            RequestBody::StartService { service, escrow_bag } => {
                let bag = escrow_bag.as_ref().map(|bag| Bytes::copy_from_slice(bag.expose()));
                self.start_service(phone, service.as_deref(), bag)
            }
            RequestBody::Goodbye => Ok((ReplyBody::Done, Next::Close)),
            RequestBody::EnterRecovery => {
                self.needed()?;
                Ok((ReplyBody::Done, Next::SwitchOff))
            }
            RequestBody::Activate { record } => {
                self.needed()?;
                // Obsolete since iOS 10: no record is a good one any more.
                Err(match record {
                    Some(_) => LockdownError::InvalidActivationRecord,
                    None => LockdownError::MissingActivationRecord,
                })
            }
            RequestBody::Deactivate => {
                self.needed()?;
                phone.set_value(None, "ActivationState", "Unactivated");
                done()
            }
            _ => Err(LockdownError::InvalidRequest),
        }
    }

    async fn get_value(&self, phone: &Phone, domain: Option<String>, key: Option<String>) -> Answer {
        let value = match &key {
            Some(key) => self.one_value(phone, domain.as_deref(), key).await?,
            None => Value::Dictionary(self.whole_domain(phone, domain.as_deref()).await?),
        };
        Ok((
            ReplyBody::Value {
                domain,
                key,
                value: Some(value),
            },
            Next::Request,
        ))
    }

    /// Whether a key of the default domain is told without a session.
    fn open_to_all(phone: &Phone, key: &str) -> bool {
        let profile = phone.profile();
        let hidden = key == "WiFiAddress"
            && profile.hides_wifi_address_while_pairing
            && locked(&phone.inner().pairings).dialogue_shows();
        !hidden && profile.unpaired_keys.iter().any(|open| open == key)
    }

    async fn one_value(&self, phone: &Phone, domain: Option<&str>, key: &str) -> Result<Value, LockdownError> {
        let open = domain.is_none() && Self::open_to_all(phone, key);
        if !self.is_active() && !open {
            return Err(LockdownError::from(phone.profile().unpaired_error.as_str()));
        }
        if domain.is_none() && key == "DevicePublicKey" {
            return public_key(phone).await;
        }
        values::read(phone, domain, key).ok_or(LockdownError::MissingValue)
    }

    async fn whole_domain(&self, phone: &Phone, domain: Option<&str>) -> Result<Dictionary, LockdownError> {
        if !self.is_active() && domain.is_some() {
            return Err(LockdownError::from(phone.profile().unpaired_error.as_str()));
        }
        let mut dict = values::read_domain(phone, domain);
        if domain.is_none() {
            dict.insert("DevicePublicKey".to_owned(), public_key(phone).await?);
        }
        if !self.is_active() {
            dict.retain(|key, _| Self::open_to_all(phone, key));
        }
        Ok(dict)
    }

    fn set_value(&self, phone: &Phone, domain: Option<String>, key: Option<String>, value: Option<Value>) -> Answer {
        let key = key.ok_or(LockdownError::MissingKey)?;
        let value = value.ok_or(LockdownError::MissingValue)?;
        values::may_set(phone, domain.as_deref(), &key, &value, self.is_active())?;
        values::write(phone, domain.as_deref(), &key, Some(value.clone()));
        Ok((
            ReplyBody::Value {
                domain,
                key: Some(key),
                value: Some(value),
            },
            Next::Request,
        ))
    }

    fn remove_value(&self, phone: &Phone, domain: Option<String>, key: Option<String>) -> Answer {
        self.needed()?;
        let key = key.ok_or(LockdownError::MissingKey)?;
        values::may_remove(phone, domain.as_deref(), &key)?;
        values::write(phone, domain.as_deref(), &key, None);
        Ok((
            ReplyBody::Value {
                domain,
                key: Some(key),
                value: None,
            },
            Next::Request,
        ))
    }

    fn start(&mut self, phone: &Phone, host_id: Option<&HostId>) -> Answer {
        if self.is_active() {
            return Err(LockdownError::SessionActive);
        }
        let host_id = host_id.ok_or(LockdownError::MissingHostId)?;
        let certificate = {
            let pairings = locked(&phone.inner().pairings);
            pairings
                .find(host_id)
                .ok_or(LockdownError::InvalidHostId)?
                .device_certificate
                .clone()
        };
        let id = uuid::Uuid::new_v4().hyphenated().to_string().to_ascii_uppercase();
        self.active = Some(Active {
            id: id.clone(),
            device_certificate: certificate.clone(),
        });
        let body = ReplyBody::SessionStarted {
            session_id: id,
            enable_session_ssl: Some(true),
        };
        Ok((body, Next::StartTls(certificate)))
    }

    fn stop(&mut self, session_id: Option<&str>) -> Answer {
        let active = self.needed()?;
        let session_id = session_id.ok_or(LockdownError::MissingSessionId)?;
        if session_id != active.id {
            return Err(LockdownError::InvalidSessionId);
        }
        self.active = None;
        Ok((ReplyBody::Done, Next::StopTls))
    }

    fn start_service(&self, phone: &Phone, service: Option<&str>, escrow_bag: Option<Bytes>) -> Answer {
        let service = service.ok_or(LockdownError::MissingService)?;
        if !self.is_active() && service != INSECURE_NOTIFICATION_PROXY {
            return Err(LockdownError::SessionInactive);
        }
        if let Some(error) = phone.faults().take_refused_service(service) {
            return Err(LockdownError::from(error.as_str()));
        }
        if !service::is_offered(service) {
            return Err(LockdownError::InvalidService);
        }
        unlocked_enough(phone, service, escrow_bag.as_deref())?;
        let wants_tls = phone.profile().enable_service_ssl || self.transport == Transport::Network;
        let tls = self
            .active
            .as_ref()
            .filter(|_| wants_tls)
            .map(|active| active.device_certificate.clone());
        let enable_service_ssl = tls.is_some().then_some(true);
        let open = OpenPort {
            service: service.into(),
            escrow_bag,
            tls,
        };
        let port = locked(&phone.inner().ports).open(open, phone.profile().service_port_lifetime);
        let port = port.ok_or(LockdownError::ServiceLimit)?;
        let service = Some(service.to_owned());
        Ok((
            ReplyBody::ServiceStarted {
                service,
                port,
                enable_service_ssl,
            },
            Next::Request,
        ))
    }
}

/// Whether data protection lets the service start: the screen is unlocked, or the escrow bag opens it.
fn unlocked_enough(phone: &Phone, service: &str, escrow_bag: Option<&[u8]>) -> Result<(), LockdownError> {
    let profile = phone.profile();
    if !phone.is_locked() || !profile.locked_services.iter().any(|name| name == service) {
        return Ok(());
    }
    let known = escrow_bag.is_some_and(|bag| phone.escrow_bag_is_known(bag));
    if !known {
        return Err(LockdownError::from(profile.locked_error.as_str()));
    }
    if phone.unlocked_since_start() || profile.escrow_before_first_unlock {
        Ok(())
    } else {
        Err(LockdownError::EscrowLocked)
    }
}

async fn public_key(phone: &Phone) -> Result<Value, LockdownError> {
    let identity = phone.identity().await.map_err(|_| LockdownError::InternalError)?;
    Ok(Value::Data(identity.public_pem()))
}
