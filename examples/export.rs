//! Writes messages, contacts, calls and the like out of a backup, as pages for people and as lines for programs.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use cabled::mobilebackup::archive::Progress;
use cabled::mobilebackup::archive::build::{BuildOptions, Builder, Details};
use cabled::mobilebackup::archive::records::export::{EXPORTERS, ExportOptions, ExportReport, Format, Outcome, export};
use cabled::mobilebackup::archive::records::vcard::VcardVersion;
use cabled_examples::table::Table;
use cabled_examples::{Failure, password, run};
use clap::Parser;

/// Export what people look for in a backup: messages, contacts, calls and more.
#[derive(Parser)]
struct Args {
    /// The backup's folder. An encrypted one asks for its password, or takes it from CABLED_PASSWORD.
    #[arg(required_unless_present_any = ["demo", "list"])]
    backup: Option<PathBuf>,
    /// A new or empty folder to write to.
    #[arg(required_unless_present_any = ["demo", "list"])]
    target: Option<PathBuf>,
    /// What to export, separated by commas; `--list` shows what there is. Default: everything.
    #[arg(long, value_delimiter = ',')]
    category: Vec<String>,
    /// How: jsonl, html, vcard, ics, text, separated by commas. Default: all that a category comes in.
    #[arg(long, value_delimiter = ',')]
    format: Vec<Format>,
    /// Do not copy attachments and pictures.
    #[arg(long)]
    no_attachments: bool,
    /// Write vCard 3.0 instead of 4.0.
    #[arg(long)]
    vcard3: bool,
    /// Most records on one page.
    #[arg(long, default_value_t = 2000)]
    page: usize,
    /// Print the report as JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Show what can be exported, and in which formats.
    #[arg(long)]
    list: bool,
    /// Make a small backup of made-up people first, and export that.
    #[arg(long)]
    demo: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    run(async { tokio::task::spawn_blocking(move || start(&args)).await? })
}

fn start(args: &Args) -> Result<(), Failure> {
    if args.list {
        let mut table = Table::new(["category", "formats"]);
        for exporter in EXPORTERS {
            let formats: Vec<_> = exporter.formats.iter().map(|format| format.name()).collect();
            table.row([exporter.name.to_owned(), formats.join(", ")]);
        }
        println!("{table}");
        return Ok(());
    }
    if args.demo {
        let temp = tempfile::tempdir()?;
        let backup = temp.path().join("backup");
        make_demo(&backup)?;
        let target = args.target.clone().unwrap_or_else(|| temp.path().join("export"));
        write(args, &backup, &target)?;
        if args.target.is_none() {
            println!("{} files were written to a temporary folder.", count_files(&target)?);
        }
        return Ok(());
    }
    match (&args.backup, &args.target) {
        (Some(backup), Some(target)) => write(args, backup, target),
        _ => Err("a backup and a target are needed".into()),
    }
}

fn write(args: &Args, backup: &Path, target: &Path) -> Result<(), Failure> {
    let archive = password::open(backup)?;
    let mut options = ExportOptions::default()
        .attachments(!args.no_attachments)
        .page_records(args.page);
    options = args
        .category
        .iter()
        .fold(options, |options, name| options.category(name));
    options = args
        .format
        .iter()
        .fold(options, |options, format| options.format(*format));
    if args.vcard3 {
        options = options.vcard_version(VcardVersion::V3);
    }
    let mut last = Instant::now();
    let mut progress = |progress: &Progress| {
        if last.elapsed().as_secs() >= 2 {
            last = Instant::now();
            eprintln!("{} records ...", progress.done);
        }
        ControlFlow::Continue(())
    };
    let report = export(&archive, target, &options, &mut progress)?;
    if args.json {
        println!("{}", std::fs::read_to_string(target.join("report.json"))?);
    } else {
        show(&report);
    }
    let failed = report
        .categories
        .iter()
        .any(|category| matches!(category.outcome, Outcome::Failed(_)));
    if failed {
        return Err("not everything could be exported; the table says what".into());
    }
    Ok(())
}

fn show(report: &ExportReport) {
    let mut table = Table::new(["category", "outcome", "records", "files", "notes", "from"]);
    for category in &report.categories {
        let outcome = match &category.outcome {
            Outcome::Exported => "exported".to_owned(),
            Outcome::Absent => "not in the backup".to_owned(),
            Outcome::NoSuchFormat => "not in this format".to_owned(),
            Outcome::Failed(reason) => format!("failed: {reason}"),
            other => format!("{other:?}"),
        };
        let sources: Vec<_> = category.sources.iter().map(|source| source.path.as_str()).collect();
        table.row([
            category.name.to_owned(),
            outcome,
            category.records.to_string(),
            category.files.to_string(),
            category.notes.count().to_string(),
            sources.join(", "),
        ]);
    }
    println!("{table}");
    for category in report.categories.iter().filter(|category| !category.notes.is_empty()) {
        println!("{}:", category.name);
        for note in category.notes.kept().iter().take(10) {
            println!("  {note}");
        }
        if category.notes.count() > 10 {
            println!("  ... and more, in report.json");
        }
    }
}

/// A backup of made-up people: databases of a test collection, and one attachment.
fn make_demo(folder: &Path) -> Result<(), Failure> {
    let databases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/backup/novkostya");
    let mut builder = Builder::create(folder, BuildOptions::default())?;
    for (file, domain, path) in DEMO {
        match File::open(databases.join(file)) {
            Ok(contents) => builder.file(domain, path, contents, &Details::default())?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error.into()),
        };
    }
    let picture = &b"\xff\xd8\xff\xd9"[..];
    builder.file(
        "MediaDomain",
        "Library/SMS/Attachments/aa/00/FX-GUID/photo.jpg",
        picture,
        &Details::default(),
    )?;
    builder.finish()?;
    Ok(())
}

/// The test collection, and where a phone keeps each.
const DEMO: &[(&str, &str, &str)] = &[
    ("messages.1.sms.db", "HomeDomain", "Library/SMS/sms.db"),
    (
        "contacts.1.AddressBook.sqlitedb",
        "HomeDomain",
        "Library/AddressBook/AddressBook.sqlitedb",
    ),
    (
        "calls.1.CallHistory.storedata",
        "HomeDomain",
        "Library/CallHistoryDB/CallHistory.storedata",
    ),
    (
        "calendar.1.Calendar.sqlitedb",
        "HomeDomain",
        "Library/Calendar/Calendar.sqlitedb",
    ),
    (
        "notes.1.NoteStore.sqlite",
        "AppDomainGroup-group.com.apple.notes",
        "NoteStore.sqlite",
    ),
    ("safari.1.Bookmarks.db", "HomeDomain", "Library/Safari/Bookmarks.db"),
    ("safari.1.History.db", "HomeDomain", "Library/Safari/History.db"),
];

fn count_files(folder: &Path) -> std::io::Result<u64> {
    let mut count = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        count += if entry.file_type()?.is_dir() {
            count_files(&entry.path())?
        } else {
            1
        };
    }
    Ok(count)
}
