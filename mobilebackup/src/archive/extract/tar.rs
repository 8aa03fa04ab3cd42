//! A tar, written from front to back: `ustar` headers, `pax` ones before them where those cannot say it.

use std::io::{self, Write};

use super::stream::{Member, Members};

/// Files of this many bytes and more need a `pax` header to say so.
const MAX_OCTAL_SIZE: u64 = 0o77_777_777_777;

/// Longer names, and those that are not ASCII, are in a `pax` header.
const MAX_NAME: usize = 100;

#[derive(Debug)]
pub(super) struct TarWriter<W> {
    out: W,
    /// Bytes written since the last whole block.
    partial: u64,
    members: u64,
}

impl<W: Write> TarWriter<W> {
    pub(super) const fn new(out: W) -> Self {
        Self {
            out,
            partial: 0,
            members: 0,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.partial = self.partial.wrapping_add(bytes.len() as u64) % 512;
        Ok(())
    }

    fn pad(&mut self) -> io::Result<()> {
        if self.partial > 0 {
            let missing = usize::try_from(512_u64.saturating_sub(self.partial)).unwrap_or_default();
            self.write([0; 512].get(..missing).unwrap_or_default())?;
        }
        Ok(())
    }

    fn header(&mut self, kind: tar::EntryType, member: Member<'_>, len: u64, target: &str) -> io::Result<()> {
        self.members = self.members.saturating_add(1);
        let name = match kind {
            tar::EntryType::Directory => format!("{}/", member.path),
            _ => member.path.to_owned(),
        };
        let mut pax = Vec::new();
        let fits = |text: &str| text.is_ascii() && text.len() <= MAX_NAME;
        if !fits(&name) {
            record(&mut pax, "path", &name);
        }
        if !fits(target) {
            record(&mut pax, "linkpath", target);
        }
        if len > MAX_OCTAL_SIZE {
            record(&mut pax, "size", &len.to_string());
        }
        let seconds = u64::try_from(member.modified)
            .ok()
            .filter(|seconds| *seconds <= MAX_OCTAL_SIZE);
        if seconds.is_none() {
            record(&mut pax, "mtime", &member.modified.to_string());
        }
        // What a program that knows no `pax` sees.
        let stand_in = format!("pax/{}", self.members);
        if !pax.is_empty() {
            let header = fields(tar::EntryType::XHeader, &stand_in, 0o600, pax.len() as u64, 0, "")?;
            self.write(&header)?;
            self.write(&pax)?;
            self.pad()?;
        }
        let name = if fits(&name) { &name } else { &stand_in };
        let target = if fits(target) { target } else { &stand_in };
        let size = len.min(MAX_OCTAL_SIZE);
        let header = fields(kind, name, member.mode, size, seconds.unwrap_or(0), target)?;
        self.write(&header)
    }
}

/// One header block.
fn fields(
    kind: tar::EntryType,
    name: &str,
    mode: u32,
    size: u64,
    modified: u64,
    target: &str,
) -> io::Result<[u8; 512]> {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_path(name)?;
    if !target.is_empty() {
        header.set_link_name(target)?;
    }
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    header.set_mtime(modified);
    header.set_cksum();
    Ok(*header.as_bytes())
}

/// A `pax` record: its own length, which counts itself, a key and a value.
fn record(out: &mut Vec<u8>, key: &str, value: &str) {
    let rest = key.len().saturating_add(value.len()).saturating_add(3);
    let mut len = rest;
    loop {
        let with_digits = rest.saturating_add(len.to_string().len());
        if with_digits == len {
            break;
        }
        len = with_digits;
    }
    out.extend_from_slice(format!("{len} {key}={value}\n").as_bytes());
}

impl<W: Write> Members for TarWriter<W> {
    fn directory(&mut self, member: Member<'_>) -> io::Result<()> {
        self.header(tar::EntryType::Directory, member, 0, "")
    }

    fn link(&mut self, member: Member<'_>, target: &str) -> io::Result<()> {
        self.header(tar::EntryType::Symlink, member, 0, target)
    }

    fn small(&mut self, member: Member<'_>, contents: &[u8]) -> io::Result<()> {
        self.begin(member, contents.len() as u64)?;
        self.piece(contents)?;
        self.end(0)
    }

    fn begin(&mut self, member: Member<'_>, len: u64) -> io::Result<()> {
        self.header(tar::EntryType::Regular, member, len, "")
    }

    fn piece(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write(bytes)
    }

    fn end(&mut self, missing: u64) -> io::Result<()> {
        let mut missing = missing;
        while missing > 0 {
            let len = missing.min(512);
            self.write(
                [0; 512]
                    .get(..usize::try_from(len).unwrap_or_default())
                    .unwrap_or_default(),
            )?;
            missing = missing.saturating_sub(len);
        }
        self.pad()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.write(&[0; 1024])
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_length_of_a_record_counts_itself() {
        for len in 0..1200 {
            let mut out = Vec::new();
            record(&mut out, "path", &"x".repeat(len));
            let text = String::from_utf8(out).unwrap();
            let (said, _) = text.split_once(' ').unwrap();
            assert_eq!(said.parse::<usize>().unwrap(), text.len());
        }
    }

    #[test]
    fn long_names_large_sizes_and_times_before_1970_are_said_in_pax_headers() {
        let mut bytes = Vec::new();
        let mut writer = TarWriter::new(&mut bytes);
        let path = format!("D/{}/\u{e9}", "long/".repeat(60));
        let member = Member {
            path: &path,
            mode: 0o640,
            modified: -5,
        };
        // A header alone: nobody writes ten gigabytes in a test.
        writer.header(tar::EntryType::Regular, member, 10 << 30, "").unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(entry.path().unwrap().to_str().unwrap(), path);
        assert_eq!(entry.size(), 10 << 30);
        let times: Vec<_> = entry
            .pax_extensions()
            .unwrap()
            .unwrap()
            .map(|pair| pair.unwrap())
            .filter(|pair| pair.key() == Ok("mtime"))
            .map(|pair| pair.value().unwrap().to_owned())
            .collect();
        assert_eq!(times, ["-5"]);
        assert!(entry.read(&mut [0]).is_ok_and(|read| read == 0));
    }
}
