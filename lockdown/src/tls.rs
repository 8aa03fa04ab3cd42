//! TLS with a device: the peer pinned to the pair record, never a chain.
//!
//! Spec: lockdown 8. rustls speaks TLS 1.2 and 1.3, which devices do from iOS 10 on.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use cabled_wire::io::BoxStream;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError as TlsCertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;

use crate::certificates::{CertificateError, RsaKey, RsaPublicKey, certificate_der, private_key_der, public_key_of};
use crate::options::TlsPolicy;
use crate::pair_record::PairRecord;

/// TLS with the device did not come about, or ended in an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The peer is not the device of the pair record.
    #[error("the device's certificate is not the one it was paired with")]
    NotThePairedDevice,
    /// Neither side knows a TLS version, cipher or signature of the other.
    #[error("no common TLS version or cipher; the device is too old (iOS 10 is the oldest) or too new")]
    NothingInCommon,
    /// The device closed the stream or sent an alert after it saw our certificate.
    #[error("the device does not accept this computer's certificate")]
    HostRefused,
    /// The handshake took too long.
    #[error("no TLS handshake within {} seconds", after.as_secs_f32())]
    TimedOut {
        /// How long it was waited for.
        after: Duration,
    },
    /// The stream ended or broke before our certificate was asked for.
    #[error("the link broke during the TLS handshake")]
    Io(#[source] io::Error),
    /// Any other breach of TLS.
    #[error("the TLS handshake failed")]
    Protocol(#[source] rustls::Error),
}

/// A pair record's certificates and key, parsed once and good for many handshakes.
#[derive(Clone, Debug)]
pub(crate) struct TlsIdentity {
    host: Arc<CertifiedKey>,
    device: PinnedTo,
    policy: TlsPolicy,
}

/// What the peer is compared with.
#[derive(Clone, Debug)]
struct PinnedTo {
    certificate: CertificateDer<'static>,
    key: RsaPublicKey,
}

impl TlsIdentity {
    /// Parses the record. No certificate is validated: all that counts is whether the key belongs to ours.
    pub(crate) fn new(record: &PairRecord, policy: TlsPolicy) -> Result<Self, CertificateError> {
        let device = certificate_der(&record.device_certificate, "DeviceCertificate")?;
        let host = certificate_der(&record.host_certificate, "HostCertificate")?;
        let pem = record.host_private_key.expose();
        if RsaKey::from_pem(pem, "HostPrivateKey")?.public_key() != public_key_of(&host, "HostCertificate")? {
            return Err(CertificateError::KeyMismatch);
        }
        let key = provider::sign::any_supported_type(&private_key_der(pem, "HostPrivateKey")?)
            .map_err(|_| CertificateError::Der { what: "HostPrivateKey" })?;
        let pinned = public_key_of(&device, "DeviceCertificate")?;
        Ok(Self {
            host: Arc::new(CertifiedKey::new(vec![host], key)),
            device: PinnedTo {
                certificate: device,
                key: pinned,
            },
            policy,
        })
    }

    /// Does the handshake over a stream. Dropping the future drops the stream.
    pub(crate) async fn handshake(&self, stream: BoxStream, limit: Duration) -> Result<BoxStream, TlsError> {
        let presented = Arc::new(HostCertificate {
            host: Arc::clone(&self.host),
            presented: AtomicBool::new(false),
        });
        let config = self.config(Arc::clone(&presented)).map_err(TlsError::Protocol)?;
        // Devices have no name and are sent none: an address never goes into the SNI extension.
        let nameless = ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into());
        let connect = TlsConnector::from(Arc::new(config)).connect(nameless, stream);
        match tokio::time::timeout(limit, connect).await {
            Err(_) => Err(TlsError::TimedOut { after: limit }),
            Ok(Err(error)) => Err(handshake_error(error, presented.presented.load(Ordering::Relaxed))),
            Ok(Ok(tls)) => {
                let (_, state) = tls.get_ref();
                tracing::debug!(version = ?state.protocol_version(), "TLS with the device");
                Ok(Box::new(TlsStream(tls)))
            }
        }
    }

    fn config(&self, host: Arc<HostCertificate>) -> Result<ClientConfig, rustls::Error> {
        let crypto = CryptoProvider {
            kx_groups: vec![
                provider::kx_group::X25519,
                provider::kx_group::SECP256R1,
                provider::kx_group::SECP384R1,
            ],
            ..provider::default_provider()
        };
        let verifier = PinnedDevice {
            pin: self.device.clone(),
            policy: self.policy,
        };
        let mut config = ClientConfig::builder_with_provider(Arc::new(crypto))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(host);
        config.enable_sni = false;
        config.resumption = Resumption::disabled(); // a session ends with its connection
        Ok(config)
    }
}

