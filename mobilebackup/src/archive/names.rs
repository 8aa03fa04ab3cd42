//! Names on this computer for what a backup holds: injective, reversible, and never outside the folder they go to.
//!
//! # Example
//! ```
//! use cabled_mobilebackup::archive::names::{Convention, Names, decode};
//!
//! let names = Names::new(Convention::Windows);
//! let evil = names.path_of("AppDomain-com.example.app", "../../etc/a:b*c?.txt");
//! assert_eq!(evil.as_str(), "AppDomain-com.example.app/%2E%2E/%2E%2E/etc/a%3Ab%2Ac%3F.txt");
//! let (domain, path) = decode(evil.as_str())?;
//! assert_eq!((domain.as_str(), path.as_str()), ("AppDomain-com.example.app", "../../etc/a:b*c?.txt"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! # How it fits together
//! A [`Convention`] says which characters and names a system cannot hold. [`Names::path_of`] gives the path of a file:
//! its domain is the first component, and offending bytes become `%XX`, as does `%` itself. On systems that take `Note`
//! and `note`, or `é` in one and in two characters, for the same name, twins must be known beforehand: [`NameScan`]
//! sees every row once, and [`NameScan::finish`] gives [`Names`] that spell twins so that they differ in any case and
//! any Unicode form: capitals and everything that is not ASCII as `%XX`. Where a row is listed twice, or a path is a
//! file and a folder at once, the file gets the mark `%~` and sixteen digits.
//!
//! A component above 255 bytes keeps its beginning, its extension and `%-` with 32 digits of SHA-256 between; a path
//! that is too long or too deep as a whole becomes `%!` and such digits inside its domain's folder. Those two lose
//! what the name was: [`decode`] says so, and the manifest of [`extract`](super::extract) has it.
//!
//! # Limits
//! What a name becomes depends on the whole backup and the convention, not on what is selected or on the order of
//! rows. A scan takes 16 bytes per row and some for each twin: 21 MB for 1.3 million rows. Spec backup-format, 15.

mod encode;
mod fold;
mod scan;

use std::fmt;
use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use sha2::{Digest, Sha256};

pub use encode::DecodeError;
use encode::Spelling;
use scan::Clashes;
pub use scan::NameScan;

/// Name of the manifest in the root of an extraction; no domain is ever called so.
pub(crate) const MANIFEST: &str = "manifest.jsonl";

/// More components than this, and the path becomes one name.
const MAX_DEPTH: usize = 100;

/// Which names a system can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Convention {
    /// Linux and others: anything but `/` and NUL. Control characters are encoded all the same, since a terminal obeys
    /// them.
    Unix,
    /// macOS: as Unix, but names that differ by case or Unicode form only are one.
    #[serde(rename = "macos")]
    MacOs,
    /// Windows: also none of `< > : " \ | ? *`, no device names such as `AUX`, no dot or blank at the end, no name that
    /// looks like a short one (`PROGRA~1`), and case does not matter. Trees of this convention can be copied anywhere.
    Windows,
}

impl Convention {
    /// That of the running system.
    #[must_use]
    pub const fn native() -> Self {
        if cfg!(windows) {
            Self::Windows
        } else if cfg!(any(target_os = "macos", target_os = "ios")) {
            Self::MacOs
        } else {
            Self::Unix
        }
    }

    /// Whether names that differ by case or Unicode form may be one.
    #[must_use]
    pub const fn folds(self) -> bool {
        !matches!(self, Self::Unix)
    }

    /// The longest path that [`Names`] give, in bytes, unless [`NameScan::max_path`] says otherwise. It leaves room for
    /// the folder that the tree lies in.
    #[must_use]
    pub const fn max_path(self) -> usize {
        match self {
            // PATH_MAX is 1024 there, 4096 on Linux.
            Self::MacOs => 800,
            Self::Unix | Self::Windows => 3000,
        }
    }
}

impl Default for Convention {
    fn default() -> Self {
        Self::native()
    }
}

impl fmt::Display for Convention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unix => "unix",
            Self::MacOs => "macos",
            Self::Windows => "windows",
        })
    }
}

/// A word that names no [`Convention`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("naming conventions are `unix`, `macos` and `windows`")]
pub struct UnknownConvention;

impl FromStr for Convention {
    type Err = UnknownConvention;

    fn from_str(text: &str) -> Result<Self, UnknownConvention> {
        match text {
            "unix" => Ok(Self::Unix),
            "macos" => Ok(Self::MacOs),
            "windows" => Ok(Self::Windows),
            _ => Err(UnknownConvention),
        }
    }
}

/// Where a file goes, relative to the folder of the whole tree: `/` between components, of which none is empty, `.` or
/// `..`, none above 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(transparent)]
pub struct MappedPath(String);

impl MappedPath {
    /// The path with `/` between its components.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path below `root`, in the system's own form.
    #[must_use]
    pub fn below(&self, root: &Path) -> PathBuf {
        let mut path = root.to_owned();
        path.extend(self.0.split('/'));
        path
    }

