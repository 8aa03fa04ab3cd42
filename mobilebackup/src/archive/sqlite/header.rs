//! The first hundred bytes of a SQLite database.

/// What every SQLite database starts with.
pub const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// How text is stored in a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TextEncoding {
    /// UTF-8: everything that Apple writes.
    Utf8,
    /// UTF-16, the low byte first.
    Utf16Le,
    /// UTF-16, the high byte first.
    Utf16Be,
}

impl TextEncoding {
    /// Decodes stored text; what is not valid becomes U+FFFD.
    #[must_use]
    pub fn decode(self, bytes: &[u8]) -> String {
        let wide = |number: fn([u8; 2]) -> u16| {
            let units: Vec<u16> = bytes.as_chunks::<2>().0.iter().map(|unit| number(*unit)).collect();
            String::from_utf16_lossy(&units)
        };
        match self {
            Self::Utf8 => String::from_utf8_lossy(bytes).into_owned(),
            Self::Utf16Le => wide(u16::from_le_bytes),
            Self::Utf16Be => wide(u16::from_be_bytes),
        }
    }
}

/// The header of a database (spec backup-format, Annex B).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// Bytes in a page: a power of two from 512 to 65,536.
    pub page_size: u32,
    /// Whether the database was last used with a write-ahead log.
    pub write_ahead: bool,
    /// Bytes at the end of every page that hold no content.
    pub reserved: u8,
    /// How many pages there are, if the header is to be believed about that.
    pub pages: Option<u32>,
    /// The first page of the list of unused pages, 0 if there is none.
    pub first_free: u32,
    /// How many pages are on that list.
    pub free_pages: u32,
    /// How text is stored.
    pub encoding: TextEncoding,
}

impl Header {
    /// Length in bytes.
    pub const LEN: usize = 100;

    /// Reads a header; `None` if `start` is not the start of a database or has a page size that none can have.
    #[must_use]
    pub fn parse(start: &[u8]) -> Option<Self> {
        let header = start.first_chunk::<{ Self::LEN }>()?;
        if !header.starts_with(MAGIC) {
            return None;
        }
        let byte = |at: usize| header.get(at).copied();
        let number = |at: usize| header.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        let page_size = page_size(header.get(16..)?.first_chunk()?)?;
        let reserved = byte(20)?;
        // SQLite wants 480 usable bytes in every page.
        if page_size.checked_sub(reserved.into())? < 480 {
            return None;
        }
        let pages = number(28)?;
        Some(Self {
            page_size,
            write_ahead: byte(18)? == 2 || byte(19)? == 2,
            reserved,
            pages: (pages > 0 && number(24)? == number(92)?).then_some(pages),
            first_free: number(32)?,
            free_pages: number(36)?,
            encoding: match number(56)? {
                2 => TextEncoding::Utf16Le,
                3 => TextEncoding::Utf16Be,
                _ => TextEncoding::Utf8,
            },
        })
    }

    /// Bytes of a page that hold content.
    #[must_use]
    pub fn usable(&self) -> u32 {
        self.page_size.saturating_sub(self.reserved.into())
    }
}

/// The page size as the header spells it: 1 means 65,536.
pub(super) fn page_size(bytes: &[u8; 2]) -> Option<u32> {
    match u16::from_be_bytes(*bytes) {
        1 => Some(65_536),
        size if size >= 512 && size.is_power_of_two() => Some(size.into()),
        _ => None,
    }
}

/// A page size as logs and journals spell it.
pub(super) fn is_page_size(size: u32) -> bool {
    (512..=65_536).contains(&size) && size.is_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> [u8; 100] {
        let mut bytes = [0; 100];
        bytes[..16].copy_from_slice(MAGIC);
        bytes[16] = 16;
        bytes[31] = 7;
        bytes[18] = 2;
        bytes
    }

    #[test]
    fn page_sizes_that_no_database_has_are_refused() {
        assert_eq!(Header::parse(&header()).unwrap().page_size, 4096);
        for (size, expect) in [
            (1_u16, Some(65_536)),
            (512, Some(512)),
            (256, None),
            (1000, None),
            (0, None),
        ] {
            let mut bytes = header();
            bytes[16..18].copy_from_slice(&size.to_be_bytes());
            assert_eq!(Header::parse(&bytes).map(|header| header.page_size), expect);
        }
        let mut bytes = header();
        (bytes[16], bytes[20]) = (2, 33);
        assert_eq!(Header::parse(&bytes), None, "less than 480 usable bytes");
        assert_eq!(Header::parse(&header()[..99]), None);
    }

    #[test]
    fn the_page_count_counts_only_where_it_is_up_to_date() {
        let mut bytes = header();
        assert_eq!(Header::parse(&bytes).unwrap().pages, Some(7));
        bytes[27] = 1;
        assert_eq!(Header::parse(&bytes).unwrap().pages, None);
    }
}
