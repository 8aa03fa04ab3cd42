//! Videos: well-formed QuickTime boxes around noise.

use std::io;

use super::noise::MAX_LEN;
use super::picture::{copy, in_pieces};
use super::seed::Seed;
use crate::fs::{Content, Source};

/// The shortest video that [`Content::movie`] makes, in bytes.
pub const MIN_MOVIE_LEN: u64 = 2048;

/// Bytes of one frame in the sample table.
const FRAME: u64 = 50_000;
/// Frames per second.
const RATE: u32 = 30;
const IDENTITY: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];

/// `ftyp`, `moov` with one track, and `mdat` with noise to the end.
#[derive(Debug)]
struct Movie {
    seed: Seed,
    len: u64,
}

/// One box: length, name, contents.
fn atom(name: &[u8; 4], contents: &[&[u8]]) -> Vec<u8> {
    let len = contents.iter().map(|part| part.len()).sum::<usize>() + 8;
    let mut out = u32::try_from(len).unwrap_or_default().to_be_bytes().to_vec();
    out.extend(name);
    contents.iter().for_each(|part| out.extend(*part));
    out
}

fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}

impl Movie {
    /// Everything before the noise; its length does not depend on the numbers in it.
    fn head(&self) -> Vec<u8> {
        let draft = self.head_with(0, 1);
        let head_len = u64::try_from(draft.len()).unwrap_or_default();
        self.head_with(self.len.saturating_sub(head_len), head_len)
    }

    fn head_with(&self, data_len: u64, data_at: u64) -> Vec<u8> {
        let frames = u32::try_from((data_len / FRAME).max(1)).unwrap_or(u32::MAX);
        let frame = u32::try_from(data_len / u64::from(frames)).unwrap_or(u32::MAX);
        // Version 0, creation and modification (seconds since 1904), time scale, duration.
        let times = words(&[0, 3_700_000_000, 3_700_000_000]);
        let table = [
            atom(b"stsd", &[&words(&[0, 1]), &atom(b"jpeg", &[&sample_entry()])]),
            atom(b"stts", &[&words(&[0, 1, frames, 1])]),
            atom(b"stsc", &[&words(&[0, 1, 1, frames, 1])]),
            atom(b"stsz", &[&words(&[0, frame, frames])]),
            atom(b"co64", &[&words(&[0, 1]), &data_at.to_be_bytes()]),
        ]
        .concat();
        let reference = atom(b"dref", &[&words(&[0, 1]), &atom(b"url ", &[&words(&[1])])]);
        let media_info = [
            atom(b"vmhd", &[&words(&[1, 0, 0])]),
            atom(b"dinf", &[&reference]),
            atom(b"stbl", &[&table]),
        ]
        .concat();
        let media = [
            atom(b"mdhd", &[&times, &words(&[RATE, frames, 0])]),
            atom(b"hdlr", &[&words(&[0]), b"mhlrvide", &[0; 12], b"\0"]),
            atom(b"minf", &[&media_info]),
        ]
        .concat();
        let size = words(&[48 << 16, 32 << 16]);
        let identity = words(&IDENTITY);
        let track = [
            atom(
                b"tkhd",
                &[
                    &words(&[7, 3_700_000_000, 3_700_000_000, 1, 0, frames]),
                    &[0; 16],
                    &identity,
                    &size,
                ],
            ),
            atom(b"mdia", &[&media]),
        ]
        .concat();
        let movie = [
            atom(
                b"mvhd",
                &[
                    &times,
                    &words(&[RATE, frames, 0x1_0000]),
                    &[1, 0],
                    &[0; 10],
                    &identity,
                    &[0; 24],
                    &words(&[2]),
                ],
            ),
            atom(b"trak", &[&track]),
        ]
        .concat();
        let mut out = atom(b"ftyp", &[b"qt  \0\0\0\0qt  "]);
        out.extend(atom(b"moov", &[&movie]));
        // The long form of a box length: videos above 4 GB are part of the game.
        out.extend(1_u32.to_be_bytes());
        out.extend(b"mdat");
        out.extend(data_len.saturating_add(16).to_be_bytes());
        out
    }
}

