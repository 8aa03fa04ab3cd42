//! Writes what a backup holds into a folder, a tar or a zip.
//!
//! The password of an encrypted one comes from `CABLED_PASSWORD`, or is asked for. `extract --demo` makes a small backup with names that no disk likes and extracts that.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use cabled::mobilebackup::archive::build::{BuildOptions, Builder, Details};
use cabled::mobilebackup::archive::extract::{
    Compression, Existing, ExtractOptions, ExtractReport, Links, ManifestLine, Resume,
};
use cabled::mobilebackup::archive::names::Convention;
use cabled::mobilebackup::archive::select::{Category, Selection};
use cabled::mobilebackup::archive::{Archive, Observer, Progress};
use cabled_examples::table::bytes;
use cabled_examples::watch::Watch;
use cabled_examples::{Failure, memory, password, run};
use clap::Parser;

/// Extract a backup's files, decrypted, under names that this disk can hold.
#[derive(Parser)]
struct Args {
    /// The backup's folder.
    #[arg(required_unless_present = "demo")]
    backup: Option<PathBuf>,
    /// The folder to fill; it is made if it is missing.
    #[arg(required_unless_present_any = ["tar", "zip", "demo"], conflicts_with_all = ["tar", "zip"])]
    target: Option<PathBuf>,
    /// Write a tar instead; `-` is standard output.
    #[arg(long, value_name = "FILE", conflicts_with = "zip")]
    tar: Option<PathBuf>,
    /// Write a zip instead; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    zip: Option<PathBuf>,
    /// Only this category, such as `photos` or `messages`; may be repeated.
    #[arg(long)]
    category: Vec<Category>,
    /// Only domains that match, such as `HomeDomain` or `AppDomain-*`; may be repeated.
    #[arg(long, value_name = "PATTERN")]
    domain: Vec<String>,
    /// Only entries whose domain and path match, such as `CameraRollDomain/Media/DCIM/**`; may be repeated.
    #[arg(long, value_name = "PATTERN")]
    glob: Vec<String>,
    /// Go on with an extraction that was stopped.
    #[arg(long)]
    resume: bool,
    /// With --resume: read every file that is there, and compare its hash.
    #[arg(long, requires = "resume")]
    check: bool,
    /// Replace files that an earlier extraction wrote and nobody changed, where the backup has newer ones.
    #[arg(long)]
    update: bool,
    /// Leave SHA-256 out of the manifest.
    #[arg(long)]
    no_sha256: bool,
    /// Write what is left of files that were cut off.
    #[arg(long)]
    salvage: bool,
    /// Make those symbolic links that stay inside their domain.
    #[arg(long)]
    links: bool,
    /// Names for `unix`, `macos` or `windows`. Default: this system's; for tar and zip those of Windows.
    #[arg(long)]
    names: Option<Convention>,
    /// Do not compress zip members.
    #[arg(long, requires = "zip")]
    store: bool,
    /// Threads. Default: one per core.
    #[arg(long)]
    threads: Option<usize>,
    /// Do not wait until the disk has everything.
    #[arg(long)]
    no_flush: bool,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// Print time, speed and memory.
    #[arg(long)]
    stats: bool,
    /// Extract a small backup that is made on the spot.
    #[arg(long, conflicts_with = "backup")]
    demo: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    run(async move {
        if args.demo {
            return demo(&args);
        }
        let archive = password::open(&args.backup.clone().unwrap_or_default())?;
        let target = args.target.clone().unwrap_or_default();
        extract(&args, &archive, &target)
    })
}

fn options(args: &Args) -> Result<ExtractOptions, Failure> {
    let mut selection = Selection::default();
    for category in &args.category {
        selection = selection.category(*category);
    }
    for pattern in &args.domain {
        selection = selection.domain(pattern)?;
    }
    for pattern in &args.glob {
        selection = selection.glob(pattern)?;
    }
    let resume = match (args.resume, args.check) {
        (false, _) => Resume::Never,
        (true, false) => Resume::BySizeAndTime,
        (true, true) => Resume::ByHash,
    };
    let mut options = ExtractOptions::default()
        .selection(selection)
        .resume(resume)
        .sha256(!args.no_sha256)
        .salvage(args.salvage)
        .flush(!args.no_flush);
    if args.update {
        options = options.existing(Existing::ReplaceOurs);
    }
    if args.links {
        options = options.links(Links::Contained);
    }
    if args.store {
        options = options.compression(Compression::Stored);
    }
    if let Some(names) = args.names {
        options = options.names(names);
    }
    if let Some(threads) = args.threads {
        options = options.threads(threads);
    }
    Ok(options)
}

