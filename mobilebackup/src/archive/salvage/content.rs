//! What a payload is, by its bytes.

use std::io::{Read, Seek, SeekFrom};

use crate::archive::select::Category;
use crate::archive::sqlite::MAGIC;
use crate::archive::sqlite::pages::PageReader;

/// Bytes that are looked at.
const START: u64 = 512;

/// Which kind of content a payload has. Recognised by its first bytes: a likely answer, not a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ContentKind {
    /// Nothing at all.
    Empty,
    /// A SQLite database.
    Sqlite,
    /// A write-ahead log of SQLite.
    SqliteLog,
    /// A property list, binary or XML.
    Plist,
    /// A JPEG picture.
    Jpeg,
    /// A HEIC or HEIF picture.
    Heic,
    /// A PNG picture.
    Png,
    /// A GIF picture.
    Gif,
    /// A TIFF or DNG picture.
    Tiff,
    /// A WebP picture.
    Webp,
    /// An MPEG-4 video.
    Mp4,
    /// A QuickTime video.
    QuickTime,
    /// MPEG-4 sound.
    M4a,
    /// Sound as voicemail has it.
    Amr,
    /// Apple's container for sound.
    Caf,
    /// MP3 sound.
    Mp3,
    /// WAV sound.
    Wav,
    /// A ZIP archive, or a document that is one.
    Zip,
    /// Data compressed with gzip.
    Gzip,
    /// A PDF document.
    Pdf,
    /// JSON.
    Json,
    /// Anything else.
    Unknown,
}

impl ContentKind {
    /// The usual end of a file's name, without the dot.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::SqliteLog => "sqlite-wal",
            Self::Plist => "plist",
            Self::Jpeg => "jpg",
            Self::Heic => "heic",
            Self::Png => "png",
            Self::Gif => "gif",
            Self::Tiff => "tiff",
            Self::Webp => "webp",
            Self::Mp4 => "mp4",
            Self::QuickTime => "mov",
            Self::M4a => "m4a",
            Self::Amr => "amr",
            Self::Caf => "caf",
            Self::Mp3 => "mp3",
            Self::Wav => "wav",
            Self::Zip => "zip",
            Self::Gzip => "gz",
            Self::Pdf => "pdf",
            Self::Json => "json",
            Self::Empty | Self::Unknown => "bin",
        }
    }

    /// The kind of content that starts like this.
    #[must_use]
    pub fn of(start: &[u8]) -> Self {
        const MAGICS: [(&[u8], ContentKind); 21] = [
            (MAGIC, ContentKind::Sqlite),
            (&[0x37, 0x7f, 0x06, 0x82], ContentKind::SqliteLog),
            (&[0x37, 0x7f, 0x06, 0x83], ContentKind::SqliteLog),
            (b"bplist0", ContentKind::Plist),
            (&[0xff, 0xd8, 0xff], ContentKind::Jpeg),
            (b"\x89PNG\r\n\x1a\n", ContentKind::Png),
            (b"GIF87a", ContentKind::Gif),
            (b"GIF89a", ContentKind::Gif),
            (b"II*\0", ContentKind::Tiff),
            (b"MM\0*", ContentKind::Tiff),
            (b"#!AMR", ContentKind::Amr),
            (b"caff\0\x01", ContentKind::Caf),
            (b"ID3", ContentKind::Mp3),
            (&[0xff, 0xfb], ContentKind::Mp3),
            (b"PK\x03\x04", ContentKind::Zip),
            (b"PK\x05\x06", ContentKind::Zip),
            (&[0x1f, 0x8b, 8], ContentKind::Gzip),
            (b"%PDF-", ContentKind::Pdf),
            (b"{\"", ContentKind::Json),
            (b"[{\"", ContentKind::Json),
            (b"<!DOCTYPE plist", ContentKind::Plist),
        ];
        if start.is_empty() {
            return Self::Empty;
        }
        if let Some((_, kind)) = MAGICS.into_iter().find(|(magic, _)| start.starts_with(magic)) {
            return kind;
        }
        match (start.get(..4), start.get(4..8), start.get(8..12)) {
            (_, Some(b"ftyp"), Some(brand)) => Self::of_brand(brand),
            (_, Some(b"moov" | b"wide" | b"mdat" | b"free" | b"skip"), _) => Self::QuickTime,
            (Some(b"RIFF"), _, Some(b"WAVE")) => Self::Wav,
            (Some(b"RIFF"), _, Some(b"WEBP")) => Self::Webp,
            _ if start.starts_with(b"<?xml") && start.windows(6).any(|part| part == b"<plist") => Self::Plist,
            _ => Self::Unknown,
        }
    }

    /// The kinds that share one container.
    fn of_brand(brand: &[u8]) -> Self {
        match brand {
            b"heic" | b"heix" | b"mif1" | b"msf1" | b"hevc" | b"heif" => Self::Heic,
            b"qt  " => Self::QuickTime,
            b"M4A " | b"M4B " => Self::M4a,
            _ => Self::Mp4,
        }
    }
}

