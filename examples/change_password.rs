//! Changes, sets or removes the password of a backup, with no device. The result is a new folder.

use std::io::{BufRead, IsTerminal};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cabled::mobilebackup::archive::build::{BuildOptions, Builder, Details};
use cabled::mobilebackup::archive::change::{self, ChangeOptions, Changed, Transfer};
use cabled::mobilebackup::archive::verify::{Level, VerifyOptions};
use cabled::mobilebackup::archive::{Archive, Phase, Progress};
use cabled_examples::{Failure, password, run};
use clap::{Parser, ValueEnum};

/// Change, set or remove the password of a backup, with no device. The backup itself stays as it is: the result is a new
/// folder. Programs that read backups accept it; whether a device restores it was never tried.
///
/// Passwords are asked for at the terminal, where they do not show; or taken from CABLED_PASSWORD (the present one) and
/// CABLED_NEW_PASSWORD, or with --stdin from the first lines of the standard input.
#[derive(Parser)]
struct Args {
    /// What to do.
    what: What,
    /// The backup: the folder with Manifest.plist.
    #[arg(required_unless_present = "demo")]
    backup: Option<PathBuf>,
    /// The new folder, not there yet. Its name should be the device's UDID where Finder or iTunes are to find it.
    #[arg(required_unless_present = "demo")]
    new: Option<PathBuf>,
    /// Read passwords from the standard input: the present one, if there is one, then the new one, a line each.
    #[arg(long)]
    stdin: bool,
    /// Share unchanged files with the original by hard links, which takes no room. Never change either in place then.
    #[arg(long)]
    hard_links: bool,
    /// Go on where a file is damaged, and keep what is left of it.
    #[arg(long)]
    salvage: bool,
    /// Make a small backup first and work on that, in a temporary folder: to try this with no phone.
    #[arg(long, conflicts_with_all = ["backup", "new", "stdin"])]
    demo: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Another password for an encrypted backup. Its files are copied as they are.
    Change,
    /// A password for a backup that has none. Every file is encrypted.
    Set,
    /// No password any more. Every file is decrypted, and the keychain items with it.
    Remove,
}

fn main() -> ExitCode {
    let args = Args::parse();
    // Everything here blocks, which is what the work is: no runtime is involved.
    run(async move { if args.demo { demo(&args) } else { main_job(&args) } })
}

fn main_job(args: &Args) -> Result<(), Failure> {
    let (Some(backup), Some(new)) = (&args.backup, &args.new) else {
        return Err("say which backup, and where the new one goes".into());
    };
    let (mut stdin, mut archive) = (std::io::stdin().lock().lines(), Archive::open(backup)?);
    let mut line = || -> Result<String, Failure> {
        stdin
            .next()
            .ok_or("the standard input ended before the password")?
            .map_err(Into::into)
    };
    if archive.is_locked() {
        let present = match args.stdin {
            true => line()?,
            false => password::ask("Present password of the backup")?,
        };
        eprintln!("Deriving the key: this takes about a second.");
        archive.unlock(&present)?;
    }
    let wanted = match (args.what, args.stdin) {
        (What::Remove, _) => String::new(),
        (_, true) => line()?,
        (_, false) => new_password()?,
    };
    let changed = work(args, &archive, new, &wanted, options(args))?;
    tell(&changed);
    Ok(())
}

/// The new password: from the environment, or typed twice.
fn new_password() -> Result<String, Failure> {
    const VARIABLE: &str = "CABLED_NEW_PASSWORD";
    if let Some(password) = std::env::var_os(VARIABLE) {
        return password
            .into_string()
            .map_err(|_| format!("{VARIABLE} is not UTF-8").into());
    }
    if !std::io::stdin().is_terminal() {
        return Err(format!("set {VARIABLE}, use --stdin, or run this in a terminal").into());
    }
    let first = rpassword::prompt_password("New password: ")?;
    if first != rpassword::prompt_password("New password again: ")? {
        return Err("the two are not the same; nothing was done".into());
    }
    Ok(first)
}

fn options(args: &Args) -> ChangeOptions {
    let transfer = if args.hard_links {
        Transfer::HardLink
    } else {
        Transfer::Copy
    };
    ChangeOptions::default().transfer(transfer).salvage(args.salvage)
}

fn work(args: &Args, archive: &Archive, new: &Path, wanted: &str, options: ChangeOptions) -> Result<Changed, Failure> {
    let bar = indicatif::ProgressBar::new_spinner();
    let mut observer = |progress: &Progress| {
        bar.set_message(match progress.phase {
            Phase::DerivingKey => "deriving the key".to_owned(),
            Phase::WritingPayloads => format!("{} MB written", progress.bytes / 1_000_000),
            Phase::CopyingIndex => "writing the index".to_owned(),
            _ => "checking the new backup".to_owned(),
        });
        bar.tick();
        ControlFlow::Continue(())
    };
    let changed = match args.what {
        What::Change => change::change_password_untested_on_devices(archive, new, wanted, &options, &mut observer),
        What::Set => change::set_password_untested_on_devices(archive, new, wanted, &options, &mut observer),
        What::Remove => change::remove_password_untested_on_devices(archive, new, &options, &mut observer),
    };
    bar.finish_and_clear();
    Ok(changed?)
}

fn tell(changed: &Changed) {
    println!("{}", changed.folder.display());
    println!("  {} files encrypted or decrypted", changed.written);
    println!(
        "  {} copied, {} shared with the original",
        changed.copied, changed.linked
    );
    if changed.missing > 0 {
        println!("  {} files have no contents in the original either", changed.missing);
    }
    for file in &changed.lost {
        println!("  damaged, and not all there: {file}");
    }
    if !changed.report.is_sound() {
        println!(
            "  damage of the original was brought along: {:?}",
            changed.report.damage.counts
        );
    }
}

/// The whole way on a small backup of our own.
fn demo(args: &Args) -> Result<(), Failure> {
    let root = tempfile::tempdir()?;
    let (original, new) = (root.path().join("original"), root.path().join("new"));
    // Few rounds, so that a demonstration takes no time. Real backups have ten million.
    let mut options = BuildOptions::default().rounds(10_000, 10);
    if args.what != What::Set {
        options = options.encrypted("demo");
    }
    let mut builder = Builder::create(&original, options)?;
    builder.file(
        "HomeDomain",
        "Library/Notes/notes.txt",
        &b"buy bread"[..],
        &Details::default(),
    )?;
    builder.file(
        "CameraRollDomain",
        "Media/DCIM/100APPLE/IMG_0001.JPG",
        &[7; 100_000][..],
        &Details::default(),
    )?;
    builder.finish()?;
    let mut archive = Archive::open(&original)?;
    if archive.is_locked() {
        archive.unlock("demo")?;
    }
    let wanted = if args.what == What::Remove { "" } else { "another demo" };
    let changed = work(args, &archive, &new, wanted, self::options(args).rounds(10_000, 10))?;
    tell(&changed);

    let mut opened = Archive::open(&new)?;
    if opened.is_locked() {
        if opened.unlock("demo").is_ok() {
            return Err("the old password still opens it".into());
        }
        opened.unlock(wanted)?;
    }
    let check = VerifyOptions::default().level(Level::Content);
    let report = opened.verify(&check, &mut cabled::mobilebackup::archive::Silent)?;
    if !report.is_sound() {
        return Err(format!("the new backup is damaged: {:?}", report.damage).into());
    }
    println!(
        "  {} files read back and checked; the demonstration is removed again",
        report.files_read
    );
    Ok(())
}
