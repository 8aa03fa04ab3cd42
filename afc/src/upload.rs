//! Writing whole files so that nobody sees half of one.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use bytes::Bytes;
use tokio::io::AsyncRead;

use crate::client::Afc;
use crate::error::AfcError;
use crate::msg::{OpenMode, Status};

impl Afc {
    /// Writes a whole file: under a temporary name in the same folder, which is then renamed, so that the old content
    /// or the new one is there at any time. If the future is dropped, the temporary file (`.cabled-….part`) may stay.
    /// On a device whose rename replaces nothing the old content is, for a moment, only under such a name.
    ///
    /// # Errors
    /// [`AfcError::Refused`] by any of the steps; the temporary file is then removed again.
    pub async fn write_file(&self, path: &str, content: impl Into<Bytes>) -> Result<(), AfcError> {
        let content = content.into();
        let temporary = temporary_beside(path);
        let written = async {
            let mut file = self.open(&temporary, OpenMode::Write).await?;
            file.write(content).await?;
            file.close().await
        };
        let written = written.await;
        self.put_in_place(written, &temporary, path, None).await
    }

    /// As [`Afc::write_file`], with everything that `from` gives, one packet in memory at a time, and the time of the
    /// last change (nanoseconds since 1970-01-01 UTC) if there is one to set. Says how many bytes were written.
    ///
    /// # Errors
    /// As [`Afc::write_file`], and [`AfcError::Local`] if `from` fails.
    pub async fn write_file_from(
        &self,
        path: &str,
        from: &mut (impl AsyncRead + Unpin + ?Sized),
        mtime: Option<i64>,
    ) -> Result<u64, AfcError> {
        let temporary = temporary_beside(path);
        let mut bytes = 0;
        let written = async {
            let mut file = self.open(&temporary, OpenMode::Write).await?;
            bytes = file.write_from(from).await?;
            file.close().await
        };
        let written = written.await;
        self.put_in_place(written, &temporary, path, mtime).await?;
        Ok(bytes)
    }

    async fn put_in_place(
        &self,
        written: Result<(), AfcError>,
        temporary: &str,
        path: &str,
        mtime: Option<i64>,
    ) -> Result<(), AfcError> {
        let placed = match (written, mtime) {
            (Err(error), _) => Err(error),
            (Ok(()), None) => self.replace(temporary, path).await,
            (Ok(()), Some(mtime)) => match self.set_mtime(temporary, mtime).await {
                Ok(()) => self.replace(temporary, path).await,
                Err(error) => Err(error),
            },
        };
        if placed.is_err() {
            // The first error is the one to tell.
            let _ = self.remove(temporary).await;
        }
        placed
    }

    /// Renames over an existing file. No device test covers that a device does so by itself (afc 3), so a refusal
    /// because of the existing file is taken at its word: that one then waits under another name until it is replaced.
    async fn replace(&self, from: &str, to: &str) -> Result<(), AfcError> {
        match self.rename(from, to).await {
            Err(AfcError::Refused {
                status: Status::ObjectExists,
                ..
            }) if self.metadata(to).await?.is_file() => {
                let aside = temporary_beside(to);
                self.rename(to, &aside).await?;
                let placed = self.rename(from, to).await;
                // What cannot be put back or removed now stays beside it; the first error is the one to tell.
                let _ = match placed {
                    Ok(()) => self.remove(&aside).await,
                    Err(_) => self.rename(&aside, to).await,
                };
                placed
            }
            done => done,
        }
    }
}

/// A name that nobody uses, in the folder of `path`.
fn temporary_beside(path: &str) -> String {
    let folder = path.rfind('/').and_then(|at| path.get(..=at)).unwrap_or_default();
    format!(
        "{folder}.cabled-{:016x}.part",
        RandomState::new().build_hasher().finish()
    )
}

#[cfg(test)]
mod tests {
    use super::temporary_beside;

    #[test]
    fn the_temporary_name_is_in_the_same_folder_and_new_each_time() {
        assert!(temporary_beside("/Books/a").starts_with("/Books/.cabled-"));
        assert!(temporary_beside("a").starts_with(".cabled-"));
        assert_ne!(temporary_beside("/a"), temporary_beside("/a"));
    }
}
