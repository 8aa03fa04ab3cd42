//! One place in a backup: a file, several of a kind, or a folder.

use std::fmt;

use super::companions::main_of;
use crate::archive::FileId;

/// A place where a [`Category`](super::Category) keeps data. Shown as the pattern it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    domains: Domains,
    paths: Paths,
}

/// The domains of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Domains {
    Only(&'static str),
    StartingWith(&'static str),
    Any,
}

/// The paths of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Paths {
    /// One file.
    File(&'static str),
    /// Files of one folder (which ends in `/`, or is empty), by the start and the end of their names.
    Files {
        folder: &'static str,
        start: &'static str,
        end: &'static str,
    },
    /// A folder and everything in it; the whole domain if empty.
    Folder(&'static str),
}

impl Place {
    pub(super) const fn file(domain: &'static str, path: &'static str) -> Self {
        Self {
            domains: Domains::Only(domain),
            paths: Paths::File(path),
        }
    }

    pub(super) const fn files(
        domain: &'static str,
        folder: &'static str,
        start: &'static str,
        end: &'static str,
    ) -> Self {
        Self {
            domains: Domains::Only(domain),
            paths: Paths::Files { folder, start, end },
        }
    }

    pub(super) const fn folder(domain: &'static str, path: &'static str) -> Self {
        Self {
            domains: Domains::Only(domain),
            paths: Paths::Folder(path),
        }
    }

    /// All of a domain.
    pub(super) const fn domain(domain: &'static str) -> Self {
        Self::folder(domain, "")
    }

    /// All of every domain whose name starts so.
    pub(super) const fn starting_with(start: &'static str) -> Self {
        Self {
            domains: Domains::StartingWith(start),
            paths: Paths::Folder(""),
        }
    }

    /// A folder in whichever domain.
    pub(super) const fn anywhere(path: &'static str) -> Self {
        Self {
            domains: Domains::Any,
            paths: Paths::Folder(path),
        }
    }

    pub(super) const fn domains(&self) -> Domains {
        self.domains
    }

    /// Domain and path, if the place is a single file.
    #[must_use]
    pub const fn single_file(&self) -> Option<(&'static str, &'static str)> {
        match (self.domains, self.paths) {
            (Domains::Only(domain), Paths::File(path)) => Some((domain, path)),
            _ => None,
        }
    }

    /// The file's id, if the place is a single file.
    #[must_use]
    pub fn file_id(&self) -> Option<FileId> {
        self.single_file().map(|(domain, path)| FileId::of(domain, path))
    }

    /// The domain, if there is only one.
    #[must_use]
    pub const fn only_domain(&self) -> Option<&'static str> {
        match self.domains {
            Domains::Only(domain) => Some(domain),
            Domains::StartingWith(_) | Domains::Any => None,
        }
    }

    /// Whether an entry lies here. A database brings its `-wal`, `-shm` and `-journal`.
    #[must_use]
    pub fn contains(&self, domain: &str, path: &str) -> bool {
        let in_domain = match self.domains {
            Domains::Only(own) => own == domain,
            Domains::StartingWith(start) => domain.starts_with(start),
            Domains::Any => true,
        };
        if !in_domain {
            return false;
        }
        match self.paths {
            Paths::Folder("") => true,
            Paths::Folder(folder) => match path.strip_prefix(folder) {
                Some(rest) => rest.is_empty() || rest.starts_with('/'),
                None => false,
            },
            Paths::File(file) => path == file || main_of(path) == Some(file),
            Paths::Files { folder, start, end } => [Some(path), main_of(path)].into_iter().flatten().any(|path| {
                let name = path.strip_prefix(folder).and_then(|name| name.strip_prefix(start));
                name.and_then(|name| name.strip_suffix(end))
                    .is_some_and(|middle| !middle.contains('/'))
            }),
        }
    }

    /// How exactly the place says where it is: a file before a folder, a longer path before a shorter one, a domain
    /// before several.
    pub(super) const fn exactness(&self) -> (u8, usize, usize) {
        let domain = match self.domains {
            Domains::Only(_) => usize::MAX,
            Domains::StartingWith(start) => start.len(),
            Domains::Any => 0,
        };
        match self.paths {
            Paths::File(path) => (2, path.len(), domain),
            Paths::Files { folder, .. } => (1, folder.len(), domain),
            Paths::Folder(path) => (0, path.len(), domain),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.domains {
            Domains::Only(domain) => f.write_str(domain)?,
            Domains::StartingWith(start) => write!(f, "{start}*")?,
            Domains::Any => f.write_str("*")?,
        }
        match self.paths {
            Paths::File(path) => write!(f, "/{path}"),
            Paths::Files { folder, start, end } => write!(f, "/{folder}{start}*{end}"),
            Paths::Folder("") => f.write_str("/**"),
            Paths::Folder(path) => write!(f, "/{path}/**"),
        }
    }
}
