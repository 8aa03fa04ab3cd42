//! Texts of values: most are short, and there are hundreds of thousands of them.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

/// Bytes of a text that needs no allocation.
const SHORT: usize = 22;

/// A text that does not change. A telephone number or "home" lies in the value itself, where an allocation of its own would
/// take another 32 bytes.
#[derive(Clone)]
pub(crate) struct Text(Inner);

#[derive(Clone)]
enum Inner {
    Short(u8, [u8; SHORT]),
    Long(Box<str>),
}

impl Text {
    pub(crate) fn as_str(&self) -> &str {
        match &self.0 {
            Inner::Short(length, bytes) => {
                let bytes = bytes.get(..usize::from(*length)).unwrap_or_default();
                // It was made from a text.
                std::str::from_utf8(bytes).unwrap_or_default()
            }
            Inner::Long(text) => text,
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Inner::Short(length, bytes) => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Inner::Long(text) => text.as_bytes(),
        }
    }

    fn short(text: &str) -> Option<Self> {
        let mut bytes = [0; SHORT];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self(Inner::Short(u8::try_from(text.len()).ok()?, bytes)))
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::short(text).unwrap_or_else(|| Self(Inner::Long(text.into())))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::short(&text).unwrap_or_else(|| Self(Inner::Long(text.into())))
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Text {}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// As `str`: by bytes.
impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_any_length_read_back_and_compare_as_texts_do() {
        let texts: Vec<String> = (0..60).flat_map(|n| ["x".repeat(n), "é".repeat(n)]).collect();
        for one in &texts {
            assert_eq!(&*Text::from(one.as_str()), one);
            assert_eq!(&*Text::from(one.clone()), one);
            for other in &texts {
                let (a, b) = (Text::from(one.as_str()), Text::from(other.as_str()));
                assert_eq!(a.cmp(&b), one.cmp(other));
                assert_eq!(a == b, one == other);
            }
        }
        assert_eq!(size_of::<Text>(), 24);
    }
}
