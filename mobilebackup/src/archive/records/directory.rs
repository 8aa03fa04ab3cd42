//! Names for phone numbers and addresses.

use std::collections::HashMap;

/// Digits at the end of two phone numbers that make them the same: country code and trunk prefix differ in spelling.
const SAME_DIGITS: usize = 9;

/// Who has which phone number or email address. Made by [`Contacts::directory`](super::contacts::Contacts::directory).
#[derive(Clone, Debug, Default)]
pub struct Directory {
    /// Addresses in lower case, and phone numbers as digits.
    exact: HashMap<String, String>,
    /// The last digits of phone numbers; `None` where two names share them.
    ends: HashMap<String, Option<String>>,
}

impl Directory {
    /// Adds a phone number or email address. The first name of an address stays.
    pub fn add(&mut self, address: &str, name: &str) {
        if name.is_empty() {
            return;
        }
        let key = key_of(address);
        if key.is_empty() {
            return;
        }
        if let Some(end) = end_of(&key) {
            let known = self.ends.entry(end.to_owned()).or_insert_with(|| Some(name.to_owned()));
            if known.as_deref().is_some_and(|known| known != name) {
                *known = None;
            }
        }
        self.exact.entry(key).or_insert_with(|| name.to_owned());
    }

    /// The name that belongs to a phone number or email address, if one does beyond doubt: the same number, or the only
    /// one with the same last nine digits.
    #[must_use]
    pub fn name(&self, address: &str) -> Option<&str> {
        let key = key_of(address);
        if let Some(name) = self.exact.get(&key) {
            return Some(name);
        }
        self.ends.get(end_of(&key)?)?.as_deref()
    }
}

/// What makes two spellings of an address the same.
fn key_of(address: &str) -> String {
    if address.contains('@') {
        return address.trim().to_lowercase();
    }
    let digits: String = address.chars().filter(char::is_ascii_digit).collect();
    // Short codes of services may have letters.
    let letters = address.chars().any(char::is_alphabetic);
    if letters { address.trim().to_lowercase() } else { digits }
}

fn end_of(key: &str) -> Option<&str> {
    let digits = key.bytes().all(|byte| byte.is_ascii_digit());
    let start = key.len().checked_sub(SAME_DIGITS)?;
    if digits { key.get(start..) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_number_are_one_and_doubt_gives_no_name() {
        let mut directory = Directory::default();
        directory.add("+49 (170) 123 45 67", "Ana");
        directory.add("Bo@Example.ORG", "Bo");
        directory.add("+1 202 555 0100", "Cy");
        directory.add("+44 202 555 0100", "Di");
        directory.add("12345", "Five");
        assert_eq!(directory.name("0170 1234567"), Some("Ana"));
        assert_eq!(directory.name("bo@example.org"), Some("Bo"));
        assert_eq!(directory.name("+12025550100"), Some("Cy"));
        assert_eq!(directory.name("0202 555 0100"), None);
        assert_eq!(directory.name("99912345"), None);
        assert_eq!(directory.name(""), None);
    }
}
