use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::connection::{Connection, HandlePermit};
use crate::error::AfcError;
use crate::msg::{FileHandle, LockOp, Packet, Whence};

/// An open file on the device, with one position for reading and writing. Closed in the background when dropped;
/// [`File::close`] also tells whether that went well.
///
/// Dropping the future of a method leaves the connection usable and the file open, but what was sent still happens: the
/// bytes of a read are lost, a write may be done in part, and the position is only known again after [`File::seek`].
#[derive(Debug)]
pub struct File {
    connection: Arc<Connection>,
    handle: FileHandle,
    /// `None` once closing was asked for.
    open: Option<Open>,
    path: Arc<str>,
}

#[derive(Debug)]
struct Open {
    permit: Option<HandlePermit>,
}

impl File {
    pub(crate) fn new(
        connection: Arc<Connection>,
        handle: FileHandle,
        permit: Option<HandlePermit>,
        path: &str,
    ) -> Self {
        Self {
            connection,
            handle,
            open: Some(Open { permit }),
            path: path.into(),
        }
    }

    /// The path it was opened by.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The device's number for it, of use in logs only.
    #[must_use]
    pub fn handle(&self) -> FileHandle {
        self.handle
    }

    /// Reads the next bytes: one request of [`crate::AfcOptions::read_size`]. Fewer may come; none means the end.
    ///
    /// # Errors
    /// [`AfcError::Refused`]: among others [`crate::msg::Status::IoError`] when the device was locked in the middle of
    /// a protected file.
    pub async fn read(&mut self) -> Result<Bytes, AfcError> {
        self.read_at_most(u64::MAX).await
    }

    /// As [`File::read`], asking for no more than `len` bytes.
    ///
    /// # Errors
    /// As [`File::read`].
    pub async fn read_at_most(&mut self, len: u64) -> Result<Bytes, AfcError> {
        let len = len.min(self.connection.options.read_size.into());
        if len == 0 {
            return Ok(Bytes::new());
        }
        let packet = Packet::FileRead {
            handle: self.handle,
            len,
        };
        self.connection
            .submit(packet, Some(&self.path))
            .await?
            .data_until_end()
            .await
    }

    /// Copies everything from the position to the end into `to`, one piece in memory at a time, and says how many bytes
    /// that were. Does not flush `to`.
    ///
    /// # Errors
    /// As [`File::read`], and [`AfcError::Local`] if `to` fails.
    pub async fn copy_to(&mut self, to: &mut (impl AsyncWrite + Unpin + ?Sized)) -> Result<u64, AfcError> {
        let mut copied = 0_u64;
        loop {
            let piece = self.read().await?;
            if piece.is_empty() {
                return Ok(copied);
            }
            to.write_all(&piece).await.map_err(|source| self.local(source))?;
            copied = copied.saturating_add(piece.len() as u64);
        }
    }

    /// Writes all of `data` at the position, in packets of [`crate::AfcOptions::write_size`], without copying it. In
    /// the appending modes the device writes at the end.
    ///
    /// # Errors
    /// [`AfcError::Refused`]: among others [`crate::msg::Status::NoSpaceLeft`]. What was written before stays.
    pub async fn write(&mut self, mut data: Bytes) -> Result<(), AfcError> {
        let most = usize::try_from(self.connection.options.write_size).unwrap_or(usize::MAX);
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(most));
            let packet = Packet::FileWrite {
                handle: self.handle,
                data: piece,
            };
            self.connection.submit(packet, Some(&self.path)).await?.done().await?;
        }
        Ok(())
    }

    /// Writes everything that `from` gives at the position, one packet in memory at a time, and says how many bytes
    /// that were.
    ///
    /// # Errors
    /// As [`File::write`], and [`AfcError::Local`] if `from` fails.
    pub async fn write_from(&mut self, from: &mut (impl AsyncRead + Unpin + ?Sized)) -> Result<u64, AfcError> {
        let most = usize::try_from(self.connection.options.write_size).unwrap_or(usize::MAX);
        let mut written = 0_u64;
        loop {
            let mut piece = BytesMut::with_capacity(most);
            while piece.len() < most {
                let room = u64::try_from(most.saturating_sub(piece.len())).unwrap_or(u64::MAX);
                let got = (&mut *from)
                    .take(room)
                    .read_buf(&mut piece)
                    .await
                    .map_err(|source| self.local(source))?;
                if got == 0 {
                    break;
                }
            }
            if piece.is_empty() {
                return Ok(written);
            }
            written = written.saturating_add(piece.len() as u64);
            self.write(piece.freeze()).await?;
        }
    }

    /// Moves the position. It may be beyond the end of the file; not before the start.
    ///
    /// # Errors
    /// [`AfcError::Refused`]: [`crate::msg::Status::InvalidArgument`] for a position before the start.
    pub async fn seek(&mut self, whence: Whence, offset: i64) -> Result<(), AfcError> {
        let packet = Packet::FileSeek {
            handle: self.handle,
            whence,
            offset,
        };
        self.connection.submit(packet, Some(&self.path)).await?.done().await
    }

    /// The position, in bytes from the start.
    ///
    /// # Errors
    /// [`AfcError::Refused`].
    pub async fn tell(&mut self) -> Result<u64, AfcError> {
        let packet = Packet::FileTell { handle: self.handle };
        self.connection.submit(packet, Some(&self.path)).await?.position().await
    }

    /// Cuts the file to `len` bytes, or extends it with zeros.
    ///
    /// # Errors
    /// [`AfcError::Refused`].
    pub async fn set_len(&mut self, len: u64) -> Result<(), AfcError> {
        let packet = Packet::FileSetSize {
            handle: self.handle,
            len,
        };
        self.connection.submit(packet, Some(&self.path)).await?.done().await
    }

    /// Takes or gives back the file's advisory lock, at once or not at all. It ends with the file or the connection.
    ///
    /// # Errors
    /// [`AfcError::Refused`] with [`crate::msg::Status::OperationWouldBlock`] when somebody else holds it.
    pub async fn lock(&mut self, op: LockOp) -> Result<(), AfcError> {
        let packet = Packet::FileLock {
            handle: self.handle,
            op,
        };
        self.connection.submit(packet, Some(&self.path)).await?.done().await
    }

    /// Gives back the file's lock.
    ///
    /// # Errors
    /// [`AfcError::Refused`].
    pub async fn unlock(&mut self) -> Result<(), AfcError> {
        self.lock(LockOp::Unlock).await
    }

    /// Closes the file and says whether that went well. Closing happens even if the future is dropped once polled.
    ///
    /// # Errors
    /// [`AfcError::Refused`].
    pub async fn close(mut self) -> Result<(), AfcError> {
        match self.open.take() {
            Some(open) => self.close_now(open)?.done().await,
            None => Ok(()),
        }
    }

    /// Unlocks and closes without waiting, for a guard that is dropped.
    pub(crate) fn unlock_in_background(&self) {
        let packet = Packet::FileLock {
            handle: self.handle,
            op: LockOp::Unlock,
        };
        // A connection that is gone has no locks either.
        let _ = self.connection.submit_now(packet, Some(&self.path), None);
    }

    fn close_now(&self, open: Open) -> Result<crate::connection::Pending, AfcError> {
        self.connection
            .submit_now(Packet::FileClose { handle: self.handle }, Some(&self.path), open.permit)
    }

    fn local(&self, source: std::io::Error) -> AfcError {
        AfcError::Local {
            path: self.path.to_string(),
            source,
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            // A connection that is gone has no open files either.
            let _ = self.close_now(open);
        }
    }
}