/// A visual sample description after its name: reserved, data reference, size, resolution, depth.
fn sample_entry() -> Vec<u8> {
    let mut out = vec![0; 6];
    out.extend([0, 1]);
    out.extend([0; 16]);
    out.extend([0, 48, 0, 32]);
    out.extend(words(&[0x48_0000, 0x48_0000, 0]));
    out.extend([0, 1]);
    out.extend([0; 32]);
    out.extend([0, 24, 0xff, 0xff]);
    out
}

impl Source for Movie {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset >= MIN_MOVIE_LEN {
            self.seed.fill(offset, out);
            return Ok(());
        }
        let head = self.head();
        let head_len = u64::try_from(head.len()).unwrap_or_default();
        in_pieces(offset, out, |offset, out| {
            if offset < head_len {
                return copy(&head, offset, out);
            }
            self.seed.fill(offset, out);
            out.len()
        })
    }
}

impl Content {
    /// A video: QuickTime boxes of an exact length around noise, made when they are read.
    ///
    /// Players find a track but no picture in it. Lengths below [`MIN_MOVIE_LEN`] are raised to it.
    #[must_use]
    pub fn movie(seed: u64, len: u64) -> Self {
        Self::from_source(Movie {
            seed: Seed::new(seed),
            len: len.clamp(MIN_MOVIE_LEN, MAX_LEN),
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::cast_possible_truncation, reason = "test code")]

    use super::*;

    /// The names and ranges of the boxes in `bytes`, whose file goes on to `end`.
    fn boxes(bytes: &[u8], end: u64) -> Vec<(String, usize, u64)> {
        let (mut at, mut found) = (0_u64, Vec::new());
        while at < end {
            let head = &bytes[at as usize..];
            let mut len = u64::from(u32::from_be_bytes(head[..4].try_into().unwrap()));
            let mut body = 8;
            if len == 1 {
                (len, body) = (u64::from_be_bytes(head[8..16].try_into().unwrap()), 16);
            }
            assert!(len >= body && at + len <= end, "box at {at} of {len} in {end}");
            found.push((
                String::from_utf8(head[4..8].to_vec()).unwrap(),
                (at + body) as usize,
                len - body,
            ));
            at += len;
        }
        found
    }

    #[test]
    fn videos_are_whole_boxes_of_exactly_the_asked_length() {
        for len in [0, MIN_MOVIE_LEN, 100_001, 7 << 30] {
            let movie = Content::movie(3, len);
            assert_eq!(movie.len(), len.max(MIN_MOVIE_LEN));
            let mut head = vec![0; MIN_MOVIE_LEN as usize];
            movie.read_at(0, &mut head).unwrap();
            let top = boxes(&head, movie.len());
            let names: Vec<_> = top.iter().map(|(name, ..)| name.as_str()).collect();
            assert_eq!(names, ["ftyp", "moov", "mdat"]);
            let (_, at, len) = top[1].clone();
            let mut inside = vec![(at, len)];
            let mut seen = Vec::new();
            while let Some((at, len)) = inside.pop() {
                for (name, start, len) in boxes(&head[at..at + len as usize], len) {
                    if matches!(&*name, "trak" | "mdia" | "minf" | "dinf" | "stbl") {
                        inside.push((at + start, len));
                    }
                    if name == "co64" {
                        let chunk = &head[at + start + 8..at + start + 16];
                        assert_eq!(u64::from_be_bytes(chunk.try_into().unwrap()), top[2].1 as u64);
                    }
                    seen.push((name, len));
                }
            }
            let len_of = |wanted: &str| seen.iter().find(|(name, _)| name == wanted).map(|(_, len)| *len);
            assert_eq!(
                [len_of("mvhd"), len_of("tkhd"), len_of("mdhd"), len_of("stsd")],
                [100, 84, 24, 94].map(Some)
            );
        }
    }
}
