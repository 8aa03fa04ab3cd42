//! Plaintext of a payload that arrives once, front to back.

use std::io::{self, Read};
use std::ops::Range;

use super::ArchiveError;
use super::cipher::CbcDecryptor;
use super::padding::Ending;
use super::read::ReadOptions;
use super::wrap::Key;

/// Bytes decrypted at once.
const CHUNK: usize = 64 << 10;

/// Decrypts a payload as it arrives from a source that cannot seek, such as an archive file or a device.
///
/// One block is held back until the source ends, because only then is it known how much of it is padding (spec
/// backup-format, 6.3). Where the source can seek, [`DecryptingReader`](super::DecryptingReader) is faster and knows
/// the length beforehand. Both give the same bytes.
///
/// A payload that was cut off gives everything before the held block and then an error of the kind
/// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) around [`ArchiveError::Incomplete`]; with
/// [`ReadOptions::salvage`], the held block and no error.
#[derive(Debug)]
pub struct DecryptingStream<R> {
    source: R,
    decryptor: CbcDecryptor,
    recorded: u64,
    options: ReadOptions,
    /// Plaintext in `ready`, which is handed out next, then in `held`; then encrypted bytes short of a block.
    buffer: Vec<u8>,
    ready: Range<usize>,
    /// The last decrypted block: empty or 16 bytes.
    held: Range<usize>,
    stored: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Reading,
    /// The end is known; the buffer may hold plaintext still.
    Ended(Ending),
    /// As `Ended`, and the caller must hear that the payload is incomplete.
    Refused(Ending),
    /// The source failed in the middle of a chunk: nothing behind that place can be decrypted any more.
    Broken,
}

impl<R: Read> DecryptingStream<R> {
    /// Decrypts `source` with the file's own key. `recorded` is the `Size` of its record.
    pub fn new(source: R, key: &Key, recorded: u64, options: ReadOptions) -> Self {
        Self {
            source,
            decryptor: CbcDecryptor::new(key),
            recorded,
            options,
            buffer: Vec::new(),
            ready: 0..0,
            held: 0..0,
            stored: 0,
            state: State::Reading,
        }
    }

    /// How the payload ends; `None` until the source has ended.
    #[must_use]
    pub const fn ending(&self) -> Option<Ending> {
        match self.state {
            State::Ended(ending) | State::Refused(ending) => Some(ending),
            State::Reading | State::Broken => None,
        }
    }

    /// The source, at whatever place it is.
    pub fn into_inner(self) -> R {
        self.source
    }

    /// Replaces the handed-out plaintext by more; only called when `ready` is empty.
    fn refill(&mut self) -> io::Result<()> {
        self.state = State::Broken;
        // What was held and what is short of a block move to the front.
        self.buffer.drain(..self.held.start);
        let plain = self.held.len();
        let wanted = CHUNK.saturating_sub(self.buffer.len());
        let got = self.source.by_ref().take(wanted as u64).read_to_end(&mut self.buffer)?;
        self.stored = self.stored.saturating_add(got as u64);

        let fresh = self.buffer.get_mut(plain..).unwrap_or_default();
        let whole = fresh.len().saturating_sub(fresh.len() % 16);
        self.decryptor.decrypt(fresh.get_mut(..whole).unwrap_or_default());
        let end = plain.saturating_add(whole);
        self.ready = 0..end.saturating_sub(16);
        self.held = self.ready.end..end;
        self.state = if got < wanted { self.finish() } else { State::Reading };
        Ok(())
    }

    fn finish(&mut self) -> State {
        let held = self.buffer.get(self.held.clone()).and_then(|block| block.first_chunk());
        let ending = Ending::of(self.stored, self.recorded, held);
        if self.options.judge(ending, self.stored, self.recorded).is_err() {
            return State::Refused(ending);
        }
        // The padding is the part of the decrypted bytes that goes beyond the plaintext.
        let whole = self.stored.saturating_sub(ending.stray.into());
        let padding = usize::try_from(whole.saturating_sub(ending.plain_len)).unwrap_or(16);
        self.ready.end = self.held.end.saturating_sub(padding);
        self.held = self.held.end..self.held.end;
        State::Ended(ending)
    }
}

impl<R: Read> Read for DecryptingStream<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.ready.is_empty() && !out.is_empty() {
            match self.state {
                State::Reading => self.refill()?,
                State::Ended(_) => return Ok(0),
                State::Refused(_) => {
                    let refusal = ArchiveError::Incomplete {
                        stored: self.stored,
                        recorded: self.recorded,
                    };
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, refusal));
                }
                State::Broken => return Err(io::Error::other("an earlier read of the payload failed")),
            }
        }
        let available = self.buffer.get(self.ready.clone()).unwrap_or_default();
        let len = available.len().min(out.len());
        out.iter_mut().zip(available).for_each(|(to, from)| *to = *from);
        self.ready.start = self.ready.start.saturating_add(len);
        Ok(len)
    }
}
