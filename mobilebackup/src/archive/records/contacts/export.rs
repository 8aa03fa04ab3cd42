//! Contacts as JSON lines, as one page, and as cards.

use std::io::Write;

use super::{Contact, Contacts, TextField};
use crate::archive::records::export::{Exporter, Format, Job};
use crate::archive::records::html::{Cell, Page, relative_href};
use crate::archive::records::output::{Output, OutputFile};
use crate::archive::records::{RecordError, vcard};

pub(crate) const EXPORTER: Exporter = Exporter::new("contacts", &[Format::JsonLines, Format::Html, Format::Vcard], run);

fn run(job: &mut Job<'_>) -> Result<bool, RecordError> {
    let Some(contacts) = super::read(job.archive())? else {
        return Ok(false);
    };
    job.source(contacts.source().clone());
    let mut lines = job.json_lines("contacts")?;
    let mut cards = if job.wants(Format::Vcard) {
        Some(job.output().file("contacts", "vcf")?)
    } else {
        None
    };
    let mut page = match job.wants(Format::Html) {
        true => Some(begin_page(job, &contacts)?),
        false => None,
    };
    let with_pictures = page.is_some() && job.copies_attachments();
    let mut pictures = if with_pictures {
        Some(job.output().subfolder("pictures")?)
    } else {
        None
    };
    for contact in contacts.people() {
        if let Some(lines) = &mut lines {
            lines.write(contact)?;
        }
        let picture = contacts.picture(contact)?;
        if let Some(cards) = &mut cards {
            vcard::write(cards, contact, picture.as_ref(), job.vcard_version())?;
        }
        if let Some(page) = &mut page {
            let href = match (&mut pictures, &picture) {
                (Some(folder), Some(picture)) => Some(write_picture(folder, contact, picture)?),
                _ => None,
            };
            if href.is_some() {
                job.wrote("picture");
            }
            write_row(page, contact, href.as_deref())?;
        }
        job.count(1)?;
    }
    let finished = [
        lines.map(|lines| lines.finish()?.finish()).transpose()?,
        cards.map(OutputFile::finish).transpose()?,
        page.map(|page| page.finish()?.finish()).transpose()?,
    ];
    for name in finished.into_iter().flatten() {
        job.wrote(name);
    }
    job.notes(contacts.notes().clone());
    Ok(true)
}

fn begin_page(job: &mut Job<'_>, contacts: &Contacts) -> Result<Page<OutputFile>, RecordError> {
    let mut page = Page::begin(job.output().file("index", "html")?, "Contacts")?;
    let source = contacts.source();
    page.paragraph(&format!("From {} {}.", source.domain, source.path))?;
    page.table(&["", "Name", "Company", "Numbers and addresses", "Notes"])?;
    Ok(page)
}

/// Writes a picture beside the page; gives the link to it.
fn write_picture(
    folder: &mut (String, Output),
    contact: &Contact,
    picture: &super::Picture,
) -> Result<String, RecordError> {
    let extension = match picture.media_type {
        "image/jpeg" => "jpg",
        other => other.trim_start_matches("image/"),
    };
    let (name, folder) = folder;
    let mut file = folder.file(&contact.title(), extension)?;
    file.write_all(&picture.bytes)?;
    let file = file.finish()?;
    Ok(relative_href(&format!("{name}/{file}")).unwrap_or_default())
}

fn write_row(page: &mut Page<OutputFile>, contact: &Contact, picture: Option<&str>) -> Result<(), RecordError> {
    let title = contact.title();
    let company = [TextField::JobTitle, TextField::Department, TextField::Organization];
    let company: Vec<_> = company.into_iter().filter_map(|field| contact.text(field)).collect();
    let values = contact.values.iter().map(|value| match value.shown_label() {
        Some(label) => format!("{label}: {}", value.shown()),
        None => value.shown(),
    });
    let birthday = contact.birthday.map(|day| format!("Birthday: {day}"));
    let values: Vec<_> = values.chain(birthday).collect();
    let image = match picture {
        Some(href) => Cell::Image { href, text: &title },
        None => Cell::Text(""),
    };
    page.row(&[
        image,
        Cell::Text(&title),
        Cell::Text(&company.join("\n")),
        Cell::Text(&values.join("\n")),
        Cell::Text(contact.text(TextField::Note).unwrap_or_default()),
    ])?;
    Ok(())
}
