//! Photos: JPEG files of any length that every reader opens.

use std::io;
use std::sync::OnceLock;

use jpeg_encoder::{ColorType, Encoder};

use super::noise::MAX_LEN;
use super::seed::Seed;
use crate::fs::{Content, Source};

/// The shortest photo that [`Content::jpeg`] makes, in bytes.
pub const MIN_JPEG_LEN: u64 = 2048;

/// How many different images there are; what differs besides is EXIF and the filling.
const IMAGES: usize = 64;
const WIDTH: u16 = 48;
const HEIGHT: u16 = 32;
/// A comment segment at its longest: marker and 65,535 bytes that count themselves.
const SEGMENT: u64 = 65_537;
/// Marker and length of a segment.
const SEGMENT_HEAD: u64 = 4;

/// A small image, with as many comment segments of noise before it as the length asks for.
///
/// Start of image and EXIF, comments, the image without its start marker.
#[derive(Debug)]
struct Jpeg {
    seed: Seed,
    len: u64,
}

/// What lies at an offset of the comments.
struct Segment {
    start: u64,
    len: u64,
}

impl Jpeg {
    fn filling(&self) -> u64 {
        let fixed = u64::try_from(self.head().len() + self.image().len()).unwrap_or_default();
        self.len.saturating_sub(fixed)
    }

    /// The segment that holds byte `at` of the filling. All have full length but the last, and the one before it where
    /// the rest would be too short for a segment of its own.
    fn segment(filling: u64, at: u64) -> Segment {
        let (full, rest) = (filling / SEGMENT, filling % SEGMENT);
        let moved = if (1..SEGMENT_HEAD).contains(&rest) {
            SEGMENT_HEAD
        } else {
            0
        };
        let last = full * SEGMENT - moved;
        if rest > 0 && at >= last {
            return Segment {
                start: last,
                len: rest + moved,
            };
        }
        let start = at / SEGMENT * SEGMENT;
        Segment {
            start,
            len: SEGMENT.min(if rest > 0 { last } else { filling } - start),
        }
    }

    fn image(&self) -> &'static [u8] {
        static ENCODED: [OnceLock<Vec<u8>>; IMAGES] = [const { OnceLock::new() }; IMAGES];
        let which = usize::try_from(self.seed.word(0) % 64).unwrap_or_default();
        ENCODED
            .get(which)
            .map(|image| image.get_or_init(|| encode(which)).as_slice())
            .unwrap_or_default()
    }

    /// Start of image, and EXIF with the camera and the time the photo was taken; the same length for every seed.
    fn head(&self) -> Vec<u8> {
        let tiff = exif(self.seed);
        let mut out = vec![0xff, 0xd8, 0xff, 0xe1];
        let len = u16::try_from(tiff.len() + 8).unwrap_or_default();
        out.extend(len.to_be_bytes());
        out.extend(b"Exif\0\0");
        out.extend(tiff);
        out
    }
}

impl Source for Jpeg {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (head, image, filling) = (self.head(), self.image(), self.filling());
        let head_len = u64::try_from(head.len()).unwrap_or_default();
        in_pieces(offset, out, |offset, out| {
            if let Some(at) = offset.checked_sub(head_len + filling) {
                return copy(image, at, out);
            }
            let Some(at) = offset.checked_sub(head_len) else {
                return copy(&head, offset, out);
            };
            let segment = Self::segment(filling, at);
            let (inside, body) = (at - segment.start, segment.len - SEGMENT_HEAD);
            let Some(inside) = inside.checked_sub(SEGMENT_HEAD) else {
                let [high, low] = u16::try_from(body + 2).unwrap_or_default().to_be_bytes();
                return copy(&[0xff, 0xfe, high, low], inside, out);
            };
            let n = usize::try_from(body - inside).unwrap_or(usize::MAX).min(out.len());
            // Noise by its place in the file, the same however a read is split.
            self.seed.fill(at, out.get_mut(..n).unwrap_or_default());
            n
        })
    }
}

