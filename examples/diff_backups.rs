//! Compares two backups, or two generations of one.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use cabled::mobilebackup::archive::diff::{
    self, Change, Contents, ContentsVerdict, DiffOptions, How, Summary, Tally, What,
};
use cabled::mobilebackup::archive::select::{Category, Selection};
use cabled::mobilebackup::archive::{Archive, Kind, Phase, Progress, tree};
use cabled_examples::table::{Table, bytes};
use cabled_examples::{Failure, demo, open, print, run};
use clap::Parser;

/// Show what is different between an older and a newer backup.
///
/// Passwords are asked for, or read from CABLED_PASSWORD if both are the same.
#[derive(Parser)]
struct Args {
    /// The older backup's folder.
    #[arg(required_unless_present = "demo")]
    older: Option<PathBuf>,
    /// The newer backup's folder.
    #[arg(required_unless_present = "demo")]
    newer: Option<PathBuf>,
    /// Use two backups of a phone that does not exist.
    #[arg(long, conflicts_with = "older")]
    demo: bool,
    /// Print JSON: one change a line, the summary last.
    #[arg(long)]
    json: bool,
    /// Only count.
    #[arg(long)]
    summary: bool,
    /// Read every file that is in both and compare what is in them.
    #[arg(long)]
    contents: bool,
    /// Read files whose records differ: tells touched ones from changed ones.
    #[arg(long, conflicts_with = "contents")]
    check: bool,
    /// Also list folders that differ in their time only, as every folder does in which something came or went.
    #[arg(long)]
    folders: bool,
    /// Only this category, such as messages or photos; may be given again.
    #[arg(long)]
    category: Vec<Category>,
    /// Only what matches, such as 'CameraRollDomain/**'; may be given again.
    #[arg(long)]
    glob: Vec<String>,
}

fn main() -> ExitCode {
    run(async { print(|out| compare(&Args::parse(), out)) })
}

fn compare(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let temporary = tempfile::tempdir()?;
    let (older, newer) = match (&args.older, &args.newer) {
        (Some(older), Some(newer)) => (older.clone(), newer.clone()),
        _ => (
            demo::backup(&temporary.path().join("monday"), 0)?,
            demo::backup(&temporary.path().join("tuesday"), 1)?,
        ),
    };
    let (older, newer) = (open::archive(&older)?, open::archive(&newer)?);
    let mut failed = None;
    let summary = diff::compare(&older, &newer, &options(args)?, &mut progress, &mut |change| {
        let is_noise = change.kind == Kind::Directory && change.how == [How::Modified];
        let written = match (args.summary || (is_noise && !args.folders), args.json) {
            (true, _) => Ok(()),
            (false, true) => serde_json::to_string(&change)
                .map_err(io::Error::from)
                .and_then(|line| writeln!(out, "{line}")),
            (false, false) => show(&change, out),
        };
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(e) => {
                failed = Some(e);
                ControlFlow::Break(())
            }
        }
    });
    if let Some(e) = failed {
        return Err(e.into());
    }
    let summary = summary?;
    match args.json {
        true => writeln!(out, "{}", serde_json::json!({ "summary": summary }))?,
        false => show_summary(&summary, &older, &newer, out)?,
    }
    Ok(())
}

fn options(args: &Args) -> Result<DiffOptions, Failure> {
    let mut selection = Selection::default();
    for category in &args.category {
        selection = selection.category(*category);
    }
    for pattern in &args.glob {
        selection = selection.glob(pattern)?;
    }
    let contents = match (args.contents, args.check) {
        (true, _) => Contents::Always,
        (false, true) => Contents::WhereRecordsDiffer,
        (false, false) => Contents::Never,
    };
    Ok(DiffOptions::default().selection(selection).contents(contents))
}

fn progress(progress: &Progress) -> ControlFlow<()> {
    if progress.phase == Phase::ComparingContents && progress.done.is_multiple_of(1000) {
        eprint!("\r{} files, {} read", progress.done, bytes(progress.bytes));
    }
    ControlFlow::Continue(())
}

fn show(change: &Change, out: &mut dyn Write) -> io::Result<()> {
    let mark = match change.what {
        What::Added => '+',
        What::Removed => '-',
        _ => '~',
    };
    let side = |side: Option<diff::Side>| side.map_or_else(|| "-".to_owned(), |side| bytes(side.size));
    let sizes = match change.what {
        What::Added => side(change.after),
        What::Removed => side(change.before),
        _ => format!("{} -> {}", side(change.before), side(change.after)),
    };
    let how: Vec<_> = change.how.iter().map(|how| format!("{how:?}").to_lowercase()).collect();
    let domain = tree::shown_name(&change.domain);
    write!(
        out,
        "{mark} {sizes:>22}  {domain}/{}  {}",
        tree::shown_name(&change.path),
        how.join(", ")
    )?;
    match &change.contents {
        Some(ContentsVerdict::Same) => write!(out, " (contents are the same)")?,
        Some(ContentsVerdict::Unreadable { older, newer }) => {
            let why: Vec<_> = [older, newer].into_iter().flatten().map(String::as_str).collect();
            write!(out, " (not compared: {})", why.join("; "))?;
        }
        _ => {}
    }
    writeln!(out)
}

fn show_summary(summary: &Summary, older: &Archive, newer: &Archive, out: &mut dyn Write) -> io::Result<()> {
    let row = |table: &mut Table, name: &str, tally: &Tally| {
        let counts = [tally.added, tally.removed, tally.changed, tally.rewrapped, tally.same].map(|n| n.to_string());
        let moved = format!("+{} -{}", bytes(tally.bytes_added), bytes(tally.bytes_removed));
        table.row(
            std::iter::once(tree::shown_name(name).into_owned())
                .chain(counts)
                .chain([moved]),
        );
    };
    let columns = |name: &'static str| Table::new([name, "added", "removed", "changed", "other key", "same", "bytes"]);
    let mut tables = [columns("category"), columns("domain"), columns("app")];
    for (name, tally) in summary.categories.iter().filter(|(_, tally)| !tally.is_unchanged()) {
        row(&mut tables[0], name, tally);
    }
    for (place, tallies) in [(1, &summary.domains), (2, &summary.apps)] {
        for (name, tally) in tallies.named.iter().filter(|(_, tally)| !tally.is_unchanged()) {
            row(&mut tables[place], name, tally);
        }
    }
    let mut all = columns("all");
    row(&mut all, "all", &summary.total);
    writeln!(out)?;
    for table in &tables {
        writeln!(out, "{table}")?;
    }
    write!(out, "{all}")?;
    if summary.total.unreadable > 0 {
        writeln!(
            out,
            "{} files could not be read and are not known to be the same",
            summary.total.unreadable
        )?;
    }
    for (which, skipped, archive) in [
        ("older", summary.skipped_older, older),
        ("newer", summary.skipped_newer, newer),
    ] {
        if skipped > 0 {
            writeln!(
                out,
                "{skipped} rows of the {which} index make no sense: {}",
                archive.folder().display()
            )?;
        }
    }
    Ok(())
}
