//! Binary property lists without building a tree: objects are looked at where they lie.
//!
//! `Manifest.db` has one property list per row, a million of them; the general reader takes fifteen times as long as
//! SQLite needs for the row. Nothing here allocates or recurses: an object is a slice of the input, its children are
//! reference numbers, and every offset is checked before it is used.

/// Length of the trailer in bytes.
const TRAILER: usize = 32;

/// A binary property list whose trailer has been checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bplist<'a> {
    /// Header and objects: what offsets may point into.
    objects: &'a [u8],
    offsets: &'a [u8],
    offset_len: usize,
    ref_len: usize,
    top: u64,
}

/// One object. Numbers in containers are references, to be passed to [`Bplist::object`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Object<'a> {
    Integer(i128),
    Real(f64),
    /// Seconds since 2001-01-01 UTC.
    Date(f64),
    Data(&'a [u8]),
    Ascii(&'a [u8]),
    Utf16(&'a [u8]),
    Uid(u64),
    Array(Refs<'a>),
    Dict {
        keys: Refs<'a>,
        values: Refs<'a>,
    },
    /// Null, booleans, sets: nothing that a file record uses.
    Other,
}

/// References to objects.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Refs<'a> {
    bytes: &'a [u8],
    len: usize,
}

impl<'a> Refs<'a> {
    #[inline]
    pub(crate) fn iter(self) -> impl Iterator<Item = u64> + 'a {
        self.bytes.chunks_exact(self.len).map(big_endian)
    }

    #[inline]
    pub(crate) fn get(self, index: u64) -> Option<u64> {
        let start = usize::try_from(index).ok()?.checked_mul(self.len)?;
        self.bytes.get(start..)?.get(..self.len).map(big_endian)
    }
}

/// Not a binary property list, or one that points outside itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl<'a> Bplist<'a> {
    const MAGIC: &'static [u8] = b"bplist00";

    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        Self::trailer(bytes).ok_or(Malformed)
    }

    fn trailer(bytes: &'a [u8]) -> Option<Self> {
        let (body, trailer) = bytes.split_last_chunk::<TRAILER>()?;
        body.starts_with(Self::MAGIC).then_some(())?;
        // Five bytes unused, a sort version, the two sizes, three counts.
        let (_, rest) = trailer.split_first_chunk::<6>()?;
        let ([offset_len, ref_len], rest) = rest.split_first_chunk::<2>()?;
        let (offset_len, ref_len) = (usize::from(*offset_len), usize::from(*ref_len));
        ((1..=8).contains(&offset_len) && (1..=8).contains(&ref_len)).then_some(())?;
        let (count, rest) = rest.split_first_chunk::<8>()?;
        let (top, table) = rest.split_first_chunk::<8>()?;
        let table_start = usize::try_from(big_endian(table)).ok()?;
        let table_len = usize::try_from(big_endian(count)).ok()?.checked_mul(offset_len)?;
        let (objects, table) = body.split_at_checked(table_start)?;
        let offsets = table.get(..table_len)?;
        Some(Self {
            objects,
            offsets,
            offset_len,
            ref_len,
            top: big_endian(top),
        })
    }

    pub(crate) fn top(&self) -> Result<Object<'a>, Malformed> {
        self.object(self.top)
    }

    /// The object with this reference number.
    #[inline]
    pub(crate) fn object(&self, reference: u64) -> Result<Object<'a>, Malformed> {
        self.read(reference).ok_or(Malformed)
    }

    /// The object with this reference number if it is text as keys have it; `None` for any other object.
    #[inline]
    pub(crate) fn ascii(&self, reference: u64) -> Result<Option<&'a [u8]>, Malformed> {
        // Keys are most of what is read, and nearly all are shorter than 15 letters.
        match self.bytes_of(reference) {
            Some((marker @ 0x50..=0x5e, rest)) => match rest.get(..usize::from(marker & 0xf)) {
                Some(text) => Ok(Some(text)),
                None => Err(Malformed),
            },
            _ => match self.object(reference)? {
                Object::Ascii(text) => Ok(Some(text)),
                _ => Ok(None),
            },
        }
    }

    /// The marker of an object and everything behind it.
    #[inline]
    fn bytes_of(&self, reference: u64) -> Option<(u8, &'a [u8])> {
        let offset = Refs {
            bytes: self.offsets,
            len: self.offset_len,
        }
        .get(reference)?;
        let (marker, rest) = self.objects.get(usize::try_from(offset).ok()?..)?.split_first()?;
        Some((*marker, rest))
    }

    #[inline]
    fn read(&self, reference: u64) -> Option<Object<'a>> {
        let (marker, rest) = self.bytes_of(reference)?;
        let low = marker & 0xf;
        Some(match marker >> 4 {
            0x1 => Object::Integer(integer(rest.get(..1_usize.checked_shl(low.into())?)?)?),
            0x2 => Object::Real(real(low, rest)?),
            0x3 if low == 3 => Object::Date(real(low, rest)?),
            0x4 => Object::Data(sized(low, rest, 1)?.0),
            // Seven bits in theory; Apple's writer falls back to UTF-16, others put UTF-8 here or under 0x7.
            0x5 | 0x7 => Object::Ascii(sized(low, rest, 1)?.0),
            0x6 => Object::Utf16(sized(low, rest, 2)?.0),
            0x8 => {
                let bytes = rest.get(..usize::from(low).checked_add(1)?)?;
                (bytes.len() <= 8).then(|| Object::Uid(big_endian(bytes)))?
            }
            0xa => Object::Array(Refs {
                bytes: sized(low, rest, self.ref_len)?.0,
                len: self.ref_len,
            }),
            0xd => {
                let (keys, rest) = sized(low, rest, self.ref_len)?;
                let values = Refs {
                    bytes: rest.get(..keys.len())?,
                    len: self.ref_len,
                };
                Object::Dict {
                    keys: Refs {
                        bytes: keys,
                        len: self.ref_len,
                    },
                    values,
                }
            }
            _ => Object::Other,
        })
    }
}

