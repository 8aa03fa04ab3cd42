use std::fmt;

use crate::msg::InfoList;

/// What a device tells about a path (afc 7). About a link itself, not about what it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// What it is; `None` if the device does not say.
    pub kind: Option<FileKind>,
    /// Bytes. Small numbers without meaning for folders.
    pub len: Option<u64>,
    /// Blocks of 512 bytes, an estimate.
    pub blocks: Option<u64>,
    /// How many names it has.
    pub links: Option<u64>,
    /// Last change of the content, nanoseconds since 1970-01-01 UTC; may be zero or negative, and counts whole seconds
    /// on devices before iOS 10.3.
    pub mtime: Option<i64>,
    /// Creation, nanoseconds since 1970-01-01 UTC; absent before iOS 7.
    pub birthtime: Option<i64>,
    /// Where a symbolic link leads, as it was written.
    pub link_target: Option<String>,
    /// Everything the device said.
    pub raw: InfoList,
}

/// The kind of a path, from `st_ifmt`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileKind {
    /// `S_IFREG`: a regular file.
    File,
    /// `S_IFDIR`: a folder.
    Directory,
    /// `S_IFLNK`: a symbolic link.
    Symlink,
    /// `S_IFBLK`: a block device.
    BlockDevice,
    /// `S_IFCHR`: a character device.
    CharDevice,
    /// `S_IFIFO`: a pipe.
    Fifo,
    /// `S_IFSOCK`: a socket.
    Socket,
    /// Something else, as the device spelled it.
    Other(String),
}

impl FileKind {
    /// The kind that a value of `st_ifmt` names.
    #[must_use]
    pub fn from_ifmt(text: &str) -> Self {
        match text {
            "S_IFREG" => Self::File,
            "S_IFDIR" => Self::Directory,
            "S_IFLNK" => Self::Symlink,
            "S_IFBLK" => Self::BlockDevice,
            "S_IFCHR" => Self::CharDevice,
            "S_IFIFO" => Self::Fifo,
            "S_IFSOCK" => Self::Socket,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "file",
            Self::Directory => "folder",
            Self::Symlink => "symbolic link",
            Self::BlockDevice => "block device",
            Self::CharDevice => "character device",
            Self::Fifo => "pipe",
            Self::Socket => "socket",
            Self::Other(text) => text,
        })
    }
}

impl Metadata {
    /// Picks the known keys out of an answer; what is missing or no number stays `None`.
    #[must_use]
    pub fn from_info(raw: InfoList) -> Self {
        let count = |key: &str| raw.number(key).and_then(|number| u64::try_from(number).ok());
        Self {
            kind: raw.get("st_ifmt").map(FileKind::from_ifmt),
            len: count("st_size"),
            blocks: count("st_blocks"),
            links: count("st_nlink"),
            mtime: raw.number("st_mtime"),
            birthtime: raw.number("st_birthtime"),
            // The last two spellings are what two other clients look for (afc 7).
            link_target: ["LinkTarget", "st_link_target", "st_linktarget"]
                .iter()
                .find_map(|key| raw.get(key))
                .map(str::to_owned),
            raw,
        }
    }

    /// Whether it is a regular file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.kind == Some(FileKind::File)
    }

    /// Whether it is a folder; a link to one is none.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.kind == Some(FileKind::Directory)
    }

    /// Whether it is a symbolic link.
    #[must_use]
    pub fn is_symlink(&self) -> bool {
        self.kind == Some(FileKind::Symlink)
    }
}

/// What a device tells about the file system behind the service (afc 7).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceInfo {
    /// The product type, `iPhone12,1`.
    pub model: Option<String>,
    /// The file system's size in bytes.
    pub total_bytes: Option<u64>,
    /// What is free, in bytes; without what the system could purge.
    pub free_bytes: Option<u64>,
    /// The file system's block size in bytes.
    pub block_size: Option<u64>,
    /// Everything the device said.
    pub raw: InfoList,
}

impl DeviceInfo {
    /// Picks the known keys out of an answer; what is missing or no number stays `None`.
    #[must_use]
    pub fn from_info(raw: InfoList) -> Self {
        let count = |key: &str| raw.get(key).and_then(|text| text.trim().parse().ok());
        Self {
            model: raw.get("Model").map(str::to_owned),
            total_bytes: count("FSTotalBytes"),
            free_bytes: count("FSFreeBytes"),
            block_size: count("FSBlockSize"),
            raw,
        }
    }
}
