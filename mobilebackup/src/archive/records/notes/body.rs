//! What a note says: compressed protocol buffers unpacked into paragraphs.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::GzDecoder;
use serde::Serialize;

use super::wire::{self, Fields, ProtobufError, Value};

/// Most bytes that a note's text and its history may take unpacked; more is refused as a bomb.
pub const MAX_UNPACKED: u64 = 32 << 20;

/// Most stretches of formatting read; text behind them is kept as plain text, and the body says so.
pub const MAX_RUNS: usize = 200_000;

/// Longest address of a link, in bytes, that is kept.
const MAX_LINK: usize = 64 << 10;

/// Deepest list level that is kept apart.
const MAX_INDENT: u64 = 32;

/// Why the text of a note cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoteBodyError {
    /// The data does not begin as gzip does: it is of another format, or encrypted.
    #[error("the note's data is not in the gzip format")]
    NotGzip,
    /// The compressed data is cut off or damaged.
    #[error("the note's data does not unpack")]
    Gzip(#[source] std::io::Error),
    /// The data unpacks to more than a note can have.
    #[error("the note's data unpacks to more than {limit} bytes")]
    TooLarge {
        /// The limit in bytes, [`MAX_UNPACKED`].
        limit: u64,
    },
    /// What was unpacked is no protocol buffer.
    #[error(transparent)]
    Protobuf(#[from] ProtobufError),
    /// What was unpacked has none of the messages that hold a note's text.
    #[error("the note's data holds no text")]
    NoText,
}

/// The contents of a note.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NoteBody {
    /// The paragraphs in order; no text holds a line feed.
    pub paragraphs: Vec<Paragraph>,
    /// Formatting that does not fit the text: its runs cover more or less of it, or there are more than [`MAX_RUNS`].
    /// All text is there in any case.
    pub formatting_incomplete: bool,
    /// The text was not valid UTF-8 in places, where U+FFFD stands now.
    pub text_damaged: bool,
}

/// One line of a note.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Paragraph {
    /// Heading, list item, plain text.
    pub kind: ParagraphKind,
    /// Level within nested lists, from 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub indent: u8,
    /// Set off as a quotation.
    #[serde(skip_serializing_if = "is_false")]
    pub quote: bool,
    /// Stretches of one style each.
    pub spans: Vec<Span>,
}

/// What a paragraph is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ParagraphKind {
    /// Plain text.
    #[default]
    Text,
    /// The note's title.
    Title,
    /// A heading.
    Heading,
    /// A heading of the second rank.
    Subheading,
    /// Text in a typewriter's letters.
    Monospaced,
    /// An item of a list with dots.
    Bulleted,
    /// An item of a list with dashes.
    Dashed,
    /// An item of a numbered list.
    Numbered,
    /// An item of a checklist.
    Checklist {
        /// Whether it is ticked off.
        done: bool,
    },
    /// A style this version does not know.
    Other {
        /// Its number.
        style: i64,
    },
}

/// Text of one style.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Span {
    /// The text. U+FFFC stands for an attachment.
    pub text: String,
    /// Bold.
    #[serde(skip_serializing_if = "is_false")]
    pub bold: bool,
    /// Italic.
    #[serde(skip_serializing_if = "is_false")]
    pub italic: bool,
    /// Underlined.
    #[serde(skip_serializing_if = "is_false")]
    pub underlined: bool,
    /// Struck through.
    #[serde(skip_serializing_if = "is_false")]
    pub struck: bool,
    /// Where a link leads: any text the note holds, not checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// The attachment that stands here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attachment: Option<AttachmentMark>,
}

/// Where an attachment stands in the text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AttachmentMark {
    /// The attachment's identifier, a uuid.
    pub identifier: String,
    /// Its uniform type identifier, such as `public.jpeg` or `com.apple.notes.table`.
    pub uti: String,
}

const fn is_false(value: &bool) -> bool {
    !*value
}

const fn is_zero(value: &u8) -> bool {
    *value == 0
}

