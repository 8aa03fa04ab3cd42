use crate::WireError;

/// A cursor over one message. Every method names the field it reads, so that an error can say where the bytes end.
///
/// ```
/// let mut r = cabled_wire::Reader::new(&[1, 2, 0, 0, 0, 9]);
/// assert_eq!(r.u8("kind")?, 1);
/// assert_eq!(r.u32_le("count")?, 2);
/// assert_eq!(r.rest(), &[9]);
/// # Ok::<(), cabled_wire::WireError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    read: usize,
}

macro_rules! integer {
    ($($name:ident, $type:ty, $from:ident, $order:literal;)*) => {$(
        #[doc = concat!("Reads a ", $order, " `", stringify!($type), "`.\n\n# Errors\n[`WireError::Truncated`].")]
        pub fn $name(&mut self, field: &'static str) -> Result<$type, WireError> {
            self.array(field).map(<$type>::$from)
        }
    )*};
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of a message.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, read: 0 }
    }

    integer! {
        u16_be, u16, from_be_bytes, "big-endian";
        u16_le, u16, from_le_bytes, "little-endian";
        u32_be, u32, from_be_bytes, "big-endian";
        u32_le, u32, from_le_bytes, "little-endian";
        u64_be, u64, from_be_bytes, "big-endian";
        u64_le, u64, from_le_bytes, "little-endian";
    }

    /// Reads one byte.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    pub fn u8(&mut self, field: &'static str) -> Result<u8, WireError> {
        self.array::<1>(field).map(|[byte]| byte)
    }

    /// Reads exactly `N` bytes.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], WireError> {
        match self.bytes.split_first_chunk::<N>() {
            Some((head, tail)) => {
                self.bytes = tail;
                self.read = self.read.saturating_add(N);
                Ok(*head)
            }
            None => Err(self.truncated(field, N as u64)),
        }
    }

    /// Takes `len` bytes, a number that did not come from the peer.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    pub fn take(&mut self, field: &'static str, len: usize) -> Result<&'a [u8], WireError> {
        match self.bytes.split_at_checked(len) {
            Some((head, tail)) => {
                self.bytes = tail;
                self.read = self.read.saturating_add(len);
                Ok(head)
            }
            None => Err(self.truncated(field, len as u64)),
        }
    }

    /// Takes as many bytes as the peer declared, once that number is known to be at most `max`.
    ///
    /// # Errors
    /// [`WireError::TooLong`] above `max`, [`WireError::Truncated`] when fewer bytes are left.
    pub fn bounded(&mut self, field: &'static str, declared: u64, max: usize) -> Result<&'a [u8], WireError> {
        match usize::try_from(declared) {
            Ok(len) if len <= max => self.take(field, len),
            _ => Err(WireError::TooLong {
                field,
                declared,
                max: max as u64,
            }),
        }
    }

    /// Takes bytes that must equal `wanted`.
    ///
    /// # Errors
    /// [`WireError::Truncated`], or [`WireError::Magic`] for other bytes.
    pub fn expect(&mut self, what: &'static str, wanted: &[u8]) -> Result<(), WireError> {
        if self.take(what, wanted.len())? == wanted {
            Ok(())
        } else {
            Err(WireError::Magic { what })
        }
    }

    /// Takes everything that is left.
    #[must_use]
    pub fn rest(&mut self) -> &'a [u8] {
        self.read = self.read.saturating_add(self.bytes.len());
        std::mem::take(&mut self.bytes)
    }

    /// Bytes not read yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes read so far: the offset of the next field.
    #[must_use]
    pub fn position(&self) -> usize {
        self.read
    }

    /// Ends the message.
    ///
    /// # Errors
    /// [`WireError::Trailing`] if bytes are left over.
    pub fn finish(self, what: &'static str) -> Result<(), WireError> {
        match self.bytes.len() {
            0 => Ok(()),
            left => Err(WireError::Trailing {
                what,
                bytes: left as u64,
            }),
        }
    }

    fn truncated(&self, field: &'static str, need: u64) -> WireError {
        WireError::Truncated {
            field,
            need,
            have: self.bytes.len() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_past_the_end_is_named() {
        let mut r = Reader::new(&[1, 2]);
        assert_eq!(
            r.u32_be("length"),
            Err(WireError::Truncated {
                field: "length",
                need: 4,
                have: 2
            })
        );
        assert_eq!(r.u16_be("length"), Ok(0x0102), "a failed read takes nothing");
    }

    #[test]
    fn a_declared_length_meets_the_limit_before_the_bytes() {
        let mut r = Reader::new(&[0; 8]);
        let too_long = Err(WireError::TooLong {
            field: "name",
            declared: u64::MAX,
            max: 4,
        });
        assert_eq!(r.bounded("name", u64::MAX, 4), too_long);
        assert_eq!(r.bounded("name", 4, 4), Ok(&[0; 4][..]));
    }

    #[test]
    fn bytes_left_over_are_an_error() {
        let mut r = Reader::new(b"magicX");
        r.expect("thing", b"magic").unwrap();
        assert_eq!(r.position(), 5);
        assert_eq!(
            r.finish("thing"),
            Err(WireError::Trailing {
                what: "thing",
                bytes: 1
            })
        );
    }
}
