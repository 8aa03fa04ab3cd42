//! A zip, written from front to back (APPNOTE 6.3): UTF-8 names, times in Unix seconds, zip64 where it is needed.

use std::io::{self, BufReader, BufWriter, Read, Seek, Write};

use flate2::{Compress, Crc, FlushCompress, Status};

use super::options::Compression;
use super::stream::{Member, Members};

/// From this length on a member is said in 64 bits: deflating may make it a little longer.
const LARGE: u64 = 0xf000_0000;

const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// Bit 11: the name is UTF-8.
const UTF8: u16 = 1 << 11;
/// Bit 3: lengths and checksum are behind the contents.
const DESCRIPTOR: u16 = 1 << 3;

/// Extensions of what is compressed already.
const COMPRESSED: [&str; 20] = [
    "jpg", "jpeg", "heic", "heif", "png", "gif", "webp", "mov", "mp4", "m4v", "m4a", "mp3", "aac", "amr", "caf", "zip",
    "gz", "epub", "ipa", "opus",
];

/// Directory entries that are kept in a temporary file until they are written.
#[derive(Debug)]
pub(super) struct ZipWriter<W> {
    out: W,
    offset: u64,
    directory: BufWriter<std::fs::File>,
    directory_len: u64,
    members: u64,
    compression: Compression,
    deflate: Compress,
    /// For members that shrink no further: blocks that are stored as they are, in a stream that says where it ends.
    wrap: Compress,
    buffer: Vec<u8>,
    open: Option<Open>,
}

/// The member that is being written.
#[derive(Debug)]
struct Open {
    entry: Entry,
    crc: Crc,
    plain: bool,
}

/// What the directory says of a member.
#[derive(Debug)]
struct Entry {
    path: String,
    mode: u32,
    modified: i64,
    method: u16,
    flags: u16,
    crc: u32,
    packed: u64,
    len: u64,
    offset: u64,
    /// Whether the lengths behind the contents have 64 bits.
    large: bool,
}

impl<W: Write> ZipWriter<W> {
    pub(super) fn new(out: W, compression: Compression) -> io::Result<Self> {
        Ok(Self {
            out,
            offset: 0,
            directory: BufWriter::new(tempfile::tempfile()?),
            directory_len: 0,
            members: 0,
            compression,
            deflate: Compress::new(flate2::Compression::default(), false),
            wrap: Compress::new(flate2::Compression::none(), false),
            buffer: Vec::new(),
            open: None,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.offset = self.offset.saturating_add(bytes.len() as u64);
        Ok(())
    }

    fn is_worth_it(&self, path: &str) -> bool {
        let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
        self.compression == Compression::Deflate
            && !COMPRESSED.iter().any(|known| known.eq_ignore_ascii_case(extension))
    }

    /// Writes all there is of a member whose contents are at hand.
    fn whole(&mut self, member: Member<'_>, contents: &[u8], mode: u32, plain: bool) -> io::Result<()> {
        let mut crc = Crc::new();
        crc.update(contents);
        let mut packed = std::mem::take(&mut self.buffer);
        packed.clear();
        if !plain {
            self.deflate.reset();
            pump(&mut self.deflate, contents, FlushCompress::Finish, |bytes| {
                packed.extend_from_slice(bytes);
                Ok(())
            })?;
        }
        let is_smaller = !plain && packed.len() < contents.len();
        let stored = if is_smaller { &*packed } else { contents };
        let entry = Entry {
            path: member.path.to_owned(),
            mode,
            modified: member.modified,
            method: if is_smaller { DEFLATED } else { STORED },
            flags: UTF8,
            crc: crc.sum(),
            packed: stored.len() as u64,
            len: contents.len() as u64,
            offset: self.offset,
            large: false,
        };
        self.write(&local_header(&entry))?;
        self.write(stored)?;
        self.buffer = packed;
        self.list(&entry)
    }

    fn compress(&mut self, bytes: &[u8], flush: FlushCompress) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        open.crc.update(bytes);
        open.entry.len = open.entry.len.saturating_add(bytes.len() as u64);
        let machine = if open.plain { &mut self.wrap } else { &mut self.deflate };
        let (out, packed) = (&mut self.out, &mut open.entry.packed);
        pump(machine, bytes, flush, |bytes| {
            out.write_all(bytes)?;
            *packed = packed.saturating_add(bytes.len() as u64);
            Ok(())
        })
    }

    /// Adds a member to the directory.
    fn list(&mut self, entry: &Entry) -> io::Result<()> {
        let bytes = central_header(entry);
        self.directory.write_all(&bytes)?;
        self.directory_len = self.directory_len.saturating_add(bytes.len() as u64);
        self.members = self.members.saturating_add(1);
        Ok(())
    }
}

/// Runs all of `input` through the compressor.
fn pump(
    machine: &mut Compress,
    mut input: &[u8],
    flush: FlushCompress,
    mut write: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut out = [0; 16 << 10];
    loop {
        let (read, written) = (machine.total_in(), machine.total_out());
        let status = machine.compress(input, &mut out, flush).map_err(io::Error::other)?;
        let read = usize::try_from(machine.total_in().saturating_sub(read)).unwrap_or(usize::MAX);
        let written = usize::try_from(machine.total_out().saturating_sub(written)).unwrap_or(usize::MAX);
        write(out.get(..written).unwrap_or_default())?;
        input = input.get(read..).unwrap_or_default();
        let is_done = match flush {
            FlushCompress::Finish => status == Status::StreamEnd,
            _ => input.is_empty() && written < out.len(),
        };
        if is_done {
            return Ok(());
        }
    }
}

impl<W: Write> Members for ZipWriter<W> {
    fn directory(&mut self, member: Member<'_>) -> io::Result<()> {
        let path = format!("{}/", member.path);
        self.whole(Member { path: &path, ..member }, &[], 0o040_000 | member.mode, true)
    }

