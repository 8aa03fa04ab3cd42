use std::io;

/// What went wrong, as far as a device has to know. Spec 5.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FolderErrorKind {
    /// No such file or directory.
    NotFound,
    /// A file is in the way.
    Exists,
    /// A component of the path is a file.
    NotADirectory,
    /// A file was needed and it is a directory.
    IsADirectory,
    /// A symbolic link is in the way; none is ever followed.
    Link,
    /// The storage reported an input/output error.
    Io,
    /// The volume or the user's quota is full.
    Full,
    /// The user may not do it.
    Permission,
    /// The path breaks a rule: it climbs out, or belongs to another device.
    Refused,
    /// Another run holds the folder.
    Busy,
    /// Anything else.
    Other,
}

/// The storage could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// The path is not one the device may name. Nothing was touched.
    #[error("the path `{path}` is refused: {why}")]
    Refused {
        /// The path, cut to 200 characters.
        path: String,
        /// Which rule it breaks.
        why: &'static str,
    },
    /// Another run holds this device's folder.
    #[error("another backup or restore uses the folder of {device}")]
    Busy {
        /// The device's folder.
        device: String,
    },
    /// The file system said no.
    #[error("cannot {op} `{path}`")]
    Io {
        /// What was tried.
        op: &'static str,
        /// Where, cut to 200 characters.
        path: String,
        /// The system's word.
        #[source]
        source: io::Error,
    },
}

impl FolderError {
    pub(crate) fn io(op: &'static str, path: impl AsRef<str>) -> impl FnOnce(io::Error) -> Self {
        let path = cabled_wire::WireError::excerpt(path.as_ref());
        move |source| Self::Io { op, path, source }
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> FolderErrorKind {
        match self {
            Self::Refused { .. } => FolderErrorKind::Refused,
            Self::Busy { .. } => FolderErrorKind::Busy,
            Self::Io { source, .. } => kind_of(source),
        }
    }

    /// The short English text that a device is given with the code; it can come back inside the device's final error.
    #[must_use]
    pub fn reason(&self) -> String {
        match self.kind() {
            FolderErrorKind::NotFound => "No such file or directory".to_owned(),
            FolderErrorKind::Exists => "File exists".to_owned(),
            FolderErrorKind::NotADirectory => "Not a directory".to_owned(),
            FolderErrorKind::IsADirectory => "Is a directory".to_owned(),
            FolderErrorKind::Link => "Too many levels of symbolic links".to_owned(),
            FolderErrorKind::Io => "Input/output error".to_owned(),
            FolderErrorKind::Full => "No space left on device".to_owned(),
            FolderErrorKind::Permission => "Permission denied".to_owned(),
            FolderErrorKind::Refused => "Operation not permitted".to_owned(),
            FolderErrorKind::Busy => "Resource busy".to_owned(),
            FolderErrorKind::Other => "Unknown error".to_owned(),
        }
    }
}

/// By kind, never by a number table: numbers differ between systems (trap 11).
fn kind_of(error: &io::Error) -> FolderErrorKind {
    #[cfg(unix)]
    if let Some(errno) = rustix::io::Errno::from_io_error(error) {
        match errno {
            rustix::io::Errno::LOOP => return FolderErrorKind::Link,
            rustix::io::Errno::IO => return FolderErrorKind::Io,
            _ => {}
        }
    }
    match error.kind() {
        io::ErrorKind::NotFound => FolderErrorKind::NotFound,
        io::ErrorKind::AlreadyExists => FolderErrorKind::Exists,
        io::ErrorKind::NotADirectory => FolderErrorKind::NotADirectory,
        io::ErrorKind::IsADirectory => FolderErrorKind::IsADirectory,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FolderErrorKind::Full,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => FolderErrorKind::Permission,
        _ => FolderErrorKind::Other,
    }
}
