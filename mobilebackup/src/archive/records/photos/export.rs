//! What is known of photos, for people and for programs. The pictures themselves are extracted, not exported.

use super::{Asset, Original, PhotoLibrary};
use crate::archive::records::RecordError;
use crate::archive::records::export::{Exporter, Format, Job};
use crate::archive::records::html::{Cell, Page};

/// How `photos` are exported.
pub(in crate::archive::records) const EXPORTER: Exporter =
    Exporter::new("photos", &[Format::JsonLines, Format::Html], export);

fn export(job: &mut Job<'_>) -> Result<bool, RecordError> {
    let Some(mut library) = PhotoLibrary::read(job.archive())? else {
        return Ok(false);
    };
    if let Some(source) = &library.source {
        job.source(source.clone());
    }
    job.notes(library.problems.clone());
    // Pictures are listed even when the library is lost.
    if let (Some(failure), true) = (library.failure.take(), library.unlisted.is_empty()) {
        return Err(failure);
    }
    if let Some(mut lines) = job.json_lines("photos")? {
        library.assets.iter().try_for_each(|asset| lines.write(asset))?;
        let name = lines.finish()?.finish()?;
        job.wrote(name);
    }
    if let Some(mut lines) = job.json_lines("albums")? {
        library.albums.iter().try_for_each(|album| lines.write(album))?;
        let name = lines.finish()?.finish()?;
        job.wrote(name);
    }
    if let Some(mut lines) = job.json_lines("unlisted")? {
        library.unlisted.iter().try_for_each(|path| lines.write(path))?;
        let name = lines.finish()?.finish()?;
        job.wrote(name);
    }
    if job.wants(Format::Html) {
        write_summary(job, &library)?;
        write_pages(job, &library)?;
    }
    let records = library.assets.len().saturating_add(library.unlisted.len());
    job.count(records as u64)?;
    Ok(true)
}

fn write_summary(job: &mut Job<'_>, library: &PhotoLibrary) -> Result<(), RecordError> {
    let mut page = Page::begin(job.output().file("index", "html")?, "Photos")?;
    let counts = library.counts();
    page.heading("Are they all here?")?;
    page.table(&["Where the original is", "How many"])?;
    for (what, count) in [
        ("in the backup", counts.in_backup),
        ("listed in the backup, but its file is missing", counts.payload_missing),
        ("only in iCloud", counts.only_in_icloud),
        ("in a shared album", counts.shared),
        (
            "put on the phone by a computer; never in a backup",
            counts.synced_from_computer,
        ),
        ("not in the backup, and nowhere known", counts.missing),
        ("not said by the library", counts.unknown),
        ("deleted on the phone", counts.trashed),
        ("in the backup, but unknown to the library", counts.unlisted),
    ] {
        page.row(&[Cell::Text(what), Cell::Text(&count.to_string())])?;
    }
    page.heading("Albums")?;
    page.table(&["Album", "Photos and videos"])?;
    for album in library.albums.iter().filter(|album| album.is_users() && !album.trashed) {
        page.row(&[
            Cell::Text(album.title.as_deref().unwrap_or("")),
            Cell::Text(&album.assets.len().to_string()),
        ])?;
    }
    if !library.unlisted.is_empty() {
        page.heading("Files that the library does not know")?;
        page.table(&["Path"])?;
        for path in &library.unlisted {
            page.row(&[Cell::Text(path)])?;
        }
    }
    let name = page.finish()?.finish()?;
    job.wrote(name);
    Ok(())
}

fn write_pages(job: &mut Job<'_>, library: &PhotoLibrary) -> Result<(), RecordError> {
    let mut assets: Vec<&Asset> = library.assets.iter().collect();
    assets.sort_by_key(|asset| (asset.taken, asset.id));
    for chunk in assets.chunks(job.page_records().max(1)) {
        let mut page = Page::begin(job.output().file("photos", "html")?, "Photos and videos")?;
        page.paragraph("In the order in which they were taken. Times are UTC.")?;
        page.table(&["Taken", "File", "Name", "Size", "Place", "Original", ""])?;
        for asset in chunk {
            let place = asset
                .coordinates
                .map(|(north, east)| format!("{north:.5}, {east:.5}"))
                .unwrap_or_default();
            let size = asset
                .dimensions
                .map(|(width, height)| format!("{width} × {height}"))
                .unwrap_or_default();
            let marks = [
                (asset.favorite, "favourite"),
                (asset.hidden, "hidden"),
                (asset.trashed, "deleted"),
                (asset.edited, "edited"),
                (asset.burst.is_some(), "burst"),
            ];
            let marks: Vec<&str> = marks.into_iter().filter_map(|(on, name)| on.then_some(name)).collect();
            page.row(&[
                Cell::Time(asset.taken),
                Cell::Text(asset.path.as_deref().or(asset.filename.as_deref()).unwrap_or("")),
                Cell::Text(asset.original_filename.as_deref().unwrap_or("")),
                Cell::Text(&size),
                Cell::Text(&place),
                Cell::Text(where_it_is(asset.original)),
                Cell::Text(&marks.join(", ")),
            ])?;
        }
        let name = page.finish()?.finish()?;
        job.wrote(name);
    }
    Ok(())
}

const fn where_it_is(original: Original) -> &'static str {
    match original {
        Original::InBackup => "in the backup",
        Original::PayloadMissing => "file missing",
        Original::OnlyInIcloud => "only in iCloud",
        Original::Shared => "shared album",
        Original::SyncedFromComputer => "from a computer",
        Original::Missing => "not in the backup",
        Original::Unknown => "unknown",
    }
}
