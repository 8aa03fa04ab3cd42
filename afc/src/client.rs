use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use cabled_wire::io::BoxStream;

use crate::connection::{Asked, Connection, Pending};
use crate::error::{AfcError, Broken};
use crate::file::File;
use crate::metadata::{DeviceInfo, Metadata};
use crate::msg::{DirectoryListing, InfoList, LinkKind, OpenMode, Operation, Packet, WirePath};
use crate::options::AfcOptions;

/// A client of one AFC service. Clones share the connection, and calls from any number of tasks may be on their way at
/// once; the device works on them one after another.
///
/// Paths are counted from the root of the service, with or without a leading `/`; `.`, `..` and doubled slashes are
/// resolved by the device. Names are compared by their bytes.
///
/// The future of every method may be dropped at any time: what was sent happens on the device, its answer is thrown
/// away, and the connection stays usable. What that means for files is told at [`File`].
#[derive(Clone, Debug)]
pub struct Afc {
    pub(crate) connection: Arc<Connection>,
}

impl Afc {
    /// Speaks AFC on a stream whose next byte belongs to the service. Must be called inside a tokio runtime: two tasks
    /// move the bytes. The stream is closed when the last clone and the last [`File`] are gone.
    #[must_use]
    pub fn new(stream: BoxStream) -> Self {
        Self::with_options(stream, AfcOptions::default())
    }

    /// As [`Afc::new`], with sizes, limits and the time limit chosen.
    #[must_use]
    pub fn with_options(stream: BoxStream, options: AfcOptions) -> Self {
        Self {
            connection: Connection::start(stream, options),
        }
    }

    /// The names in a folder, in the device's order, without `.` and `..`.
    ///
    /// # Errors
    /// [`AfcError::Refused`]: a missing folder is [`crate::msg::Status::ObjectNotFound`], a regular file
    /// [`crate::msg::Status::ReadError`]. [`AfcError::ListingName`] for a name that is no UTF-8. [`AfcError::Broken`],
    /// and the connection is unusable, for a name that would lead out of the folder.
    pub async fn read_dir(&self, path: &str) -> Result<Vec<String>, AfcError> {
        let text = |name: Bytes| {
            String::from_utf8(name.to_vec()).map_err(|error| AfcError::ListingName {
                path: path.to_owned(),
                name: String::from_utf8_lossy(error.as_bytes()).into_owned(),
            })
        };
        self.read_dir_raw(path).await?.into_iter().map(text).collect()
    }

    /// As [`Afc::read_dir`], with the names as the bytes they are.
    ///
    /// # Errors
    /// As [`Afc::read_dir`], without [`AfcError::ListingName`].
    pub async fn read_dir_raw(&self, path: &str) -> Result<Vec<Bytes>, AfcError> {
        let payload = self
            .ask(
                Packet::ReadDir {
                    path: WirePath::new(path)?,
                },
                path,
            )
            .await?
            .data()
            .await?;
        let listing = DirectoryListing::decode(&payload);
        let mut names = Vec::new();
        for name in listing.names().filter(|name| ![&b"."[..], b".."].contains(name)) {
            // A NUL cannot be inside; a slash is no honest device's doing.
            if name.contains(&b'/') {
                let asked = Asked {
                    operation: Operation::ReadDir,
                    path: Some(path),
                };
                let name = String::from_utf8_lossy(name).into_owned();
                return Err(self.connection.fail(
                    asked,
                    Broken::Name {
                        folder: path.to_owned(),
                        name,
                    },
                ));
            }
            names.push(payload.slice_ref(name));
        }
        Ok(names)
    }

    /// What the device tells about a path; of a link, about the link itself.
    ///
    /// # Errors
    /// [`AfcError::Refused`]; see [`AfcError::is_not_found`].
    pub async fn metadata(&self, path: &str) -> Result<Metadata, AfcError> {
        let packet = Packet::FileInfo {
            path: WirePath::new(path)?,
        };
        let payload = self.ask(packet, path).await?.data().await?;
        Ok(Metadata::from_info(InfoList::decode(&payload)))
    }

    /// What the device tells about its file system: sizes in bytes, and its model.
    ///
    /// # Errors
    /// [`AfcError::Refused`].
    pub async fn device_info(&self) -> Result<DeviceInfo, AfcError> {
        let payload = self.connection.submit(Packet::DeviceInfo, None).await?.data().await?;
        Ok(DeviceInfo::from_info(InfoList::decode(&payload)))
    }

    /// What the device tells about the connection. Which keys there are is not known (afc 16).
    ///
    /// # Errors
    /// [`AfcError::Refused`]; current systems may not have the operation.
    pub async fn connection_info(&self) -> Result<InfoList, AfcError> {
        let payload = self
            .connection
            .submit(Packet::ConnectionInfo, None)
            .await?
            .data()
            .await?;
        Ok(InfoList::decode(&payload))
    }

    /// Opens a file; a link is followed. Waits while [`AfcOptions::open_files`] are open. If the future is dropped, a
    /// file that the device opens all the same is closed again.
    ///
    /// # Errors
    /// [`AfcError::Refused`]: [`crate::msg::Status::ObjectIsDirectory`] for a folder,
    /// [`crate::msg::Status::ObjectNotFound`] for a missing path (and a mode that does not create), and others.
    pub async fn open(&self, path: &str, mode: OpenMode) -> Result<File, AfcError> {
        let packet = Packet::FileOpen {
            mode,
            path: WirePath::new(path)?,
        };
        let permit = self.connection.handle_permit(path).await?;
        let pending = self.connection.submit_holding(packet, Some(path), permit).await?;
        let (handle, permit) = pending.handle().await?;
        Ok(File::new(Arc::clone(&self.connection), handle, permit, path))
    }

