//! A host of frames and bytes: no state machine, no retries, no opinion.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use cabled_lockdown::certificates::{Certificates, RsaPublicKey};
use cabled_virtualdevice::lockdown::identity::DeviceIdentity;
use cabled_virtualdevice::{LOCKDOWN_PORT, Pairing, Phone, PhoneBuilder, Profile};
use cabled_wire::dict;
use cabled_wire::ids::{HostId, SystemBuid};
use cabled_wire::io::{BoxStream, Connect};
use cabled_wire::plist::{self, Dictionary, Limits, Value};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::client::TlsStream;

pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

/// A small phone that trusts everybody.
pub(crate) fn phone() -> Phone {
    builder(Profile::ios_17_7()).build().unwrap()
}

pub(crate) fn builder(profile: Profile) -> PhoneBuilder {
    Phone::builder()
        .profile(profile)
        .empty()
        .identity(identity())
        .pairing(Pairing::AutoTrust)
}

/// One key pair for all phones of these tests: keys are slow to make.
pub(crate) fn identity() -> DeviceIdentity {
    static IDENTITY: OnceLock<DeviceIdentity> = OnceLock::new();
    IDENTITY.get_or_init(|| DeviceIdentity::generate().unwrap()).clone()
}

/// Keys and ids of one computer for one phone.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) host_id: String,
    pub(crate) buid: String,
    pub(crate) certificates: Arc<Certificates>,
    /// Present the root certificate in place of the host's, as libimobiledevice does.
    pub(crate) presents_root: bool,
}

impl Host {
    /// A computer with ids of its own, and the keys of all computers of these tests.
    pub(crate) fn new() -> Self {
        static CERTIFICATES: OnceLock<Arc<Certificates>> = OnceLock::new();
        let issue = || {
            let key = RsaPublicKey::from_pem(&identity().public_pem()).unwrap();
            Arc::new(Certificates::issue(&key, SystemTime::now()).unwrap())
        };
        Self::with(Arc::clone(CERTIFICATES.get_or_init(issue)))
    }

    fn with(certificates: Arc<Certificates>) -> Self {
        Self {
            host_id: HostId::random().to_string(),
            buid: SystemBuid::random().to_string(),
            certificates,
            presents_root: false,
        }
    }

    /// A computer with keys of its own.
    pub(crate) async fn fresh(phone: &Phone) -> Self {
        let identity = phone.identity().await.unwrap();
        let key = RsaPublicKey::from_pem(&identity.public_pem()).unwrap();
        let certificates = Certificates::issue(&key, SystemTime::now()).unwrap();
        Self::with(Arc::new(certificates))
    }

    pub(crate) fn record(&self) -> Dictionary {
        dict! {
            "DeviceCertificate" => Value::Data(self.certificates.device.clone()),
            "HostCertificate" => Value::Data(self.certificates.host.clone()),
            "RootCertificate" => Value::Data(self.certificates.root.clone()),
            "HostID" => self.host_id.as_str(),
            "SystemBUID" => self.buid.as_str(),
        }
    }

    pub(crate) fn pair_request(&self) -> Dictionary {
        dict! {
            "Label" => "test",
            "Request" => "Pair",
            "PairRecord" => self.record(),
            "ProtocolVersion" => "2",
            "PairingOptions" => dict! { "ExtendedPairingErrors" => true },
            "HostName" => "a computer",
        }
    }

    /// Pairs, and returns the escrow bag.
    pub(crate) async fn pair(&self, phone: &Phone) -> Vec<u8> {
        let mut line = Line::lockdown(phone).await;
        let reply = line.ask(self.pair_request()).await;
        assert_eq!(reply.get("Error"), None, "{reply:?}");
        reply.get("EscrowBag").and_then(Value::as_data).unwrap().to_vec()
    }

