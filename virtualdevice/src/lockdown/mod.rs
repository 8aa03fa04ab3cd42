//! Lockdown as a phone speaks it: values, pairing, sessions, services. Spec: lockdown, section 13.

pub mod identity;
pub mod pairing;
mod pairing_requests;
mod requests;
pub(crate) mod tls;
pub mod values;

use std::io;
use std::time::Duration;

use cabled_lockdown::msg::{LockdownError, Message, Reply, Request};
use cabled_wire::frame::{self, FrameError};
use cabled_wire::io::{BoxStream, Stream};
use cabled_wire::plist::{self, Dictionary, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::server::TlsStream;

use crate::fault::FaultStream;
use crate::phone::{Phone, Transport};
use crate::profile::PlistFormat;
use crate::service::{IDLE, LOCKDOWN, limits, read_frame, write_frame};
use requests::{Next, Session};
use tls::RecordStream;

/// How long the peer may take to say close_notify after StopSession.
const CLOSE_NOTIFY: Duration = Duration::from_secs(30);

/// Why a lockdown connection ended.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the peer sent data after StopSession")]
    DataAfterStopSession,
    #[error("no session in time")]
    Unpaired,
    #[error("a scripted fault ended it")]
    Scripted,
}

/// Serves one connection to port 62078 until it ends.
pub(crate) async fn serve(phone: Phone, stream: BoxStream, transport: Transport) {
    let stream = FaultStream::new(stream, &phone, LOCKDOWN, false);
    let cut = stream.cut_signal();
    let mut connection = Connection {
        session: Session::new(transport),
        link: Link::Plain(Box::new(stream)),
        phone,
    };
    let served = tokio::select! {
        served = connection.run() => served,
        () = cut.notified() => Err(ServeError::Scripted),
    };
    match served {
        Ok(()) | Err(ServeError::Frame(FrameError::Closed)) => connection.say_goodbye().await,
        Err(error) => tracing::debug!(%error, "lockdown connection ended"),
    }
}

enum Link {
    Plain(BoxStream),
    Tls(Box<TlsStream<RecordStream>>),
    /// Only while one turns into the other.
    Changing,
}

