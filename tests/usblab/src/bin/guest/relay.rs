//! Passes the kernel's events on as udevd does, for programs that listen to udevd only.
//!
//! The kernel sends to group 1 of its netlink socket; nusb and libudev listen to group 2, to which udevd sends each event
//! again behind a header. The numbers in it let a receiver filter in the kernel, so they have to be right.

use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with};

use crate::Failure;

const KERNEL: u32 = 1;
const UDEV: u32 = 2;
/// libudev's own magic, behind its name.
const MAGIC: u32 = 0xfeed_cafe;
const HEADER: u32 = 40;

/// Relays until it is killed.
pub fn run() -> Result<(), Failure> {
    let open = || {
        socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(netlink::KOBJECT_UEVENT),
        )
    };
    let from = open()?;
    bind(&from, &SocketAddrNetlink::new(0, KERNEL))?;
    let to = open()?;
    let mut buffer = vec![0; 16 << 10];
    loop {
        let (length, _) = recv(&from, &mut *buffer, RecvFlags::empty())?;
        let Some(message) = buffer.get(..length).and_then(message) else {
            continue;
        };
        // Nobody listens yet: that is no error of ours.
        let _ = sendto(&to, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, UDEV));
    }
}

/// A kernel event (`add@/devices/…`, then `KEY=value`, each ended by NUL) in udevd's form.
fn message(event: &[u8]) -> Option<Vec<u8>> {
    let start = event.iter().position(|byte| *byte == 0)?.checked_add(1)?;
    let properties = event.get(start..)?;
    let value = |key: &[u8]| {
        properties
            .split(|byte| *byte == 0)
            .find_map(|line| line.strip_prefix(key))
    };
    let hash = |value: Option<&[u8]>| value.map_or(0, murmur2);
    let mut message = Vec::with_capacity(properties.len() + 40);
    message.extend(b"libudev\0");
    message.extend(MAGIC.to_be_bytes());
    message.extend(HEADER.to_ne_bytes());
    message.extend(HEADER.to_ne_bytes());
    message.extend(u32::try_from(properties.len()).ok()?.to_ne_bytes());
    message.extend(hash(value(b"SUBSYSTEM=")).to_be_bytes());
    message.extend(hash(value(b"DEVTYPE=")).to_be_bytes());
    // No tags.
    message.extend([0; 8]);
    message.extend(properties);
    Some(message)
}

/// MurmurHash2 with the seed 0.
fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut word = u32::from_le_bytes(*word).wrapping_mul(M);
        word ^= word >> 24;
        hash = hash.wrapping_mul(M) ^ word.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (shift, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * shift);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}
