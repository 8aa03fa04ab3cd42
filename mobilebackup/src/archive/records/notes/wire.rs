//! Walking protocol buffers, one message at a time.
//!
//! A crate such as `prost` would unpack a whole tree of messages into owned structures before anybody could look at it,
//! and drop what it does not know. Here a message is a slice, fields come one after another in constant memory, and only
//! the fields asked for are entered: the depth is that of the code that reads, not of the bytes.

/// Why bytes are no protocol buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtobufError {
    /// The bytes end within a field.
    #[error("the protocol buffer ends within a field")]
    Truncated,
    /// A number of more than ten bytes, or above 2^64.
    #[error("the protocol buffer has a number of more than 64 bits")]
    Varint,
    /// Field number 0 or above 2^29, or one of the wire types 3, 4, 6 and 7.
    #[error("the protocol buffer has the impossible field tag {tag:#x}")]
    Tag {
        /// The tag as read.
        tag: u64,
    },
}

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1 or 5; nothing in a note that is read here has one.
    Fixed,
    /// Wire type 2: text, bytes or a message.
    Bytes(&'a [u8]),
}

/// The fields of a message, in the order they are stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) const fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn varint(&mut self) -> Result<u64, ProtobufError> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or(ProtobufError::Truncated)?;
            self.rest = rest;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(ProtobufError::Varint);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ProtobufError::Varint)
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], ProtobufError> {
        let len = usize::try_from(len).map_err(|_| ProtobufError::Truncated)?;
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(ProtobufError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn field(&mut self) -> Result<(u32, Value<'a>), ProtobufError> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3)
            .ok()
            .filter(|number| (1..1 << 29).contains(number))
            .ok_or(ProtobufError::Tag { tag })?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let len = self.varint()?;
                Value::Bytes(self.take(len)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return Err(ProtobufError::Tag { tag }),
        };
        Ok((number, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), ProtobufError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// The last field of that number that holds bytes, as protocol buffers have it for fields that do not repeat.
pub(super) fn bytes(message: &[u8], number: u32) -> Result<Option<&[u8]>, ProtobufError> {
    let mut found = None;
    for field in Fields::new(message) {
        if let (n, Value::Bytes(bytes)) = field?
            && n == number
        {
            found = Some(bytes);
        }
    }
    Ok(found)
}

/// The last number of that field.
pub(super) fn number(message: &[u8], number: u32) -> Result<Option<u64>, ProtobufError> {
    let mut found = None;
    for field in Fields::new(message) {
        if let (n, Value::Varint(value)) = field?
            && n == number
        {
            found = Some(value);
        }
    }
    Ok(found)
}

/// Every field of that number that holds bytes; stops at the first error.
pub(super) fn each(message: &[u8], number: u32) -> impl Iterator<Item = Result<&[u8], ProtobufError>> {
    Fields::new(message).filter_map(move |field| match field {
        Ok((n, Value::Bytes(bytes))) if n == number => Some(Ok(bytes)),
        Ok(_) => None,
        Err(e) => Some(Err(e)),
    })
}

/// A signed number as protocol buffers store it: negative ones as 64-bit two's complement.
pub(super) const fn signed(value: u64) -> i64 {
    value.cast_signed()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_come_in_order_with_their_values() {
        let message = [8, 0x96, 1, 0x12, 2, b'h', b'i', 0x1d, 0, 0, 0x80, 0x3f];
        let fields: Vec<_> = Fields::new(&message).map(Result::unwrap).collect();
        assert_eq!(
            fields,
            [(1, Value::Varint(150)), (2, Value::Bytes(b"hi")), (3, Value::Fixed)]
        );
        assert_eq!(number(&message, 1), Ok(Some(150)));
        assert_eq!(bytes(&message, 2), Ok(Some(&b"hi"[..])));
        assert_eq!(bytes(&message, 7), Ok(None));
    }

    #[test]
    fn a_length_beyond_the_end_is_refused_and_ends_the_walk() {
        let mut fields = Fields::new(&[0x12, 0xff, 0xff, 0xff, 0xff, 0x0f, 1, 2, 3]);
        assert_eq!(fields.next(), Some(Err(ProtobufError::Truncated)));
        assert_eq!(fields.next(), None);
    }

    #[test]
    fn impossible_tags_and_numbers_are_refused() {
        assert_eq!(Fields::new(&[3]).next(), Some(Err(ProtobufError::Tag { tag: 3 })));
        assert_eq!(Fields::new(&[0]).next(), Some(Err(ProtobufError::Tag { tag: 0 })));
        assert_eq!(Fields::new(&[0xff; 11]).next(), Some(Err(ProtobufError::Varint)));
        assert_eq!(signed(u64::MAX), -1);
    }

    proptest! {
        #[test]
        fn walking_anything_ends(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Fields::new(&bytes).count() <= bytes.len());
        }
    }
}
