use std::time::Duration;

use crate::client::Afc;
use crate::error::AfcError;
use crate::file::File;
use crate::msg::{LockOp, OpenMode, Status};

/// The right to sync or back up: an exclusive lock that every program takes before it does so (mobilebackup2 12.2).
///
/// The connection it was taken on must stay open for as long as it is needed; do not use that one for bulk meanwhile.
/// [`SyncLock::release`] gives it back. A dropped lock is given back in the background, and the device drops it with the
/// connection in any case.
#[derive(Debug)]
pub struct SyncLock {
    file: Option<File>,
}

/// The lock file, open but not locked yet: programs post a notification between the two.
#[derive(Debug)]
pub struct SyncLockFile {
    file: File,
}

/// How long to try for a lock that somebody else holds.
#[derive(Clone, Debug)]
pub struct SyncLockOptions {
    tries: u32,
    interval: Duration,
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SyncLockError {
    /// Another program held it all the time we tried.
    #[error("another sync or backup is using this device; end it and try again ({tries} tries, {} ms apart)", interval.as_millis())]
    Held {
        /// How often we tried.
        tries: u32,
        /// The time between tries.
        interval: Duration,
    },
    /// The lock file could not be opened, locked, unlocked or closed.
    #[error(transparent)]
    Afc(#[from] AfcError),
}

impl SyncLockOptions {
    /// How often to try; 50 times unless set, at least once.
    #[must_use]
    pub fn tries(mut self, tries: u32) -> Self {
        self.tries = tries.max(1);
        self
    }

    /// The time between tries; 200 ms unless set.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }
}

impl Default for SyncLockOptions {
    fn default() -> Self {
        Self {
            tries: 50,
            interval: Duration::from_millis(200),
        }
    }
}

impl SyncLock {
    /// The file that is locked, in the root of the media service.
    pub const PATH: &str = "/com.apple.itunes.lock_sync";

    /// Opens the lock file, making it where it is missing. Dropping the future is safe.
    ///
    /// # Errors
    /// As [`Afc::open`].
    pub async fn open(afc: &Afc) -> Result<SyncLockFile, AfcError> {
        Ok(SyncLockFile {
            file: afc.open(Self::PATH, OpenMode::ReadWrite).await?,
        })
    }

    /// Opens the lock file and locks it: [`SyncLock::open`] and [`SyncLockFile::lock`] in one.
    ///
    /// # Errors
    /// [`SyncLockError::Held`] after the last try, and those of [`Afc::open`] and [`File::lock`].
    pub async fn acquire(afc: &Afc, options: &SyncLockOptions) -> Result<Self, SyncLockError> {
        Self::open(afc).await?.lock(options).await
    }

    /// Unlocks and closes the lock file. Both happen even if the first fails, or if the future is dropped once polled.
    ///
    /// # Errors
    /// [`AfcError::Refused`], [`AfcError::Broken`]: the device drops the lock with the connection then.
    pub async fn release(mut self) -> Result<(), AfcError> {
        let Some(mut file) = self.file.take() else {
            return Ok(());
        };
        let unlocked = file.unlock().await;
        let closed = file.close().await;
        unlocked.and(closed)
    }
}

impl SyncLockFile {
    /// Locks, trying again while another program holds the lock. Dropping the future closes the file, and a lock that
    /// was got meanwhile ends with it.
    ///
    /// # Errors
    /// [`SyncLockError::Held`] after the last try; any other refusal at once.
    pub async fn lock(self, options: &SyncLockOptions) -> Result<SyncLock, SyncLockError> {
        let mut file = self.file;
        for attempt in 1..=options.tries {
            match file.lock(LockOp::Exclusive).await {
                Ok(()) => return Ok(SyncLock { file: Some(file) }),
                Err(AfcError::Refused {
                    status: Status::OperationWouldBlock,
                    ..
                }) => {
                    tracing::debug!(attempt, "somebody else holds the sync lock");
                }
                Err(error) => return Err(error.into()),
            }
            if attempt < options.tries {
                tokio::time::sleep(options.interval).await;
            }
        }
        file.close().await?;
        Err(SyncLockError::Held {
            tries: options.tries,
            interval: options.interval,
        })
    }
}

impl Drop for SyncLock {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            file.unlock_in_background();
            // Dropping the file closes it.
        }
    }
}
