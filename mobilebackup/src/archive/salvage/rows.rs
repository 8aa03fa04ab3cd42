//! Rows of an index out of whatever pages are whole.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use super::FoundBy;
use crate::archive::entry::{FileEntry, RowColumns};
use crate::archive::mbdb::MbdbReader;
use crate::archive::mbfile::MbFile;
use crate::archive::read::{DecryptingReader, ReadOptions};
use crate::archive::sqlite::pages::{PageReader, Record, Value};
use crate::archive::sqlite::{Header, TextEncoding};
use crate::archive::{ArchiveError, FileId, Key};

/// A row that was found, and where.
pub(super) struct FoundRow {
    pub(super) entry: FileEntry,
    pub(super) found: FoundBy,
    /// Whether the record decodes; without it only the name is known.
    pub(super) record: bool,
}

/// What reading an index gave beside its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct IndexScan {
    /// Pages of the file.
    pub pages: u32,
    /// Pages or rows of the table that cannot be read.
    pub damaged: u64,
    /// Rows that do not decode to a file, in any page.
    pub undecodable: u64,
    /// Whether the header had to be guessed.
    pub header_guessed: bool,
    /// Whether the way to the table `Files` was found.
    pub table_found: bool,
}

/// Every row of a `Manifest.db`, plain or to be decrypted on the way. `stored` is the file as it lies there.
pub(super) fn of_database(
    path: &Path,
    key: Option<&Key>,
    visit: &mut dyn FnMut(FoundRow),
) -> Result<IndexScan, ArchiveError> {
    let file = File::open(path)?;
    match key {
        Some(key) => {
            let len = file.metadata()?.len();
            // Nothing is cut: what the ending says does not matter for pages.
            let reader = DecryptingReader::new(file, key, len, ReadOptions::default().salvage(true))?;
            of_pages(reader, visit)
        }
        None => of_pages(file, visit),
    }
}

fn of_pages<R: Read + Seek>(mut source: R, visit: &mut dyn FnMut(FoundRow)) -> Result<IndexScan, ArchiveError> {
    let mut start = Vec::new();
    source.seek(SeekFrom::Start(0))?;
    source.by_ref().take(Header::LEN as u64).read_to_end(&mut start)?;
    let mut scan = IndexScan::default();
    let header = match Header::parse(&start).filter(|header| header.reserved == 0) {
        Some(header) => header,
        None => {
            scan.header_guessed = true;
            match guess_header(&mut source)? {
                Some(header) => header,
                None => return Ok(scan),
            }
        }
    };
    let mut reader = PageReader::with_header(source, header).map_err(io_of)?;
    scan.pages = reader.pages();
    let mut seen = HashSet::new();
    if let Ok(Some(root)) = reader.table("Files") {
        scan.table_found = true;
        let mut rows = reader.rows(root).map_err(io_of);
        if let Ok(rows) = &mut rows {
            for row in rows.by_ref() {
                match row {
                    Ok(record) => take(&record, FoundBy::Index, &mut scan, visit),
                    Err(e) => {
                        tracing::debug!(error = %e, "part of the index is lost");
                        scan.damaged = scan.damaged.saturating_add(1);
                    }
                }
            }
        }
        if let Ok(rows) = rows {
            let visited = rows.into_visited();
            seen.extend((1..=scan.pages).filter(|page| visited.contains(*page)));
        }
    }
    let free = reader.free_pages().map_err(io_of)?;
    for page in (1..=scan.pages).filter(|page| !seen.contains(page)) {
        let Ok(Some(cells)) = reader.leaf(page) else { continue };
        let found = match free.contains(&page) {
            true => FoundBy::UnusedPage { page },
            false => FoundBy::LoosePage { page },
        };
        for record in cells.into_iter().flatten() {
            take(&record, found.clone(), &mut scan, visit);
        }
    }
    Ok(scan)
}

fn io_of(error: crate::archive::sqlite::pages::PageError) -> ArchiveError {
    use crate::archive::sqlite::pages::PageError;
    match error {
        PageError::Io(e) => e.into(),
        other => io::Error::new(io::ErrorKind::InvalidData, other).into(),
    }
}

/// A header for a database whose own is lost: the page size at which most pages look like pages.
fn guess_header<R: Read + Seek>(source: &mut R) -> io::Result<Option<Header>> {
    const SIZES: [u32; 8] = [4096, 8192, 16_384, 32_768, 65_536, 2048, 1024, 512];
    const LOOKED_AT: u64 = 64;
    let len = source.seek(SeekFrom::End(0))?;
    let mut best = None;
    for page_size in SIZES {
        let pages = len.checked_div(page_size.into()).unwrap_or(0);
        let looked_at = pages.saturating_sub(1).min(LOOKED_AT);
        let mut fitting = 0_u64;
        for page in 1..=looked_at {
            let mut start = [0; 8];
            source.seek(SeekFrom::Start(page.saturating_mul(page_size.into())))?;
            source.read_exact(&mut start)?;
            let [kind, _, _, cells, more, content, low, _] = start;
            let (cells, content) = (u16::from_be_bytes([cells, more]), u16::from_be_bytes([content, low]));
            // Cells and their pointers fill a page from both ends.
            let end = u32::from(cells).saturating_mul(2).saturating_add(8);
            let content = if content == 0 { 65_536 } else { u32::from(content) };
            let fits = matches!(kind, 2 | 5 | 10 | 13) && cells > 0 && end <= content && content < page_size;
            fitting = fitting.saturating_add(fits.into());
        }
        if fitting > 0 && best.is_none_or(|(most, _)| fitting > most) {
            best = Some((fitting, page_size));
        }
    }
    Ok(best.map(|(_, page_size)| Header {
        page_size,
        write_ahead: false,
        reserved: 0,
        pages: None,
        first_free: 0,
        free_pages: 0,
        encoding: TextEncoding::Utf8,
    }))
}

