//! Rollback journals: the pages of a database as they were before a transaction that never ended.
//!
//! SQLite itself is never let near a stranger's journal: a journal may name a second one, which SQLite deletes.

use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};

use super::header::is_page_size;
use super::overlay::Overlay;

/// What every segment of a journal starts with.
const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];

/// Bytes of a segment's header that say something; it fills a sector.
const HEADER: u64 = 28;

/// Where the page lies that SQLite locks by; it is in no journal.
const PENDING_BYTE: u64 = 0x4000_0000;

/// What a rollback journal says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Journal {
    /// The transaction ended (or never touched the database): nothing to undo.
    Finished,
    /// The transaction spanned several databases. SQLite keeps it if the journal over them is gone, and it is in no
    /// backup.
    OfSeveral,
    /// The transaction was cut off: these pages bring the database back to what it was before.
    Hot(Overlay),
}

impl Journal {
    /// Reads a journal. `page_size` is that of the database.
    ///
    /// # Errors
    /// What `source` gives. As SQLite does, reading stops at the first page whose checksum is wrong, since the
    /// database was not touched before the page was safe in the journal.
    pub fn read<R: Read + Seek>(source: &mut R, page_size: u32) -> io::Result<Self> {
        let len = source.seek(SeekFrom::End(0))?;
        if has_super_journal(source, len)? {
            return Ok(Self::OfSeveral);
        }
        let Some(first) = Segment::read(source, 0, len)? else {
            return Ok(Self::Finished);
        };
        let journal_page = match first.page_size {
            0 => page_size,
            size => size,
        };
        let sectors_make_sense = (32..=65_536).contains(&first.sector) && first.sector.is_power_of_two();
        if !sectors_make_sense || !is_page_size(journal_page) || journal_page != page_size {
            return Ok(Self::Finished);
        }
        let mut overlay = Overlay {
            page_size,
            pages: HashMap::new(),
            database_pages: first.initial_pages,
        };
        let (mut at, sector) = (0_u64, u64::from(first.sector));
        let mut next = Some(first);
        while let Some(segment) = next {
            at = at.saturating_add(sector);
            match segment.records(source, at, len, &mut overlay)? {
                Some(end) => at = end.div_ceil(sector).saturating_mul(sector),
                None => break,
            }
            next = Segment::read(source, at, len)?;
        }
        Ok(Self::Hot(overlay))
    }
}

/// The header of one segment.
struct Segment {
    records: u32,
    nonce: u32,
    initial_pages: u32,
    sector: u32,
    page_size: u32,
}

impl Segment {
    fn read<R: Read + Seek>(source: &mut R, at: u64, len: u64) -> io::Result<Option<Self>> {
        if at.saturating_add(HEADER) > len {
            return Ok(None);
        }
        source.seek(SeekFrom::Start(at))?;
        let (mut magic, mut numbers) = ([0; 8], [0; 20]);
        source.read_exact(&mut magic)?;
        source.read_exact(&mut numbers)?;
        let (numbers, _) = numbers.as_chunks::<4>();
        let mut numbers = numbers.iter().map(|number| u32::from_be_bytes(*number));
        let mut number = || numbers.next().unwrap_or_default();
        Ok((magic == MAGIC).then(|| Self {
            records: number(),
            nonce: number(),
            initial_pages: number(),
            sector: number(),
            page_size: number(),
        }))
    }

    /// Takes in the records from `at` on. Where they end; `None` if nothing behind them counts.
    fn records<R: Read + Seek>(
        &self,
        source: &mut R,
        at: u64,
        len: u64,
        overlay: &mut Overlay,
    ) -> io::Result<Option<u64>> {
        let page_size = u64::from(overlay.page_size);
        let size = page_size.saturating_add(8);
        let there = len.saturating_sub(at).checked_div(size).unwrap_or(0);
        let wanted = match self.records {
            u32::MAX => there,
            count => count.into(),
        };
        let mut page = vec![0; usize::try_from(page_size).unwrap_or(0)];
        let mut at = at;
        source.seek(SeekFrom::Start(at))?;
        for _ in 0..wanted.min(there) {
            let (mut number, mut sum) = ([0; 4], [0; 4]);
            source.read_exact(&mut number)?;
            source.read_exact(&mut page)?;
            source.read_exact(&mut sum)?;
            let number = u32::from_be_bytes(number);
            let locked = PENDING_BYTE
                .checked_div(page_size)
                .is_some_and(|before| before.saturating_add(1) == u64::from(number));
            if number == 0 || locked || self.checksum(&page) != u32::from_be_bytes(sum) {
                return Ok(None);
            }
            if number <= overlay.database_pages {
                // The first copy of a page is the one from before the transaction.
                overlay.pages.entry(number).or_insert(at.saturating_add(4));
            }
            at = at.saturating_add(size);
        }
        Ok((wanted <= there).then_some(at))
    }

    /// Every two-hundredth byte, from the end.
    fn checksum(&self, page: &[u8]) -> u32 {
        let mut sum = self.nonce;
        let mut at = page.len();
        while let Some(next) = at.checked_sub(200).filter(|next| *next > 0) {
            at = next;
            sum = sum.wrapping_add(page.get(at).copied().unwrap_or_default().into());
        }
        sum
    }
}

/// Whether the journal ends in the name of a journal over several databases.
fn has_super_journal<R: Read + Seek>(source: &mut R, len: u64) -> io::Result<bool> {
    const LONGEST_NAME: u32 = 4096;
    let Some(trailer) = len.checked_sub(16) else {
        return Ok(false);
    };
    source.seek(SeekFrom::Start(trailer))?;
    let (mut numbers, mut magic) = ([0; 8], [0; 8]);
    source.read_exact(&mut numbers)?;
    source.read_exact(&mut magic)?;
    let [a, b, c, d, e, f, g, h] = numbers;
    let (name_len, sum) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
    let Some(start) = trailer.checked_sub(name_len.into()) else {
        return Ok(false);
    };
    if magic != MAGIC || name_len == 0 || name_len > LONGEST_NAME {
        return Ok(false);
    }
    let mut name = vec![0; usize::try_from(name_len).unwrap_or(0)];
    source.seek(SeekFrom::Start(start))?;
    source.read_exact(&mut name)?;
    // Bytes count as signed numbers there.
    let found = name
        .iter()
        .fold(0_u32, |sum, byte| sum.wrapping_add_signed(byte.cast_signed().into()));
    Ok(found == sum)
}
