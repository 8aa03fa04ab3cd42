//! A device whose every connection is played by a closure, and a TLS server in place of an iPhone.
#![expect(dead_code, reason = "each test file uses a part")]
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cabled_lockdown::certificates::{Certificates, RsaKey, certificate_der, private_key_der};
use cabled_lockdown::msg::{Message, PairRequest, Reply, ReplyBody, Request, RequestBody};
use cabled_lockdown::{Options, PairRecord};
use cabled_wire::frame::{FrameError, read_frame, write_frame};
use cabled_wire::ids::{HostId, SystemBuid, Udid};
use cabled_wire::io::{BoxFuture, BoxStream, Connect, ConnectError, Stream};
use cabled_wire::plist::Dictionary;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme, SupportedProtocolVersion};
use tokio::io::DuplexStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

type Scene = Box<dyn FnOnce(DuplexStream) -> BoxFuture<'static, ()> + Send>;

/// What happens at one connection.
enum Act {
    Play(Scene),
    Refuse,
}

/// Plays one scene per connection, in order; a connection too many is refused as gone.
#[derive(Clone, Default)]
pub(crate) struct Device {
    acts: Arc<Mutex<VecDeque<Act>>>,
    ports: Arc<Mutex<Vec<u16>>>,
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("scripted device")
    }
}

impl Device {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The next connection is played by `scene`.
    pub(crate) fn then<F, R>(self, scene: F) -> Self
    where
        F: FnOnce(DuplexStream) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.acts
            .lock()
            .unwrap()
            .push_back(Act::Play(Box::new(move |stream| Box::pin(scene(stream)))));
        self
    }

    /// The next connection is refused.
    pub(crate) fn then_refuse(self) -> Self {
        self.acts.lock().unwrap().push_back(Act::Refuse);
        self
    }

    /// Ports that were connected to.
    pub(crate) fn ports(&self) -> Vec<u16> {
        self.ports.lock().unwrap().clone()
    }

    pub(crate) fn shared(&self) -> Arc<dyn Connect> {
        Arc::new(self.clone())
    }
}

impl Connect for Device {
    fn connect(&self, port: u16) -> BoxFuture<'_, Result<BoxStream, ConnectError>> {
        self.ports.lock().unwrap().push(port);
        let act = self.acts.lock().unwrap().pop_front();
        Box::pin(async move {
            match act {
                None => Err(ConnectError::Gone),
                Some(Act::Refuse) => Err(ConnectError::Refused { port }),
                Some(Act::Play(scene)) => {
                    let (ours, theirs) = tokio::io::duplex(64 << 10);
                    tokio::spawn(scene(theirs));
                    Ok(Box::new(ours) as BoxStream)
                }
            }
        })
    }

    fn udid(&self) -> Option<&Udid> {
        None
    }
}

/// Reads one message; `None` at the end of the stream.
pub(crate) async fn hear<M: Message>(stream: &mut impl Stream) -> Option<M> {
    match read_frame(stream, 1 << 20).await {
        Ok(body) => Some(M::decode(&body).unwrap()),
        Err(FrameError::Closed) => None,
        Err(error) => panic!("{error}"),
    }
}

pub(crate) async fn say(stream: &mut impl Stream, message: &impl Message) {
    write_frame(stream, &message.encode()).await.unwrap();
}

/// Answers one request, whatever it is, and returns it.
pub(crate) async fn answer(stream: &mut impl Stream, body: ReplyBody) -> Request {
    let request: Request = hear(stream).await.expect("a request");
    say(stream, &Reply::to(&request, body)).await;
    request
}

pub(crate) fn is_lockdown() -> ReplyBody {
    ReplyBody::QueryType {
        kind: ReplyBody::LOCKDOWN.to_owned(),
        restore_protocol_version: None,
    }
}

pub(crate) fn session_started() -> ReplyBody {
    ReplyBody::SessionStarted {
        session_id: "577BC77C-90A2-4868-9A73-5FD13090223B".into(),
        enable_session_ssl: Some(true),
    }
}

pub(crate) fn service_at(port: u16, encrypted: bool) -> ReplyBody {
    ReplyBody::ServiceStarted {
        service: None,
        port,
        enable_service_ssl: encrypted.then_some(true),
    }
}

