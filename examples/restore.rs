//! Puts a backup onto a device.

use std::path::PathBuf;
use std::process::ExitCode;

use cabled::mobilebackup::folder::plain::PlainFolder;
use cabled::mobilebackup::live::{Restore, RestoreOptions};
use cabled_examples::progress::Bar;
use cabled_examples::reach::Reach;
use cabled_examples::table::bytes;
use cabled_examples::{Failure, check, pairing, run};
use clap::Parser;

/// Restore a backup onto an iPhone or iPad. What is on the device now is replaced.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    reach: Reach,
    /// The folder that holds backups, one folder a device.
    #[arg(long, default_value = "backups")]
    dir: PathBuf,
    /// The UDID whose backup is restored. Default: the device's own.
    #[arg(long)]
    source: Option<String>,
    /// The backup password, if it is encrypted.
    #[arg(long, env = "CABLED_BACKUP_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// Restore system files, too.
    #[arg(long)]
    system: bool,
    /// Restore the device's settings, too, in place of keeping the present ones.
    #[arg(long)]
    settings: bool,
    /// Remove from the device what the backup does not have.
    #[arg(long)]
    remove: bool,
    /// Do not restart at the end; restored data shows only after a restart.
    #[arg(long)]
    no_reboot: bool,
    /// Work on a copy of the backup, made on this computer first.
    #[arg(long)]
    copy: bool,
    /// Do not install the backup's apps again.
    #[arg(long)]
    skip_apps: bool,
    /// Do not read the whole backup for damage before anything is sent.
    #[arg(long)]
    no_check: bool,
    /// Really do it.
    #[arg(long)]
    yes: bool,
}

fn main() -> ExitCode {
    run(restore(Args::parse()))
}

async fn restore(args: Args) -> Result<(), Failure> {
    let device = args.reach.device().await?;
    let source = args.source.clone().unwrap_or_else(|| device.udid.to_string());
    let mut folder = PlainFolder::new(&args.dir);
    let path = folder.device_path(&source);
    if !args.no_check {
        let (path, password) = (path.clone(), args.password.clone());
        let work = move || check::read_all(&path, password.as_deref(), |_| {}, |_| {});
        let report = tokio::task::spawn_blocking(work).await??;
        println!(
            "{} is whole: {} files, {}.",
            args.dir.join(&source).display(),
            report.files,
            bytes(report.content_bytes)
        );
    }
    if !args.yes {
        return Err(format!("this replaces what is on {}; say --yes to go on", device.udid).into());
    }
    let paired = pairing::paired(&device).await?;
    let mut options = RestoreOptions::default()
        .source(source)
        .system_files(args.system)
        .preserve_settings(!args.settings)
        .remove_items_not_restored(args.remove)
        .reboot(!args.no_reboot)
        .copy_first(args.copy)
        .applications(!args.skip_apps);
    if let Some(password) = args.password {
        options = options.password(password);
    }
    let mut bar = Bar::new("restore");
    let restored = Restore::new(&paired).run(options, &mut folder, &mut bar).await;
    bar.done();
    let report = restored.map_err(|error| format!("{} ({})", cabled_examples::with_causes(&error), error.remedy()))?;
    let outcome = report.outcome;
    println!("Restored {} files, {}.", outcome.files_sent, bytes(outcome.bytes_sent));
    Ok(())
}