/// The body of an object whose count is in the marker or in an integer behind it, and what follows.
#[inline]
fn sized(low: u8, rest: &[u8], unit: usize) -> Option<(&[u8], &[u8])> {
    let (count, rest) = if low < 0xf {
        (usize::from(low), rest)
    } else {
        let (marker, rest) = rest.split_first()?;
        (marker >> 4 == 1).then_some(())?;
        let (bytes, rest) = rest.split_at_checked(1_usize.checked_shl(u32::from(marker & 0xf))?)?;
        (usize::try_from(integer(bytes)?).ok()?, rest)
    };
    rest.split_at_checked(count.checked_mul(unit)?)
}

/// Integers of 1, 2 and 4 bytes are unsigned, longer ones signed.
#[inline]
fn integer(bytes: &[u8]) -> Option<i128> {
    Some(match bytes.len() {
        1 | 2 | 4 => big_endian(bytes).into(),
        8 => big_endian(bytes).cast_signed().into(),
        16 => i128::from_be_bytes(bytes.try_into().ok()?),
        _ => return None,
    })
}

fn real(low: u8, rest: &[u8]) -> Option<f64> {
    match low {
        2 => rest.first_chunk().map(|bytes| f32::from_be_bytes(*bytes).into()),
        3 => rest.first_chunk().map(|bytes| f64::from_be_bytes(*bytes)),
        _ => None,
    }
}

/// Up to eight bytes as one number.
#[inline]
fn big_endian(bytes: &[u8]) -> u64 {
    match *bytes {
        [byte] => byte.into(),
        [high, low] => u16::from_be_bytes([high, low]).into(),
        [a, b, c, d] => u32::from_be_bytes([a, b, c, d]).into(),
        _ => bytes.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte)),
    }
}
