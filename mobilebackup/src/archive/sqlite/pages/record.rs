//! Rows as SQLite stores them.

/// One value of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// NULL. A column that is the row id is stored as NULL.
    Null,
    /// An integer.
    Integer(i64),
    /// A number with a fraction. SQLite stores those without one as integers.
    Real(f64),
    /// Text as stored, in the database's encoding.
    Text(Vec<u8>),
    /// Bytes.
    Blob(Vec<u8>),
}

/// One row of a table, or one entry of an index.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Record {
    /// The row id; 0 for entries of an index, whose last value it is.
    pub row_id: i64,
    /// The columns. Columns that were added to the table after the row was written are missing at the end.
    pub values: Vec<Value>,
}

impl Record {
    /// Decodes a whole payload; `None` if its columns do not fit it.
    pub(super) fn decode(row_id: i64, payload: &[u8]) -> Option<Self> {
        let (header_len, mut at) = varint(payload, 0)?;
        let header = payload.get(..usize::try_from(header_len).ok()?)?;
        let mut body = payload.get(header.len()..)?;
        let mut values = Vec::new();
        while at < header.len() {
            let (serial, used) = varint(header, at)?;
            at = at.checked_add(used)?;
            let (value, rest) = Value::decode(serial, body)?;
            values.push(value);
            body = rest;
        }
        Some(Self { row_id, values })
    }
}

impl Value {
    /// The value of a serial type at the start of `body`, and what follows it.
    fn decode(serial: u64, body: &[u8]) -> Option<(Self, &[u8])> {
        let number = |len: usize| {
            let (bytes, rest) = body.split_at_checked(len)?;
            let start = match bytes.first() {
                Some(first) if *first >= 0x80 => -1_i64,
                _ => 0,
            };
            let value = bytes.iter().fold(start, |value, byte| (value << 8) | i64::from(*byte));
            Some((Self::Integer(value), rest))
        };
        match serial {
            0 => Some((Self::Null, body)),
            1 => number(1),
            2 => number(2),
            3 => number(3),
            4 => number(4),
            5 => number(6),
            6 => number(8),
            7 => {
                let (bytes, rest) = body.split_first_chunk::<8>()?;
                Some((Self::Real(f64::from_be_bytes(*bytes)), rest))
            }
            8 => Some((Self::Integer(0), body)),
            9 => Some((Self::Integer(1), body)),
            10 | 11 => None,
            _ => {
                let len = usize::try_from(serial.saturating_sub(12) >> 1).ok()?;
                let (bytes, rest) = body.split_at_checked(len)?;
                let value = match serial & 1 {
                    0 => Self::Blob(bytes.to_vec()),
                    _ => Self::Text(bytes.to_vec()),
                };
                Some((value, rest))
            }
        }
    }
}

/// A number of seven bits a byte, the ninth byte whole; with how many bytes it takes.
pub(super) fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let bytes = bytes.get(at..)?;
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().take(9).enumerate() {
        let used = index.saturating_add(1);
        if used == 9 {
            return Some(((value << 8) | u64::from(*byte), used));
        }
        value = (value << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, used));
        }
    }
    None
}

pub(super) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

pub(super) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}