impl NoteBody {
    /// Unpacks `ZDATA` of `ZICNOTEDATA`: gzip over a protocol buffer.
    ///
    /// Takes time and memory in proportion to the unpacked bytes, at most [`MAX_UNPACKED`].
    ///
    /// # Errors
    /// Any [`NoteBodyError`].
    ///
    /// ```
    /// use cabled_mobilebackup::archive::records::notes::{NoteBody, NoteBodyError};
    ///
    /// assert!(matches!(NoteBody::unpack(b"locked notes look like noise"), Err(NoteBodyError::NotGzip)));
    /// ```
    pub fn unpack(data: &[u8]) -> Result<Self, NoteBodyError> {
        Self::of_document(&gunzip(data)?)
    }

    /// Reads the protocol buffer of a note that is unpacked already.
    ///
    /// # Errors
    /// [`NoteBodyError::Protobuf`] and [`NoteBodyError::NoText`].
    pub fn of_document(unpacked: &[u8]) -> Result<Self, NoteBodyError> {
        // document (2), note (3): other fields are versions and the history of edits.
        let document = wire::bytes(unpacked, 2)?.ok_or(NoteBodyError::NoText)?;
        let note = wire::bytes(document, 3)?.ok_or(NoteBodyError::NoText)?;
        Self::of_note(note)
    }

    /// The message that holds text and formatting; cells of tables are such messages too.
    pub(super) fn of_note(note: &[u8]) -> Result<Self, NoteBodyError> {
        let text = wire::bytes(note, 2)?.ok_or(NoteBodyError::NoText)?;
        let text = String::from_utf8_lossy(text);
        let mut builder = Builder::new(&text);
        for (count, run) in wire::each(note, 5).enumerate() {
            if count >= MAX_RUNS {
                builder.incomplete = true;
                break;
            }
            let run = Run::read(run?)?;
            builder.push(&run);
        }
        let mut body = builder.finish();
        body.text_damaged = matches!(text, Cow::Owned(_));
        Ok(body)
    }

    /// The bare text, paragraphs ended by line feeds, attachments as U+FFFC.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        for (index, paragraph) in self.paragraphs.iter().enumerate() {
            if index > 0 {
                out.push('\n');
            }
            out.extend(paragraph.spans.iter().map(|span| span.text.as_str()));
        }
        out
    }

    /// Where attachments stand, in order.
    pub fn attachments(&self) -> impl Iterator<Item = &AttachmentMark> {
        let spans = self.paragraphs.iter().flat_map(|paragraph| &paragraph.spans);
        spans.filter_map(|span| span.attachment.as_ref())
    }
}

/// Unpacks gzip up to [`MAX_UNPACKED`].
pub(super) fn gunzip(data: &[u8]) -> Result<Vec<u8>, NoteBodyError> {
    if !data.starts_with(&[0x1f, 0x8b]) {
        return Err(NoteBodyError::NotGzip);
    }
    let mut unpacked = Vec::new();
    let mut limited = GzDecoder::new(data).take(MAX_UNPACKED.saturating_add(1));
    limited.read_to_end(&mut unpacked).map_err(NoteBodyError::Gzip)?;
    if u64::try_from(unpacked.len()).map_or(true, |len| len > MAX_UNPACKED) {
        return Err(NoteBodyError::TooLarge { limit: MAX_UNPACKED });
    }
    Ok(unpacked)
}

/// One stretch of formatting.
#[derive(Debug, Default)]
struct Run {
    /// In UTF-16 units.
    len: u64,
    kind: ParagraphKind,
    indent: u8,
    quote: bool,
    style: Span,
}

