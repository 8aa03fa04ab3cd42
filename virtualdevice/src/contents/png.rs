//! Small images and compressed blobs, with the checksums they need. Nothing is really compressed: the formats allow
//! stored blocks, and every reader opens them.

use super::seed::Seed;

/// CRC-32 of PNG and gzip.
fn crc32(parts: &[&[u8]]) -> u32 {
    let mut crc = u32::MAX;
    for byte in parts.iter().copied().flatten() {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0xedb8_8320
            } else {
                crc >> 1
            };
        }
    }
    !crc
}

fn adler32(bytes: &[u8]) -> u32 {
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in bytes {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    (b << 16) | a
}

/// Deflate with stored blocks only.
fn stored(bytes: &[u8]) -> Vec<u8> {
    let blocks = bytes.len().div_ceil(65_535).max(1);
    let mut out = Vec::new();
    let mut rest = bytes;
    for n in 1..=blocks {
        let (block, later) = rest.split_at(rest.len().min(65_535));
        let len = u16::try_from(block.len()).unwrap_or_default();
        out.push(u8::from(n == blocks));
        out.extend(len.to_le_bytes());
        out.extend((!len).to_le_bytes());
        out.extend(block);
        rest = later;
    }
    out
}

/// A gzip file, as notes keep their text.
pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    out.extend(stored(bytes));
    out.extend(crc32(&[bytes]).to_le_bytes());
    out.extend(u32::try_from(bytes.len()).unwrap_or_default().to_le_bytes());
    out
}

fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(data.len()).unwrap_or_default().to_be_bytes().to_vec();
    out.extend(name);
    out.extend(data);
    out.extend(crc32(&[name, data]).to_be_bytes());
    out
}

/// An app's icon: a PNG of 60 by 60 pixels with a palette of four seeded colours.
pub(super) fn icon(seed: Seed) -> Vec<u8> {
    const SIDE: u32 = 60;
    let mut palette = [0; 12];
    seed.fill(0, &mut palette);
    let (step, turn) = (4 + seed.word(8) % 7, seed.word(9) % 4);
    let mut rows = Vec::new();
    for y in 0..u64::from(SIDE) {
        // Filter "none", then four pixels of two bits in a byte.
        rows.push(0);
        for x in (0..u64::from(SIDE)).step_by(4) {
            let pixel = |x: u64| (x / step + y / step * turn) % 4;
            let byte = (pixel(x) << 6) | (pixel(x + 1) << 4) | (pixel(x + 2) << 2) | pixel(x + 3);
            rows.push(u8::try_from(byte).unwrap_or_default());
        }
    }
    let mut zlib = vec![0x78, 0x01];
    zlib.extend(stored(&rows));
    zlib.extend(adler32(&rows).to_be_bytes());
    let mut header = [SIDE.to_be_bytes(), SIDE.to_be_bytes()].concat();
    // Two bits per pixel, palette, the only compression and filtering, not interlaced.
    header.extend([2, 3, 0, 0, 0]);
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    out.extend(chunk(b"IHDR", &header));
    out.extend(chunk(b"PLTE", &palette));
    out.extend(chunk(b"IDAT", &zlib));
    out.extend(chunk(b"IEND", b""));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_match_their_published_check_values() {
        assert_eq!(crc32(&[b"1234", b"56789"]), 0xcbf4_3926);
        assert_eq!(adler32(b"Wikipedia"), 0x11e6_0398);
    }

    #[test]
    fn an_icon_is_a_png_whose_chunks_add_up() {
        let png = icon(Seed::new(5));
        assert_eq!(png[..8], *b"\x89PNG\r\n\x1a\n");
        let (mut at, mut names) = (8, Vec::new());
        while at < png.len() {
            let len = u32::from_be_bytes(png[at..at + 4].try_into().unwrap()) as usize;
            let sum = u32::from_be_bytes(png[at + 8 + len..at + 12 + len].try_into().unwrap());
            assert_eq!(sum, crc32(&[&png[at + 4..at + 8 + len]]));
            names.push(png[at + 4..at + 8].to_vec());
            if names.last().unwrap() == b"IDAT" {
                // Zlib head, one stored block of 60 rows of 1 + 15 bytes, and its checksum.
                assert_eq!(len, 2 + 5 + 60 * 16 + 4);
            }
            at += 12 + len;
        }
        assert_eq!(names, [b"IHDR", b"PLTE", b"IDAT", b"IEND"]);
    }

    #[test]
    fn gzip_of_more_than_one_block_keeps_every_byte() {
        let mut bytes = vec![0; 150_000];
        Seed::new(1).fill(0, &mut bytes);
        let packed = gzip(&bytes);
        let (mut at, mut unpacked) = (10, Vec::<u8>::new());
        loop {
            let len = usize::from(u16::from_le_bytes([packed[at + 1], packed[at + 2]]));
            unpacked.extend(&packed[at + 5..at + 5 + len]);
            let last = packed[at] == 1;
            at += 5 + len;
            if last {
                break;
            }
        }
        assert_eq!(unpacked, bytes);
        assert_eq!(
            packed[at..],
            [crc32(&[&bytes]).to_le_bytes(), 150_000_u32.to_le_bytes()].concat()
        );
    }
}
