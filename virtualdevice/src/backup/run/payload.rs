//! The work of an upload batch that belongs on a blocking thread: reading, encrypting, hashing, framing, and the rows of
//! the manifest.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use cabled_devicelink::transfer::{self, CODE_DATA, CODE_IO, END_OF_BATCH, END_OK};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::super::error::LocalError;
use super::super::format::cipher::Encryptor;
use super::super::format::database::Writer;
use super::super::format::keybag::{ClassKeys, Key};
use super::super::link::Chunk;
use super::super::plan::{self, Base, Item, Work};
use super::super::script::{Moment, Script, Torture};
use super::super::{FileId, scope};
use super::resume::Staged;
use crate::fs::{Content, map};

/// Bytes gathered before they are handed to the connection; small files travel together.
const GATHER: usize = 256 << 10;
/// What a device-side failure says, as in a log of iOS 17.
const IO_TEXT: &str = "Input/output error (5)";

/// Chunks in flight between worker and connection: 16 of about 256 KiB.
pub(super) const PIPELINE: usize = 16;

/// A payload that the host has now, in `Snapshot`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) id: FileId,
    /// Bytes as stored.
    pub(super) stored: u64,
}

/// Length of a payload as stored, and its SHA-1 where the manifest has one.
type Stored = (u64, Option<[u8; 20]>);

/// Makes the batches of a run, one after the other. Lives on blocking threads and travels between them.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) items: Arc<Vec<Item>>,
    pub(super) writer: Writer,
    pub(super) base: Option<Base>,
    /// Present in an encrypted backup.
    pub(super) keys: Option<ClassKeys>,
    /// The directory on the host.
    pub(super) target: String,
    pub(super) block: usize,
    pub(super) script: Script,
    /// Payloads that an earlier run left in `Snapshot`.
    pub(super) staged: HashMap<FileId, Staged>,
    pub(super) sent: Vec<Sent>,
    /// What the last stretch sent, if this generation goes on where a run was cut off.
    pub(super) fresh: Vec<(FileId, Staged)>,
    pub(super) remembers: bool,
    /// `domain-path` of payloads that ended in a failure block.
    pub(super) failed: Vec<String>,
    /// Of those, how many failed because the phone could not read them.
    pub(super) unreadable: u64,
    payloads: u64,
}

impl Worker {
    pub(super) fn new(items: Arc<Vec<Item>>, writer: Writer, base: Option<Base>, target: String) -> Self {
        Self {
            items,
            writer,
            base,
            keys: None,
            target,
            block: GATHER,
            script: Script::plain(),
            staged: HashMap::new(),
            sent: Vec::new(),
            fresh: Vec::new(),
            remembers: false,
            failed: Vec::new(),
            unreadable: 0,
            payloads: 0,
        }
    }

    /// Does a stretch of the plan: payloads go to `chunks`, rows into the manifest. With no `chunks` nothing in the
    /// stretch may have a payload.
    pub(super) fn stretch(
        &mut self,
        range: Range<usize>,
        chunks: Option<mpsc::Sender<Chunk>>,
    ) -> Result<(), LocalError> {
        let items = Arc::clone(&self.items);
        let mut framer = chunks.map(|chunks| Framer::new(chunks, self.block, self.script.has(&Torture::EmptyBlocks)));
        for item in items.get(range).unwrap_or_default() {
            self.item(item, framer.as_mut())?;
        }
        match framer {
            Some(framer) => framer.finish(),
            None => Ok(()),
        }
    }

    fn item(&mut self, item: &Item, framer: Option<&mut Framer>) -> Result<(), LocalError> {
        let entry = &item.entry;
        let mut record = plan::record_of(entry);
        match (item.work, entry.content(), framer) {
            (Work::Keep { rowid }, ..) => {
                let base = self.base.as_ref().ok_or(LocalError::Abandoned)?;
                let kept = base.record(rowid)?;
                self.writer
                    .insert(item.id, &entry.domain, &entry.path, plan::flags_of(entry), &kept)?;
                return Ok(());
            }
            (Work::Staged, ..) => {
                let staged = self.staged.remove(&item.id).ok_or(LocalError::Abandoned)?;
                return self.done(item, staged);
            }
            (Work::Send, Some(content), Some(framer)) => {
                let key = match &self.keys {
                    Some(keys) => {
                        let key = Key::random()?;
                        record.key = keys.wrap_file_key(record.class, &key);
                        Some(key)
                    }
                    None => None,
                };
                let digests = scope::has_digest(&entry.domain);
                let Some((stored, digest)) = self.send(item, content, key.as_ref(), digests, framer)? else {
                    return Ok(());
                };
                record.digest = digest;
                let (revision, record) = (entry.revision, record.encode());
                return self.done(
                    item,
                    Staged {
                        revision,
                        stored,
                        record,
                    },
                );
            }
            (Work::Row, ..) => {}
            (Work::Send, ..) => return Err(LocalError::Abandoned),
        }
        let flags = plan::flags_of(entry);
        Ok(self
            .writer
            .insert(item.id, &entry.domain, &entry.path, flags, &record.encode())?)
    }

