//! Calendars and reminders for people and for other programs.

use std::collections::HashMap;

use super::{CalendarBook, Event, When};
use crate::archive::records::export::{Exporter, Format, Job};
use crate::archive::records::html::{Cell, Page};
use crate::archive::records::output::OutputFile;
use crate::archive::records::{RecordError, icalendar};

/// How `calendar` is exported, reminders included.
pub(in crate::archive::records) const EXPORTER: Exporter =
    Exporter::new("calendar", &[Format::JsonLines, Format::Html, Format::Ics], export);

fn export(job: &mut Job<'_>) -> Result<bool, RecordError> {
    let mut books = CalendarBook::read_all(job.archive())?;
    if books.is_empty() {
        return Ok(false);
    }
    let stores = books.iter_mut();
    job.stores(stores.map(|book| (&book.source, &book.problems, &mut book.failure)))?;
    if let Some(mut lines) = job.json_lines("events")? {
        books
            .iter()
            .flat_map(|book| &book.events)
            .try_for_each(|event| lines.write(event))?;
        let name = lines.finish()?.finish()?;
        job.wrote(name);
    }
    if let Some(mut lines) = job.json_lines("reminders")? {
        books
            .iter()
            .flat_map(|book| &book.tasks)
            .try_for_each(|task| lines.write(task))?;
        let name = lines.finish()?.finish()?;
        job.wrote(name);
    }
    for book in &books {
        if job.wants(Format::Ics) {
            write_ics(job, book)?;
        }
        if job.wants(Format::Html) {
            let titles = Titles::of(book);
            write_event_pages(job, book, &titles)?;
            write_reminder_pages(job, book, &titles)?;
        }
        let records = book.events.len().saturating_add(book.tasks.len());
        job.count(records as u64)?;
    }
    Ok(true)
}

/// One file for each calendar or list, and one for what belongs to none.
fn write_ics(job: &mut Job<'_>, book: &CalendarBook) -> Result<(), RecordError> {
    for calendar in &book.calendars {
        let title = calendar.title.as_deref().unwrap_or("calendar");
        let file = job.output().file(title, "ics")?;
        let name = icalendar::write(file, book, Some(calendar.id))?.finish()?;
        job.wrote(name);
    }
    let known: std::collections::HashSet<i64> = book.calendars.iter().map(|calendar| calendar.id).collect();
    let stray = |of: Option<i64>| of.is_none_or(|of| !known.contains(&of));
    if book.events.iter().any(|event| stray(event.calendar)) || book.tasks.iter().any(|task| stray(task.list)) {
        let file = job.output().file("others", "ics")?;
        let name = icalendar::write_others(file, book)?.finish()?;
        job.wrote(name);
    }
    Ok(())
}

/// What calendars and lists are called, by their row ids.
struct Titles<'a>(HashMap<i64, &'a str>);

impl<'a> Titles<'a> {
    fn of(book: &'a CalendarBook) -> Self {
        let titles = book.calendars.iter();
        Self(
            titles
                .filter_map(|calendar| Some((calendar.id, calendar.title.as_deref()?)))
                .collect(),
        )
    }

    fn title(&self, id: Option<i64>) -> &'a str {
        id.and_then(|id| self.0.get(&id).copied()).unwrap_or("")
    }
}

fn begin_page(
    job: &mut Job<'_>,
    book: &CalendarBook,
    stem: &str,
    title: &str,
) -> Result<Page<OutputFile>, RecordError> {
    let mut page = Page::begin(job.output().file(stem, "html")?, title)?;
    page.paragraph(&format!(
        "From {} {}. Times are UTC.",
        book.source.domain, book.source.path
    ))?;
    Ok(page)
}

fn write_event_pages(job: &mut Job<'_>, book: &CalendarBook, titles: &Titles<'_>) -> Result<(), RecordError> {
    let mut events: Vec<&Event> = book.events.iter().collect();
    events.sort_by_key(|event| (event.start.as_ref().map(|start| start.at), event.id));
    for chunk in events.chunks(job.page_records().max(1)) {
        let mut page = begin_page(job, book, "events", "Calendar")?;
        page.table(&[
            "Begins", "Ends", "Zone", "What", "Where", "Repeats", "Guests", "Calendar",
        ])?;
        for event in chunk {
            let rules: Vec<String> = event
                .recurrences
                .iter()
                .map(|rule| rule.rule(rule.until.map(|at| at.date()).as_deref()))
                .collect();
            let guests: Vec<&str> = event
                .organizer
                .iter()
                .chain(&event.attendees)
                .filter_map(|who| who.name.as_deref().or(who.email.as_deref()))
                .collect();
            let what: Vec<&str> = [
                event.summary.as_deref(),
                event.description.as_deref(),
                event.url.as_deref(),
            ]
            .into_iter()
            .flatten()
            .collect();
            page.row(&[
                Cell::Text(&shown(event.start.as_ref(), event.all_day)),
                Cell::Text(&shown(event.end.as_ref(), event.all_day)),
                Cell::Text(zone(event.start.as_ref())),
                Cell::Text(&what.join("\n")),
                Cell::Text(&event.location.as_ref().map(super::Location::line).unwrap_or_default()),
                Cell::Text(&rules.join("\n")),
                Cell::Text(&guests.join("\n")),
                Cell::Text(titles.title(event.calendar)),
            ])?;
        }
        let name = page.finish()?.finish()?;
        job.wrote(name);
    }
    Ok(())
}

fn write_reminder_pages(job: &mut Job<'_>, book: &CalendarBook, titles: &Titles<'_>) -> Result<(), RecordError> {
    for chunk in book.tasks.chunks(job.page_records().max(1)) {
        let mut page = begin_page(job, book, "reminders", "Reminders")?;
        page.table(&["Due", "What", "Done", "List", ""])?;
        for task in chunk {
            let what: Vec<&str> = [task.summary.as_deref(), task.description.as_deref()]
                .into_iter()
                .flatten()
                .collect();
            let done = match (task.completed, task.completed_at) {
                (true, Some(at)) => at.minute(),
                (true, None) => "yes".to_owned(),
                (false, _) => String::new(),
            };
            page.row(&[
                Cell::Text(&shown(task.due.as_ref(), task.all_day)),
                Cell::Text(&what.join("\n")),
                Cell::Text(&done),
                Cell::Text(titles.title(task.list)),
                Cell::Text(if task.deleted { "deleted" } else { "" }),
            ])?;
        }
        let name = page.finish()?.finish()?;
        job.wrote(name);
    }
    Ok(())
}

fn shown(when: Option<&When>, all_day: bool) -> String {
    when.map_or_else(
        String::new,
        |when| if all_day { when.at.date() } else { when.at.minute() },
    )
}

fn zone(when: Option<&When>) -> &str {
    match when.map(|when| &when.zone) {
        Some(super::TimeZoneName::Named(name)) => name,
        Some(super::TimeZoneName::Floating) => "any",
        _ => "",
    }
}