/// Kind of a payload, and the category whose tables it has if it is a database.
pub(super) fn recognise<R: Read + Seek>(source: &mut R) -> std::io::Result<(ContentKind, Option<Category>)> {
    let mut start = Vec::new();
    source.seek(SeekFrom::Start(0))?;
    source.by_ref().take(START).read_to_end(&mut start)?;
    let kind = ContentKind::of(&start);
    let category = match kind {
        ContentKind::Sqlite => category_of(source),
        _ => None,
    };
    Ok((kind, category))
}

/// The category of a database by its tables.
fn category_of<R: Read + Seek>(source: &mut R) -> Option<Category> {
    const TABLES: [(&[&str], Category); 17] = [
        (&["message", "chat", "handle"], Category::Messages),
        (&["ABPerson", "ABMultiValue"], Category::Contacts),
        (&["ZCALLRECORD"], Category::CallHistory),
        (&["call", "data"], Category::CallHistory),
        (&["CalendarItem", "Calendar"], Category::Calendar),
        (&["ZICCLOUDSYNCINGOBJECT", "ZICNOTEDATA"], Category::Notes),
        (&["ZNOTE", "ZNOTEBODY"], Category::Notes),
        (&["ZREMCDREMINDER"], Category::Reminders),
        (&["ZREMCDOBJECT"], Category::Reminders),
        (&["history_visits", "history_items"], Category::Safari),
        (&["bookmarks", "bookmark_title_words"], Category::Safari),
        (&["voicemail"], Category::Voicemail),
        (&["ZASSET", "ZGENERICALBUM"], Category::Photos),
        (&["ZGENERICASSET", "ZGENERICALBUM"], Category::Photos),
        (&["ZWAMESSAGE", "ZWACHATSESSION"], Category::WhatsApp),
        (&["ZCLOUDRECORDING"], Category::VoiceMemos),
        (&["ZRECORDING"], Category::VoiceMemos),
    ];
    let schema = PageReader::open(source).ok()?.schema().ok()?;
    let has = |name: &str| schema.iter().any(|entry| entry.kind == "table" && entry.name == name);
    let found = TABLES
        .into_iter()
        .find(|(tables, _)| tables.iter().all(|table| has(table)));
    found.map(|(_, category)| category)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_told_apart_by_their_first_bytes() {
        for (start, kind) in [
            (&b""[..], ContentKind::Empty),
            (b"SQLite format 3\0", ContentKind::Sqlite),
            (b"bplist00\xd0", ContentKind::Plist),
            (
                b"<?xml version=\"1.0\"?>\n<!DOCTYPE plist>\n<plist>",
                ContentKind::Plist,
            ),
            (b"\xff\xd8\xff\xe1..Exif", ContentKind::Jpeg),
            (b"\0\0\0\x24ftypheic\0\0", ContentKind::Heic),
            (b"\0\0\0\x14ftypqt  \0\0", ContentKind::QuickTime),
            (b"\0\0\0\x1cftypM4A \0\0", ContentKind::M4a),
            (b"\0\0\0\x1cftypisom\0\0", ContentKind::Mp4),
            (b"#!AMR\n<", ContentKind::Amr),
            (b"RIFF\0\0\0\0WAVEfmt ", ContentKind::Wav),
            (b"PK\x03\x04\x14", ContentKind::Zip),
            (b"just words", ContentKind::Unknown),
        ] {
            assert_eq!(ContentKind::of(start), kind, "{start:?}");
        }
    }
}
