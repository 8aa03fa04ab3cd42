//! Notes for people to read: as plain text, and as pages.
//!
//! # Example
//! ```
//! use cabled_mobilebackup::archive::Archive;
//! use cabled_mobilebackup::archive::records::notes::{NoteBook, show};
//!
//! # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/backup/synthetic/plain-v10");
//! let backup = Archive::open(folder)?;
//! for book in NoteBook::read_all(&backup)? {
//!     for note in &book.notes {
//!         println!("{}", show::text(note));
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! # How it fits
//! [`text`] is what a note says in plain characters; the export of the category `notes` writes it as files and lays the
//! same lines out on pages, with the attachments beside them.
//!
//! # Limits
//! Bold, italic and the like are in the JSON lines only.

use std::collections::HashMap;
use std::io::{self, Write};

use super::{Attachment, AttachmentMark, Contents, Note, NoteBody, NoteBook, Paragraph, ParagraphKind, Table};
use crate::archive::records::export::{Exporter, Format, Job};
use crate::archive::records::html::{Cell, Page, relative_href};
use crate::archive::records::output::OutputFile;
use crate::archive::records::{RecordError, RecordNote};
use crate::archive::{ArchiveError, Kind};

/// How `notes` are exported.
pub(in crate::archive::records) const EXPORTER: Exporter =
    Exporter::new("notes", &[Format::JsonLines, Format::Html, Format::Text], export);

/// What a note says, line by line: list items with their signs, ticked items of checklists as `[x]`, tables with `|`
/// between cells, attachments by name in brackets. For a note that has no text, why.
#[must_use]
pub fn text(note: &Note) -> String {
    let mut out = String::new();
    match &note.contents {
        Contents::Text { body } => {
            let attachments = by_identifier(note);
            let mut numbers = Numbers::default();
            for paragraph in &body.paragraphs {
                out.push_str(&line(paragraph, &attachments, &mut numbers));
                out.push('\n');
            }
        }
        Contents::Locked { hint } => {
            out.push_str("(This note is locked with a password of its own.");
            if let Some(hint) = hint {
                out.push_str(&format!(" The hint is: {hint}"));
            }
            out.push_str(")\n");
        }
        Contents::Absent => out.push_str("(The backup has no text for this note.)\n"),
        Contents::Unreadable { reason } => out.push_str(&format!("(The text of this note cannot be read: {reason})\n")),
    }
    for attachment in unmentioned(note) {
        out.push_str(&named(attachment));
        out.push('\n');
    }
    out
}

fn by_identifier(note: &Note) -> HashMap<&str, &Attachment> {
    let known = note.attachments.iter();
    known
        .filter_map(|attachment| Some((attachment.identifier.as_deref()?, attachment)))
        .collect()
}

/// The attachments that the text does not mention.
fn unmentioned(note: &Note) -> Vec<&Attachment> {
    let mut mentioned = std::collections::HashSet::new();
    if let Contents::Text { body } = &note.contents {
        mentioned.extend(body.attachments().map(|mark| mark.identifier.as_str()));
    }
    let unmentioned = |attachment: &&Attachment| {
        !attachment.deleted
            && attachment
                .identifier
                .as_deref()
                .is_none_or(|identifier| !mentioned.contains(identifier))
    };
    note.attachments.iter().filter(unmentioned).collect()
}

/// The numbers of numbered lists, by level.
#[derive(Default)]
struct Numbers {
    at: Vec<u32>,
}

impl Numbers {
    /// The next number on that level; deeper levels begin anew.
    fn next(&mut self, level: u8) -> u32 {
        self.at.resize(usize::from(level).saturating_add(1), 0);
        let Some(number) = self.at.last_mut() else { return 1 };
        *number = number.saturating_add(1);
        *number
    }

    fn leave(&mut self) {
        self.at.clear();
    }
}

fn line(paragraph: &Paragraph, attachments: &HashMap<&str, &Attachment>, numbers: &mut Numbers) -> String {
    let mut out = "    ".repeat(usize::from(paragraph.indent));
    if paragraph.quote {
        out.push_str("> ");
    }
    match paragraph.kind {
        ParagraphKind::Bulleted => out.push_str("• "),
        ParagraphKind::Dashed => out.push_str("– "),
        ParagraphKind::Numbered => out.push_str(&format!("{}. ", numbers.next(paragraph.indent))),
        ParagraphKind::Checklist { done: true } => out.push_str("[x] "),
        ParagraphKind::Checklist { done: false } => out.push_str("[ ] "),
        _ => {}
    }
    // Items of other lists between numbered ones on a higher level do not end the count.
    if paragraph.kind != ParagraphKind::Numbered && paragraph.indent == 0 {
        numbers.leave();
    }
    for span in &paragraph.spans {
        match &span.attachment {
            Some(mark) => out.push_str(&mentioned(mark, attachments)),
            None => out.push_str(&span.text),
        }
        if let Some(link) = span.link.as_deref().filter(|link| !span.text.contains(*link)) {
            out.push_str(&format!(" <{link}>"));
        }
    }
    out
}