    fn link(&mut self, member: Member<'_>, target: &str) -> io::Result<()> {
        self.whole(member, target.as_bytes(), 0o120_000 | member.mode, true)
    }

    fn small(&mut self, member: Member<'_>, contents: &[u8]) -> io::Result<()> {
        let plain = !self.is_worth_it(member.path);
        self.whole(member, contents, 0o100_000 | member.mode, plain)
    }

    fn begin(&mut self, member: Member<'_>, len: u64) -> io::Result<()> {
        let entry = Entry {
            path: member.path.to_owned(),
            mode: 0o100_000 | member.mode,
            modified: member.modified,
            method: DEFLATED,
            flags: UTF8 | DESCRIPTOR,
            crc: 0,
            packed: 0,
            len: 0,
            offset: self.offset,
            large: len >= LARGE,
        };
        let plain = !self.is_worth_it(member.path);
        self.deflate.reset();
        self.wrap.reset();
        self.write(&local_header(&entry))?;
        self.open = Some(Open {
            entry,
            crc: Crc::new(),
            plain,
        });
        Ok(())
    }

    fn piece(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.compress(bytes, FlushCompress::None)
    }

    fn end(&mut self, _missing: u64) -> io::Result<()> {
        self.compress(&[], FlushCompress::Finish)?;
        let Some(Open { mut entry, crc, .. }) = self.open.take() else {
            return Ok(());
        };
        self.offset = self.offset.saturating_add(entry.packed);
        entry.crc = crc.sum();
        let mut descriptor = Bytes::default();
        descriptor.u32(0x0807_4b50);
        descriptor.u32(entry.crc);
        if entry.large {
            descriptor.u64(entry.packed);
            descriptor.u64(entry.len);
        } else {
            descriptor.u32_of(entry.packed);
            descriptor.u32_of(entry.len);
        }
        self.write(&descriptor.0)?;
        self.list(&entry)
    }

    fn finish(&mut self) -> io::Result<()> {
        let start = self.offset;
        self.directory.flush()?;
        let mut spooled = self.directory.get_ref();
        spooled.rewind()?;
        let mut spooled = BufReader::new(spooled).take(self.directory_len);
        let copied = io::copy(&mut spooled, &mut self.out)?;
        self.offset = start.saturating_add(copied);
        let end = end_of(self.members, start, self.directory_len, self.offset);
        self.write(&end)
    }
}

/// Little-endian numbers.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    /// All ones where the number is elsewhere, in 64 bits.
    fn u32_of(&mut self, value: u64) {
        self.u32(u32::try_from(value).unwrap_or(u32::MAX));
    }
    fn u16_of(&mut self, value: u64) {
        self.u16(u16::try_from(value).unwrap_or(u16::MAX));
    }
}

/// What both headers say alike, from the version on.
fn common(out: &mut Bytes, entry: &Entry, extra: &[u8]) {
    let (time, date) = dos_time(entry.modified);
    let needs_64 = entry.large
        || [entry.packed, entry.len, entry.offset]
            .iter()
            .any(|n| *n >= u32::MAX.into());
    out.u16(if needs_64 { 45 } else { 20 });
    out.u16(entry.flags);
    out.u16(entry.method);
    out.u16(time);
    out.u16(date);
    out.u32(entry.crc);
    out.u32_of(entry.packed);
    out.u32_of(entry.len);
    out.u16_of(entry.path.len() as u64);
    out.u16_of(extra.len() as u64);
}

/// `UT`: the time of change in Unix seconds, if it has 32 bits.
fn time_extra(out: &mut Bytes, modified: i64) {
    if let Ok(seconds) = i32::try_from(modified) {
        out.u16(0x5455);
        out.u16(5);
        out.0.push(1);
        out.0.extend_from_slice(&seconds.to_le_bytes());
    }
}

