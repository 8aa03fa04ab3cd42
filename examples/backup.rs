//! The main job: backs up a device, and checks what it wrote by reading all of it.
//!
//! With a phone attached, it is that phone. With none, a virtual one goes through everything that can happen to it: a
//! full backup, a day of use, an incremental backup, an encrypted one, and a restore onto a second phone.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cabled::lockdown::Paired;
use cabled::mobilebackup::archive::verify::Report;
use cabled::mobilebackup::folder::plain::PlainFolder;
use cabled::mobilebackup::live::{
    Backup, BackupOptions, ChangePassword, Outcome, PasswordChange, RequestOptions, Restore, RestoreOptions,
    will_encrypt,
};
use cabled::virtualdevice::fs::{self, Digest};
use cabled::virtualdevice::{Phone, PhoneEvent, contents};
use cabled_examples::phones::{self, Desk, PhoneArgs};
use cabled_examples::progress::Bar;
use cabled_examples::reach::{Reach, Reached};
use cabled_examples::table::{Table, bytes};
use cabled_examples::{Failure, check, memory, pairing, run};
use clap::Parser;

/// Back up an iPhone or iPad, or a virtual one.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    reach: Reach,
    /// Where backups go, one folder a device. Default: `backups`; for the virtual phone a temporary folder.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Turn encryption on first, if it is off, with the password of `--password`.
    #[arg(long, requires = "password")]
    encrypt: bool,
    /// The backup password: to turn encryption on, and to check an encrypted backup.
    #[arg(long, env = "CABLED_BACKUP_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// Use a virtual phone of this iOS version even when a real one is attached.
    #[arg(long, value_name = "PROFILE")]
    r#virtual: Option<String>,
    #[command(flatten)]
    phone: PhoneArgs,
}

/// The password of the virtual phone's encrypted backup, if none is given.
const DEMO_PASSWORD: &str = "correct horse battery staple";

fn main() -> ExitCode {
    run(backup(Args::parse()))
}

async fn backup(args: Args) -> Result<(), Failure> {
    if let Some(name) = &args.r#virtual {
        return virtual_phone(&args, name).await;
    }
    let nobody = match args.reach.find().await {
        Ok(Some(device)) => return real_phone(&args, &device).await,
        Ok(None) => "No device is attached.".to_owned(),
        Err(error) => format!("No device: {}.", cabled_examples::with_causes(&*error)),
    };
    if args.reach.is_said() {
        return Err(nobody.into());
    }
    println!("{nobody}\nThis is the virtual phone instead; plug a device in to back that up.\n");
    virtual_phone(&args, "17.7").await
}

/// One backup of the attached device, continued where the last one ended.
async fn real_phone(args: &Args, device: &Reached) -> Result<(), Failure> {
    let paired = pairing::paired(device).await?;
    let mut job = Job::new(args.dir.clone().unwrap_or_else(|| "backups".into()))?;
    if args.encrypt && !will_encrypt(&paired).await? {
        job.set_password(&paired, args.password.as_deref().unwrap_or_default())
            .await?;
    }
    let made = job.back_up(&paired, "backup").await?;
    let folder = job.folder.device_path(&made.target);
    if made.encrypted && args.password.is_none() {
        job.row("backup", &made.outcome, "not read: encrypted, and no --password");
    } else {
        let password = args.password.clone().filter(|_| made.encrypted);
        let report = read_all(folder.clone(), password).await?;
        job.row(
            "backup",
            &made.outcome,
            &format!(
                "{} files read back, {} digests",
                report.files_read, report.digests_checked
            ),
        );
    }
    job.print();
    println!("The backup is {}.", folder.display());
    Ok(())
}

/// Everything, with phones whose contents are known to the byte.
async fn virtual_phone(args: &Args, profile: &str) -> Result<(), Failure> {
    let desk = Desk::new()?;
    let profile = phones::profile(profile)?;
    let recipe = args.phone.recipe();
    let phone = phones::phone(profile.clone(), args.phone.seed, Some(&recipe))?;
    desk.plug(&phone).await?;
    let daemon = desk.daemon()?;
    let device = daemon
        .find(phone.udid())
        .await?
        .ok_or("the virtual phone was not found")?;
    println!(
        "found   {} ({}, iOS {})",
        phone.udid(),
        phone.name(),
        profile.product_version
    );
    let paired = pairing::paired(&Reached::at_daemon(&daemon, device)).await?;
    println!(
        "paired  host {}, TLS pinned to the device's certificate\n",
        paired.record().host_id
    );

    let temporary = tempfile::tempdir()?;
    let mut job = Job::new(args.dir.clone().unwrap_or_else(|| temporary.path().to_owned()))?;
    let folder = job.folder.device_path(phone.udid().as_str());

    let made = job.back_up(&paired, "full backup").await?;
    job.row("full", &made.outcome, &compared(&folder, None, &phone).await?);

    let changes = contents::mutate(phone.fs(), args.phone.seed)?;
    let made = job.back_up(&paired, "incremental backup").await?;
    let changed = changes.added.len() + changes.edited.len() + changes.removed.len() + changes.renamed.len();
    let verified = format!(
        "{} after {changed} changes on the phone",
        compared(&folder, None, &phone).await?
    );
    job.row("incremental", &made.outcome, &verified);

    let password = args.password.as_deref().unwrap_or(DEMO_PASSWORD);
    job.set_password(&paired, password).await?;
    let made = job.back_up(&paired, "encrypted backup").await?;
    job.row(
        "encrypted",
        &made.outcome,
        &compared(&folder, Some(password), &phone).await?,
    );

    let second = phones::phone(profile, args.phone.seed + 1, None)?;
    desk.plug(&second).await?;
    let other = daemon
        .find(second.udid())
        .await?
        .ok_or("the second virtual phone was not found")?;
    let other = pairing::paired(&Reached::at_daemon(&daemon, other)).await?;
    let restored = job.restore(&other, &phone, &second, password).await?;
    let report = second
        .backup_state()
        .last_restore()
        .ok_or("the second phone knows of no restore")?;
    let verified = format!(
        "contents equal, {} digests and {} paddings good",
        report.digests_verified, report.paddings_verified
    );
    job.row("restore", &restored, &verified);

    job.print();
    if args.dir.is_some() {
        println!("The backup is {}; its password is `{password}`.", folder.display());
    }
    Ok(())
}