/// Hands out a record if it is a row of `Files`.
fn take(record: &Record, found: FoundBy, scan: &mut IndexScan, visit: &mut dyn FnMut(FoundRow)) {
    let [
        Value::Text(id),
        Value::Text(domain),
        Value::Text(path),
        flags,
        rest @ ..,
    ] = record.values.as_slice()
    else {
        // Rows of other tables lie in pages of their own.
        if matches!(found, FoundBy::Index) {
            scan.undecodable = scan.undecodable.saturating_add(1);
        }
        return;
    };
    let flags = match flags {
        Value::Integer(flags) => *flags,
        _ => 0,
    };
    let (Ok(domain), Ok(path)) = (str::from_utf8(domain), str::from_utf8(path)) else {
        scan.undecodable = scan.undecodable.saturating_add(1);
        return;
    };
    let id_is_one = FileId::from_hex(id).is_some();
    if !matches!(found, FoundBy::Index) && !id_is_one {
        return;
    }
    let columns = RowColumns {
        id: Some(id),
        domain: domain.into(),
        path,
        flags,
    };
    let record = match rest.first() {
        Some(Value::Blob(record)) => MbFile::decode(record).ok(),
        _ => None,
    };
    match record {
        Some(record) => visit(FoundRow {
            entry: FileEntry::from_row(columns, record),
            found,
            record: true,
        }),
        None => {
            scan.undecodable = scan.undecodable.saturating_add(1);
            if let Some(id) = FileId::from_hex(id).filter(|_| flags == 1) {
                visit(FoundRow {
                    entry: FileEntry::bare(id, domain, path, 0),
                    found,
                    record: false,
                });
            }
        }
    }
}

/// Most bytes of a `Manifest.mbdb` that are searched behind damage.
const MAX_FLAT: u64 = 256 << 20;

/// Every record of a `Manifest.mbdb`, also those behind damage: a record starts with its domain, which is easy to find.
pub(super) fn of_flat(path: &Path, visit: &mut dyn FnMut(FoundRow)) -> Result<IndexScan, ArchiveError> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FLAT).read_to_end(&mut bytes)?;
    let mut scan = IndexScan {
        table_found: true,
        ..IndexScan::default()
    };
    if let Some(magic) = bytes.first_chunk_mut::<6>()
        && *magic != MbdbReader::<&[u8]>::MAGIC
    {
        scan.header_guessed = true;
        *magic = MbdbReader::<&[u8]>::MAGIC;
    }
    let Ok(mut reader) = MbdbReader::new(Cursor::new(&bytes)) else {
        scan.damaged = 1;
        return Ok(scan);
    };
    let mut found = FoundBy::Index;
    let mut at = 0_u64;
    loop {
        match reader.next_record() {
            Ok(Some((offset, record))) if is_domain(&record.domain) => {
                at = offset.saturating_add(1);
                match FileEntry::from_mbdb(record) {
                    Ok(entry) => visit(FoundRow {
                        entry,
                        found: found.clone(),
                        record: true,
                    }),
                    Err(_) => scan.undecodable = scan.undecodable.saturating_add(1),
                }
            }
            Ok(None) => return Ok(scan),
            // Damage, or a record that starts in the middle of another.
            outcome => {
                if let Ok(Some((offset, _))) = outcome {
                    at = offset.saturating_add(1);
                }
                scan.damaged = scan.damaged.saturating_add(1);
                found = FoundBy::BehindDamage;
                let Some(next) = next_record(&bytes, at) else {
                    return Ok(scan);
                };
                at = next.saturating_add(1);
                reader.seek_to(next)?;
            }
        }
    }
}

/// Whether this may be a domain's name.
fn is_domain(name: &[u8]) -> bool {
    name.len() <= 300
        && name.is_ascii()
        && (name.ends_with(b"Domain")
            || name.windows(7).any(|part| part == b"Domain-")
            || name.starts_with(b"AppDomain"))
}

/// Where the next record may start, from `at` on.
fn next_record(bytes: &[u8], at: u64) -> Option<u64> {
    let start = usize::try_from(at).ok()?;
    (start..bytes.len().saturating_sub(50)).find_map(|place| {
        let (len, rest) = bytes.get(place..)?.split_first_chunk::<2>()?;
        let name = rest.get(..usize::from(u16::from_be_bytes(*len)))?;
        is_domain(name).then_some(place as u64)
    })
}
