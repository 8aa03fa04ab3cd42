use super::{Operation, PacketError};

/// The first 40 bytes of every packet, checked: a value of this type has lengths that fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    fields_len: u64,
    payload_len: u64,
    /// The number a request chose; its reply repeats it.
    pub packet_num: u64,
    /// What the packet is.
    pub operation: Operation,
}

impl Header {
    /// The header's own length in bytes.
    pub const LEN: usize = 40;
    /// The eight bytes every packet starts with.
    pub const MAGIC: [u8; 8] = *b"CFA6LPAA";
    const LEN_U64: u64 = 40;

    /// Makes a header for a fixed part and a payload of these lengths. Lengths that overflow 64 bits are cut off there;
    /// nothing in memory is that long.
    #[must_use]
    pub fn new(operation: Operation, packet_num: u64, fields_len: usize, payload_len: usize) -> Self {
        let fields_len = u64::try_from(fields_len).unwrap_or(u64::MAX);
        let payload_len = u64::try_from(payload_len).unwrap_or(u64::MAX);
        Self {
            fields_len,
            payload_len,
            packet_num,
            operation,
        }
    }

    /// Bytes of the fixed part, `this_length` - 40.
    #[must_use]
    pub fn fields_len(&self) -> u64 {
        self.fields_len
    }

    /// Bytes of the payload, `entire_length` - `this_length`.
    #[must_use]
    pub fn payload_len(&self) -> u64 {
        self.payload_len
    }

    /// Bytes after the header: fixed part and payload together.
    #[must_use]
    pub fn body_len(&self) -> u64 {
        self.fields_len.saturating_add(self.payload_len)
    }

    /// Reads a header and holds its lengths against each other and against `limit` bytes for the entire packet.
    ///
    /// # Errors
    /// [`PacketError::Magic`], [`PacketError::ThisLength`], [`PacketError::EntireLength`] and [`PacketError::TooLong`],
    /// in this order.
    pub fn decode(bytes: &[u8; Self::LEN], limit: u64) -> Result<Self, PacketError> {
        let field = |at: usize| {
            let end = at.saturating_add(8);
            bytes
                .get(at..end)
                .and_then(|b| <[u8; 8]>::try_from(b).ok())
                .unwrap_or_default()
        };
        let [entire, this, packet_num, operation] = [8, 16, 24, 32].map(|at| u64::from_le_bytes(field(at)));
        if field(0) != Self::MAGIC {
            return Err(PacketError::Magic {
                found: u64::from_le_bytes(field(0)),
            });
        }
        let fields_len = this
            .checked_sub(Self::LEN_U64)
            .ok_or(PacketError::ThisLength { this })?;
        let payload_len = entire
            .checked_sub(this)
            .ok_or(PacketError::EntireLength { this, entire })?;
        if entire > limit {
            return Err(PacketError::TooLong { entire, limit });
        }
        Ok(Self {
            fields_len,
            payload_len,
            packet_num,
            operation: Operation::from_code(operation),
        })
    }

    /// The 40 bytes of the wire.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let this = self.fields_len.saturating_add(Self::LEN_U64);
        let entire = this.saturating_add(self.payload_len);
        let numbers = [
            u64::from_le_bytes(Self::MAGIC),
            entire,
            this,
            self.packet_num,
            self.operation.code(),
        ];
        let mut out = [0; Self::LEN];
        for (slot, number) in out.chunks_exact_mut(8).zip(numbers) {
            slot.copy_from_slice(&number.to_le_bytes());
        }
        out
    }
}
