//! Where the daemon listens.

use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a usbmux daemon listens. Spec: usbmux, section 2.
///
/// Reads every form that the clients in use understand:
/// ```
/// use cabled_usbmux::DaemonAddr;
///
/// for text in ["UNIX:/var/run/usbmuxd", "unix:///var/run/usbmuxd", "/var/run/usbmuxd"] {
///     assert_eq!(text.parse::<DaemonAddr>()?, DaemonAddr::Unix("/var/run/usbmuxd".into()));
/// }
/// for text in ["127.0.0.1:27015", "tcp://127.0.0.1:27015"] {
///     assert_eq!(text.parse::<DaemonAddr>()?, DaemonAddr::Tcp { host: "127.0.0.1".into(), port: 27015 });
/// }
/// # Ok::<(), cabled_usbmux::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DaemonAddr {
    /// A UNIX stream socket; the default everywhere but on Windows.
    Unix(PathBuf),
    /// TCP; the default on Windows. The only form that every client understands is `127.0.0.1:PORT`.
    Tcp {
        /// Name or address, IPv6 without brackets.
        host: String,
        /// Port, 1 to 65535.
        port: u16,
    },
}

/// The text names no place where a daemon could listen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Nothing is there to connect to.
    #[error("`{text}` names no socket; write UNIX:/path or host:port")]
    Empty {
        /// The text.
        text: String,
    },
    /// Host and port were expected.
    #[error("`{text}` is not host:port with a port from 1 to 65535 (an IPv6 address goes in brackets)")]
    HostPort {
        /// The text.
        text: String,
    },
    /// The variable holds bytes that are no text.
    #[error("{VARIABLE} is not valid text")]
    NotText,
}

/// The environment variable that all clients read.
const VARIABLE: &str = "USBMUXD_SOCKET_ADDRESS";

impl DaemonAddr {
    /// `/var/run/usbmuxd`, or `127.0.0.1:27015` on Windows.
    #[must_use]
    pub fn platform_default() -> Self {
        if cfg!(windows) {
            Self::Tcp {
                host: "127.0.0.1".to_owned(),
                port: 27015,
            }
        } else {
            Self::Unix("/var/run/usbmuxd".into())
        }
    }

    /// What `USBMUXD_SOCKET_ADDRESS` says, or the platform's default when it is unset or empty.
    ///
    /// # Errors
    /// [`AddressError`]: a variable that is set and wrong is never ignored silently.
    pub fn from_env() -> Result<Self, AddressError> {
        Self::from_variable(std::env::var_os(VARIABLE).as_deref())
    }

    fn from_variable(value: Option<&OsStr>) -> Result<Self, AddressError> {
        match value.map(OsStr::to_str) {
            None | Some(Some("")) => Ok(Self::platform_default()),
            Some(Some(text)) => text.parse(),
            Some(None) => Err(AddressError::NotText),
        }
    }
}

impl FromStr for DaemonAddr {
    type Err = AddressError;

    /// `UNIX:/path`, `unix:///path`, `tcp://host:port` (prefixes in any case), `[v6]:port`, `host:port`, `/path`.
    ///
    /// # Errors
    /// [`AddressError::Empty`], [`AddressError::HostPort`].
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = || AddressError::HostPort { text: text.to_owned() };
        if let Some(path) = strip(text, "unix://").or_else(|| strip(text, "unix:")) {
            return path_of(path, text);
        }
        if let Some(rest) = strip(text, "tcp://") {
            return host_port(rest).ok_or_else(error);
        }
        if text.contains('/') {
            return path_of(text, text);
        }
        match text.rsplit_once(':') {
            Some((_, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host_port(text).ok_or_else(error),
            _ => path_of(text, text),
        }
    }
}

fn path_of(path: &str, text: &str) -> Result<DaemonAddr, AddressError> {
    if path.is_empty() || path.contains('\0') {
        return Err(AddressError::Empty { text: text.to_owned() });
    }
    Ok(DaemonAddr::Unix(path.into()))
}

fn host_port(text: &str) -> Option<DaemonAddr> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest
            .strip_suffix(']')
            .filter(|v6| v6.parse::<std::net::Ipv6Addr>().is_ok())?,
        None => Some(host).filter(|host| !host.contains([':', '/']))?,
    };
    (!host.is_empty()).then(|| DaemonAddr::Tcp {
        host: host.to_owned(),
        port,
    })
}

fn strip<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

impl fmt::Display for DaemonAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "UNIX:{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Result<DaemonAddr, AddressError> {
        Ok(DaemonAddr::Tcp {
            host: host.into(),
            port,
        })
    }

    fn unix(path: &str) -> Result<DaemonAddr, AddressError> {
        Ok(DaemonAddr::Unix(path.into()))
    }

    #[test]
    fn every_form_of_the_clients_is_understood() {
        assert_eq!("127.0.0.1:27015".parse(), tcp("127.0.0.1", 27015));
        assert_eq!("localhost:1".parse(), tcp("localhost", 1));
        assert_eq!("[::1]:27015".parse(), tcp("::1", 27015));
        assert_eq!("TCP://host:65535".parse(), tcp("host", 65535));
        assert_eq!("tcp://[fe80::1]:5".parse(), tcp("fe80::1", 5));
        assert_eq!("UNIX:/a/b".parse(), unix("/a/b"));
        assert_eq!("Unix:///a:7".parse(), unix("/a:7"));
        assert_eq!("/tmp/socket:1234".parse(), unix("/tmp/socket:1234"));
        assert_eq!("socket".parse(), unix("socket"));
    }

    #[test]
    fn a_variable_that_is_set_and_wrong_is_not_ignored() {
        let from = |text: &str| DaemonAddr::from_variable(Some(OsStr::new(text)));
        assert_eq!(DaemonAddr::from_variable(None), Ok(DaemonAddr::platform_default()));
        assert_eq!(from(""), Ok(DaemonAddr::platform_default()));
        assert_eq!(from("127.0.0.1:7"), tcp("127.0.0.1", 7));
        assert!(from("127.0.0.1:99999").is_err());
    }

    #[test]
    fn what_could_be_meant_two_ways_is_refused() {
        for text in [
            "host:0",
            "host:65536",
            ":1234",
            "::1:27015",
            "[::1:5",
            "[zz]:5",
            "tcp://host",
            "UNIX:",
            "",
            "host:",
        ] {
            assert!(text.parse::<DaemonAddr>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_printed_form_reads_back() {
        for text in ["UNIX:/a/b", "[::1]:5", "h:1"] {
            assert_eq!(text.parse::<DaemonAddr>().unwrap().to_string(), text);
        }
    }
}