fn extract(args: &Args, archive: &Archive, target: &Path) -> Result<(), Failure> {
    let options = options(args)?;
    memory::forget_peak();
    let started = Instant::now();
    let mut watch = Watch::new("Extracting");
    let outcome = match (&args.tar, &args.zip) {
        (Some(file), _) => into_file(file, |out| Ok(archive.extract_tar(out, &options, &mut watch)?)),
        (None, Some(file)) => into_file(file, |out| Ok(archive.extract_zip(out, &options, &mut watch)?)),
        (None, None) => archive.extract(target, &options, &mut watch).map_err(Failure::from),
    };
    watch.done();
    let report = outcome?;
    let seconds = started.elapsed().as_secs_f64();
    if args.json {
        say(args, &serde_json::to_string_pretty(&report)?);
    } else {
        tell(args, &report);
    }
    if args.stats {
        let peak = memory::peak().map_or_else(|| "unknown".to_owned(), bytes);
        eprintln!(
            "time {seconds:.3} s, {:.1} MB/s, {:.0} files/s, peak memory {peak}",
            report.bytes as f64 / 1e6 / seconds,
            report.files as f64 / seconds,
        );
    }
    if report.is_complete() {
        Ok(())
    } else {
        Err(format!(
            "{} files and {} rows could not be extracted",
            report.failed, report.unreadable_rows
        )
        .into())
    }
}

/// Standard output belongs to the stream, if that goes there.
fn say(args: &Args, text: &str) {
    let is_stdout = |file: &Option<PathBuf>| file.as_deref() == Some(Path::new("-"));
    if is_stdout(&args.tar) || is_stdout(&args.zip) {
        eprintln!("{text}");
    } else {
        println!("{text}");
    }
}

fn tell(args: &Args, report: &ExtractReport) {
    let mut text = format!("{} files, {}", report.files, bytes(report.bytes));
    for (count, what) in [
        (report.already_there, "already there"),
        (report.directories, "folders"),
        (report.links, "links"),
        (report.links_recorded, "links in the manifest only"),
        (report.noted, "with a note"),
        (report.left_out, "left out"),
        (report.failed, "FAILED"),
        (report.unreadable_rows, "UNREADABLE ROWS"),
    ] {
        if count > 0 {
            text += &format!(", {count} {what}");
        }
    }
    for failed in report.failures.iter().take(20) {
        text += &format!(
            "\n  {}/{}: {}",
            failed.domain,
            failed.path.escape_debug(),
            failed.failure
        );
    }
    if let Some(damage) = &report.index_damage {
        text += &format!("\nThe index is damaged, so files may be missing here that nothing names: {damage}");
    }
    if let Some(manifest) = &report.manifest {
        text += &format!("\nManifest: {}", manifest.display());
    }
    say(args, &text);
}

/// Writes a stream into a file that gets its name when it is whole, or to standard output.
fn into_file(
    file: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<ExtractReport, Failure>,
) -> Result<ExtractReport, Failure> {
    if file == Path::new("-") {
        let mut out = BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
        let report = write(&mut out)?;
        out.flush()?;
        return Ok(report);
    }
    if file.exists() {
        return Err(format!("{} exists", file.display()).into());
    }
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let temporary = tempfile::NamedTempFile::new_in(folder)?;
    let mut out = BufWriter::with_capacity(1 << 20, temporary);
    let report = write(&mut out)?;
    let temporary = out.into_inner().map_err(|error| error.into_error())?;
    temporary.as_file().sync_all()?;
    let _: File = temporary.persist_noclobber(file)?;
    Ok(report)
}

/// Prints where each file of the demonstration goes.
struct Show(Watch);

impl Observer for Show {
    fn on_progress(&mut self, progress: &Progress) -> std::ops::ControlFlow<()> {
        self.0.on_progress(progress)
    }

    fn on_extracted(&mut self, line: &ManifestLine) {
        if let Some(mapped) = &line.extracted {
            println!("  {:<34} {mapped}", line.path.escape_debug().to_string());
        }
    }
}

fn demo(args: &Args) -> Result<(), Failure> {
    let place = tempfile::tempdir()?;
    let backup = place.path().join("backup");
    let mut builder = Builder::create(&backup, BuildOptions::default().encrypted("demo").rounds(1000, 10))?;
    let details = Details::default().modified(1_700_000_000);
    for path in [
        "Documents/Note.txt",
        "Documents/note.txt",
        "Documents/a:b*c?.txt",
        "Documents/AUX",
        "Documents/Caf\u{e9}.txt",
        "Documents/Cafe\u{301}.txt",
        "Documents/trailing. ",
        "Documents/100%.txt",
    ] {
        builder.file("AppDomain-com.example.app", path, path.as_bytes(), &details)?;
    }
    builder.finish()?;
    let mut archive = Archive::open(&backup)?;
    archive.unlock("demo")?;
    let names = args.names.unwrap_or(Convention::Windows);
    println!("Names for {names}:");
    let target = place.path().join("out");
    let mut show = Show(Watch::new("Extracting"));
    let report = archive.extract(&target, &options(args)?.names(names), &mut show)?;
    tell(args, &report);
    Ok(())
}