fn handshake_error(error: io::Error, presented: bool) -> TlsError {
    use rustls::{AlertDescription as Alert, Error as Tls};
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Tls>()).cloned();
    match tls {
        Some(Tls::InvalidCertificate(TlsCertificateError::ApplicationVerificationFailure)) => {
            TlsError::NotThePairedDevice
        }
        Some(Tls::AlertReceived(_)) if presented => TlsError::HostRefused,
        Some(
            Tls::AlertReceived(Alert::ProtocolVersion | Alert::HandshakeFailure | Alert::InsufficientSecurity)
            | Tls::PeerIncompatible(_),
        ) => TlsError::NothingInCommon,
        Some(other) => TlsError::Protocol(other),
        None if presented => TlsError::HostRefused,
        None => TlsError::Io(error),
    }
}

/// Gives our certificate when asked, and remembers that it was: a device that hangs up then has removed the pairing.
#[derive(Debug)]
struct HostCertificate {
    host: Arc<CertifiedKey>,
    presented: AtomicBool,
}

impl ResolvesClientCert for HostCertificate {
    fn resolve(&self, _root_hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.host.key.choose_scheme(schemes)?;
        self.presented.store(true, Ordering::Relaxed);
        Some(Arc::clone(&self.host))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Accepts the paired device and nobody else.
///
/// Handshake signatures are checked against the key in the certificate that was just pinned, without general X.509
/// reading: version 1 certificates, serial number 0, SHA-1 and empty names all occur in the field.
#[derive(Debug)]
struct PinnedDevice {
    pin: PinnedTo,
    policy: TlsPolicy,
}

impl ServerCertVerifier for PinnedDevice {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let same_bytes = *end_entity == self.pin.certificate;
        let same_key = || public_key_of(end_entity, "certificate").is_ok_and(|key| key == self.pin.key);
        let accepted = match self.policy {
            TlsPolicy::PinCertificate => same_bytes,
            TlsPolicy::PinKey => same_bytes || same_key(),
            TlsPolicy::AcceptAny => true,
        };
        if accepted {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(TlsCertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // TLS 1.3 has no PKCS#1 v1.5 in its handshake.
        match dss.scheme {
            SignatureScheme::RSA_PSS_SHA256 | SignatureScheme::RSA_PSS_SHA384 | SignatureScheme::RSA_PSS_SHA512 => {
                verify_signature(message, cert, dss)
            }
            _ => Err(rustls::PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into()),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.iter().map(|(scheme, _)| *scheme).collect()
    }
}

/// Device keys are RSA. The PKCS#1 forms go down to 1024 bits, which the oldest devices have.
static SCHEMES: [(SignatureScheme, &'static dyn VerificationAlgorithm); 6] = [
    (SignatureScheme::RSA_PSS_SHA512, &signature::RSA_PSS_2048_8192_SHA512),
    (SignatureScheme::RSA_PSS_SHA384, &signature::RSA_PSS_2048_8192_SHA384),
    (SignatureScheme::RSA_PSS_SHA256, &signature::RSA_PSS_2048_8192_SHA256),
    (
        SignatureScheme::RSA_PKCS1_SHA512,
        &signature::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
    ),
    (
        SignatureScheme::RSA_PKCS1_SHA384,
        &signature::RSA_PKCS1_2048_8192_SHA384,
    ),
    (
        SignatureScheme::RSA_PKCS1_SHA256,
        &signature::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
    ),
];

fn verify_signature(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    let (_, algorithm) = SCHEMES
        .iter()
        .find(|(scheme, _)| *scheme == dss.scheme)
        .ok_or(rustls::PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
    let key = public_key_of(certificate, "certificate").map_err(|_| TlsCertificateError::BadEncoding)?;
    UnparsedPublicKey::new(*algorithm, key.as_pkcs1_der())
        .verify(message, dss.signature())
        .map_err(|_| TlsCertificateError::BadSignature)?;
    Ok(HandshakeSignatureValid::assertion())
}

/// A TLS stream on which an end without close_notify is an end like any other.
///
/// Devices often just close. Every protocol above frames its messages, so an end in the middle of one still shows.
struct TlsStream(tokio_rustls::client::TlsStream<BoxStream>);

impl AsyncRead for TlsStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.0).poll_read(cx, buf) {
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            other => other,
        }
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
