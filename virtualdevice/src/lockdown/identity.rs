//! The phone's key pair.

use std::fmt;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use cabled_wire::secret::SecretBytes;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// The RSA key pair a phone keeps for life: 2048 bits, its public half is `DevicePublicKey`.
#[derive(Clone)]
pub struct DeviceIdentity {
    pkcs8: SecretBytes,
    /// PKCS#1 `RSAPublicKey`.
    public_der: Vec<u8>,
}

/// No key pair.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// No key could be made.
    #[error("the device key could not be made")]
    Generate,
    /// The bytes are no PKCS#8 RSA key, in DER or PEM.
    #[error("the device key is no PKCS#8 RSA key")]
    Invalid,
}

impl DeviceIdentity {
    /// Makes a key pair. Takes about a tenth of a second; run it where blocking is allowed.
    ///
    /// # Errors
    /// [`IdentityError::Generate`].
    pub fn generate() -> Result<Self, IdentityError> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| IdentityError::Generate)?;
        Self::from_pair(&pair).ok_or(IdentityError::Generate)
    }

    /// Reads a key pair that [`to_pem`](Self::to_pem) wrote; also DER.
    ///
    /// # Errors
    /// [`IdentityError::Invalid`].
    pub fn from_pkcs8(bytes: &[u8]) -> Result<Self, IdentityError> {
        let der = match pem::parse(bytes) {
            Ok(pem) => SecretBytes::from(pem.into_contents()),
            Err(_) => SecretBytes::from(bytes),
        };
        let pair = KeyPair::from_pkcs8(der.expose()).map_err(|_| IdentityError::Invalid)?;
        Self::from_pair(&pair).ok_or(IdentityError::Invalid)
    }

    fn from_pair(pair: &KeyPair) -> Option<Self> {
        let pkcs8 = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(pair).ok()?;
        Some(Self {
            pkcs8: SecretBytes::from(pkcs8.as_ref()),
            public_der: pair.public_key().as_ref().to_vec(),
        })
    }

    /// The key pair as PKCS#8 PEM, to keep it; as secret as the phone.
    #[must_use]
    pub fn to_pem(&self) -> SecretBytes {
        let pem = pem::Pem::new("PRIVATE KEY", self.pkcs8.expose());
        SecretBytes::from(pem::encode_config(&pem, unix_lines()).into_bytes())
    }

    /// `DevicePublicKey`: PEM with the label `RSA PUBLIC KEY`, which clients insist on, and a newline at the end.
    #[must_use]
    pub fn public_pem(&self) -> Vec<u8> {
        pem::encode_config(
            &pem::Pem::new("RSA PUBLIC KEY", self.public_der.as_slice()),
            unix_lines(),
        )
        .into_bytes()
    }

    /// The public key: DER of a PKCS#1 `RSAPublicKey`.
    #[must_use]
    pub fn public_der(&self) -> &[u8] {
        &self.public_der
    }

    pub(crate) fn tls_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pkcs8.expose().to_vec()))
    }
}

fn unix_lines() -> pem::EncodeConfig {
    pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF)
}

impl fmt::Debug for DeviceIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceIdentity")
            .field("public_der", &hex::encode(&self.public_der))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_being_kept_and_shows_no_secret() {
        let made = DeviceIdentity::generate().unwrap();
        let read = DeviceIdentity::from_pkcs8(made.to_pem().expose()).unwrap();
        assert_eq!(made.public_der(), read.public_der());
        let public = String::from_utf8(made.public_pem()).unwrap();
        assert!(public.starts_with("-----BEGIN RSA PUBLIC KEY-----\n"));
        assert!(public.ends_with("-----END RSA PUBLIC KEY-----\n"));
        // Behind the modulus, which is public.
        let secret = hex::encode(&made.pkcs8.expose()[600..620]);
        assert!(!format!("{made:?}").contains(&secret));
    }

    #[test]
    fn rubbish_is_no_identity() {
        assert!(matches!(
            DeviceIdentity::from_pkcs8(b"rubbish"),
            Err(IdentityError::Invalid)
        ));
        assert!(matches!(DeviceIdentity::from_pkcs8(b""), Err(IdentityError::Invalid)));
    }
}