impl Link {
    fn stream(&mut self) -> io::Result<&mut dyn Stream> {
        match self {
            Self::Plain(stream) => Ok(stream),
            Self::Tls(stream) => Ok(stream.as_mut()),
            Self::Changing => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

struct Connection {
    phone: Phone,
    link: Link,
    session: Session,
}

impl Connection {
    async fn run(&mut self) -> Result<(), ServeError> {
        loop {
            let body = self.next_frame().await?;
            if body.is_empty() {
                continue;
            }
            let (reply, next) = self.answer(&body).await;
            match reply {
                Some(reply) => self.send(&reply).await?,
                // Bytes that are no property list: there is nothing to answer.
                None => return Ok(()),
            }
            match next {
                Next::Request => {}
                Next::StartTls(certificate) => self.start_tls(&certificate).await?,
                Next::StopTls if self.phone.profile().plain_after_stop_session => self.stop_tls().await?,
                Next::StopTls | Next::Close => return Ok(()),
                Next::SwitchOff => {
                    self.phone.switch_off();
                    return Ok(());
                }
            }
        }
    }

    async fn next_frame(&mut self) -> Result<bytes::Bytes, ServeError> {
        let unpaired_limit = self
            .phone
            .profile()
            .drops_unpaired_after
            .filter(|_| !self.session.is_active());
        let idle = unpaired_limit.unwrap_or(IDLE);
        match read_frame(self.link.stream()?, idle).await {
            Err(FrameError::Io(e)) if e.kind() == io::ErrorKind::TimedOut && unpaired_limit.is_some() => {
                Err(ServeError::Unpaired)
            }
            other => Ok(other?),
        }
    }

    async fn answer(&mut self, body: &[u8]) -> (Option<Reply>, Next) {
        let Ok(message) = plist::read_dict(body, &limits()) else {
            return (None, Next::Close);
        };
        self.phone
            .log()
            .record(LOCKDOWN, &request_name(&message), log_detail(&message));
        let name = message.get("Request").and_then(Value::as_string).map(str::to_owned);
        match Request::from_plist(Value::Dictionary(message)) {
            Ok(request) => {
                if let Some(error) = self.phone.faults().take_lockdown_error(request.name()) {
                    return (
                        Some(Reply::refusing(&request, LockdownError::from(error.as_str()))),
                        Next::Request,
                    );
                }
                let (reply, next) = self.session.handle(&self.phone, &request).await;
                (Some(reply), next)
            }
            Err(error) => {
                tracing::debug!(%error, "lockdown request refused");
                let body = cabled_lockdown::msg::ReplyBody::failed(LockdownError::InvalidRequest);
                (
                    Some(Reply {
                        request: name,
                        body,
                        result: None,
                        extra: Dictionary::new(),
                    }),
                    Next::Request,
                )
            }
        }
    }

    async fn send(&mut self, reply: &Reply) -> Result<(), ServeError> {
        let body = match self.phone.profile().lockdown_format {
            PlistFormat::Xml => reply.encode(),
            PlistFormat::Binary => reply.encode_binary(),
        };
        let half = self
            .phone
            .faults()
            .take_half_frame(reply.request.as_deref().unwrap_or_default());
        let stream = self.link.stream()?;
        if half {
            let frame = frame::encode(&body).map_err(FrameError::from)?;
            stream.write_all(frame.get(..frame.len() / 2).unwrap_or(&frame)).await?;
            stream.flush().await?;
            return Err(ServeError::Scripted);
        }
        Ok(write_frame(stream, &body).await?)
    }

    async fn start_tls(&mut self, certificate: &[u8]) -> Result<(), ServeError> {
        let stream = match std::mem::replace(&mut self.link, Link::Changing) {
            Link::Plain(stream) => stream,
            // Sessions are not nested: SessionActive was answered.
            other => {
                self.link = other;
                return Ok(());
            }
        };
        let tls = tls::accept(&self.phone, certificate, LOCKDOWN, stream).await?;
        self.link = Link::Tls(Box::new(tls));
        Ok(())
    }

    /// Waits for the peer's close_notify, answers it, and goes on in plain text on the same stream.
    async fn stop_tls(&mut self) -> Result<(), ServeError> {
        let mut tls = match std::mem::replace(&mut self.link, Link::Changing) {
            Link::Tls(tls) => tls,
            other => {
                self.link = other;
                return Ok(());
            }
        };
        let mut byte = [0];
        let end = tokio::time::timeout(CLOSE_NOTIFY, tls.read(&mut byte)).await;
        match end.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?? {
            0 => {}
            _ => return Err(ServeError::DataAfterStopSession),
        }
        tls.shutdown().await?;
        let (records, _) = tls.into_inner();
        self.link = Link::Plain(records.into_inner());
        Ok(())
    }

    async fn say_goodbye(&mut self) {
        if !self.phone.profile().sends_close_notify {
            return;
        }
        if let Link::Tls(tls) = &mut self.link {
            // The peer may be gone; that is its right.
            let _ = tokio::time::timeout(Duration::from_secs(5), tls.shutdown()).await;
        }
    }
}

fn request_name(message: &Dictionary) -> String {
    message
        .get("Request")
        .and_then(Value::as_string)
        .unwrap_or("?")
        .to_owned()
}

/// What a request is about, with no secret in it: which value, which service, which keys a pair record has.
fn log_detail(message: &Dictionary) -> String {
    let text = |key: &str| {
        message
            .get(key)
            .and_then(Value::as_string)
            .filter(|text| !text.is_empty())
    };
    if let Some(record) = message.get("PairRecord").and_then(Value::as_dictionary) {
        return record.keys().map(String::as_str).collect::<Vec<_>>().join(" ");
    }
    if let Some(service) = text("Service") {
        let bag = if message.contains_key("EscrowBag") {
            " with EscrowBag"
        } else {
            ""
        };
        return format!("{service}{bag}");
    }
    match (text("Domain"), text("Key")) {
        (Some(domain), key) => format!("{domain}/{}", key.unwrap_or_default()),
        (None, Some(key)) => key.to_owned(),
        (None, None) => text("HostID").unwrap_or_default().to_owned(),
    }
}
