//! Where a network device is: the daemon's native socket address, in three layouts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use bytes::Bytes;
use cabled_wire::{Reader, WireError};

/// `NetworkAddress` of a device: a `sockaddr` of the daemon's operating system, as bytes. Spec: usbmux, section 4.
///
/// ```
/// use cabled_usbmux::NetworkAddress;
///
/// let address = NetworkAddress::native("192.168.1.7".parse()?, 0);
/// assert_eq!(address.raw().len(), 128);
/// assert_eq!(address.socket_addr(62078)?, "192.168.1.7:62078".parse()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkAddress(Bytes);

/// Whose `sockaddr` it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SockaddrLayout {
    /// macOS and the BSDs: one byte length, one byte family (2, 30).
    Bsd,
    /// Linux: two bytes family (2, 10).
    Linux,
    /// Windows: two bytes family (2, 23).
    Windows,
}

impl SockaddrLayout {
    /// The layout of the system this was built for; clients on the same machine expect it.
    pub const NATIVE: Self = if cfg!(windows) {
        Self::Windows
    } else if cfg!(any(target_os = "linux", target_os = "android")) {
        Self::Linux
    } else {
        Self::Bsd
    };
}

impl NetworkAddress {
    /// Length of what we make, in bytes: Apple's clients insist on a full `sockaddr_storage`.
    pub const LEN: usize = 128;

    /// Takes the bytes as a daemon sent them; whether they can be used shows later.
    #[must_use]
    pub fn from_raw(raw: impl AsRef<[u8]>) -> Self {
        Self(Bytes::copy_from_slice(raw.as_ref()))
    }

    /// An address in this system's layout; `scope` is the interface index of a link-local IPv6 address, otherwise 0.
    #[must_use]
    pub fn native(ip: IpAddr, scope: u32) -> Self {
        Self::with_layout(SockaddrLayout::NATIVE, ip, scope)
    }

    /// An address in a given layout.
    #[must_use]
    pub fn with_layout(layout: SockaddrLayout, ip: IpAddr, scope: u32) -> Self {
        let mut raw = Vec::with_capacity(Self::LEN);
        raw.extend_from_slice(match (layout, ip) {
            (SockaddrLayout::Bsd, IpAddr::V4(_)) => &[16, 2],
            (SockaddrLayout::Bsd, IpAddr::V6(_)) => &[28, 30],
            (SockaddrLayout::Linux | SockaddrLayout::Windows, IpAddr::V4(_)) => &[2, 0],
            (SockaddrLayout::Linux, IpAddr::V6(_)) => &[10, 0],
            (SockaddrLayout::Windows, IpAddr::V6(_)) => &[23, 0],
        });
        raw.extend_from_slice(&[0, 0]); // port
        match ip {
            IpAddr::V4(ip) => raw.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => {
                raw.extend_from_slice(&[0; 4]); // flow information
                raw.extend_from_slice(&ip.octets());
                raw.extend_from_slice(&scope.to_le_bytes());
            }
        }
        raw.resize(Self::LEN, 0);
        Self(raw.into())
    }

    /// The bytes as they travel.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.0
    }

    /// The address with a port of the device.
    ///
    /// # Errors
    /// [`WireError::Invalid`] for an unknown address family, [`WireError::Truncated`] when bytes are missing.
    pub fn socket_addr(&self, port: u16) -> Result<SocketAddr, WireError> {
        let mut r = Reader::new(&self.0);
        let [first, second] = [r.u8("address family")?, r.u8("address family")?];
        // BSD puts a length first, so its second byte, the family, is never zero; the others have a LE u16 there.
        let is_v6 = match (first, second) {
            (2, 0) | (_, 2) => false,
            (10 | 23, 0) | (_, 30) => true,
            _ => {
                return Err(WireError::Invalid {
                    what: "address family",
                    value: u64::from(first.max(second)),
                });
            }
        };
        r.take("port", 2)?;
        if !is_v6 {
            let octets: [u8; 4] = octets(r.take("IPv4 address", 4)?, "IPv4 address")?;
            return Ok(SocketAddrV4::new(Ipv4Addr::from(octets), port).into());
        }
        r.take("flow information", 4)?;
        let octets: [u8; 16] = octets(r.take("IPv6 address", 16)?, "IPv6 address")?;
        let scope = r.u32_le("scope id")?;
        Ok(SocketAddrV6::new(Ipv6Addr::from(octets), port, 0, scope).into())
    }
}

fn octets<const N: usize>(bytes: &[u8], field: &'static str) -> Result<[u8; N], WireError> {
    let have = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    bytes.try_into().map_err(|_| WireError::Truncated {
        field,
        need: u64::try_from(N).unwrap_or(u64::MAX),
        have,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_layout_is_read_back() {
        for layout in [SockaddrLayout::Bsd, SockaddrLayout::Linux, SockaddrLayout::Windows] {
            let v4 = NetworkAddress::with_layout(layout, "10.1.2.3".parse().unwrap(), 0);
            assert_eq!(v4.socket_addr(7).unwrap(), "10.1.2.3:7".parse().unwrap());
            let v6 = NetworkAddress::with_layout(layout, "fe80::1".parse().unwrap(), 14);
            assert_eq!(v6.socket_addr(7).unwrap(), "[fe80::1%14]:7".parse().unwrap());
        }
    }

    #[test]
    fn an_unknown_family_or_a_short_blob_is_an_error_and_no_panic() {
        for raw in [
            &[][..],
            &[2],
            &[2, 0, 0, 0, 1, 2, 3],
            &[10, 0, 0, 0],
            &[0; 128],
            &[99, 0, 0, 0, 1, 1, 1, 1],
        ] {
            assert!(NetworkAddress::from_raw(raw).socket_addr(1).is_err(), "{raw:?}");
        }
        // Eight bytes are enough for IPv4.
        assert!(
            NetworkAddress::from_raw([16, 2, 0, 0, 1, 2, 3, 4])
                .socket_addr(1)
                .is_ok()
        );
    }
}