/// The value a reply carries.
pub(crate) fn value(value: impl Into<cabled_wire::plist::Value>) -> ReplyBody {
    ReplyBody::Value {
        domain: None,
        key: None,
        value: Some(value.into()),
    }
}

pub(crate) fn data_file(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name);
    std::fs::read(path).unwrap()
}

/// The key of the device that all tests play; made once by OpenSSL, see `tests/data`.
pub(crate) fn device_key() -> RsaKey {
    RsaKey::from_pem(&data_file("device.key"), "device.key").unwrap()
}

/// A record of this host with the device of [`device_key`].
pub(crate) fn record() -> PairRecord {
    static RECORD: std::sync::LazyLock<PairRecord> = std::sync::LazyLock::new(|| {
        let made = Certificates::issue(&device_key().public_key(), std::time::SystemTime::now()).unwrap();
        PairRecord {
            host_id: HostId::random(),
            system_buid: SystemBuid::random(),
            device_certificate: made.device,
            host_certificate: made.host,
            root_certificate: made.root,
            host_private_key: made.host_key,
            root_private_key: Some(made.root_key),
            escrow_bag: Some(vec![7; 32].into()),
            wifi_mac_address: None,
            extra: Dictionary::new(),
        }
    });
    RECORD.clone()
}

/// The device's end of TLS.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) certificate: Vec<u8>,
    pub(crate) key: Vec<u8>,
    pub(crate) versions: &'static [&'static SupportedProtocolVersion],
    pub(crate) host: Vec<u8>,
}

pub(crate) static TLS13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
pub(crate) static TLS12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];

impl Tls {
    /// Presents the record's device certificate and accepts its host certificate.
    pub(crate) fn of(record: &PairRecord, versions: &'static [&'static SupportedProtocolVersion]) -> Self {
        Self {
            certificate: record.device_certificate.clone(),
            key: data_file("device.key"),
            versions,
            host: record.host_certificate.clone(),
        }
    }

    pub(crate) async fn accept<S: Stream>(&self, stream: S) -> std::io::Result<TlsStream<S>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key =
            rustls::crypto::aws_lc_rs::sign::any_supported_type(&private_key_der(&self.key, "key").unwrap()).unwrap();
        let presented = CertifiedKey::new(vec![certificate_der(&self.certificate, "certificate").unwrap()], key);
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_client_cert_verifier(Arc::new(OnlyHost(certificate_der(&self.host, "host").unwrap())))
            .with_cert_resolver(Arc::new(Presents(Arc::new(presented))));
        TlsAcceptor::from(Arc::new(config)).accept(stream).await
    }
}

#[derive(Debug)]
struct Presents(Arc<CertifiedKey>);

impl ResolvesServerCert for Presents {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        assert_eq!(hello.server_name(), None, "devices have no name");
        Some(Arc::clone(&self.0))
    }
}

/// Accepts one client certificate, as a device that knows one pairing.
#[derive(Debug)]
struct OnlyHost(CertificateDer<'static>);

impl ClientCertVerifier for OnlyHost {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if *end_entity == self.0 {
            Ok(ClientCertVerified::assertion())
        } else {
            Err(rustls::CertificateError::UnknownIssuer.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::RSA_PSS_SHA256, SignatureScheme::RSA_PKCS1_SHA256]
    }
}

/// `StartSession` answered and TLS accepted: the stream inside, and what was asked.
pub(crate) async fn open_session(mut stream: DuplexStream, tls: &Tls) -> std::io::Result<TlsStream<DuplexStream>> {
    let request = answer(&mut stream, session_started()).await;
    assert!(matches!(request.body, RequestBody::StartSession { .. }), "{request:?}");
    tls.accept(stream).await
}

/// Options with short limits, for tests in which nothing should come.
pub(crate) fn impatient() -> Options {
    Options::default()
        .reply_limit(Duration::from_secs(2))
        .handshake_limit(Duration::from_secs(2))
}

/// The record in a `Pair`, `ValidatePair` or `Unpair` request.
pub(crate) fn pair_request(request: &Request) -> &PairRequest {
    match &request.body {
        RequestBody::Pair(pair) | RequestBody::ValidatePair(pair) | RequestBody::Unpair(pair) => pair,
        other => panic!("{other:?}"),
    }
}
