//! Removing a tree.

use crate::client::Afc;
use crate::error::AfcError;
use crate::msg::{Packet, Status, WirePath};

/// Folders inside folders; a path of 1024 bytes holds no more than 512.
const MAX_DEPTH: usize = 512;

impl Afc {
    /// Removes a path and all below it; a link is removed, not followed. Never the root of the service, nor a path that
    /// comes down to it.
    ///
    /// The device does it in one operation from iOS 6 on. Where it cannot, every folder below is listed and emptied from
    /// here, which takes three round trips per folder and two per file; what was removed before an error stays removed.
    ///
    /// # Errors
    /// [`AfcError::Root`]; [`AfcError::Refused`], a missing path is [`Status::ObjectNotFound`]; [`AfcError::TooDeep`].
    pub async fn remove_all(&self, path: &str) -> Result<(), AfcError> {
        if is_root(path) {
            return Err(AfcError::Root { path: path.to_owned() });
        }
        let packet = Packet::RemovePathAndContents {
            path: WirePath::new(path)?,
        };
        match self.ask(packet, path).await?.done().await {
            Err(AfcError::Refused {
                status: Status::OperationNotSupported | Status::UnknownPacketType | Status::UnknownError,
                ..
            }) => self.remove_walking(path).await,
            done => done,
        }
    }

    async fn remove_walking(&self, path: &str) -> Result<(), AfcError> {
        let mut left = vec![Left::Path(path.to_owned(), 0)];
        while let Some(next) = left.pop() {
            match next {
                Left::Empty(folder) => self.remove(&folder).await?,
                Left::Path(path, depth) if self.metadata(&path).await?.is_dir() => {
                    if depth >= MAX_DEPTH {
                        return Err(AfcError::TooDeep { path, limit: MAX_DEPTH });
                    }
                    let names = self.read_dir(&path).await?;
                    let base = path.trim_end_matches('/').to_owned();
                    left.push(Left::Empty(path));
                    let below = depth.saturating_add(1);
                    left.extend(
                        names
                            .into_iter()
                            .map(|name| Left::Path(format!("{base}/{name}"), below)),
                    );
                }
                Left::Path(path, _) => self.remove(&path).await?,
            }
        }
        Ok(())
    }
}

enum Left {
    /// Not looked at yet; with the number of folders above it.
    Path(String, usize),
    /// A folder whose content comes later on the stack, so is gone by now.
    Empty(String),
}

/// Whether a path comes down to the root of the service, as the device resolves dots: a `..` at the root stays there.
fn is_root(path: &str) -> bool {
    let mut depth = 0_usize;
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => depth = depth.saturating_sub(1),
            _ => depth = depth.saturating_add(1),
        }
    }
    depth == 0
}

#[cfg(test)]
mod tests {
    use super::is_root;

    #[test]
    fn every_spelling_of_the_root_is_recognised() {
        for root in ["", "/", ".", "./", "//.//", "/a/..", "a/b/../..", "/../..", "../a/.."] {
            assert!(is_root(root), "{root}");
        }
        for other in ["a", "/a/", "../a", "/a/../b", "..a", "/..."] {
            assert!(!is_root(other), "{other}");
        }
    }
}
