//! Messages as JSON lines, and as one page or more per conversation.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::ops::ControlFlow;

use super::types::{Attachment, Chat, Message, MessageKind, Target};
use super::{Messages, locate};
use crate::archive::Archive;
use crate::archive::records::export::{Exporter, Format, Job};
use crate::archive::records::html::{Bubble, Cell, Page, Piece, Side, relative_href};
use crate::archive::records::output::{Output, OutputFile};
use crate::archive::records::{Notes, Problem, RecordError, RecordNote, Timestamp, contacts};

pub(crate) const EXPORTER: Exporter = Exporter::new("messages", &[Format::JsonLines, Format::Html], run);

/// Most messages whose start is kept for those that answer them.
const MAX_QUOTES: usize = 20_000;

/// Characters of a quotation.
const QUOTE: usize = 120;

fn run(job: &mut Job<'_>) -> Result<bool, RecordError> {
    let Some(mut messages) = super::read(job.archive())? else {
        return Ok(false);
    };
    job.source(messages.source().clone());
    // Contacts that cannot be read cost the names only; their own export says why.
    if let Ok(Some(contacts)) = contacts::read(job.archive()) {
        messages.name_people(&contacts.directory());
    }
    let mut lines = job.json_lines("messages")?;
    write_chats(job, &messages)?;
    let mut files = Files::new(job)?;
    // Taken now, so that a conversation called `index` does not get the name.
    let index = if job.wants(Format::Html) {
        Some(job.output().file("index", "html")?)
    } else {
        None
    };
    let mut listed = Vec::new();
    for number in 0..messages.chats().len() {
        let Some(chat) = messages.chats().get(number).cloned() else {
            continue;
        };
        let mut conversation = match &index {
            Some(_) => Some(Conversation::begin(job, &mut messages, number, &chat)?),
            None => None,
        };
        let _ = messages.each(number, &mut |mut message| {
            locate(job.archive(), &mut message)?;
            files.export(job, &mut message)?;
            if let Some(lines) = &mut lines {
                lines.write(&Line {
                    chat: chat.id,
                    chat_guid: chat.guid.as_deref(),
                    message: &message,
                })?;
            }
            if let Some(conversation) = &mut conversation {
                conversation.message(job, &message)?;
            }
            job.count(1)?;
            Ok(ControlFlow::Continue(()))
        })?;
        if let Some(conversation) = conversation {
            listed.push((chat, conversation.finish(job)?));
        }
    }
    if let Some(lines) = lines {
        let name = lines.finish()?.finish()?;
        job.wrote(name);
    }
    if let Some(index) = index {
        let name = write_index(index, &messages, &listed)?;
        job.wrote(name);
    }
    job.notes(files.notes);
    job.notes(messages.notes().clone());
    Ok(true)
}

fn write_chats(job: &mut Job<'_>, messages: &Messages) -> Result<(), RecordError> {
    if let Some(mut chats) = job.json_lines("chats")? {
        for chat in messages.chats() {
            chats.write(chat)?;
        }
        let name = chats.finish()?.finish()?;
        job.wrote(name);
    }
    Ok(())
}

/// A message with its conversation, as one line.
#[derive(serde::Serialize)]
struct Line<'a> {
    chat: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chat_guid: Option<&'a str>,
    #[serde(flatten)]
    message: &'a Message,
}

/// Attachments beside the pages.
struct Files {
    folder: Option<(String, Output)>,
    /// Where an attachment went, since several messages may share one.
    done: HashMap<i64, Option<String>>,
    notes: Notes,
}

impl Files {
    fn new(job: &mut Job<'_>) -> Result<Self, RecordError> {
        let folder = if job.copies_attachments() {
            Some(job.output().subfolder("attachments")?)
        } else {
            None
        };
        Ok(Self {
            folder,
            done: HashMap::new(),
            notes: Notes::default(),
        })
    }

    fn export(&mut self, job: &mut Job<'_>, message: &mut Message) -> Result<(), RecordError> {
        let Some((name, folder)) = &mut self.folder else {
            return Ok(());
        };
        for attachment in &mut message.attachments {
            if !self.done.contains_key(&attachment.id) {
                let copied = copy(job.archive(), folder, attachment, &mut self.notes)?;
                if copied.is_some() {
                    job.wrote(attachment.shown());
                }
                self.done.insert(attachment.id, copied);
            }
            let copied = self.done.get(&attachment.id).and_then(Option::as_ref);
            attachment.exported = copied.map(|file| format!("{name}/{file}"));
        }
        Ok(())
    }
}

