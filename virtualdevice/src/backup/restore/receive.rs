//! Payloads on their way from the host to the phone: decrypted, hashed, checked, written.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use sha1::{Digest as _, Sha1};
use tokio::sync::mpsc;

use super::super::error::LocalError;
use super::super::format::cipher::Decryptor;
use super::super::format::keybag::ClassKeys;
use super::super::format::record::Record;
use crate::fs::{Content, ContentWriter, Fs};

/// One file to fetch.
#[derive(Debug)]
pub(super) struct Wanted {
    /// What is asked of the host.
    pub(super) path: String,
    pub(super) domain: Arc<str>,
    pub(super) record: Record,
}

/// What comes in, in order.
#[derive(Debug)]
pub(super) enum Arriving {
    Begin(String),
    Data(Bytes),
    End,
    Failed,
}

/// A file as it came.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) wanted: Wanted,
    pub(super) content: Content,
    pub(super) checked: Checked,
}

/// What could be checked about a file.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Checked {
    pub(super) digest: bool,
    pub(super) padding: bool,
    pub(super) odd_size: bool,
    /// Recorded as empty, and the host has no payload.
    pub(super) missing: bool,
}

/// Why a payload is not the one the manifest promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// The host has none, or could not send it whole.
    Missing,
    Digest,
    Padding,
    /// Its key belongs to another bag.
    Key,
}

/// A batch, or the first file in it that is bad.
pub(super) type Batch = Result<Vec<Received>, (Bad, String)>;

struct Open {
    index: usize,
    writer: ContentWriter,
    hash: Option<Sha1>,
    cipher: Option<Decryptor>,
}

/// Receives a batch. Memory: a chunk, and up to 1 MiB of the file under way; larger files go to the phone's spool.
///
/// # Errors
/// Storage errors, and a host that sends what nobody asked for.
pub(super) fn batch(
    wanted: Vec<Wanted>,
    keys: Option<&ClassKeys>,
    fs: &Fs,
    mut arriving: mpsc::Receiver<Arriving>,
) -> Result<Batch, LocalError> {
    let places: HashMap<String, usize> = wanted
        .iter()
        .enumerate()
        .map(|(n, file)| (file.path.clone(), n))
        .collect();
    let mut done: Vec<Option<(Content, Checked)>> = wanted.iter().map(|_| None).collect();
    let mut open: Option<Open> = None;
    let mut bad: Option<(Bad, String)> = None;
    let mut plain = Vec::new();
    while let Some(piece) = arriving.blocking_recv() {
        match piece {
            // A file nobody asked for is read and forgotten; the one asked for will be missing.
            Arriving::Begin(path) => {
                open = None;
                let Some((index, file)) = places.get(&path).and_then(|n| Some((*n, wanted.get(*n)?))) else {
                    continue;
                };
                match begin(index, file, keys, fs) {
                    Ok(begun) => open = Some(begun),
                    Err(reason) => bad = bad.or(Some((reason, path))),
                }
            }
            Arriving::Data(bytes) => {
                let Some(open) = &mut open else { continue };
                if let Some(hash) = &mut open.hash {
                    hash.update(&bytes);
                }
                match &mut open.cipher {
                    Some(cipher) => {
                        plain.clear();
                        cipher.update(&bytes, &mut plain);
                        open.writer.write(&plain)?;
                    }
                    None => open.writer.write(&bytes)?,
                }
            }
            Arriving::Failed => open = None,
            Arriving::End => {
                let Some(ended) = open.take() else { continue };
                let index = ended.index;
                let Some(file) = wanted.get(index) else { continue };
                match end(ended, file)? {
                    Ok(received) => {
                        if let Some(slot) = done.get_mut(index) {
                            *slot = Some(received);
                        }
                    }
                    Err(reason) => bad = bad.or(Some((reason, file.path.clone()))),
                }
            }
        }
    }
    Ok(match bad {
        Some(bad) => Err(bad),
        None => collect(wanted, done),
    })
}

fn begin(index: usize, file: &Wanted, keys: Option<&ClassKeys>, fs: &Fs) -> Result<Open, Bad> {
    let cipher = match (keys, &file.record.key) {
        (Some(keys), Some(key)) => {
            let key = keys.unwrap_file_key(key, Some(file.record.class)).ok_or(Bad::Key)?;
            Some(Decryptor::new(&key))
        }
        // A file without a key is stored as it is, also in an encrypted backup (spec backup-format 6.2).
        _ => None,
    };
    let hash = file.record.digest.map(|_| Sha1::new());
    Ok(Open {
        index,
        writer: fs.writer(file.record.size),
        hash,
        cipher,
    })
}

fn end(open: Open, file: &Wanted) -> Result<Result<(Content, Checked), Bad>, LocalError> {
    let Open {
        mut writer,
        hash,
        cipher,
        ..
    } = open;
    let mut checked = Checked::default();
    if let (Some(hash), Some(expected)) = (hash, &file.record.digest) {
        if <[u8; 20]>::from(hash.finalize()) != *expected {
            return Ok(Err(Bad::Digest));
        }
        checked.digest = true;
    }
    if let Some(cipher) = cipher {
        let mut rest = Vec::new();
        if cipher.finish(&mut rest).is_err() {
            return Ok(Err(Bad::Padding));
        }
        checked.padding = true;
        writer.write(&rest)?;
    }
    checked.odd_size = writer.len() != file.record.size;
    Ok(Ok((writer.finish()?, checked)))
}

fn collect(wanted: Vec<Wanted>, done: Vec<Option<(Content, Checked)>>) -> Batch {
    let mut out = Vec::with_capacity(wanted.len());
    for (wanted, done) in wanted.into_iter().zip(done) {
        let (content, checked) = match done {
            Some(done) => done,
            None if wanted.record.size == 0 => {
                let checked = Checked {
                    missing: true,
                    ..Checked::default()
                };
                (Content::empty(), checked)
            }
            None => return Err((Bad::Missing, wanted.path)),
        };
        out.push(Received {
            wanted,
            content,
            checked,
        });
    }
    Ok(out)
}
