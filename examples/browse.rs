//! Finds backups and shows what is in one, with no phone.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use cabled::mobilebackup::archive::find::{self, FoundBackup};
use cabled::mobilebackup::archive::records::time::Timestamp;
use cabled::mobilebackup::archive::select::{Apps, Category, Selection};
use cabled::mobilebackup::archive::statistics::{Count, Statistics};
use cabled::mobilebackup::archive::tree::{self, Long, Node, Tree, mode_string, shown_attribute};
use cabled::mobilebackup::archive::{Archive, FileEntry, Progress, Silent};
use cabled_examples::table::{Table, bytes};
use cabled_examples::{Failure, demo, open, print, run};
use clap::Parser;
use serde_json::json;

/// Find backups of iPhones and iPads on this machine, and look into one.
///
/// Without any of the views: what there is by category and by domain. The password of an encrypted backup is asked for,
/// or read from CABLED_PASSWORD.
#[derive(Parser)]
struct Args {
    /// The backup's folder, or with --find a folder of backups.
    folder: Option<PathBuf>,
    /// Use a backup of a phone that does not exist.
    #[arg(long, conflicts_with = "folder")]
    demo: bool,
    /// List the backups of this machine, or of the folder.
    #[arg(long)]
    find: bool,
    /// With --find: also how much room each takes, which reads every folder.
    #[arg(long, requires = "find")]
    size: bool,
    /// Print JSON; entries one a line.
    #[arg(long)]
    json: bool,
    /// Counts by domain, category, app and type of file, and what is unusual.
    #[arg(long, group = "view")]
    statistics: bool,
    /// Everything (or what is chosen below) as a tree.
    #[arg(long, group = "view")]
    tree: bool,
    /// With --tree: how deep.
    #[arg(long, default_value_t = 4, requires = "tree")]
    depth: usize,
    /// What is in a folder: a domain, or a domain, `/` and a path.
    #[arg(long, group = "view", value_name = "DOMAIN/PATH")]
    list: Option<String>,
    /// Only this category, such as messages or photos; may be given again.
    #[arg(long)]
    category: Vec<Category>,
    /// Only what matches, such as 'CameraRollDomain/**/*.HEIC'; may be given again.
    #[arg(long)]
    glob: Vec<String>,
    /// Only this app with its groups and extensions, by bundle id; may be given again.
    #[arg(long)]
    app: Vec<String>,
    /// With a list of entries: also their extended attributes.
    #[arg(long)]
    attributes: bool,
}

fn main() -> ExitCode {
    run(async { browse(&Args::parse()) })
}

fn browse(args: &Args) -> Result<(), Failure> {
    print(|out| match args.find {
        true => found(args, out),
        false => inside(args, out),
    })
}

fn inside(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let temporary = tempfile::tempdir()?;
    let folder = match &args.folder {
        Some(folder) => folder.clone(),
        None if args.demo => demo::backup(&temporary.path().join("demo"), 0)?,
        None => return Err("which backup? Name its folder, or see `browse --find`; `--demo` makes one up".into()),
    };
    let archive = open::archive(&folder)?;
    let selection = selection(args, &archive)?;
    if let Some(place) = &args.list {
        let (domain, path) = place.split_once('/').unwrap_or((place, ""));
        return list(args, &archive, domain, path.trim_end_matches('/'), out);
    }
    if args.tree {
        return show_tree(args, &Tree::of_selection(&archive, &selection, &mut Silent)?, out);
    }
    if args.statistics {
        let statistics = Statistics::of_selection(&archive, &selection, &mut Silent)?;
        return show_statistics(args, &statistics, true, out);
    }
    if !selection.is_everything() {
        return entries(args, &archive, &selection, out);
    }
    let statistics = Statistics::of(&archive, &mut Silent)?;
    if !args.json {
        summary(&archive, &folder, out)?;
    }
    show_statistics(args, &statistics, false, out)
}

fn selection(args: &Args, archive: &Archive) -> Result<Selection, Failure> {
    let mut selection = Selection::default();
    if !args.app.is_empty() {
        selection = selection.known_apps(Apps::of(archive)?);
    }
    for category in &args.category {
        selection = selection.category(*category);
    }
    for app in &args.app {
        selection = selection.app(app);
    }
    for pattern in &args.glob {
        selection = selection.glob(pattern)?;
    }
    Ok(selection)
}