impl Run {
    fn read(message: &[u8]) -> Result<Self, ProtobufError> {
        let mut run = Self::default();
        for field in Fields::new(message) {
            match field? {
                (1, Value::Varint(len)) => run.len = len,
                (2, Value::Bytes(style)) => run.read_paragraph(style)?,
                (5, Value::Varint(weight)) => {
                    run.style.bold = weight & 1 != 0;
                    run.style.italic = weight & 2 != 0;
                }
                (6, Value::Varint(on)) => run.style.underlined = on != 0,
                (7, Value::Varint(on)) => run.style.struck = on != 0,
                (9, Value::Bytes(link)) if !link.is_empty() && link.len() <= MAX_LINK => {
                    run.style.link = Some(String::from_utf8_lossy(link).into_owned());
                }
                (12, Value::Bytes(info)) => {
                    let text = |number| {
                        let bytes = wire::bytes(info, number)?.unwrap_or_default();
                        Ok::<_, ProtobufError>(String::from_utf8_lossy(bytes).chars().take(1024).collect())
                    };
                    let (identifier, uti) = (text(1)?, text(2)?);
                    run.style.attachment = Some(AttachmentMark { identifier, uti });
                }
                _ => {}
            }
        }
        Ok(run)
    }

    fn read_paragraph(&mut self, style: &[u8]) -> Result<(), ProtobufError> {
        let mut number = -1;
        let mut done = false;
        for field in Fields::new(style) {
            match field? {
                (1, Value::Varint(value)) => number = wire::signed(value),
                (4, Value::Varint(indent)) => {
                    self.indent = u8::try_from(indent.min(MAX_INDENT)).unwrap_or_default();
                }
                (5, Value::Bytes(checklist)) => done = wire::number(checklist, 2)?.unwrap_or(0) != 0,
                (8, Value::Varint(quote)) => self.quote = quote != 0,
                _ => {}
            }
        }
        // 32-bit numbers may come without their sign being extended.
        self.kind = match number {
            -1 | 3 | 0xffff_ffff => ParagraphKind::Text,
            0 => ParagraphKind::Title,
            1 => ParagraphKind::Heading,
            2 => ParagraphKind::Subheading,
            4 => ParagraphKind::Monospaced,
            100 => ParagraphKind::Bulleted,
            101 => ParagraphKind::Dashed,
            102 => ParagraphKind::Numbered,
            103 => ParagraphKind::Checklist { done },
            style => ParagraphKind::Other { style },
        };
        Ok(())
    }
}

/// Lays runs over the text.
struct Builder<'a> {
    rest: &'a str,
    open: Paragraph,
    body: Vec<Paragraph>,
    incomplete: bool,
}

impl<'a> Builder<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            rest: text,
            open: Paragraph::default(),
            body: Vec::new(),
            incomplete: false,
        }
    }

    fn push(&mut self, run: &Run) {
        if run.len == 0 {
            return;
        }
        let (end, whole) = utf16_end(self.rest, run.len);
        self.incomplete |= !whole;
        let (covered, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        self.spread(covered, run);
    }

    /// Appends text of one style, which may go over several paragraphs.
    fn spread(&mut self, text: &str, run: &Run) {
        let mut lines = text.split('\n').peekable();
        while let Some(line) = lines.next() {
            let ends = lines.peek().is_some();
            if ends || !line.is_empty() {
                self.open.kind = run.kind;
                self.open.indent = run.indent;
                self.open.quote = run.quote;
            }
            if !line.is_empty() {
                self.open.spans.push(Span {
                    text: line.to_owned(),
                    ..run.style.clone()
                });
            }
            if ends {
                self.body.push(std::mem::take(&mut self.open));
            }
        }
    }

    fn finish(mut self) -> NoteBody {
        if !self.rest.is_empty() {
            self.incomplete = true;
            let rest = std::mem::take(&mut self.rest);
            self.spread(rest, &Run::default());
        }
        if !self.open.spans.is_empty() {
            self.body.push(self.open);
        }
        NoteBody {
            paragraphs: self.body,
            formatting_incomplete: self.incomplete,
            text_damaged: false,
        }
    }
}

/// The byte that lies `units` UTF-16 units into `text`, and whether there are that many and none is cut.
fn utf16_end(text: &str, units: u64) -> (usize, bool) {
    let mut seen = 0_u64;
    for (at, character) in text.char_indices() {
        if seen >= units {
            return (at, seen == units);
        }
        seen = seen.saturating_add(if character.len_utf16() == 2 { 2 } else { 1 });
    }
    (text.len(), seen == units)
}
