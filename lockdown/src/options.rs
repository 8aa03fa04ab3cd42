//! How a client of lockdown behaves.

use std::time::Duration;

/// How the certificate that a device presents in TLS is checked (spec: lockdown 8.1).
///
/// The signature of the handshake is verified in every case; there is never a chain to validate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsPolicy {
    /// Byte-equal to `DeviceCertificate` of the pair record, or the same public key. The default.
    #[default]
    PinKey,
    /// Byte-equal to `DeviceCertificate` of the pair record.
    PinCertificate,
    /// Whoever answers. For records whose device certificate is known to be another one; also lets a session run
    /// without TLS if the device wants that. The link can then be listened to and changed by whoever is on it.
    AcceptAny,
}

/// Options of [`crate::Lockdown`], [`crate::Session`] and [`crate::Paired`].
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) label: String,
    pub(crate) reply_limit: Duration,
    pub(crate) handshake_limit: Duration,
    pub(crate) tls: TlsPolicy,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            label: "cabled".to_owned(),
            reply_limit: Duration::from_secs(30),
            handshake_limit: Duration::from_secs(10),
            tls: TlsPolicy::default(),
        }
    }
}

impl Options {
    /// `Label` of every request: the client's name. Default: `cabled`.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// How long one reply may take. Default: 30 seconds.
    #[must_use]
    pub fn reply_limit(mut self, limit: Duration) -> Self {
        self.reply_limit = limit;
        self
    }

    /// How long a TLS handshake may take. Default: 10 seconds.
    #[must_use]
    pub fn handshake_limit(mut self, limit: Duration) -> Self {
        self.handshake_limit = limit;
        self
    }

    /// How the device's certificate is checked. Default: [`TlsPolicy::PinKey`].
    #[must_use]
    pub fn tls(mut self, policy: TlsPolicy) -> Self {
        self.tls = policy;
        self
    }
}

/// When the pair record's escrow bag goes with `StartService` (spec: lockdown 9).
///
/// The bag opens data protection on a device that is locked, but was unlocked since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Escrow {
    /// Never.
    Never,
    /// Only after the device answered that it is locked. The default.
    #[default]
    IfNeeded,
    /// At once, if the record has one: restoring, or backing up a locked device.
    Always,
}