/// The backups of the machine, or of one folder.
fn found(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let temporary = tempfile::tempdir()?;
    let root = match &args.folder {
        None if args.demo => {
            let root = temporary.path();
            demo::backup(&root.join("00008140-0011223344556677"), 1)?;
            demo::backup(&root.join("00008140-0011223344556677-20260301-090000"), 0)?;
            Some(root)
        }
        folder => folder.as_deref(),
    };
    let backups = match root {
        Some(root) => find::backups_in(root)?,
        None => {
            let found = find::backups();
            for refused in &found.refused {
                eprintln!("{refused}");
            }
            if found.roots.is_empty() && found.refused.is_empty() {
                eprintln!("this machine has none of the folders that Apple's programs use; name one");
            }
            found.backups
        }
    };
    if args.json {
        for backup in &backups {
            let mut line = serde_json::to_value(backup)?;
            if args.size {
                line["size"] = serde_json::to_value(backup.size_on_disk(&mut Silent)?)?;
            }
            writeln!(out, "{line}")?;
        }
        return Ok(());
    }
    let mut table = Table::new(["device", "iOS", "made", "encrypted", "state", "size", "folder"]);
    for backup in &backups {
        let size = match args.size {
            true => bytes(
                backup
                    .size_on_disk(&mut |_: &Progress| ControlFlow::Continue(()))?
                    .bytes,
            ),
            false => "-".to_owned(),
        };
        table.row([
            clean(backup.device_name.as_deref().unwrap_or("?")),
            clean(backup.product_version.as_deref().unwrap_or("?")),
            backup.last_backup.map_or_else(|| "?".to_owned(), time),
            backup
                .encrypted
                .map_or("?", |on| if on { "yes" } else { "no" })
                .to_owned(),
            state(backup),
            size,
            clean(&backup.folder.display().to_string()),
        ]);
    }
    write!(out, "{table}")?;
    Ok(())
}

fn state(backup: &FoundBackup) -> String {
    match (&backup.problem, backup.archived, backup.finished) {
        (Some(problem), ..) => clean(&problem.to_string()),
        (None, _, Some(false)) => "not finished".to_owned(),
        (None, Some(at), _) => format!("archived {at}"),
        (None, None, Some(true)) => "finished".to_owned(),
        (None, None, None) => "?".to_owned(),
    }
}

fn summary(archive: &Archive, folder: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    writeln!(out, "{}", clean(&folder.display().to_string()))?;
    if let Some(info) = archive.info() {
        let told = [
            info.device_name(),
            info.product_type(),
            info.product_version(),
            info.phone_number(),
        ];
        let told: Vec<_> = told.into_iter().flatten().map(clean).collect();
        let made = info.last_backup_date().map(time).unwrap_or_default();
        writeln!(out, "{}, {made}", told.join(", "))?;
    }
    writeln!(out, "{:?}, {:?}", archive.layout(), archive.protection())?;
    for note in archive.notes() {
        writeln!(out, "note: {note:?}")?;
    }
    writeln!(out)?;
    Ok(())
}

fn show_statistics(args: &Args, statistics: &Statistics, whole: bool, out: &mut dyn Write) -> Result<(), Failure> {
    if args.json {
        serde_json::to_writer_pretty(&mut *out, statistics)?;
        writeln!(out)?;
        return Ok(());
    }
    let mut print = |name: &str, rows: &[(&str, Count)], most: usize| -> io::Result<()> {
        let mut table = Table::new([name, "files", "bytes", "folders", "links"]);
        for (name, count) in rows.iter().take(most) {
            let Count {
                files,
                directories,
                symlinks,
                ..
            } = count;
            let row = [
                files.to_string(),
                bytes(count.bytes),
                directories.to_string(),
                symlinks.to_string(),
            ];
            table.row(std::iter::once(clean(name)).chain(row));
        }
        writeln!(out, "{table}")?;
        match rows.len().checked_sub(most) {
            Some(more) if more > 0 => writeln!(out, "and {more} more\n"),
            _ => Ok(()),
        }
    };
    let categories: Vec<_> = statistics
        .categories
        .iter()
        .map(|(name, count)| (&**name, *count))
        .collect();
    print("category", &categories, usize::MAX)?;
    let most = if whole { usize::MAX } else { 25 };
    print("domain", &statistics.domains.largest(), most)?;
    if whole {
        print("app", &statistics.apps.largest(), most)?;
        print("type", &statistics.types.largest(), most)?;
    }
    print("all", &[("all", statistics.total)], 1)?;
    for (oddity, count) in &statistics.unusual.counts {
        writeln!(out, "unusual: {count} {oddity}")?;
    }
    if statistics.skipped > 0 {
        writeln!(out, "{} rows of the index make no sense", statistics.skipped)?;
    }
    Ok(())
}

fn show_tree(args: &Args, tree: &Tree, out: &mut dyn Write) -> Result<(), Failure> {
    for node in tree.root().walk().skip(1) {
        if node.depth() > args.depth {
            continue;
        }
        if args.json {
            let line = json!({
                "domain": node.domain(), "path": node.path(), "kind": node.kind(), "files": node.files(),
                "bytes": node.size(), "made_up": node.is_made_up(),
            });
            writeln!(out, "{line}")?;
            continue;
        }
        let closed = node.depth() == args.depth && node.has_children();
        let inside = match node.files() {
            files if node.has_children() => format!("  ({files} files, {})", bytes(node.size())),
            _ => format!("  {}", bytes(node.size())),
        };
        let mark = branch(node);
        writeln!(
            out,
            "{mark}{}{}{inside}",
            clean(node.name()),
            if closed { "/…" } else { "" }
        )?;
    }
    writeln!(out, "{} rows, {} folders without one", tree.rows(), tree.made_up())?;
    Ok(())
}

