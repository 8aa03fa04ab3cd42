//! Passwords, keys and escrow bags: wiped when dropped, and never printed.

use std::fmt;

use zeroize::Zeroizing;

/// Secret bytes. `Debug` prints only their length; memory is overwritten when the value is dropped.
///
/// ```
/// let key = cabled_wire::secret::SecretBytes::from(vec![1, 2, 3]);
/// assert_eq!(format!("{key:?}"), "SecretBytes(3 bytes)");
/// ```
#[derive(Clone, Default)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

/// Secret text, such as a backup password. `Debug` prints only its length in bytes.
#[derive(Clone, Default)]
pub struct SecretString(Zeroizing<String>);

impl SecretBytes {
    /// The bytes themselves. Whoever calls this keeps them out of logs.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl SecretString {
    /// The text itself. Whoever calls this keeps it out of logs.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<Vec<u8>> for SecretBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl From<&[u8]> for SecretBytes {
    fn from(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }
}

impl From<String> for SecretString {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl From<&str> for SecretString {
    fn from(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes({} bytes)", self.0.len())
    }
}

impl fmt::Debug for SecretString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretString({} bytes)", self.0.len())
    }
}

/// Compares every byte whatever the result, so that the time taken tells nothing but the lengths.
fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |acc, (x, y)| acc | (x ^ y)) == 0
}

impl PartialEq for SecretBytes {
    fn eq(&self, other: &Self) -> bool {
        equal(&self.0, &other.0)
    }
}

impl Eq for SecretBytes {}

impl PartialEq for SecretString {
    fn eq(&self, other: &Self) -> bool {
        equal(self.0.as_bytes(), other.0.as_bytes())
    }
}

impl Eq for SecretString {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_does_not_reach_a_log() {
        let shown = format!("{:?}", SecretString::from("hunter2"));
        assert_eq!(shown, "SecretString(7 bytes)");
    }

    #[test]
    fn equality_looks_at_content() {
        assert_eq!(SecretBytes::from(vec![1, 2]), SecretBytes::from(vec![1, 2]));
        assert_ne!(SecretBytes::from(vec![1, 2]), SecretBytes::from(vec![1, 3]));
        assert_ne!(SecretBytes::from(vec![1, 2]), SecretBytes::from(vec![1]));
    }
}