    pub(crate) fn tls_config(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        let (certificate, key) = if self.presents_root {
            (&self.certificates.root, &self.certificates.root_key)
        } else {
            (&self.certificates.host, &self.certificates.host_key)
        };
        let certificate = CertificateDer::from_pem_slice(certificate).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.expose()).unwrap();
        let wanted = CertificateDer::from_pem_slice(&self.certificates.device).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Exactly(wanted)))
            .with_client_auth_cert(vec![certificate], key)
            .unwrap();
        config.enable_sni = false;
        config
    }

    /// A session on a new connection.
    pub(crate) async fn session(&self, phone: &Phone) -> Line {
        let mut line = Line::lockdown(phone).await;
        line.start_session(self).await;
        line
    }

    /// A service, over its own connection, lockdown closed before.
    pub(crate) async fn service(&self, phone: &Phone, name: &str) -> Line {
        let mut lockdown = self.session(phone).await;
        let reply = lockdown
            .ask(dict! { "Request" => "StartService", "Service" => name })
            .await;
        drop(lockdown);
        self.open(phone, &reply).await
    }

    pub(crate) async fn open(&self, phone: &dyn Connect, reply: &Dictionary) -> Line {
        let mut line = Line::new(phone.connect(port(reply)).await.unwrap());
        if reply.get("EnableServiceSSL").and_then(Value::as_boolean) == Some(true) {
            line.start_tls(self, rustls::ALL_VERSIONS).await.unwrap();
        }
        line
    }
}

pub(crate) fn port(reply: &Dictionary) -> u16 {
    let port = reply.get("Port").and_then(Value::as_unsigned_integer);
    port.unwrap_or_else(|| panic!("no port in {reply:?}"))
        .try_into()
        .unwrap()
}