    /// A payload lies in `Snapshot`: its row, and the move to come.
    fn done(&mut self, item: &Item, staged: Staged) -> Result<(), LocalError> {
        let entry = &item.entry;
        self.writer.insert(
            item.id,
            &entry.domain,
            &entry.path,
            plan::flags_of(entry),
            &staged.record,
        )?;
        self.sent.push(Sent {
            id: item.id,
            stored: staged.stored,
        });
        if self.remembers {
            self.fresh.push((item.id, staged));
        }
        Ok(())
    }

    /// Length and, where wanted, SHA-1 of the stored payload; `None` if it ended in a failure block.
    fn send(
        &mut self,
        item: &Item,
        content: &Content,
        key: Option<&Key>,
        digests: bool,
        framer: &mut Framer,
    ) -> Result<Option<Stored>, LocalError> {
        let number = self.payloads;
        self.payloads = number.saturating_add(1);
        if number > 0
            && let Some(lasting) = self.script.silence(Moment::BetweenFiles)
        {
            framer.pause(lasting)?;
        }
        let slash = if self.script.has(&Torture::LeadingSlashes) {
            "/"
        } else {
            ""
        };
        framer.name(&device_name(&item.entry.domain, &item.entry.path))?;
        framer.name(&format!("{slash}{}/Snapshot/{}", self.target, item.id.stored_path()))?;
        let path = || format!("{}-{}", item.entry.domain, item.entry.path);
        if let Some((code, text, after)) = self.script.failure(number) {
            let mut bytes = vec![
                0;
                after
                    .min(self.block)
                    .min(usize::try_from(content.len()).unwrap_or(usize::MAX))
            ];
            content.read_at(0, &mut bytes)?;
            framer.data(&bytes)?;
            framer.failure(code, text)?;
            self.failed.push(path());
            return Ok(None);
        }
        framer.silence = self.script.silence(Moment::InsideFile);
        let mut hash = digests.then(Sha1::new);
        let read = |offset: u64, out: &mut [u8]| content.read_at(offset, out);
        match framer.stream(read, content.len(), key, |stored| {
            if let Some(hash) = &mut hash {
                hash.update(stored);
            }
        })? {
            Some(stored) => Ok(Some((stored, hash.map(|hash| hash.finalize().into())))),
            None => {
                self.failed.push(path());
                self.unreadable = self.unreadable.saturating_add(1);
                Ok(None)
            }
        }
    }
}

/// Where the file is on the phone, seen through the snapshot that phones mount for a run. Informative.
fn device_name(domain: &str, path: &str) -> String {
    let known = map::device_path(domain, path).unwrap_or_else(|| format!("/var/mobile/{path}"));
    let mut name = format!("/.ba{}", known.strip_prefix("/private").unwrap_or(&known));
    while name.len() > transfer::MAX_NAME {
        name.pop();
    }
    name
}

/// Puts names and blocks into chunks for the connection.
#[derive(Debug)]
pub(super) struct Framer {
    chunks: mpsc::Sender<Chunk>,
    out: BytesMut,
    block: usize,
    empty_blocks: bool,
    silence: Option<std::time::Duration>,
}

impl Framer {
    pub(super) fn new(chunks: mpsc::Sender<Chunk>, block: usize, empty_blocks: bool) -> Self {
        // Whole cipher blocks, so that encryption never has to wait for more.
        let block = (block / 16).saturating_mul(16).clamp(16, 64 << 20);
        Self {
            chunks,
            out: BytesMut::with_capacity(GATHER),
            block,
            empty_blocks,
            silence: None,
        }
    }

    fn hand_over(&mut self) -> Result<(), LocalError> {
        let bytes = self.out.split().freeze();
        self.chunks
            .blocking_send(Chunk::Bytes(bytes))
            .map_err(|_| LocalError::Abandoned)?;
        self.out.reserve(GATHER);
        Ok(())
    }

    fn gather(&mut self) -> Result<(), LocalError> {
        if self.out.len() >= GATHER {
            self.hand_over()
        } else {
            Ok(())
        }
    }

    fn pause(&mut self, lasting: std::time::Duration) -> Result<(), LocalError> {
        self.hand_over()?;
        self.chunks
            .blocking_send(Chunk::Pause(lasting))
            .map_err(|_| LocalError::Abandoned)
    }

    pub(super) fn name(&mut self, name: &str) -> Result<(), LocalError> {
        let length = u32::try_from(name.len()).map_err(|_| LocalError::Abandoned)?;
        self.out.put_u32(length);
        self.out.put_slice(name.as_bytes());
        self.gather()
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), LocalError> {
        if let Some(header) = transfer::data_header(bytes.len()) {
            self.out.put_slice(&header);
            self.out.put_slice(bytes);
        }
        self.gather()
    }