fn local_header(entry: &Entry) -> Vec<u8> {
    let mut extra = Bytes::default();
    if entry.large {
        // Says that the descriptor has 64 bits.
        extra.u16(1);
        extra.u16(16);
        extra.u64(0);
        extra.u64(0);
    }
    time_extra(&mut extra, entry.modified);
    let mut out = Bytes::default();
    out.u32(0x0403_4b50);
    let said = Entry {
        packed: if entry.large { u32::MAX.into() } else { entry.packed },
        len: if entry.large { u32::MAX.into() } else { entry.len },
        offset: 0,
        path: entry.path.clone(),
        ..*entry
    };
    common(&mut out, &said, &extra.0);
    out.0.extend_from_slice(entry.path.as_bytes());
    out.0.extend_from_slice(&extra.0);
    out.0
}

fn central_header(entry: &Entry) -> Vec<u8> {
    let mut wide = Bytes::default();
    for number in [entry.len, entry.packed, entry.offset] {
        if number >= u32::MAX.into() {
            wide.u64(number);
        }
    }
    let mut extra = Bytes::default();
    if !wide.0.is_empty() {
        extra.u16(1);
        extra.u16_of(wide.0.len() as u64);
        extra.0.extend_from_slice(&wide.0);
    }
    time_extra(&mut extra, entry.modified);
    let mut out = Bytes::default();
    out.u32(0x0201_4b50);
    // Made on Unix, whose permissions are in the upper half of the attributes.
    out.u16(3 << 8 | 45);
    common(&mut out, entry, &extra.0);
    out.u16(0);
    out.u16(0);
    out.u16(0);
    out.u32(entry.mode << 16 | u32::from(entry.path.ends_with('/')) << 4);
    out.u32_of(entry.offset);
    out.0.extend_from_slice(entry.path.as_bytes());
    out.0.extend_from_slice(&extra.0);
    out.0
}

/// The end of the file: where the directory is.
fn end_of(members: u64, start: u64, len: u64, here: u64) -> Vec<u8> {
    let mut out = Bytes::default();
    if members >= u16::MAX.into() || start >= u32::MAX.into() || len >= u32::MAX.into() {
        out.u32(0x0606_4b50);
        out.u64(44);
        out.u16(3 << 8 | 45);
        out.u16(45);
        out.u32(0);
        out.u32(0);
        out.u64(members);
        out.u64(members);
        out.u64(len);
        out.u64(start);
        out.u32(0x0706_4b50);
        out.u32(0);
        out.u64(here);
        out.u32(1);
    }
    out.u32(0x0605_4b50);
    out.u16(0);
    out.u16(0);
    out.u16_of(members);
    out.u16_of(members);
    out.u32_of(len);
    out.u32_of(start);
    out.u16(0);
    out.0
}

/// Time and date of MS-DOS, in UTC, within 1980 to 2107.
#[expect(
    clippy::arithmetic_side_effects,
    reason = "the seconds are clamped to 128 years first"
)]
fn dos_time(seconds: i64) -> (u16, u16) {
    let seconds = seconds.clamp(315_532_800, 4_354_819_198);
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01, in eras of 400 years (the calendar algorithm of Howard Hinnant).
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 {
        month_shifted + 3
    } else {
        month_shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let date = (year - 1980) << 9 | month << 5 | day;
    let time = (of_day / 3600) << 11 | (of_day / 60 % 60) << 5 | (of_day % 60 / 2);
    (u16::try_from(time).unwrap_or(0), u16::try_from(date).unwrap_or(0x21))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_ms_dos_are_right_and_clamped() {
        assert_eq!(dos_time(0), (0, 0x21));
        assert_eq!(dos_time(i64::MAX), (0xbf7d, 0xff9f));
        // 2024-02-29T13:37:58Z.
        assert_eq!(
            dos_time(1_709_213_878),
            (13 << 11 | 37 << 5 | 29, 44 << 9 | 2 << 5 | 29)
        );
    }

    #[test]
    fn more_members_than_sixteen_bits_count_are_listed_in_zip64_form() {
        let mut bytes = Vec::new();
        let mut writer = ZipWriter::new(&mut bytes, Compression::Stored).unwrap();
        for n in 0..70_000 {
            let path = format!("D/{n}");
            writer
                .small(
                    Member {
                        path: &path,
                        mode: 0o600,
                        modified: 0,
                    },
                    b"",
                )
                .unwrap();
        }
        writer.finish().unwrap();
        drop(writer);
        let archive = zip::ZipArchive::new(io::Cursor::new(bytes)).unwrap();
        assert_eq!(archive.len(), 70_000);
    }
}
