//! What salvage found, in numbers.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::rows::IndexScan;
use super::trust::Trust;
use crate::archive::Protection;

/// What became of the index.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "index")]
#[non_exhaustive]
pub enum IndexState {
    /// There is none.
    Missing,
    /// It is encrypted, and its key is not known: no password was given, or `Manifest.plist` lacks keybag or key.
    Locked,
    /// It was read, as far as it could be.
    Read(IndexScan),
    /// It cannot be read at all.
    Unreadable {
        /// Why.
        reason: String,
    },
}

/// What salvage found. Serializes to one object.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct SalvageReport {
    /// Whether files are encrypted.
    pub protection: Protection,
    /// What became of the backup's own index.
    pub index: IndexState,
    /// Other indexes that were looked at, and what became of them.
    pub others: Vec<(PathBuf, IndexState)>,
    /// How many files were found in each way, by [`FoundBy::name`](super::FoundBy::name).
    pub found: BTreeMap<&'static str, u64>,
    /// How many can be trusted how far.
    pub trust: BTreeMap<Trust, u64>,
    /// Payloads in the folder.
    pub payloads: u64,
    /// Payloads of an encrypted backup whose keys are lost with their rows.
    pub keys_lost: u64,
}