/// Copies one attachment, as far as it can be read. What cannot be is noted, and leaves no file.
fn copy(
    archive: &Archive,
    folder: &mut Output,
    attachment: &Attachment,
    notes: &mut Notes,
) -> Result<Option<String>, RecordError> {
    let Some(file) = &attachment.file else { return Ok(None) };
    let unreadable = |error: &dyn std::fmt::Display| {
        let problem = Problem::Undecodable {
            what: "the attachment's file",
            reason: error.to_string(),
        };
        RecordNote::row("attachment", Some(attachment.id), Some("filename"), problem)
    };
    let Some(entry) = archive.entry_at(&file.domain, &file.path)? else {
        return Ok(None);
    };
    let mut reader = match archive.read(&entry) {
        Ok(reader) => reader,
        Err(error) => {
            notes.push(unreadable(&error));
            return Ok(None);
        }
    };
    let (stem, extension) = match attachment.shown().rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => (stem, extension),
        _ => (attachment.shown(), ""),
    };
    let mut out = folder.file(stem, extension)?;
    match copy_bytes(&mut reader, &mut out)? {
        Ok(()) => out.finish().map(Some),
        Err(error) => {
            notes.push(unreadable(&error));
            Ok(None)
        }
    }
}

/// The outer error is the export's, the inner one the backup's.
fn copy_bytes(from: &mut impl std::io::Read, to: &mut OutputFile) -> Result<std::io::Result<()>, RecordError> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(Ok(())),
            Ok(count) => to.write_all(buffer.get(..count).unwrap_or_default())?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Ok(Err(error)),
        }
    }
}

/// The pages of one conversation.
struct Conversation {
    title: String,
    stem: String,
    page: Option<Page<OutputFile>>,
    /// The names of its pages, the one that is being written last.
    names: Vec<String>,
    on_page: usize,
    day: Option<String>,
    /// Reactions that have not met their message yet, by its guid.
    reactions: BTreeMap<String, Vec<String>>,
    /// How messages begin, for those that answer them.
    quotes: HashMap<String, String>,
}

