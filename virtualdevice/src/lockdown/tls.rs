//! TLS as a phone does it: the certificate the host made for it, and only paired hosts let in. Spec: lockdown, 8.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use cabled_wire::io::BoxStream;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    AlertDescription, CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::pairing::key_and_algorithm;
use crate::phone::{Phone, locked};
use crate::profile::TlsVersions;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Runs the handshake as the phone that owns `device_certificate` (DER).
pub(crate) async fn accept(
    phone: &Phone,
    device_certificate: &[u8],
    service: &str,
    stream: BoxStream,
) -> io::Result<TlsStream<RecordStream>> {
    let muted = Arc::new(AtomicBool::new(false));
    let close_after_certificate = phone.faults().take_close_after_certificate(service);
    let config = config(
        phone,
        device_certificate,
        close_after_certificate.then(|| Arc::clone(&muted)),
    )
    .await?;
    let stream = RecordStream::new(stream, muted);
    let handshake = TlsAcceptor::from(Arc::new(config)).accept(stream);
    match tokio::time::timeout(HANDSHAKE, handshake).await {
        Ok(done) => done,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no TLS handshake in time")),
    }
}

async fn config(phone: &Phone, certificate: &[u8], mute: Option<Arc<AtomicBool>>) -> io::Result<ServerConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let identity = phone.identity().await.map_err(io::Error::other)?;
    let key = provider
        .key_provider
        .load_private_key(identity.tls_key())
        .map_err(io::Error::other)?;
    // Not `with_single_cert`, which refuses certificates of X.509 version 1.
    let own = CertifiedKey::new(vec![CertificateDer::from(certificate.to_vec())], key);
    let versions: &[&rustls::SupportedProtocolVersion] = match phone.profile().tls {
        TlsVersions::Tls12 => &[&rustls::version::TLS12],
        TlsVersions::Tls13 => &[&rustls::version::TLS13],
        TlsVersions::Tls12And13 => &[&rustls::version::TLS13, &rustls::version::TLS12],
    };
    let verifier = PairedHosts {
        phone: phone.clone(),
        provider: Arc::clone(&provider),
        mute,
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(io::Error::other)?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(OneCertificate(Arc::new(own))));
    // Sessions end with their connection; nothing is resumed.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

#[derive(Debug)]
struct OneCertificate(Arc<CertifiedKey>);

impl ResolvesServerCert for OneCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// Lets in whoever owns the host or the root certificate of a pairing that exists at that moment.
#[derive(Debug)]
struct PairedHosts {
    phone: Phone,
    provider: Arc<CryptoProvider>,
    /// Set: go silent when the client's certificate has come.
    mute: Option<Arc<AtomicBool>>,
}

impl PairedHosts {
    fn verify(&self, message: &[u8], certificate: &[u8], signed: &DigitallySignedStruct) -> Result<(), Error> {
        let (algorithm, key) = key_and_algorithm(certificate).ok_or(CertificateError::BadEncoding)?;
        let schemes = self.provider.signature_verification_algorithms.mapping;
        let known = schemes
            .iter()
            .find(|(scheme, _)| *scheme == signed.scheme)
            .map(|(_, algorithms)| *algorithms);
        let fits = known
            .unwrap_or_default()
            .iter()
            .find(|a| a.public_key_alg_id().as_ref() == algorithm);
        let bad = || Error::from(CertificateError::BadSignature);
        fits.ok_or_else(bad)?
            .verify_signature(&key, message, signed.signature())
            .map_err(|_| bad())
    }
}

impl ClientCertVerifier for PairedHosts {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let refused = Err(Error::InvalidCertificate(
            CertificateError::ApplicationVerificationFailure,
        ));
        if let Some(mute) = &self.mute {
            mute.store(true, Ordering::Relaxed);
            return refused;
        }
        if locked(&self.phone.inner().pairings).knows_certificate(end_entity) {
            Ok(ClientCertVerified::assertion())
        } else {
            refused
        }
    }

    // The chain is not looked at, so the helpers of rustls, which want version 3 certificates, are not used.

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, cert, dss)
            .map(|()| HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        use SignatureScheme as S;
        if matches!(
            dss.scheme,
            S::RSA_PKCS1_SHA1 | S::RSA_PKCS1_SHA256 | S::RSA_PKCS1_SHA384 | S::RSA_PKCS1_SHA512
        ) {
            return Err(Error::AlertReceived(AlertDescription::IllegalParameter));
        }
        self.verify(message, cert, dss)
            .map(|()| HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The stream below TLS.
///
/// Hands out one TLS record at a time, so that plain bytes after a close_notify stay here when TLS ends; keeps the
/// stream open when TLS shuts down; and can go silent, for a handshake that ends with nothing said.
pub(crate) struct RecordStream {
    stream: BoxStream,
    /// Bytes of the current record's header that have passed.
    header: [u8; 5],
    header_len: usize,
    /// Bytes of the current record's body still to come.
    body: usize,
    muted: Arc<AtomicBool>,
}

impl std::fmt::Debug for RecordStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordStream")
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

impl RecordStream {
    fn new(stream: BoxStream, muted: Arc<AtomicBool>) -> Self {
        Self {
            stream,
            header: [0; 5],
            header_len: 0,
            body: 0,
            muted,
        }
    }

    /// The stream below, at a record's end.
    pub(crate) fn into_inner(self) -> BoxStream {
        self.stream
    }

    fn muted(&self) -> bool {
        self.muted.load(Ordering::Relaxed)
    }

    /// Counts what passed; at the end of a header, learns the body's length.
    fn passed(&mut self, bytes: &[u8]) {
        if self.body > 0 {
            self.body = self.body.saturating_sub(bytes.len());
            return;
        }
        for byte in bytes {
            if let Some(place) = self.header.get_mut(self.header_len) {
                *place = *byte;
                self.header_len = self.header_len.saturating_add(1);
            }
        }
        if self.header_len == self.header.len() {
            let [_, _, _, high, low] = self.header;
            self.body = usize::from(u16::from_be_bytes([high, low]));
            self.header_len = 0;
        }
    }
}

impl AsyncRead for RecordStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let missing = if self.body > 0 {
            self.body
        } else {
            self.header.len().saturating_sub(self.header_len)
        };
        let room = buf.remaining().min(missing);
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(room));
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut part))?;
        let n = part.filled().len();
        self.passed(part.filled());
        buf.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for RecordStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.muted() {
            return Poll::Ready(Ok(buf.len()));
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS has said its goodbye; the stream itself goes on, or ends when it is dropped.
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}