    /// The folder and the last component; a domain's root has no folder but that of the whole tree.
    #[must_use]
    pub fn split(&self) -> (&str, &str) {
        self.0.rsplit_once('/').unwrap_or(("", &self.0))
    }
}

impl fmt::Display for MappedPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Gives every file of a backup its path.
#[derive(Clone, Debug)]
pub struct Names {
    convention: Convention,
    max_path: usize,
    clashes: Arc<Clashes>,
}

impl Names {
    /// Names for a tree in which there are no twins. [`NameScan`] finds them.
    #[must_use]
    pub fn new(convention: Convention) -> Self {
        NameScan::new(convention).finish()
    }

    /// The convention they follow.
    #[must_use]
    pub const fn convention(&self) -> Convention {
        self.convention
    }

    /// How many names needed more than the convention asks for, since others would be taken for them.
    #[must_use]
    pub fn clashes(&self) -> usize {
        self.clashes.len()
    }

    /// The path of a folder, or of a file that no other row has the path of.
    #[must_use]
    pub fn path_of(&self, domain: &str, path: &str) -> MappedPath {
        self.spell(domain, path, None)
    }

    /// The path of a file or link. `id` tells two rows of the same path apart: they get different names where the
    /// scan has seen both.
    #[must_use]
    pub fn path_of_file(&self, domain: &str, path: &str, id: &super::FileId) -> MappedPath {
        self.spell(domain, path, Some(id))
    }

    fn spell(&self, domain: &str, path: &str, leaf: Option<&super::FileId>) -> MappedPath {
        let mut mapped = String::with_capacity(domain.len().saturating_add(path.len()).saturating_add(16));
        let mut parent = self.clashes.root();
        let mut depth = 0_usize;
        let mut components = components(domain, path).peekable();
        while let Some(name) = components.next() {
            depth = depth.saturating_add(1);
            if depth > MAX_DEPTH || mapped.len() > self.max_path {
                return self.digest_of(domain, path);
            }
            if depth > 1 {
                mapped.push('/');
            }
            let spelling = Spelling {
                convention: self.convention,
                strict: self.clashes.has_twin(parent, name),
                top: depth == 1,
            };
            let start = mapped.len();
            encode::push(&mut mapped, name, spelling);
            let here = self.clashes.node(parent, name);
            if let Some(id) = leaf.filter(|_| components.peek().is_none() && self.clashes.is_taken(here)) {
                let marked = encode::mark(mapped.get(start..).unwrap_or_default(), hash(&[id.as_bytes()]));
                mapped.truncate(start);
                mapped.push_str(&marked);
            }
            parent = here;
        }
        if mapped.len() > self.max_path {
            return self.digest_of(domain, path);
        }
        MappedPath(mapped)
    }

    /// A name for a path whose own the system refuses.
    pub(crate) fn shortest(&self, domain: &str, path: &str) -> MappedPath {
        self.digest_of(domain, path)
    }

    /// A path too long to be kept: its digest in the domain's folder, or in the root if that is too long itself.
    fn digest_of(&self, domain: &str, path: &str) -> MappedPath {
        let mut mapped = String::new();
        let spelling = Spelling {
            convention: self.convention,
            strict: self.clashes.has_twin(self.clashes.root(), domain),
            top: true,
        };
        encode::push(&mut mapped, domain, spelling);
        mapped.push('/');
        encode::push_digest(&mut mapped, path);
        MappedPath(mapped)
    }
}

/// The domain, and the components of the path: none for a domain's root.
fn components<'a>(domain: &'a str, path: &'a str) -> impl Iterator<Item = &'a str> {
    let path = (!path.is_empty()).then(|| path.split('/'));
    std::iter::once(domain).chain(path.into_iter().flatten())
}

/// The first sixteen bytes of SHA-256.
fn hash(parts: &[&[u8]]) -> [u8; 16] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    let digest: [u8; 32] = hasher.finalize().into();
    digest.first_chunk().copied().unwrap_or_default()
}

/// Domain and path of a mapped path, if it tells.
///
/// # Errors
/// [`DecodeError::Shortened`] if only the manifest knows; [`DecodeError::NotOurs`] for text that no mapping gives.
pub fn decode(mapped: &str) -> Result<(String, String), DecodeError> {
    let mut components = mapped.split('/').map(encode::decode);
    let domain = components.next().ok_or(DecodeError::NotOurs)??;
    let mut path = String::new();
    for (at, component) in components.enumerate() {
        if at > 0 {
            path.push('/');
        }
        path.push_str(&component?);
    }
    Ok((domain, path))
}

/// A hash of text for tables in memory.
fn short_hash(hasher: &mut impl Hasher, parent: u64, text: &str) -> u64 {
    hasher.write_u64(parent);
    hasher.write(text.as_bytes());
    hasher.finish()
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "test code")]
mod tests;
