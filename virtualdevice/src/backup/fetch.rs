//! Fetching a large file from the host into a private temporary file, decrypted on the way.

use std::io::Write;
use std::path::Path;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::error::{LocalError, Outcome, internal};
use super::format::cipher::Decryptor;
use super::format::keybag::Key;
use super::link::Piece;
use super::session::Session;

/// Chunks in flight between the connection and the thread that writes.
pub(super) const PIPELINE: usize = 16;

/// What became of the file.
#[derive(Debug)]
pub(super) enum Fetched {
    /// It is there.
    Whole,
    /// The host has none, or sent only a part.
    Missing,
    /// It does not decrypt.
    Damaged,
}

/// Fetches `path` into `file`, which is made with the permissions of a private folder. Decrypts with `key`.
pub(super) async fn file(
    session: &mut Session,
    path: &str,
    percent: f64,
    file: &Path,
    key: Option<Key>,
) -> Outcome<Fetched> {
    let (sender, receiver) = mpsc::channel(PIPELINE);
    let place = file.to_owned();
    let writer = spawn_blocking(move || write(&place, key.as_ref(), receiver));
    let complete = transfer(session, path, percent, Some(&sender)).await?;
    drop(sender);
    let written = writer.await.unwrap_or(Err(LocalError::Abandoned));
    let written = written.map_err(|error| internal(session.codes().generic, &error))?;
    Ok(match (complete, written) {
        (true, true) => Fetched::Whole,
        (true, false) => Fetched::Damaged,
        (false, _) => Fetched::Missing,
    })
}

/// SHA-256 of a file as the host stores it; `None` if it has none.
pub(super) async fn digest(session: &mut Session, path: &str, percent: f64) -> Outcome<Option<[u8; 32]>> {
    let (sender, mut receiver) = mpsc::channel::<Bytes>(PIPELINE);
    let hasher = spawn_blocking(move || {
        let mut hash = Sha256::new();
        while let Some(bytes) = receiver.blocking_recv() {
            hash.update(&bytes);
        }
        <[u8; 32]>::from(hash.finalize())
    });
    let complete = transfer(session, path, percent, Some(&sender)).await?;
    drop(sender);
    let hash = hasher
        .await
        .map_err(|_| internal(session.codes().generic, &LocalError::Abandoned))?;
    Ok(complete.then_some(hash))
}

async fn transfer(
    session: &mut Session,
    path: &str,
    percent: f64,
    sender: Option<&mpsc::Sender<Bytes>>,
) -> Outcome<bool> {
    let mut transfer = session.link.download(vec![path.to_owned()], percent).await?;
    let mut complete = false;
    while let Some(piece) = session.link.piece(&mut transfer).await? {
        match piece {
            Piece::Data(bytes) => {
                if let Some(sender) = sender {
                    // A receiver that is gone has failed and will say why.
                    let _ = sender.send(bytes).await;
                }
            }
            Piece::End => complete = true,
            Piece::Failed => complete = false,
            Piece::Name(_) => {}
        }
    }
    let answer = session.link.status("the answer to a download").await?;
    if !complete {
        let code = session.codes().properties;
        super::run::missing_or(&answer, code, "Error reading backup database")?;
    }
    Ok(complete && answer.file_failures().is_empty())
}

/// Writes what arrives; false if it does not decrypt.
fn write(place: &Path, key: Option<&Key>, mut receiver: mpsc::Receiver<Bytes>) -> Result<bool, LocalError> {
    let mut out = std::io::BufWriter::with_capacity(256 << 10, std::fs::File::create(place)?);
    let mut cipher = key.map(Decryptor::new);
    let mut plain = Vec::new();
    while let Some(bytes) = receiver.blocking_recv() {
        match &mut cipher {
            Some(cipher) => {
                plain.clear();
                cipher.update(&bytes, &mut plain);
                out.write_all(&plain)?;
            }
            None => out.write_all(&bytes)?,
        }
    }
    let mut whole = true;
    if let Some(cipher) = cipher {
        plain.clear();
        whole = cipher.finish(&mut plain).is_ok();
        out.write_all(&plain)?;
    }
    out.flush()?;
    Ok(whole)
}
