//! The words that a card is sorted under: group names where there are no group cards. Spec: mobilesync, section 8.6.

use cabled_wire::plist::Value;

use super::super::lines::{Line, escape};
use crate::record::Record;

const KEY: &str = "vcard:CATEGORIES";

/// The words, in the order of the card, each once.
pub(crate) fn categories(record: &Record) -> Vec<String> {
    let lines = record.attributes.get(KEY).and_then(Value::as_array);
    let lines = lines.into_iter().flatten().filter_map(Value::as_string);
    let mut words: Vec<String> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for word in lines.flat_map(|line| Line::new(line).split(',')) {
        let word = word.trim();
        if !word.is_empty() && seen.insert(word.to_owned()) {
            words.push(word.to_owned());
        }
    }
    words
}

/// Puts other words in their place.
pub(crate) fn set_categories(record: &mut Record, words: &[String]) {
    if words.is_empty() {
        record.attributes.remove(KEY);
        return;
    }
    let words: Vec<String> = words.iter().map(|word| escape(word)).collect();
    let line = format!("CATEGORIES:{}", words.join(","));
    record
        .attributes
        .insert(KEY.to_owned(), Value::Array(vec![line.into()]));
}