fn mentioned(mark: &AttachmentMark, attachments: &HashMap<&str, &Attachment>) -> String {
    match attachments.get(mark.identifier.as_str()) {
        Some(attachment) => named(attachment),
        None => format!("[{}, not in the backup]", mark.uti),
    }
}

fn named(attachment: &Attachment) -> String {
    if let Some(table) = &attachment.table {
        return format!("\n{}", table_text(table));
    }
    let uti = attachment.uti.as_deref().unwrap_or("attachment");
    // Tags and mentions are words of the text.
    if let (Some(title), true) = (&attachment.title, uti.contains("inlinetextattachment")) {
        return title.clone();
    }
    let name = attachment
        .title
        .as_deref()
        .or(attachment.filename.as_deref())
        .unwrap_or("");
    let url = attachment
        .url
        .as_deref()
        .map(|url| format!(" <{url}>"))
        .unwrap_or_default();
    match name {
        "" => format!("[{uti}{url}]"),
        name => format!("[{name}, {uti}{url}]"),
    }
}

fn table_text(table: &Table) -> String {
    let row = |row: &Vec<String>| {
        row.iter()
            .map(|cell| cell.replace('\n', " "))
            .collect::<Vec<_>>()
            .join(" | ")
    };
    table.rows.iter().map(|cells| format!("| {} |\n", row(cells))).collect()
}

fn export(job: &mut Job<'_>) -> Result<bool, RecordError> {
    let mut books = NoteBook::read_all(job.archive())?;
    if books.is_empty() {
        return Ok(false);
    }
    let stores = books.iter_mut();
    job.stores(stores.map(|book| (&book.source, &book.problems, &mut book.failure)))?;
    if let Some(mut lines) = job.json_lines("notes")? {
        for note in books.iter().flat_map(|book| &book.notes) {
            lines.write(note)?;
        }
        let name = lines.finish()?.finish()?;
        job.wrote(name);
    }
    if job.wants(Format::Text) {
        for note in books.iter().flat_map(|book| &book.notes) {
            let mut file = job.output().file(&note.name(), "txt")?;
            file.write_all(text(note).as_bytes())?;
            let name = file.finish()?;
            job.wrote(name);
        }
    }
    if job.wants(Format::Html) {
        pages(job, &books)?;
    } else {
        let count: usize = books.iter().map(|book| book.notes.len()).sum();
        job.count(count as u64)?;
    }
    Ok(true)
}

/// Pages of notes, one note after another.
fn pages(job: &mut Job<'_>, books: &[NoteBook]) -> Result<(), RecordError> {
    let mut page: Option<Page<OutputFile>> = None;
    let mut on_page = 0_usize;
    for book in books {
        let places = Places::of(book);
        for note in &book.notes {
            if on_page >= job.page_records() {
                finish(job, page.take())?;
                on_page = 0;
            }
            let page = match &mut page {
                Some(page) => page,
                none => none.insert(Page::begin(job.output().file("index", "html")?, "Notes")?),
            };
            on_page = on_page.saturating_add(1);
            write_note(job, page, book, note, &places)?;
            job.count(1)?;
        }
    }
    finish(job, page)
}

fn finish(job: &mut Job<'_>, page: Option<Page<OutputFile>>) -> Result<(), RecordError> {
    if let Some(page) = page {
        let name = page.finish()?.finish()?;
        job.wrote(name);
    }
    Ok(())
}

/// The names of folders with all they lie in, worked out once.
struct Places {
    by_folder: HashMap<i64, String>,
}

impl Places {
    fn of(book: &NoteBook) -> Self {
        let folders: HashMap<i64, &super::Folder> = book.folders.iter().map(|folder| (folder.id, folder)).collect();
        let accounts: HashMap<i64, &str> = book
            .accounts
            .iter()
            .filter_map(|account| Some((account.id, account.name.as_deref()?)))
            .collect();
        let place = |folder: &super::Folder| {
            let (mut names, mut next) = (Vec::new(), Some(folder));
            for _ in 0..32 {
                let Some(folder) = next else { break };
                names.extend(folder.name.as_deref());
                next = folder.parent.and_then(|parent| folders.get(&parent).copied());
            }
            names.extend(folder.account.and_then(|account| accounts.get(&account).copied()));
            names.reverse();
            names.join(" / ")
        };
        Self {
            by_folder: book.folders.iter().map(|folder| (folder.id, place(folder))).collect(),
        }
    }
}