/// Calls `piece` with an offset and what is left of `out` until it is full; each call says how much it filled.
pub(super) fn in_pieces(
    mut offset: u64,
    mut out: &mut [u8],
    piece: impl Fn(u64, &mut [u8]) -> usize,
) -> io::Result<()> {
    while !out.is_empty() {
        let n = piece(offset, out);
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        offset = offset.saturating_add(u64::try_from(n).unwrap_or_default());
        out = std::mem::take(&mut out).get_mut(n..).unwrap_or_default();
    }
    Ok(())
}

/// Copies what there is from `at` on, and says how much.
pub(super) fn copy(from: &[u8], at: u64, out: &mut [u8]) -> usize {
    let from = usize::try_from(at)
        .ok()
        .and_then(|at| from.get(at..))
        .unwrap_or_default();
    let n = from.len().min(out.len());
    let (to, from) = (out.get_mut(..n), from.get(..n));
    to.unwrap_or_default().copy_from_slice(from.unwrap_or_default());
    n
}

/// One of the images, without its start marker: hills under a sky, with a sun.
fn encode(which: usize) -> Vec<u8> {
    let seed = Seed::new(u64::try_from(which).unwrap_or_default()).child("image");
    let at = |n: u64, below: u64| i32::try_from(seed.word(n) % below).unwrap_or_default();
    let (sun_x, sun_y, hill, hue) = (at(1, 48), at(2, 12), 14 + at(3, 12), at(4, 100));
    let mut pixels = Vec::with_capacity(usize::from(WIDTH) * usize::from(HEIGHT) * 3);
    for y in 0..i32::from(HEIGHT) {
        for x in 0..i32::from(WIDTH) {
            let (dx, dy) = (x - sun_x, y - sun_y);
            let ground = hill + (x + hue) % 24 / 4;
            let rgb = if dx * dx + dy * dy < 20 {
                [250, 230, 120]
            } else if y > ground {
                [40 + hue, 160 - 2 * (y - ground), 60]
            } else {
                [90 + hue, 150 + y, 255 - 2 * y]
            };
            pixels.extend(rgb.map(|level| u8::try_from(level.clamp(0, 255)).unwrap_or_default()));
        }
    }
    let mut out = Vec::new();
    let mut encoder = Encoder::new(&mut out, 70);
    encoder.set_optimized_huffman_tables(true);
    // Writing such a small image into memory has no way to fail; the tests decode all of them.
    let _ = encoder.encode(&pixels, WIDTH, HEIGHT, ColorType::Rgb);
    out.drain(..out.len().min(2));
    out
}

/// A TIFF block with maker, model and the time of the picture (between 2019 and 2023).
fn exif(seed: Seed) -> Vec<u8> {
    let mut draws = seed.child("exif").draws();
    let (year, month, day) = (2019 + draws.below(5), 1 + draws.below(12), 1 + draws.below(28));
    let (hour, minute, second) = (draws.below(24), draws.below(60), draws.below(60));
    let taken = format!("{year}:{month:02}:{day:02} {hour:02}:{minute:02}:{second:02}\0");
    let values: [(u16, &[u8]); 3] = [
        (0x010f, b"Apple\0"),
        (0x0110, b"iPhone 13\0"),
        (0x0132, taken.as_bytes()),
    ];
    let mut out = b"MM\0\x2a\0\0\0\x08".to_vec();
    out.extend(3_u16.to_be_bytes());
    let mut place = 8 + 2 + 12 * 3 + 4;
    for (tag, value) in values {
        let count = u32::try_from(value.len()).unwrap_or_default();
        out.extend(tag.to_be_bytes());
        out.extend(2_u16.to_be_bytes());
        out.extend(count.to_be_bytes());
        out.extend(u32::to_be_bytes(place));
        place += count;
    }
    out.extend([0; 4]);
    out.extend(values.iter().flat_map(|(_, value)| value.iter()));
    out
}

