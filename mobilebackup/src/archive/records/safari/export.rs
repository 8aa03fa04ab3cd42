//! History, bookmarks and tabs for people and for other browsers.

use super::{BookmarkKind, Bookmarks, History, Tabs};
use crate::archive::records::export::{Exporter, Format, Job};
use crate::archive::records::html::{Cell, Page};
use crate::archive::records::{Notes, RecordError, Source};

/// How `safari` is exported.
pub(in crate::archive::records) const EXPORTER: Exporter =
    Exporter::new("safari", &[Format::JsonLines, Format::Html], export);

fn export(job: &mut Job<'_>) -> Result<bool, RecordError> {
    let mut history = History::read_all(job.archive())?;
    let mut bookmarks = Bookmarks::read_all(job.archive())?;
    let mut tabs = Tabs::read_all(job.archive())?;
    let mut failures = Vec::new();
    let mut stores = 0_usize;
    let mut tell = |source: &Source, problems: &Notes, failure: &mut Option<RecordError>| {
        stores = stores.saturating_add(1);
        failures.extend(failure.take());
        job.source(source.clone());
        job.notes(problems.clone());
    };
    history
        .iter_mut()
        .for_each(|one| tell(&one.source, &one.problems, &mut one.failure));
    bookmarks
        .iter_mut()
        .for_each(|one| tell(&one.source, &one.problems, &mut one.failure));
    tabs.iter_mut()
        .for_each(|one| tell(&one.source, &one.problems, &mut one.failure));
    if stores == 0 {
        return Ok(false);
    }
    if failures.len() == stores
        && let Some(failure) = failures.pop()
    {
        return Err(failure);
    }
    for history in &history {
        write_history(job, history)?;
    }
    for bookmarks in &bookmarks {
        write_bookmarks(job, bookmarks)?;
    }
    for tabs in &tabs {
        write_tabs(job, tabs)?;
    }
    Ok(true)
}

fn write_history(job: &mut Job<'_>, history: &History) -> Result<(), RecordError> {
    if let Some(mut lines) = job.json_lines("history")? {
        history.visits.iter().try_for_each(|visit| lines.write(visit))?;
        let name = lines.finish()?.finish()?;
        job.wrote(name);
    }
    if job.wants(Format::Html) {
        let mut visits: Vec<_> = history.visits.iter().collect();
        visits.sort_by_key(|visit| std::cmp::Reverse((visit.at, visit.id)));
        for chunk in visits.chunks(job.page_records().max(1)) {
            let mut page = Page::begin(job.output().file("history", "html")?, "History")?;
            page.paragraph(&format!(
                "From {} {}. Times are UTC.",
                history.source.domain, history.source.path
            ))?;
            page.table(&["When", "Page", "Address"])?;
            for visit in chunk {
                let url = visit.url.as_deref().unwrap_or("");
                let title = visit.title.as_deref().unwrap_or("");
                page.row(&[
                    Cell::Time(visit.at),
                    Cell::Text(title),
                    Cell::Link { href: url, text: url },
                ])?;
            }
            let name = page.finish()?.finish()?;
            job.wrote(name);
        }
    }
    job.count(history.visits.len() as u64)
}

fn write_bookmarks(job: &mut Job<'_>, bookmarks: &Bookmarks) -> Result<(), RecordError> {
    if let Some(mut lines) = job.json_lines("bookmarks")? {
        bookmarks.entries.iter().try_for_each(|entry| lines.write(entry))?;
        let name = lines.finish()?.finish()?;
        job.wrote(name);
    }
    if job.wants(Format::Html) {
        let mut file = job.output().file("bookmarks", "html")?;
        bookmarks.write_netscape(&mut file)?;
        let name = file.finish()?;
        job.wrote(name);
        let mut page = Page::begin(job.output().file("reading-list", "html")?, "Bookmarks and reading list")?;
        page.table(&["", "Title", "Address", "Preview", "Added"])?;
        for (depth, entry) in bookmarks.tree() {
            let url = entry.url.as_deref().unwrap_or("");
            let title = format!("{}{}", "\u{2003}".repeat(depth), entry.title.as_deref().unwrap_or(""));
            let kind = match (entry.kind, entry.read) {
                (BookmarkKind::Page, Some(true)) => "read",
                (BookmarkKind::Page, _) => "",
                _ => "folder",
            };
            page.row(&[
                Cell::Text(kind),
                Cell::Text(&title),
                Cell::Link { href: url, text: url },
                Cell::Text(entry.preview.as_deref().unwrap_or("")),
                Cell::Time(entry.added.or(entry.modified)),
            ])?;
        }
        let name = page.finish()?.finish()?;
        job.wrote(name);
    }
    job.count(bookmarks.entries.len() as u64)
}

fn write_tabs(job: &mut Job<'_>, tabs: &Tabs) -> Result<(), RecordError> {
    if let Some(mut lines) = job.json_lines("tabs")? {
        tabs.tabs.iter().try_for_each(|tab| lines.write(tab))?;
        let name = lines.finish()?.finish()?;
        job.wrote(name);
    }
    if job.wants(Format::Html) {
        let mut page = Page::begin(job.output().file("tabs", "html")?, "Open tabs")?;
        page.table(&["Page", "Address", "Looked at", ""])?;
        for tab in &tabs.tabs {
            let url = tab.url.as_deref().unwrap_or("");
            page.row(&[
                Cell::Text(tab.title.as_deref().unwrap_or("")),
                Cell::Link { href: url, text: url },
                Cell::Time(tab.viewed),
                Cell::Text(if tab.private == Some(true) { "private" } else { "" }),
            ])?;
        }
        let name = page.finish()?.finish()?;
        job.wrote(name);
    }
    job.count(tabs.tabs.len() as u64)
}