    /// Reads a whole file of at most `limit` bytes into memory. For large files, [`File::copy_to`] holds one piece at a
    /// time.
    ///
    /// # Errors
    /// [`AfcError::TooLarge`] as soon as more than `limit` bytes came; otherwise as [`Afc::open`] and [`File::read`].
    pub async fn read_file(&self, path: &str, limit: u64) -> Result<Bytes, AfcError> {
        let too_large = || AfcError::TooLarge {
            path: path.to_owned(),
            limit,
        };
        let mut file = self.open(path, OpenMode::Read).await?;
        let mut content = BytesMut::new();
        loop {
            // One byte beyond the limit is enough to know.
            let left = limit.saturating_sub(content.len() as u64).saturating_add(1);
            let piece = file.read_at_most(left).await?;
            if piece.is_empty() {
                break;
            }
            if piece.len() as u64 >= left {
                return Err(too_large());
            }
            content.extend_from_slice(&piece);
        }
        file.close().await?;
        Ok(content.freeze())
    }

    /// Cuts a file to `len` bytes, or extends it with zeros.
    ///
    /// # Errors
    /// [`AfcError::Refused`].
    pub async fn truncate(&self, path: &str, len: u64) -> Result<(), AfcError> {
        self.ask(
            Packet::Truncate {
                len,
                path: WirePath::new(path)?,
            },
            path,
        )
        .await?
        .done()
        .await
    }

    /// Makes a folder and its missing parents; an existing folder is no error.
    ///
    /// # Errors
    /// [`AfcError::Refused`]: [`crate::msg::Status::ObjectExists`] where a regular file is in the way.
    pub async fn make_dir(&self, path: &str) -> Result<(), AfcError> {
        self.ask(
            Packet::MakeDir {
                path: WirePath::new(path)?,
            },
            path,
        )
        .await?
        .done()
        .await
    }

    /// Removes a file, a link (not what it leads to) or an empty folder.
    ///
    /// # Errors
    /// [`AfcError::Refused`]; see [`AfcError::is_not_found`] and [`AfcError::is_not_empty`].
    pub async fn remove(&self, path: &str) -> Result<(), AfcError> {
        self.ask(
            Packet::RemovePath {
                path: WirePath::new(path)?,
            },
            path,
        )
        .await?
        .done()
        .await
    }

    /// Renames or moves; an existing file at the target is replaced.
    ///
    /// # Errors
    /// [`AfcError::Refused`].
    pub async fn rename(&self, from: &str, to: &str) -> Result<(), AfcError> {
        let packet = Packet::RenamePath {
            from: WirePath::new(from)?,
            to: WirePath::new(to)?,
        };
        self.ask(packet, from).await?.done().await
    }

    /// Makes a link at `link` that leads to `target`: a path of the service for a hard link, and for a symbolic one any
    /// text, relative to the folder of the link.
    ///
    /// # Errors
    /// [`AfcError::Refused`].
    pub async fn link(&self, kind: LinkKind, target: &str, link: &str) -> Result<(), AfcError> {
        let packet = Packet::MakeLink {
            kind,
            target: WirePath::new(target)?,
            link: WirePath::new(link)?,
        };
        self.ask(packet, link).await?.done().await
    }

    /// Sets when a file was last changed, in nanoseconds since 1970-01-01 UTC.
    ///
    /// # Errors
    /// [`AfcError::Refused`]: [`crate::msg::Status::UnknownPacketType`] before iOS 3.1.
    pub async fn set_mtime(&self, path: &str, mtime: i64) -> Result<(), AfcError> {
        self.ask(
            Packet::SetModTime {
                mtime,
                path: WirePath::new(path)?,
            },
            path,
        )
        .await?
        .done()
        .await
    }

    /// The device's hash of a file's content, as raw bytes; most likely SHA-1, which nobody has confirmed (afc 16).
    /// Takes as long as the device needs to read the file.
    ///
    /// # Errors
    /// [`AfcError::Refused`].
    pub async fn file_hash(&self, path: &str) -> Result<Bytes, AfcError> {
        self.ask(
            Packet::FileHash {
                path: WirePath::new(path)?,
            },
            path,
        )
        .await?
        .data()
        .await
    }

    /// Sets the block size the device uses with its file system, in bytes (8 MiB has been seen). A hint: nothing here
    /// depends on it.
    ///
    /// # Errors
    /// [`AfcError::Refused`].
    pub async fn set_fs_block_size(&self, bytes: u64) -> Result<(), AfcError> {
        self.connection
            .submit(Packet::SetFsBlockSize { size: bytes }, None)
            .await?
            .done()
            .await
    }

    /// Sets the block size the device uses with this connection, in bytes (8 MiB has been seen). A hint: nothing here
    /// depends on it.
    ///
    /// # Errors
    /// [`AfcError::Refused`].
    pub async fn set_socket_block_size(&self, bytes: u64) -> Result<(), AfcError> {
        self.connection
            .submit(Packet::SetSocketBlockSize { size: bytes }, None)
            .await?
            .done()
            .await
    }

    pub(crate) async fn ask(&self, packet: Packet, path: &str) -> Result<Pending, AfcError> {
        self.connection.submit(packet, Some(path)).await
    }
}