/// Takes exactly one server certificate, and checks the handshake's signature with the provider's helpers.
#[derive(Debug)]
struct Exactly(CertificateDer<'static>);

impl rustls::client::danger::ServerCertVerifier for Exactly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        assert_eq!(
            end_entity, &self.0,
            "the phone presents the DeviceCertificate the host sent"
        );
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        rustls::crypto::verify_tls12_signature(message, cert, dss, &provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        rustls::crypto::verify_tls13_signature(message, cert, dss, &provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// One connection, plain or TLS.
pub(crate) enum Line {
    Plain(BoxStream),
    Tls(Box<TlsStream<BoxStream>>),
    None,
}

impl Line {
    pub(crate) fn new(stream: BoxStream) -> Self {
        Self::Plain(stream)
    }

    pub(crate) async fn lockdown(phone: &dyn Connect) -> Self {
        Self::new(phone.connect(LOCKDOWN_PORT).await.unwrap())
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.try_write(bytes).await.unwrap();
    }

    pub(crate) async fn try_write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes).await,
            Self::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
            Self::None => panic!("no line"),
        }
    }

    async fn read_some(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buf).await,
            Self::Tls(stream) => stream.read(buf).await,
            Self::None => panic!("no line"),
        }
    }

    /// Everything up to the end of the stream, and whether it ended without an error.
    pub(crate) async fn rest(&mut self) -> (Vec<u8>, bool) {
        let mut all = Vec::new();
        let mut buf = [0; 4096];
        loop {
            match tokio::time::timeout(TIMEOUT, self.read_some(&mut buf))
                .await
                .expect("the stream ends in time")
            {
                Ok(0) => return (all, true),
                Ok(n) => all.extend_from_slice(&buf[..n]),
                Err(_) => return (all, false),
            }
        }
    }

    pub(crate) async fn ended(&mut self) -> bool {
        self.rest().await.0.is_empty()
    }

    pub(crate) async fn exactly(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        let mut filled = 0;
        while filled < n {
            let read = tokio::time::timeout(TIMEOUT, self.read_some(&mut bytes[filled..])).await;
            let got = read.expect("an answer in time").unwrap();
            assert_ne!(got, 0, "the phone closed the stream after {filled} of {n} bytes");
            filled += got;
        }
        bytes
    }

    /// The body of the next frame.
    pub(crate) async fn body(&mut self) -> Vec<u8> {
        let header: [u8; 4] = self.exactly(4).await.try_into().unwrap();
        self.exactly(u32::from_be_bytes(header) as usize).await
    }

    pub(crate) async fn value(&mut self) -> Value {
        plist::read(&self.body().await, &Limits::default()).unwrap()
    }

    pub(crate) async fn dict(&mut self) -> Dictionary {
        self.value().await.into_dictionary().unwrap()
    }

    pub(crate) async fn tell(&mut self, message: Dictionary) {
        self.try_tell(message).await.unwrap();
    }

    /// As `tell`, to a phone that may hang up in the middle.
    pub(crate) async fn try_tell(&mut self, message: Dictionary) -> std::io::Result<()> {
        let body = plist::to_xml(&Value::Dictionary(message));
        let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        frame.extend(body);
        self.try_write(&frame).await
    }

    pub(crate) async fn ask(&mut self, message: Dictionary) -> Dictionary {
        self.tell(message).await;
        self.dict().await
    }

    /// The error of a request's reply, which must repeat the request.
    pub(crate) async fn error(&mut self, message: Dictionary) -> String {
        let request = message.get("Request").cloned();
        let reply = self.ask(message).await;
        assert_eq!(reply.get("Request"), request.as_ref());
        reply
            .get("Error")
            .and_then(Value::as_string)
            .unwrap_or_else(|| panic!("no error in {reply:?}"))
            .to_owned()
    }

    pub(crate) async fn get(&mut self, domain: Option<&str>, key: Option<&str>) -> Dictionary {
        let mut message = dict! { "Request" => "GetValue", "Label" => "test" };
        domain.map(|domain| message.insert("Domain".into(), domain.into()));
        key.map(|key| message.insert("Key".into(), key.into()));
        self.ask(message).await
    }

    pub(crate) async fn start_tls(
        &mut self,
        host: &Host,
        versions: &[&'static SupportedProtocolVersion],
    ) -> std::io::Result<()> {
        let Self::Plain(stream) = std::mem::replace(self, Self::None) else {
            panic!("TLS inside TLS")
        };
        let connector = tokio_rustls::TlsConnector::from(Arc::new(host.tls_config(versions)));
        let name = ServerName::try_from("device").unwrap();
        let tls = tokio::time::timeout(TIMEOUT, connector.connect(name, stream))
            .await
            .expect("a handshake in time")?;
        *self = Self::Tls(Box::new(tls));
        Ok(())
    }

    /// StartSession and the handshake; returns the session's id.
    pub(crate) async fn start_session(&mut self, host: &Host) -> String {
        let id = self.begin_session(host).await;
        self.start_tls(host, rustls::ALL_VERSIONS).await.unwrap();
        id
    }

    /// StartSession alone.
    pub(crate) async fn begin_session(&mut self, host: &Host) -> String {
        let request = dict! {
            "Request" => "StartSession",
            "HostID" => host.host_id.as_str(),
            "SystemBUID" => host.buid.as_str(),
        };
        let reply = self.ask(request).await;
        assert_eq!(
            reply.get("EnableSessionSSL").and_then(Value::as_boolean),
            Some(true),
            "{reply:?}"
        );
        reply.get("SessionID").and_then(Value::as_string).unwrap().to_owned()
    }

    /// close_notify, and the stream below TLS once the phone has answered it.
    pub(crate) async fn stop_tls(&mut self) {
        let Self::Tls(mut tls) = std::mem::replace(self, Self::None) else {
            panic!("no TLS")
        };
        let (stream, connection) = tls.get_mut();
        connection.send_close_notify();
        let mut out = Vec::new();
        while connection.wants_write() {
            connection.write_tls(&mut out).unwrap();
        }
        stream.write_all(&out).await.unwrap();
        let mut end = [0];
        let read = tokio::time::timeout(TIMEOUT, tls.read(&mut end))
            .await
            .expect("close_notify in time");
        assert_eq!(read.unwrap(), 0, "the phone answers close_notify with close_notify");
        *self = Self::Plain(tls.into_inner().0);
    }
}
