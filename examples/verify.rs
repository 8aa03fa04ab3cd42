//! Tells a sound backup from a damaged one, says what is missing from it, and what is left of it.

use std::fs::File;
use std::io::{BufReader, BufWriter, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use cabled::mobilebackup::archive::build::{BuildOptions, Builder, Details};
use cabled::mobilebackup::archive::salvage::{Salvage, SalvageOptions, Trust};
use cabled::mobilebackup::archive::verify::{
    Baseline, BaselineWriter, FileCheck, Finding, Level, Report, VerifyOptions,
};
use cabled::mobilebackup::archive::{Archive, ArchiveError, Observer, Phase, Progress};
use cabled_examples::{Failure, password, with_causes};
use clap::{Parser, ValueEnum};

/// Check a backup of an iPhone or iPad, with no device. Ends with 0 if it is sound, 1 if something is damaged, 2 if it
/// could not be checked.
#[derive(Parser)]
struct Args {
    /// The backup's folder.
    #[arg(required_unless_present = "demo")]
    folder: Option<PathBuf>,
    /// How thoroughly.
    #[arg(long, value_enum, default_value_t = How::Content)]
    level: How,
    /// Let SQLite check every database as well.
    #[arg(long)]
    integrity: bool,
    /// Compare with an earlier list of hashes: one that --hashes wrote, or the manifest of an extraction.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Write a list of hashes for later.
    #[arg(long, value_name = "FILE")]
    hashes: Option<PathBuf>,
    /// Say what this backup does not contain, and why.
    #[arg(long)]
    completeness: bool,
    /// Look for what can still be read, whatever is damaged.
    #[arg(long)]
    salvage: bool,
    /// With --salvage: the folder of an older backup of the same device; may be given several times.
    #[arg(long, value_name = "FOLDER")]
    older: Vec<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Check a made-up backup with one damaged file instead.
    #[arg(long)]
    demo: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum How {
    /// What opening shows.
    Quick,
    /// Every row of the index.
    Structure,
    /// Every payload is there.
    Presence,
    /// Every payload is read.
    Content,
}

impl From<How> for Level {
    fn from(how: How) -> Self {
        match how {
            How::Quick => Self::Quick,
            How::Structure => Self::Structure,
            How::Presence => Self::Presence,
            How::Content => Self::Content,
        }
    }
}

fn main() -> ExitCode {
    match verify(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(failure) => {
            eprintln!("error: {}", with_causes(&*failure));
            ExitCode::from(2)
        }
    }
}

/// Whether the backup is sound.
fn verify(args: &Args) -> Result<bool, Failure> {
    let demo = if args.demo { Some(damaged_backup()?) } else { None };
    let folder = match (&demo, &args.folder) {
        (Some((_, folder)), _) | (None, Some(folder)) => folder,
        (None, None) => return Err("name the backup's folder".into()),
    };
    if args.salvage {
        return salvage(args, folder);
    }
    let archive = open(folder, args)?;
    let mut options = VerifyOptions::default()
        .level(args.level.into())
        .integrity(args.integrity)
        .sha256(args.hashes.is_some());
    if let Some(list) = &args.against {
        let list = Baseline::read(BufReader::new(File::open(list)?))?;
        options = options.against(Arc::new(list));
    }
    let mut watch = Watch::new(args.hashes.as_deref(), &archive)?;
    let report = archive.verify(&options, &mut watch)?;
    watch.finish()?;
    let gaps = if args.completeness {
        Some(archive.completeness()?)
    } else {
        None
    };
    if args.json {
        let json = serde_json::json!({ "report": report, "sound": report.is_sound(), "completeness": gaps });
        println!("{json:#}");
    } else {
        show(&report);
        for gap in gaps.iter().flatten() {
            println!("not here: {gap}");
        }
    }
    Ok(report.is_sound())
}

/// Opens the backup, with its password if the level needs it.
fn open(folder: &Path, args: &Args) -> Result<Archive, Failure> {
    let mut archive = Archive::open(folder)?;
    if archive.is_locked() && (!matches!(args.level, How::Quick) || args.completeness) {
        archive.unlock(&password::ask("Password of the backup")?)?;
    }
    Ok(archive)
}

fn show(report: &Report) {
    for note in &report.backup {
        println!("backup: {note:?}");
    }
    for finding in &report.damage.list {
        println!("damage: {}", line(finding));
    }
    for (name, count) in &report.notes.counts {
        println!("note: {name}, {count} times");
    }
    println!(
        "{} rows, {} files, {} read, {} digests compared: {}",
        report.rows,
        report.files,
        report.files_read,
        report.digests_checked,
        if report.is_sound() {
            "sound"
        } else {
            "damaged or incomplete"
        }
    );
}

/// A finding on one line. Names in a backup may hold anything: control characters do not reach the terminal.
fn line(finding: &Finding) -> String {
    let place = match (&finding.domain, &finding.path, finding.file_id) {
        (Some(domain), Some(path), _) => format!("{domain}/{path}"),
        (_, _, Some(id)) => id.to_string(),
        _ => "the backup".to_owned(),
    };
    let text = format!("{place}: {:?}", finding.problem);
    text.chars()
        .flat_map(|c| {
            if c.is_control() {
                c.escape_debug().collect()
            } else {
                vec![c]
            }
        })
        .collect()
}

/// Lists what can still be read; sound only if all of it fits.
fn salvage(args: &Args, folder: &Path) -> Result<bool, Failure> {
    let mut options = SalvageOptions::default();
    for older in &args.older {
        options = options.older(older);
    }
    let encrypted = std::fs::read(folder.join("Manifest.plist")).is_ok_and(|bytes| {
        let manifest = cabled::mobilebackup::archive::plists::Manifest::parse(&bytes);
        manifest.is_ok_and(|manifest| manifest.is_encrypted().unwrap_or(false))
    });
    if encrypted {
        options = options.password(password::ask("Password of the backup")?);
    }
    let mut silent = |_: &Progress| ControlFlow::Continue(());
    let salvage = Salvage::open(folder, &options, &mut silent)?;
    if args.json {
        println!("{:#}", serde_json::to_value(salvage.report())?);
    } else {
        for found in salvage.entries().iter().filter(|found| found.trust == Trust::Doubtful) {
            println!(
                "{}/{}: found by {}, {:?}",
                found.entry.domain,
                found.entry.path,
                found.found.name(),
                found.doubts
            );
        }
        let report = salvage.report();
        println!("index: {:?}", report.index);
        println!("found: {:?}", report.found);
        println!("trust: {:?}", report.trust);
        if report.keys_lost > 0 {
            println!("{} payloads are lost: their keys were in the index", report.keys_lost);
        }
    }
    let doubtful = salvage.report().trust.get(&Trust::Doubtful).copied().unwrap_or(0);
    Ok(doubtful == 0 && salvage.report().keys_lost == 0)
}

/// Shows how far a check is, and writes the list of hashes.
struct Watch {
    hashes: Option<BaselineWriter<BufWriter<File>>>,
    failed: Option<std::io::Error>,
    visible: bool,
    shown: u64,
}

impl Watch {
    fn new(hashes: Option<&Path>, archive: &Archive) -> Result<Self, Failure> {
        let hashes = match hashes {
            Some(path) => {
                let inside = path.parent().and_then(|parent| parent.canonicalize().ok());
                if inside.is_some_and(|parent| archive.folder().canonicalize().is_ok_and(|own| parent.starts_with(own)))
                {
                    return Err(ArchiveError::IntoBackup { path: path.to_owned() }.into());
                }
                let mut writer = BaselineWriter::new(BufWriter::new(File::create_new(path)?));
                writer.backup_files(archive)?;
                Some(writer)
            }
            None => None,
        };
        Ok(Self {
            hashes,
            failed: None,
            visible: std::io::stderr().is_terminal(),
            shown: 0,
        })
    }

    fn finish(self) -> Result<(), Failure> {
        if self.visible {
            eprint!("\r\x1b[K");
        }
        if let Some(error) = self.failed {
            return Err(error.into());
        }
        if let Some(writer) = self.hashes {
            let file = writer.finish()?.into_inner().map_err(|error| error.into_error())?;
            file.sync_all()?;
        }
        Ok(())
    }
}

impl Observer for Watch {
    fn on_progress(&mut self, progress: &Progress) -> ControlFlow<()> {
        let mib = progress.bytes >> 20;
        if self.visible && progress.phase == Phase::ReadingPayloads && mib != self.shown {
            self.shown = mib;
            eprint!("\r{} files, {mib} MiB", progress.done);
            let _ = std::io::stderr().flush();
        }
        match self.failed {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    }

    fn on_file(&mut self, check: &FileCheck) {
        if let Some(writer) = &mut self.hashes
            && let Err(error) = writer.file(check)
        {
            self.failed = Some(error);
        }
    }
}

/// A small backup in which one byte of a settings file is wrong.
fn damaged_backup() -> Result<(tempfile::TempDir, PathBuf), Failure> {
    let root = tempfile::tempdir()?;
    let mut builder = Builder::create(root.path().join("backup"), BuildOptions::default())?;
    let details = Details::default();
    let path = "Library/Preferences/com.example.plist";
    let id = builder.file("HomeDomain", path, &b"settings that matter"[..], &details)?;
    builder.file(
        "CameraRollDomain",
        "Media/DCIM/100APPLE/IMG_0001.JPG",
        &[0xff, 0xd8, 0xff][..],
        &details,
    )?;
    let folder = builder.finish()?.folder;
    let payload = folder.join(id.folder()).join(id.to_string());
    std::fs::write(payload, b"settings that mutter")?;
    Ok((root, folder))
}
