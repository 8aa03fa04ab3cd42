//! What crosses endpoint 0.

use std::fmt;

use bytes::Bytes;

/// The eight bytes that begin a control transfer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// `bmRequestType`: direction, kind and recipient.
    pub request_type: u8,
    /// `bRequest`.
    pub request: u8,
    /// `wValue`.
    pub value: u16,
    /// `wIndex`.
    pub index: u16,
    /// `wLength`: bytes that follow, in the direction of `request_type`.
    pub length: u16,
}

impl Setup {
    /// Reads the eight bytes, which are little-endian.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        let [request_type, request, v0, v1, i0, i1, l0, l1] = bytes;
        Self {
            request_type,
            request,
            value: u16::from_le_bytes([v0, v1]),
            index: u16::from_le_bytes([i0, i1]),
            length: u16::from_le_bytes([l0, l1]),
        }
    }

    /// The eight bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 8] {
        let ([v0, v1], [i0, i1], [l0, l1]) = (
            self.value.to_le_bytes(),
            self.index.to_le_bytes(),
            self.length.to_le_bytes(),
        );
        [self.request_type, self.request, v0, v1, i0, i1, l0, l1]
    }

    /// GET_DESCRIPTOR of the device: `kind` is 1 device, 2 configuration, 3 string, 6 qualifier.
    #[must_use]
    pub const fn get_descriptor(kind: u8, index: u8, length: u16) -> Self {
        Self {
            request_type: 0x80,
            request: 0x06,
            value: u16::from_be_bytes([kind, index]),
            index: if kind == 3 && index != 0 { 0x0409 } else { 0 },
            length,
        }
    }

    /// SET_CONFIGURATION; 0 leaves the device unconfigured.
    #[must_use]
    pub const fn set_configuration(value: u8) -> Self {
        Self {
            request_type: 0x00,
            request: 0x09,
            value: value as u16,
            index: 0,
            length: 0,
        }
    }

    /// SET_INTERFACE: chooses an alternate setting.
    #[must_use]
    pub const fn set_interface(interface: u8, setting: u8) -> Self {
        Self {
            request_type: 0x01,
            request: 0x0b,
            value: setting as u16,
            index: interface as u16,
            length: 0,
        }
    }

    /// CLEAR_FEATURE of an endpoint's halt.
    #[must_use]
    pub const fn clear_halt(endpoint: u8) -> Self {
        Self {
            request_type: 0x02,
            request: 0x01,
            value: 0,
            index: endpoint as u16,
            length: 0,
        }
    }

    /// Vendor request `0x45`: which mode the device is in, four bytes. Spec: usbmux, section 7.
    #[must_use]
    pub const fn get_mode() -> Self {
        Self {
            request_type: 0xc0,
            request: 0x45,
            value: 0,
            index: 0,
            length: 4,
        }
    }

    /// Vendor request `0x52`: go to another mode; the answer is one byte, 0 for yes.
    #[must_use]
    pub const fn set_mode(mode: u16) -> Self {
        Self {
            request_type: 0xc0,
            request: 0x52,
            value: 0,
            index: mode,
            length: 1,
        }
    }

    /// Whether the data goes to the host.
    #[must_use]
    pub const fn is_in(self) -> bool {
        self.request_type & 0x80 != 0
    }
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Setup({:02x} {:02x} value {:04x} index {:04x} length {})",
            self.request_type, self.request, self.value, self.index, self.length
        )
    }
}

/// What a control request comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ControlOutcome {
    /// Bytes for the host, at most as many as it asked for.
    Data(Bytes),
    /// Done; there is nothing to say.
    Done,
    /// The device does not do that.
    Stall,
    /// The device is not there any more.
    Gone,
}

/// What a transfer to an OUT endpoint comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BulkOutcome {
    /// So many bytes were taken; less than all only by a fault.
    Taken(usize),
    /// The endpoint is halted.
    Stall,
    /// The active configuration has no such endpoint: on a bus nobody would answer.
    NoEndpoint,
    /// The device is not there any more.
    Gone,
}

/// What a transfer from an IN endpoint comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BulkIn {
    /// Bytes, at most as many as there was room for; fewer, or none at all, at the end of a message.
    Data(Bytes),
    /// The endpoint is halted.
    Stall,
    /// A packet was larger than the room that was left for it: the host's buffer is no multiple of the packet size.
    Overflow,
    /// The active configuration has no such endpoint: on a bus nobody would answer.
    NoEndpoint,
    /// The device is not there any more.
    Gone,
}
