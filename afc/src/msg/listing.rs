use bytes::{BufMut, Bytes, BytesMut};

/// The names in the answer to a listing, as the device sent them: raw bytes, in its order, `.` and `..` included.
///
/// # Example
/// ```
/// use cabled_afc::msg::DirectoryListing;
/// let listing = DirectoryListing::decode(&b".\0..\0100APPLE\0"[..].into());
/// let names: Vec<&[u8]> = listing.names().collect();
/// assert_eq!(names, [&b"."[..], b"..", b"100APPLE"]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectoryListing(Bytes);

impl DirectoryListing {
    /// Takes the payload of the answer. Nothing is checked: names are untrusted until the reader has looked at them.
    /// A last name without its NUL counts; empty names (two NULs in a row) do not.
    #[must_use]
    pub fn decode(payload: &Bytes) -> Self {
        Self(payload.clone())
    }

    /// Makes the payload of an answer: every name with its NUL.
    pub fn encode<N: AsRef<[u8]>>(names: impl IntoIterator<Item = N>) -> Bytes {
        let mut out = BytesMut::new();
        for name in names {
            out.put_slice(name.as_ref());
            out.put_u8(0);
        }
        out.freeze()
    }

    /// The names in the device's order.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&byte| byte == 0).filter(|name| !name.is_empty())
    }
}

/// Keys and values, all text: the answer to a question about a path, the file system or the connection (afc 7).
///
/// Order and repetition are kept. Read leniently: a key without a value at the end is dropped, and bytes that are no
/// UTF-8 become U+FFFD.
///
/// # Example
/// ```
/// use cabled_afc::msg::InfoList;
/// let info = InfoList::decode(b"st_size\x006\0st_ifmt\0S_IFREG\0");
/// assert_eq!(info.get("st_ifmt"), Some("S_IFREG"));
/// assert_eq!(info.number("st_size"), Some(6));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InfoList(Vec<(String, String)>);

impl InfoList {
    /// Reads the payload of an answer.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Self {
        let body = payload.strip_suffix(&[0]).unwrap_or(payload);
        if body.is_empty() {
            return Self::default();
        }
        let mut texts = body
            .split(|&byte| byte == 0)
            .map(|text| String::from_utf8_lossy(text).into_owned());
        let mut pairs = Vec::new();
        while let Some(key) = texts.next() {
            match texts.next() {
                Some(value) => pairs.push((key, value)),
                None => tracing::warn!(key, "the device sent an information key without its value; dropped"),
            }
        }
        Self(pairs)
    }

    /// Makes the payload of an answer.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        DirectoryListing::encode(self.0.iter().flat_map(|(key, value)| [key, value]))
    }

    /// Adds a pair at the end. NULs in either would break the list apart and are left out.
    pub fn push(&mut self, key: &str, value: &str) {
        self.0.push((key.replace('\0', ""), value.replace('\0', "")));
    }

    /// The value of a key, the first if there are several.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    /// The value of a key as a number; `None` if it is missing or no decimal number.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<i64> {
        self.get(key)?.trim().parse().ok()
    }

    /// All pairs in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: AsRef<str>, V: AsRef<str>> FromIterator<(K, V)> for InfoList {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut list = Self::default();
        for (key, value) in pairs {
            list.push(key.as_ref(), value.as_ref());
        }
        list
    }
}
