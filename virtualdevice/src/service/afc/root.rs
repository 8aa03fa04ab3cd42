//! What a connection sees as `/`, and which entry of the phone a path means.

use cabled_afc::msg::{Status, WirePath};

use crate::fs::{Fs, FsError, map};

/// Where crash reports are.
const CRASH_REPORTS: &str = "Library/Logs/CrashReporter";
/// The one folder of an app that is shared with the user.
const DOCUMENTS: &str = "Documents";

/// What a connection sees as `/`. Paths cannot leave it: dots stop at it, and a symbolic link that leads out is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Root {
    /// `/var/mobile/Media`, the root of `com.apple.afc`.
    Media,
    /// The data container of an app, by its bundle id (house_arrest, `VendContainer`).
    Container(String),
    /// The same, but only `/Documents` in it can be used (house_arrest, `VendDocuments`).
    Documents(String),
    /// The crash reports, the root of `com.apple.crashreportcopymobile`.
    CrashReports,
}

/// An entry's place in the phone's file tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) domain: String,
    pub(super) path: String,
}

impl Place {
    /// Whether `other` is this place or below it; then what follows this place in it.
    pub(super) fn strip<'a>(&self, other: &'a Self) -> Option<&'a str> {
        if self.domain != other.domain {
            return None;
        }
        let rest = other.path.strip_prefix(&self.path)?;
        (rest.is_empty() || rest.starts_with('/') || self.path.is_empty()).then_some(rest)
    }
}

impl Root {
    /// The service a host started to get here; the name in the request log.
    #[must_use]
    pub fn service(&self) -> &'static str {
        match self {
            Self::Media => super::NAME,
            Self::Container(_) | Self::Documents(_) => crate::service::house_arrest::NAME,
            Self::CrashReports => super::crash_reports::COPY,
        }
    }

    /// Makes the root folder itself where it is missing, as on a phone that was just set up.
    pub(super) fn prepare(&self, fs: &Fs) -> Result<(), FsError> {
        let missing = |domain, path| fs.get(domain, path).is_none();
        match self {
            Self::Media => {
                for domain in [map::MEDIA, map::CAMERA_ROLL] {
                    if missing(domain, "Media") {
                        fs.create_dir_all(domain, "Media")?;
                    }
                }
            }
            Self::CrashReports if missing(map::HOME, CRASH_REPORTS) => fs.create_dir_all(map::HOME, CRASH_REPORTS)?,
            Self::CrashReports => {}
            Self::Container(bundle_id) | Self::Documents(bundle_id) => {
                let domain = map::app_domain(bundle_id);
                if missing(&domain, DOCUMENTS) {
                    fs.create_dir_all(&domain, DOCUMENTS)?;
                }
            }
        }
        Ok(())
    }

    /// The place of a path, following symbolic links in its folders, but not one at its end.
    pub(super) fn entry(&self, fs: &Fs, path: &WirePath) -> Result<Place, Status> {
        self.entry_of(fs, text(path)?)
    }

    /// The place of a path, following all symbolic links.
    pub(super) fn target(&self, fs: &Fs, path: &WirePath) -> Result<Place, Status> {
        let place = self.entry_of(fs, text(path)?)?;
        self.followed(fs, &place).and_then(|path| self.place(&path))
    }

    /// Whether a path is the root itself.
    pub(super) fn is_root(path: &WirePath) -> Result<bool, Status> {
        Ok(normalize(text(path)?)?.is_empty())
    }

    /// The names in a folder whose place is known.
    pub(super) fn names(&self, fs: &Fs, place: &Place) -> Result<Vec<String>, Status> {
        let children = match self {
            Self::Media if place.path == "Media" => map::media_children(fs, "/").map_err(|_| Status::ReadError)?,
            _ => fs.children(&place.domain, &place.path),
        };
        let shown = |name: &str| !matches!(self, Self::Documents(_)) || !place.path.is_empty() || name == DOCUMENTS;
        Ok(children
            .iter()
            .map(|entry| entry.name().to_owned())
            .filter(|name| shown(name))
            .collect())
    }

    fn entry_of(&self, fs: &Fs, path: &str) -> Result<Place, Status> {
        let path = normalize(path)?;
        let Some((folder, name)) = path.rsplit_once('/') else {
            return self.place(&path);
        };
        let folder = self.followed(fs, &self.place(folder)?)?;
        self.place(&format!("{folder}/{name}"))
    }

    /// The path, counted from the root, that a place's links lead to.
    fn followed(&self, fs: &Fs, place: &Place) -> Result<String, Status> {
        // Outside every domain, in a circle, or outside the root: all leave the jail.
        let (domain, path) = map::resolve(fs, &place.domain, &place.path).map_err(|_| Status::PermissionDenied)?;
        self.path_of(&domain, &path).ok_or(Status::PermissionDenied)
    }

    /// The place of a path without dots or links.
    fn place(&self, path: &str) -> Result<Place, Status> {
        let path = path.trim_matches('/');
        let (domain, path) = match self {
            Self::Media => map::media_path(path).map(|(domain, path)| (domain.to_owned(), path)),
            Self::Container(bundle_id) => map::container_path(bundle_id, path),
            Self::Documents(bundle_id) if is_documents(path) => map::container_path(bundle_id, path),
            Self::Documents(_) => return Err(Status::PermissionDenied),
            Self::CrashReports if path.is_empty() => Ok((map::HOME.to_owned(), CRASH_REPORTS.to_owned())),
            Self::CrashReports => Ok((map::HOME.to_owned(), format!("{CRASH_REPORTS}/{path}"))),
        }
        .map_err(|_| Status::InvalidArgument)?;
        Ok(Place { domain, path })
    }

    /// The path, counted from the root, of an entry; `None` if it is outside.
    fn path_of(&self, domain: &str, path: &str) -> Option<String> {
        let inside = match self {
            Self::Media => return map::to_media_path(domain, path),
            Self::Container(bundle_id) => (domain == map::app_domain(bundle_id)).then_some(path),
            Self::Documents(bundle_id) => (domain == map::app_domain(bundle_id) && is_documents(path)).then_some(path),
            Self::CrashReports if domain == map::HOME => path
                .strip_prefix(CRASH_REPORTS)
                .filter(|rest| rest.is_empty() || rest.starts_with('/')),
            Self::CrashReports => None,
        };
        inside.map(str::to_owned)
    }
}

/// The root itself can be looked at; all else has to be in the shared folder.
fn is_documents(path: &str) -> bool {
    path.is_empty() || path.split('/').next() == Some(DOCUMENTS)
}

fn text(path: &WirePath) -> Result<&str, Status> {
    // What devices say to bytes that are no UTF-8 is not known (afc 16).
    path.to_str().ok_or(Status::InvalidArgument)
}

fn normalize(path: &str) -> Result<String, Status> {
    map::normalize(path).map_err(|_| Status::InvalidArgument)
}

/// The status code of a file system error; some operations have their own for a few (afc 5).
pub(super) fn status(error: &FsError) -> Status {
    match error {
        FsError::NotFound => Status::ObjectNotFound,
        FsError::NotADirectory => Status::ReadError,
        FsError::IsADirectory => Status::ObjectIsDirectory,
        FsError::NotEmpty => Status::UnknownError,
        FsError::Exists => Status::ObjectExists,
        FsError::NoSpace => Status::NoSpaceLeft,
        FsError::Invalid => Status::InvalidArgument,
        FsError::Io(_) => Status::IoError,
    }
}