impl Conversation {
    fn begin(job: &mut Job<'_>, messages: &mut Messages, number: usize, chat: &Chat) -> Result<Self, RecordError> {
        let mut reactions: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let _ = messages.each_reaction(number, &mut |message| {
            if let MessageKind::Reaction {
                reaction,
                removed,
                target,
            } = &message.kind
            {
                let marks = reactions.entry(target.guid.clone()).or_default();
                let mark = format!("{} {}", reaction.sign(), author(&message));
                if *removed {
                    marks.retain(|known| *known != mark);
                } else {
                    marks.push(mark);
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        reactions.retain(|_, marks| !marks.is_empty());
        let mut conversation = Self {
            title: chat.title(),
            stem: chat.title(),
            page: None,
            names: Vec::new(),
            on_page: 0,
            day: None,
            reactions,
            quotes: HashMap::new(),
        };
        conversation.turn(job)?;
        if let Some(page) = &mut conversation.page {
            for person in &chat.participants {
                let name = person.name.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
                page.paragraph(&format!("{name}{}", person.address))?;
            }
        }
        Ok(conversation)
    }

    /// Ends the page, if there is one, and begins the next.
    fn turn(&mut self, job: &mut Job<'_>) -> Result<(), RecordError> {
        let number = self.names.len().saturating_add(1);
        let suffix = if number == 1 {
            String::new()
        } else {
            format!("-{number}")
        };
        let file = job.output().file(&format!("{}{suffix}", self.stem), "html")?;
        let name = file.name().to_owned();
        self.end_page(job, Some(&name))?;
        let title = if number == 1 {
            self.title.clone()
        } else {
            format!("{} ({number})", self.title)
        };
        let mut page = Page::begin(file, &title)?;
        let before = self.names.last().map(String::as_str);
        navigation(
            &mut page,
            &[("all conversations", Some("index.html")), ("page before", before)],
        )?;
        self.page = Some(page);
        self.names.push(name);
        self.on_page = 0;
        Ok(())
    }

    fn end_page(&mut self, job: &mut Job<'_>, next: Option<&str>) -> Result<(), RecordError> {
        if let Some(mut page) = self.page.take() {
            navigation(
                &mut page,
                &[("all conversations", Some("index.html")), ("next page", next)],
            )?;
            let name = page.finish()?.finish()?;
            job.wrote(name);
        }
        Ok(())
    }

    fn message(&mut self, job: &mut Job<'_>, message: &Message) -> Result<(), RecordError> {
        if matches!(message.kind, MessageKind::Reaction { .. }) {
            return Ok(()); // shown with what it is about
        }
        if self.on_page >= job.page_records() {
            self.turn(job)?;
        }
        self.on_page = self.on_page.saturating_add(1);
        let Some(page) = &mut self.page else { return Ok(()) };
        let day = message.date.map(|date| date.date());
        if let Some(day) = day.filter(|day| self.day.as_ref() != Some(day)) {
            page.divider(&day)?;
            self.day = Some(day);
        }
        match event(message) {
            Some(event) => page.divider(&event)?,
            None => {
                let marks = message.guid.as_ref().and_then(|guid| self.reactions.remove(guid));
                let quote = message.reply_to.as_ref().map(|Target { guid, .. }| {
                    self.quotes
                        .get(guid)
                        .map_or("(a message that is not here)", String::as_str)
                });
                bubble(page, message, quote, marks.unwrap_or_default())?;
            }
        }
        if let (Some(guid), Some(text)) = (&message.guid, &message.text)
            && self.quotes.len() < MAX_QUOTES
        {
            self.quotes.insert(guid.clone(), text.chars().take(QUOTE).collect());
        }
        Ok(())
    }

    /// Ends the last page; gives the name of the first.
    fn finish(mut self, job: &mut Job<'_>) -> Result<String, RecordError> {
        if let Some(page) = self.page.as_mut().filter(|_| !self.reactions.is_empty()) {
            page.divider("Reactions to messages that are not here")?;
            for marks in self.reactions.values() {
                page.divider(&marks.join(", "))?;
            }
        }
        self.end_page(job, None)?;
        Ok(self.names.into_iter().next().unwrap_or_default())
    }
}

fn navigation(page: &mut Page<OutputFile>, links: &[(&str, Option<&str>)]) -> Result<(), RecordError> {
    let links: Vec<_> = links
        .iter()
        .filter_map(|(text, name)| Some((relative_href((*name)?)?, *text)))
        .collect();
    let links: Vec<_> = links.iter().map(|(href, text)| (href.as_str(), *text)).collect();
    Ok(page.links(&links)?)
}

fn bubble(
    page: &mut Page<OutputFile>,
    message: &Message,
    quote: Option<&str>,
    marks: Vec<String>,
) -> Result<(), RecordError> {
    let author = author(message);
    let side = if message.from_me { Side::Own } else { Side::Other };
    let mut bubble = Bubble::new(side).author(&author).time(message.date);
    if let Some(quote) = quote {
        bubble = bubble.piece(Piece::Quote(quote));
    }
    if let Some(subject) = &message.subject {
        bubble = bubble.piece(Piece::Text(subject));
    }
    let shown: Vec<_> = message.attachments.iter().map(shown).collect();
    for (attachment, (href, label)) in message.attachments.iter().zip(&shown) {
        bubble = bubble.piece(piece(attachment, href.as_deref(), label));
    }
    let text = message.text.as_ref().map(|text| text.replace('\u{fffc}', ""));
    if let Some(text) = text.as_deref().filter(|text| !text.trim().is_empty()) {
        bubble = bubble.piece(Piece::Text(text));
    }
    let small = small(message, marks);
    for line in &small {
        bubble = bubble.piece(Piece::Small(line));
    }
    Ok(page.bubble(&bubble)?)
}

fn author(message: &Message) -> String {
    match (&message.sender, message.from_me) {
        (_, true) => "Me".to_owned(),
        (Some(person), false) => person.shown().to_owned(),
        (None, false) => "Unknown".to_owned(),
    }
}

/// A link to an exported attachment that is safe to open, and what to call it.
fn shown(attachment: &Attachment) -> (Option<String>, String) {
    let label = match (&attachment.exported, &attachment.file) {
        (Some(_), _) => attachment.shown().to_owned(),
        (None, Some(_)) => format!("{} (not copied)", attachment.shown()),
        (None, None) => format!("{} (not in the backup)", attachment.shown()),
    };
    let href = attachment
        .exported
        .as_deref()
        .filter(|name| !is_active(name))
        .and_then(relative_href);
    (href, label)
}

/// Whether a browser would run what is in the file: such attachments are named, and not linked.
fn is_active(name: &str) -> bool {
    let extension = name.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    let active = [
        "htm",
        "html",
        "xhtml",
        "xht",
        "shtml",
        "mhtml",
        "mht",
        "svg",
        "svgz",
        "xml",
        "xsl",
        "xslt",
        "js",
        "mjs",
        "url",
        "webloc",
        "webarchive",
        "hta",
        "exe",
        "lnk",
        "bat",
        "cmd",
        "com",
        "scr",
        "app",
    ];
    active.contains(&extension.as_str())
}

fn piece<'a>(attachment: &Attachment, href: Option<&'a str>, text: &'a str) -> Piece<'a> {
    let name = attachment.exported.as_deref().unwrap_or_default().to_ascii_lowercase();
    let is = |kind: &str, extensions: &[&str]| {
        let mime = attachment
            .mime_type
            .as_deref()
            .is_some_and(|mime| mime.starts_with(kind));
        let extension = name.rsplit('.').next().unwrap_or_default();
        mime || extensions.contains(&extension)
    };
    match href {
        Some(href) if is("image/", &["jpg", "jpeg", "png", "gif", "heic", "webp"]) => Piece::Image { href, text },
        Some(href) if is("video/", &["mov", "mp4", "m4v"]) || is("audio/", &["m4a", "caf", "amr", "mp3"]) => {
            Piece::Media { href, text }
        }
        href => Piece::File { href, text },
    }
}

/// What is said below a message.
fn small(message: &Message, marks: Vec<String>) -> Vec<String> {
    let mut lines = marks;
    let at = |what: &str, time: Option<Timestamp>| time.map(|time| format!("{what} {}", time.minute()));
    lines.extend(at("edited", message.edited));
    for edit in &message.edits {
        let text = edit.text.as_deref().unwrap_or("(unreadable)");
        let since = edit.date.map(|date| format!(", {}", date.minute())).unwrap_or_default();
        lines.push(format!("version{since}: {text}"));
    }
    lines.extend(at("unsent", message.unsent));
    if !message.unsent_parts.is_empty() && message.unsent.is_none() {
        lines.push("unsent".to_owned());
    }
    lines.extend(
        message
            .effect
            .as_ref()
            .map(|effect| format!("effect {}", effect_name(effect))),
    );
    lines.extend(message.app.as_ref().map(|app| format!("shown by {app}")));
    lines.extend(at("deleted", message.deleted));
    if message.error != 0 {
        lines.push(format!("not sent: error {}", message.error));
    }
    if message.from_me {
        lines.extend(at("delivered", message.delivered));
    }
    lines.extend(at("read", message.read));
    lines
}

/// The last word of an effect's name: `impact`, `CKConfettiEffect`.
fn effect_name(effect: &str) -> &str {
    effect.rsplit('.').next().unwrap_or(effect)
}

/// What happened to the group, in words; `None` for messages.
fn event(message: &Message) -> Option<String> {
    let author = author(message);
    let somebody = |who: &Option<String>| who.clone().unwrap_or_else(|| "somebody".to_owned());
    Some(match &message.kind {
        MessageKind::Message | MessageKind::Reaction { .. } => return None,
        MessageKind::Joined { who } => format!("{author} added {}", somebody(who)),
        MessageKind::Removed { who } => format!("{author} removed {}", somebody(who)),
        MessageKind::Left => format!("{author} left"),
        MessageKind::Renamed { title: Some(title) } => format!("{author} named the conversation {title}"),
        MessageKind::Renamed { title: None } => format!("{author} removed the conversation's name"),
        MessageKind::PictureChanged => format!("{author} changed the picture"),
        MessageKind::PictureRemoved => format!("{author} removed the picture"),
        MessageKind::LocationSharing { started: true } => format!("{author} started sharing location"),
        MessageKind::LocationSharing { started: false } => format!("{author} stopped sharing location"),
        MessageKind::AudioKept => format!("{author} kept an audio message"),
        MessageKind::Other { item_type, action } => format!("{author}: event {item_type}/{action}"),
    })
}

fn write_index(file: OutputFile, messages: &Messages, chats: &[(Chat, String)]) -> Result<String, RecordError> {
    let mut page = Page::begin(file, "Messages")?;
    let source = messages.source();
    page.paragraph(&format!("From {} {}. Times are UTC.", source.domain, source.path))?;
    page.table(&["Conversation", "With", "Service", "Messages"])?;
    for (chat, name) in chats {
        let people: Vec<_> = chat.participants.iter().map(|person| person.address.as_str()).collect();
        let (title, people, count) = (chat.title(), people.join("\n"), chat.messages.to_string());
        let href = relative_href(name).unwrap_or_default();
        page.row(&[
            Cell::Link {
                href: &href,
                text: &title,
            },
            Cell::Text(&people),
            Cell::Text(chat.service.as_deref().unwrap_or_default()),
            Cell::Text(&count),
        ])?;
    }
    page.finish()?.finish()
}