fn write_note(
    job: &mut Job<'_>,
    page: &mut Page<OutputFile>,
    book: &NoteBook,
    note: &Note,
    places: &Places,
) -> Result<(), RecordError> {
    page.heading(&note.name())?;
    let mut facts = Vec::new();
    facts.extend(
        note.folder
            .and_then(|folder| places.by_folder.get(&folder))
            .filter(|place| !place.is_empty())
            .cloned(),
    );
    facts.extend(note.created.map(|at| format!("made {}", at.minute())));
    facts.extend(note.modified.map(|at| format!("changed {}", at.minute())));
    facts.extend(note.pinned.then(|| "pinned".to_owned()));
    facts.extend(note.deleted.then(|| "deleted".to_owned()));
    page.paragraph(&facts.join(", "))?;
    if let Contents::Text { body } = &note.contents {
        write_body(page, body, note)?;
    } else {
        page.paragraph(&text(note))?;
    }
    for attachment in note.attachments.iter().filter(|attachment| !attachment.deleted) {
        if let Some(table) = &attachment.table {
            page.table(&[])?;
            for row in &table.rows {
                let cells: Vec<Cell<'_>> = row.iter().map(|cell| Cell::Text(cell)).collect();
                page.row(&cells)?;
            }
        } else {
            write_files(job, page, book, attachment)?;
        }
    }
    Ok(())
}

fn write_body(page: &mut Page<OutputFile>, body: &NoteBody, note: &Note) -> io::Result<()> {
    let attachments = by_identifier(note);
    let mut numbers = Numbers::default();
    let (mut lines, mut links) = (String::new(), Vec::new());
    for paragraph in &body.paragraphs {
        lines.push_str(&line(paragraph, &attachments, &mut numbers));
        lines.push('\n');
        for span in &paragraph.spans {
            links.extend(span.link.as_deref().map(|link| (link, link)));
        }
    }
    page.paragraph(lines.trim_end())?;
    if !links.is_empty() {
        page.links(&links)?;
    }
    Ok(())
}

/// The files of an attachment, copied beside the page and shown.
fn write_files(
    job: &mut Job<'_>,
    page: &mut Page<OutputFile>,
    book: &NoteBook,
    attachment: &Attachment,
) -> Result<(), RecordError> {
    let what = named(attachment);
    let mut shown = false;
    let files = if job.copies_attachments() {
        &*attachment.files
    } else {
        &[]
    };
    for file in files {
        // Pictures of a thing are for when the thing itself is not there.
        if shown && file.kind != super::AttachedKind::Media {
            break;
        }
        let Some(name) = copy(job, &book.source.domain, &file.path)? else {
            continue;
        };
        shown = true;
        let picture = ["jpg", "jpeg", "png", "gif", "webp"]
            .iter()
            .any(|end| name.to_ascii_lowercase().ends_with(&format!(".{end}")));
        match relative_href(&name) {
            Some(href) if picture => {
                page.table(&[])?;
                page.row(&[
                    Cell::Image {
                        href: &href,
                        text: &what,
                    },
                    Cell::Link {
                        href: &href,
                        text: &what,
                    },
                ])?;
            }
            Some(href) => page.links(&[(&href, &what)])?,
            None => page.paragraph(&what)?,
        }
    }
    if !shown && attachment.url.is_none() {
        page.paragraph(&what)?;
    }
    if let Some(url) = &attachment.url {
        page.links(&[(url, &what)])?;
    }
    Ok(())
}

/// Copies a file of the backup into the export; `None`, with a note, if its payload is missing or damaged.
fn copy(job: &mut Job<'_>, domain: &str, path: &str) -> Result<Option<String>, RecordError> {
    let entry = job
        .archive()
        .entry_at(domain, path)?
        .filter(|entry| entry.kind == Kind::File);
    let Some(entry) = entry else { return Ok(None) };
    let mut reader = match job.archive().read(&entry) {
        Ok(reader) => reader,
        Err(ArchiveError::Io(error)) => return Err(error.into()),
        Err(error) => {
            let mut notes = crate::archive::records::Notes::default();
            let reason = crate::archive::records::export::with_causes(&error);
            let problem = crate::archive::records::Problem::Undecodable {
                what: "the file",
                reason,
            };
            notes.push(RecordNote::table(path, problem));
            job.notes(notes);
            return Ok(None);
        }
    };
    let file_name = path.rsplit('/').next().unwrap_or(path);
    let (stem, extension) = file_name.rsplit_once('.').unwrap_or((file_name, ""));
    let mut file = job.output().file(stem, extension)?;
    io::copy(&mut reader, &mut file)?;
    let name = file.finish()?;
    job.wrote(name.clone());
    Ok(Some(name))
}