impl Content {
    /// A photo: JPEG bytes of an exact length, made when they are read.
    ///
    /// A real small image, filled up with comment segments. Lengths below [`MIN_JPEG_LEN`] are raised to it.
    #[must_use]
    pub fn jpeg(seed: u64, len: u64) -> Self {
        Self::from_source(Jpeg {
            seed: Seed::new(seed),
            len: len.clamp(MIN_JPEG_LEN, MAX_LEN),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks the markers as any reader does; the length of each segment, and where the scan starts.
    fn walk(bytes: &[u8]) -> (Vec<(u8, usize)>, usize) {
        assert_eq!(bytes[..2], [0xff, 0xd8]);
        let (mut at, mut segments) = (2, Vec::new());
        loop {
            assert_eq!(bytes[at], 0xff, "a marker at {at}");
            let marker = bytes[at + 1];
            let len = usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
            assert!(len >= 2);
            segments.push((marker, len));
            at += 2 + len;
            if marker == 0xda {
                return (segments, at);
            }
        }
    }

    #[test]
    fn photos_are_jpeg_of_exactly_the_asked_length() {
        let lens = [
            0,
            1,
            MIN_JPEG_LEN,
            2049,
            2050,
            2051,
            65_000,
            66_000,
            131_072,
            500_000,
            3_000_001,
        ];
        // Every rest of the filling modulo a segment near the places where the last segments change.
        let edges = (0..12_u64).flat_map(|n| [67_000 + n, 132_600 + n]);
        for len in lens.into_iter().chain(edges).chain(66_080..66_600) {
            let bytes = Content::jpeg(len, len).to_bytes(1 << 30).unwrap();
            assert_eq!(bytes.len() as u64, len.max(MIN_JPEG_LEN));
            let (segments, scan) = walk(&bytes);
            assert_eq!(segments[0].0, 0xe1, "EXIF first");
            assert!(
                segments.iter().any(|(marker, _)| *marker == 0xc0 || *marker == 0xc1),
                "a frame header"
            );
            assert_eq!(bytes[bytes.len() - 2..], [0xff, 0xd9], "ends with the end of image");
            assert!(scan < bytes.len() - 2);
        }
    }

    #[test]
    fn a_decoder_of_somebody_else_opens_every_photo() {
        let mut pictures = std::collections::BTreeSet::new();
        for seed in 0..300 {
            let photo = Content::jpeg(seed, MIN_JPEG_LEN + seed * 700);
            let mut decoder = jpeg_decoder::Decoder::new(photo.reader());
            let pixels = decoder.decode().unwrap();
            let info = decoder.info().unwrap();
            assert_eq!((info.width, info.height), (WIDTH, HEIGHT));
            let exif = decoder.exif_data().unwrap();
            assert!(exif.starts_with(b"MM\0\x2a") && exif.windows(5).any(|part| part == b"Apple"));
            pictures.insert(pixels);
        }
        assert!(pictures.len() > IMAGES / 2, "{} different pictures", pictures.len());
    }

    #[test]
    fn the_last_segments_never_get_too_short_for_their_own_length() {
        for rest in 0..10 {
            for full in 1..4 {
                let filling = full * SEGMENT + rest;
                let mut at = 0;
                while at < filling {
                    let segment = Jpeg::segment(filling, at);
                    assert_eq!(segment.start, at);
                    assert!(
                        (SEGMENT_HEAD..=SEGMENT).contains(&segment.len),
                        "{} of {filling}",
                        segment.len
                    );
                    for inside in [at + 1, at + segment.len - 1] {
                        assert_eq!(Jpeg::segment(filling, inside).start, at, "byte {inside} of {filling}");
                    }
                    at += segment.len;
                }
                assert_eq!(at, filling);
            }
        }
    }

    #[test]
    fn every_image_and_exif_fit_the_shortest_photo() {
        for which in 0..IMAGES {
            let jpeg = Jpeg {
                seed: Seed::new(which as u64),
                len: MIN_JPEG_LEN,
            };
            let image = encode(which);
            assert!(image.len() > 300, "image {which} was encoded");
            let fixed = jpeg.head().len() + image.len();
            assert!(
                fixed as u64 + SEGMENT_HEAD <= MIN_JPEG_LEN,
                "image {which} takes {fixed} bytes"
            );
        }
    }
}