/// The lines that lead to a node.
fn branch(node: Node<'_>) -> String {
    let is_last = |node: Node<'_>| node.parent().and_then(|parent| parent.children().last()) == Some(node);
    let mut parts = Vec::new();
    let mut at = Some(node).filter(|node| node.depth() > 1);
    while let Some(node) = at {
        parts.push(match (parts.is_empty(), is_last(node)) {
            (true, true) => "└── ",
            (true, false) => "├── ",
            (false, true) => "    ",
            (false, false) => "│   ",
        });
        at = node.parent().filter(|parent| parent.depth() > 1);
    }
    parts.reverse();
    parts.concat()
}

fn list(args: &Args, archive: &Archive, domain: &str, path: &str, out: &mut dyn Write) -> Result<(), Failure> {
    let children = tree::children(archive, domain, path)?;
    if children.is_empty() && archive.entry_at(domain, path)?.is_none() {
        return Err(format!("there is nothing at {domain}/{path}").into());
    }
    for child in &children {
        let (size, files) = (child.size, child.files);
        match &child.entry {
            _ if args.json => {
                let entry = child.entry.as_ref().map(value_of);
                writeln!(
                    out,
                    "{}",
                    json!({"name": child.name, "files": files, "bytes": size, "entry": entry})
                )?;
            }
            Some(entry) => {
                let mode = mode_string(entry.kind, entry.mode);
                let changed = entry.modified.and_then(|at| Timestamp::from_unix(at, 0));
                let changed = changed.map_or_else(|| "-".to_owned(), |at| at.to_string());
                writeln!(
                    out,
                    "{mode} {:>10} {files:>7} files  {changed:<20} {}",
                    bytes(size),
                    clean(&child.name)
                )?;
                if args.attributes {
                    attributes(entry, out)?;
                }
            }
            None => {
                let name = clean(&child.name);
                writeln!(
                    out,
                    "d????????? {:>10} {files:>7} files  {:<20} {name}",
                    bytes(size),
                    "-"
                )?;
            }
        }
    }
    Ok(())
}

fn entries(args: &Args, archive: &Archive, selection: &Selection, out: &mut dyn Write) -> Result<(), Failure> {
    let mut selected = archive.select(selection)?;
    let mut domain = None;
    let mut count = Count::default();
    for entry in selected.by_ref() {
        let entry = entry?;
        count.add(&entry);
        if args.json {
            writeln!(out, "{}", value_of(&entry))?;
            continue;
        }
        if domain.as_ref() != Some(&entry.domain) {
            writeln!(out, "{}:", clean(&entry.domain))?;
            domain = Some(entry.domain.clone());
        }
        writeln!(out, "  {}", Long::new(&entry))?;
        if args.attributes {
            attributes(&entry, out)?;
        }
    }
    if !args.json {
        writeln!(
            out,
            "{} entries, {} in {} files",
            count.rows(),
            bytes(count.bytes),
            count.files
        )?;
    }
    if selected.skipped() > 0 {
        eprintln!("{} rows that may belong here make no sense", selected.skipped());
    }
    Ok(())
}

fn attributes(entry: &FileEntry, out: &mut dyn Write) -> Result<(), Failure> {
    match entry.attributes() {
        Ok(attributes) => {
            for (name, value) in attributes {
                writeln!(out, "      {} = {}", clean(&name), shown_attribute(&value))?;
            }
        }
        Err(e) => writeln!(out, "      extended attributes are damaged: {e}")?,
    }
    Ok(())
}

fn value_of(entry: &FileEntry) -> serde_json::Value {
    let attributes = entry.attributes().unwrap_or_default();
    let attributes: serde_json::Map<_, _> = attributes
        .into_iter()
        .map(|(name, value)| (name, shown_attribute(&value).into()))
        .collect();
    json!({
        "file_id": entry.file_id, "domain": &*entry.domain, "path": entry.path, "kind": entry.kind,
        "mode": mode_string(entry.kind, entry.mode), "size": entry.size, "modified": entry.modified,
        "created": entry.created, "user_id": entry.user_id, "group_id": entry.group_id,
        "protection_class": entry.protection_class, "link_target": entry.link_target,
        "category": Category::of(&entry.domain, &entry.path), "attributes": attributes, "notes": entry.notes,
    })
}

fn time(at: SystemTime) -> String {
    let seconds = at
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_secs()).ok());
    let shown = seconds.and_then(|seconds| Timestamp::from_unix(seconds, 0));
    shown.map_or_else(|| "?".to_owned(), |at| at.to_string())
}

/// Names come from a stranger: nothing in them may speak to the terminal.
fn clean(text: &str) -> String {
    tree::shown_name(text).into_owned()
}