    fn failure(&mut self, code: u8, text: &str) -> Result<(), LocalError> {
        // Not the shared encoder: it would mend codes that a script sends on purpose.
        let length = u32::try_from(text.len()).map_err(|_| LocalError::Abandoned)?;
        self.out.put_u32(length.saturating_add(1));
        self.out.put_u8(code);
        self.out.put_slice(text.as_bytes());
        self.gather()
    }

    /// Streams a file of `length` bytes, encrypted under `key`, and ends it. `seen` gets the bytes as stored. Returns
    /// their number, or `None` when `read` failed and the file ended in a failure block.
    pub(super) fn stream(
        &mut self,
        mut read: impl FnMut(u64, &mut [u8]) -> io::Result<usize>,
        length: u64,
        key: Option<&Key>,
        mut seen: impl FnMut(&[u8]),
    ) -> Result<Option<u64>, LocalError> {
        let mut cipher = key.map(Encryptor::new);
        let (mut position, mut stored) = (0_u64, 0_u64);
        if self.empty_blocks {
            self.out.put_slice(&[0, 0, 0, 1, CODE_DATA]);
        }
        loop {
            let left = length.saturating_sub(position);
            let plain = usize::try_from(left).unwrap_or(usize::MAX).min(self.block);
            // A full last block leaves no room for its padding, which then goes into one of its own.
            let last = plain as u64 == left && (cipher.is_none() || plain < self.block);
            let fill = match &cipher {
                Some(_) if last => 16_usize.saturating_sub(plain % 16),
                _ => 0,
            };
            let total = plain.saturating_add(fill);
            if total == 0 {
                break; // an empty file, unencrypted
            }
            let header = transfer::data_header(total).ok_or(LocalError::Abandoned)?;
            let start = self.out.len();
            self.out.put_slice(&header);
            let from = start.saturating_add(header.len());
            let value = u8::try_from(fill).unwrap_or(0);
            self.out.resize(from.saturating_add(total), value);
            let bytes = self.out.get_mut(from..).ok_or(LocalError::Abandoned)?;
            if !read_whole(&mut read, position, bytes.get_mut(..plain).unwrap_or_default()) {
                self.out.truncate(start);
                self.failure(CODE_IO, IO_TEXT)?;
                return Ok(None);
            }
            if let Some(cipher) = &mut cipher {
                cipher.blocks(bytes);
            }
            seen(bytes);
            stored = stored.saturating_add(total as u64);
            position = position.saturating_add(plain as u64);
            self.gather()?;
            if let Some(lasting) = self.silence.take() {
                self.pause(lasting)?;
            }
            if last {
                break;
            }
        }
        self.out.put_slice(&END_OK);
        self.gather()?;
        Ok(Some(stored))
    }

    /// Ends the batch.
    pub(super) fn finish(mut self) -> Result<(), LocalError> {
        self.out.put_slice(&END_OF_BATCH);
        self.hand_over()?;
        self.chunks
            .blocking_send(Chunk::Complete)
            .map_err(|_| LocalError::Abandoned)
    }
}

fn read_whole(read: &mut impl FnMut(u64, &mut [u8]) -> io::Result<usize>, offset: u64, out: &mut [u8]) -> bool {
    let mut done = 0_usize;
    while let Some(rest) = out.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match read(offset.saturating_add(done as u64), rest) {
            Ok(0) | Err(_) => return false,
            Ok(n) => done = done.saturating_add(n),
        }
    }
    true
}

/// Bytes of a file made for the run, to be sent beside the payloads.
#[derive(Debug)]
pub(in crate::backup) enum Source {
    Bytes(Vec<u8>),
    /// `Manifest.db`, under the key of an encrypted backup.
    File(std::fs::File, Option<Key>),
}

/// Sends the phone's own files as one batch, and tells what the host must have now: SHA-256 and length as stored.
pub(in crate::backup) fn send_own(
    files: Vec<(String, String, Source)>,
    chunks: mpsc::Sender<Chunk>,
    block: usize,
) -> Result<Vec<([u8; 32], u64)>, LocalError> {
    let mut framer = Framer::new(chunks, block, false);
    let mut stored = Vec::with_capacity(files.len());
    for (device, host, source) in files {
        framer.name(&device)?;
        framer.name(&host)?;
        let mut hash = Sha256::new();
        let sent = match source {
            Source::Bytes(bytes) => {
                let content = Content::bytes(bytes);
                framer.stream(
                    |at, out| content.read_at(at, out),
                    content.len(),
                    None,
                    |b| hash.update(b),
                )?
            }
            Source::File(file, key) => {
                let length = file.metadata()?.len();
                let mut file = io::BufReader::with_capacity(64 << 10, file);
                // The framer asks for every byte once and in order.
                let read = |_, out: &mut [u8]| io::Read::read(&mut file, out);
                framer.stream(read, length, key.as_ref(), |b| hash.update(b))?
            }
        };
        stored.push((hash.finalize().into(), sent.ok_or(LocalError::Abandoned)?));
    }
    framer.finish()?;
    Ok(stored)
}