/// A folder of backups, and a table of what was done with it.
struct Job {
    folder: PlainFolder,
    table: Table,
}

/// A backup that ended well.
struct Made {
    target: String,
    encrypted: bool,
    outcome: Outcome,
}

impl Job {
    fn new(root: PathBuf) -> Result<Self, Failure> {
        std::fs::create_dir_all(&root)?;
        let table = Table::new(["run", "files", "bytes", "time", "MB/s", "verified"]);
        Ok(Self {
            folder: PlainFolder::new(root),
            table,
        })
    }

    async fn back_up(&mut self, paired: &Paired, title: &str) -> Result<Made, Failure> {
        let mut bar = Bar::new(title);
        let stop = bar.stop_flag();
        let interrupt = tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                eprintln!("Stopping; the last backup stays as it is.");
                stop.store(true, Ordering::Relaxed);
            }
        });
        let made = Backup::new(paired)
            .run(BackupOptions::default(), &mut self.folder, &mut bar)
            .await;
        interrupt.abort();
        bar.done();
        let made = made.map_err(|error| format!("{} ({})", cabled_examples::with_causes(&error), error.remedy()))?;
        for file in made.outcome.unreadable_files() {
            eprintln!("not in the backup: {file:?}");
        }
        Ok(Made {
            target: made.outcome.target.clone(),
            encrypted: made.encrypted,
            outcome: made.outcome,
        })
    }

    async fn set_password(&mut self, paired: &Paired, password: &str) -> Result<(), Failure> {
        let change = PasswordChange::Enable { new: password.into() };
        let mut bar = Bar::new("turning encryption on");
        let done = ChangePassword::new(paired)
            .run(change, RequestOptions::default(), &mut self.folder, &mut bar)
            .await;
        bar.done();
        done?;
        Ok(())
    }

    /// Restores everything from `source`'s backup, lets the phone restart, and compares the two phones.
    async fn restore(
        &mut self,
        paired: &Paired,
        source: &Phone,
        target: &Phone,
        password: &str,
    ) -> Result<Outcome, Failure> {
        let options = RestoreOptions::default()
            .source(source.udid().as_str())
            .password(password)
            .system_files(true)
            .preserve_settings(false)
            .remove_items_not_restored(true);
        let mut events = target.events();
        let mut bar = Bar::new("restore onto a second phone");
        let restored = Restore::new(paired).run(options, &mut self.folder, &mut bar).await;
        bar.done();
        let outcome = restored?.outcome;
        let restarted = async { while !matches!(events.recv().await, Ok(PhoneEvent::Restarted) | Err(_)) {} };
        tokio::time::timeout(Duration::from_secs(60), restarted)
            .await
            .map_err(|_| "the phone did not restart")?;
        let (first, second) = (hashed(source).await?, hashed(target).await?);
        let difference = fs::diff(&first, &second);
        if difference.is_empty() {
            Ok(outcome)
        } else {
            Err(format!("the restored phone differs: {difference}").into())
        }
    }

    fn row(&mut self, name: &str, outcome: &Outcome, verified: &str) {
        let files = outcome.files_received + outcome.files_sent;
        let moved = outcome.bytes_received + outcome.bytes_sent;
        let seconds = outcome.elapsed.as_secs_f64();
        let rate = moved as f64 / 1e6 / seconds.max(1e-9);
        let cells = [
            name.to_owned(),
            files.to_string(),
            bytes(moved),
            format!("{seconds:.1} s"),
            format!("{rate:.1}"),
            verified.to_owned(),
        ];
        self.table.row(cells);
    }

    fn print(&self) {
        print!("{}", self.table);
        if let Some(peak) = memory::peak() {
            println!("peak memory of this process: {}", bytes(peak));
        }
    }
}

/// What the phone holds, hashed.
async fn hashed(phone: &Phone) -> Result<Vec<Digest>, Failure> {
    let phone = phone.clone();
    Ok(tokio::task::spawn_blocking(move || fs::tree_digest(phone.fs())).await??)
}

/// Reads the backup back and compares it with the phone, path by path and hash by hash.
async fn compared(folder: &Path, password: Option<&str>, phone: &Phone) -> Result<String, Failure> {
    let expected = hashed(phone).await?;
    let (folder, password) = (folder.to_owned(), password.map(str::to_owned));
    let started = Instant::now();
    let work = move || check::equals(&folder, password.as_deref(), &expected, |_| {});
    let report = tokio::task::spawn_blocking(work).await??;
    Ok(format!(
        "{} files equal the phone's, read in {:.1} s",
        report.files_read,
        started.elapsed().as_secs_f64()
    ))
}

async fn read_all(folder: PathBuf, password: Option<String>) -> Result<Report, Failure> {
    tokio::task::spawn_blocking(move || check::read_all(&folder, password.as_deref(), |_| {}, |_| {})).await?
}
