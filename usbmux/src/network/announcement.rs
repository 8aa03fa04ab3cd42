//! What a device announces, cut down to what is used and may be believed.

use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Longest instance name that is taken, in bytes; DNS allows 255.
const MAX_NAME: usize = 255;
/// Longest `identifier` that is taken, in bytes: a TXT entry has no more.
const MAX_IDENTIFIER: usize = 255;
/// Most tags of one announcement: one for each computer the device is paired with.
const MAX_TAGS: usize = 64;
/// Most addresses of one announcement.
const MAX_ADDRESSES: usize = 16;

/// One service instance of `_apple-mobdev2._tcp`. Spec: lockdown, section 10.2.
///
/// Anybody on the network can announce anything. What is in here is bounded, and its addresses are ones that a device
/// could have; whether it is the device shows only in TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    name: String,
    addresses: Vec<Address>,
    identifier: Option<Vec<u8>>,
    tags: Vec<[u8; 8]>,
}

/// An address of a device, and the interface it was heard on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    kind: Kind,
    ip: IpAddr,
    interface: u32,
}

/// In the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    V4,
    GlobalV6,
    LinkLocalV6,
}

/// Which addresses are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accept {
    /// Those that another machine could have.
    Remote,
    /// Those of this computer, too.
    Loopback,
}

impl Announcement {
    /// An announcement under its full name, `<Wi-Fi address>@<anything>._apple-mobdev2._tcp.local.`; `None` for a name
    /// that no device has.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let plain = !name.is_empty() && name.len() <= MAX_NAME && !name.chars().any(char::is_control);
        plain.then(|| Self {
            name: name.to_owned(),
            addresses: Vec::new(),
            identifier: None,
            tags: Vec::new(),
        })
    }

    /// Adds an entry of the TXT record: `identifier`, `authTag` and `authTag#n` are used, names in any case.
    #[must_use]
    pub fn with_txt(mut self, key: &str, value: &[u8]) -> Self {
        let key = key.to_ascii_lowercase();
        if key == "identifier" {
            self.identifier = (value.len() <= MAX_IDENTIFIER).then(|| value.to_owned());
        } else if (key == "authtag" || key.starts_with("authtag#")) && self.tags.len() < MAX_TAGS {
            let tag: Option<[u8; 8]> = STANDARD.decode(value).ok().and_then(|tag| tag.try_into().ok());
            self.tags.extend(tag);
        }
        self
    }

    /// Adds an address and the index of the interface it was heard on (0: not known). One that no device can have is
    /// left out: unspecified, multicast, broadcast, this computer's own, link-local IPv6 without an interface.
    #[must_use]
    pub fn with_address(self, ip: IpAddr, interface: u32) -> Self {
        self.accepting(ip, interface, Accept::Remote)
    }

    pub(super) fn accepting(mut self, ip: IpAddr, interface: u32, accept: Accept) -> Self {
        if self.addresses.len() < MAX_ADDRESSES
            && let Some(address) = Address::new(ip, interface, accept)
            && !self.addresses.contains(&address)
        {
            self.addresses.push(address);
            self.addresses.sort();
        }
        self
    }

    /// The full name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The addresses in the order in which they are tried: IPv4, global IPv6, link-local IPv6.
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// `identifier` of the TXT record.
    pub(super) fn identifier(&self) -> Option<&[u8]> {
        self.identifier.as_deref()
    }

    pub(super) fn tags(&self) -> &[[u8; 8]] {
        &self.tags
    }

    /// The Wi-Fi address, as announced: what stands before the first `@`. Random from iOS 26.4 on.
    pub(super) fn wifi_address(&self) -> Option<String> {
        let name = unescaped(&self.name);
        let (address, _) = name.split_once('@')?;
        Some(address.to_ascii_lowercase())
    }
}

impl Address {
    fn new(ip: IpAddr, interface: u32, accept: Accept) -> Option<Self> {
        // An IPv4 address in IPv6 clothes is an IPv4 address.
        let ip = ip.to_canonical();
        if ip.is_unspecified() || ip.is_multicast() || (ip.is_loopback() && accept == Accept::Remote) {
            return None;
        }
        let kind = match ip {
            IpAddr::V4(ip) if ip.is_broadcast() || ip.octets().first() == Some(&0) => return None,
            IpAddr::V4(_) => Kind::V4,
            IpAddr::V6(ip) if ip.is_unicast_link_local() && interface == 0 => return None,
            IpAddr::V6(ip) if ip.is_unicast_link_local() => Kind::LinkLocalV6,
            IpAddr::V6(_) => Kind::GlobalV6,
        };
        Some(Self { kind, ip, interface })
    }

    /// The address without its scope.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The interface it was heard on; 0 where that is not known.
    #[must_use]
    pub fn interface(&self) -> u32 {
        self.interface
    }

    /// The scope that goes with the address: only link-local ones have any.
    pub(super) fn scope(&self) -> u32 {
        if self.kind == Kind::LinkLocalV6 {
            self.interface
        } else {
            0
        }
    }

    /// Where to connect to for a port.
    #[must_use]
    pub fn socket_addr(&self, port: u16) -> SocketAddr {
        match self.ip {
            IpAddr::V4(ip) => (ip, port).into(),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, self.scope()).into(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scope() {
            0 => self.ip.fmt(f),
            scope => write!(f, "{}%{scope}", self.ip),
        }
    }
}

/// Undoes `\064` and `\@`, which some programs make of `@` and of blanks in a name.
fn unescaped(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((before, escaped)) = rest.split_once('\\') {
        plain.push_str(before);
        let code = escaped.get(..3).and_then(|digits| digits.parse::<u8>().ok());
        rest = match code {
            Some(code) => {
                plain.push(char::from(code));
                escaped.get(3..).unwrap_or_default()
            }
            None => {
                let mut chars = escaped.chars();
                plain.extend(chars.next());
                chars.as_str()
            }
        };
    }
    plain.push_str(rest);
    plain
}
