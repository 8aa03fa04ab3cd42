//! Syncs contacts, calendars or bookmarks of a device with files on this computer, both ways.
//!
//! The first time it only shows a plan and asks what is to happen: merge, or replace one of the two. With no device attached
//! a virtual phone and a folder go through a first sync, edits on both sides, a conflict, and a deletion.

mod session;
mod story;

use std::path::PathBuf;
use std::process::ExitCode;

use cabled::mobilebackup::folder::plain::PlainFolder;
use cabled::mobilebackup::live::{Backup, BackupOptions};
use cabled::syncproto::DataClass;
use cabled::syncproto::engine::{Direction, FirstSync, OnConflict, OnDeleteEdit, Policy, Verify};
use cabled::syncproto::pair::{Approval, Request, Synced};
use cabled_examples::progress::Bar;
use cabled_examples::reach::{Reach, Reached};
use cabled_examples::{Failure, pairing, run};
use clap::{Parser, ValueEnum};
use session::{Place, Sync};

/// Sync contacts, calendars or bookmarks of an iPhone or iPad with files.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    reach: Reach,
    /// What to sync.
    #[arg(long, value_enum, default_value = "contacts")]
    class: Class,
    /// A folder of .vcf or .ics files, as vdirsyncer, khal and khard use it; of calendars, a folder of such folders.
    #[arg(long, conflicts_with = "file")]
    dir: Option<PathBuf>,
    /// One file: .vcf, .ics, or .html and .json for bookmarks.
    #[arg(long)]
    file: Option<PathBuf>,
    /// What happens the first time.
    #[arg(long, value_enum, default_value = "ask")]
    policy: First,
    /// Who may be written to.
    #[arg(long, value_enum, default_value = "both")]
    direction: Towards,
    /// Whose value is taken when both sides edited the same thing.
    #[arg(long, value_enum, default_value = "neither")]
    conflicts: Winner,
    /// Let deletions win over edits of the other side; otherwise the record comes back.
    #[arg(long)]
    deletions_win: bool,
    /// Show the plan and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Carry out a plan that stopped; takes the word that was printed with it.
    #[arg(long, value_name = "WORD")]
    approve: Option<Approval>,
    /// Read the device again after writing, to see what it made of it. Otherwise only while a device's software is new.
    #[arg(long)]
    verify: bool,
    /// Back the device up into this folder first.
    #[arg(long, value_name = "DIR")]
    backup: Option<PathBuf>,
    /// Where it is kept what both sides agreed on. Default: a folder per device and class in the user's data folder.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Show what is kept of the device for undo, and end.
    #[arg(long)]
    snapshots: bool,
    /// Bring the device's records back to snapshot N, replacing what it has.
    #[arg(long, value_name = "N", conflicts_with_all = ["dir", "file", "approve"])]
    restore: Option<u64>,
    /// Use a virtual phone of this iOS version even when a real one is attached.
    #[arg(long, value_name = "PROFILE")]
    r#virtual: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Class {
    Contacts,
    Calendars,
    Bookmarks,
}

#[derive(Clone, Copy, ValueEnum)]
enum First {
    /// Only show what a merge would do.
    Ask,
    /// Both sides end with everything.
    Merge,
    /// The device ends with what is here.
    ReplaceDevice,
    /// The files end with what is on the device.
    ReplaceComputer,
}

#[derive(Clone, Copy, ValueEnum)]
enum Towards {
    Both,
    /// Only the device.
    Device,
    /// Only the files.
    Computer,
    /// Only the files; the device is not even asked to commit.
    Export,
}

#[derive(Clone, Copy, ValueEnum)]
enum Winner {
    /// Each side keeps its own, and the report says so.
    Neither,
    Computer,
    Device,
}

impl Args {
    fn class(&self) -> DataClass {
        match self.class {
            Class::Contacts => DataClass::Contacts,
            Class::Calendars => DataClass::Calendars,
            Class::Bookmarks => DataClass::Bookmarks,
        }
    }

    fn policy(&self) -> Policy {
        let first = match self.policy {
            First::Ask => FirstSync::Refuse,
            First::Merge => FirstSync::Merge,
            First::ReplaceDevice => FirstSync::ReplaceDevice,
            First::ReplaceComputer => FirstSync::ReplaceComputer,
        };
        let direction = match self.direction {
            Towards::Both => Direction::TwoWay,
            Towards::Device => Direction::ToDevice,
            Towards::Computer => Direction::ToComputer,
            Towards::Export => Direction::Export,
        };
        let conflict = match self.conflicts {
            Winner::Neither => OnConflict::Defer,
            Winner::Computer => OnConflict::Computer,
            Winner::Device => OnConflict::Device,
        };
        let deletion = match self.deletions_win {
            true => OnDeleteEdit::DeleteWins,
            false => OnDeleteEdit::EditWins,
        };
        let verify = match self.verify {
            true => Verify::AfterPush,
            false => Verify::WhileNew,
        };
        Policy::default()
            .first_sync(first)
            .direction(direction)
            .on_conflict(conflict)
            .on_delete_edit(deletion)
            .verify(verify)
    }

    fn request(&self) -> Request {
        let request = Request::default().policy(self.policy()).preview(self.dry_run);
        match self.approve {
            Some(approval) => request.approval(approval),
            None => request,
        }
    }

    fn place(&self) -> Result<Place, Failure> {
        match (&self.dir, &self.file) {
            (Some(folder), _) => Ok(Place::Folder(folder.clone())),
            (None, Some(file)) => Ok(Place::File(file.clone())),
            (None, None) => Err("say where the records are here: --dir FOLDER or --file FILE".into()),
        }
    }
}

fn main() -> ExitCode {
    run(sync(Args::parse()))
}

async fn sync(args: Args) -> Result<(), Failure> {
    if let Some(name) = &args.r#virtual {
        return story::tell(name).await;
    }
    let nobody = match args.reach.find().await {
        Ok(Some(device)) => return with_device(&args, &device).await,
        Ok(None) => "No device is attached.".to_owned(),
        Err(error) => format!("No device: {}.", cabled_examples::with_causes(&*error)),
    };
    if args.reach.is_said() || args.dir.is_some() || args.file.is_some() {
        return Err(nobody.into());
    }
    println!("{nobody}\nThis is the virtual phone instead; plug a device in to sync that.\n");
    story::tell("17.7").await
}

async fn with_device(args: &Args, device: &Reached) -> Result<(), Failure> {
    let class = args.class();
    let state = match &args.state {
        Some(folder) => folder.clone(),
        None => session::state_folder(&device.udid, &class)?,
    };
    if args.snapshots {
        return session::list_snapshots(&state);
    }
    let place = match args.restore {
        Some(number) => Place::Snapshot(number),
        None => args.place()?,
    };
    let paired = pairing::paired(device).await?;
    if let Some(folder) = &args.backup {
        let mut bar = Bar::new("backup");
        let mut folder = PlainFolder::new(folder.clone());
        let made = Backup::new(&paired)
            .run(BackupOptions::default(), &mut folder, &mut bar)
            .await;
        bar.done();
        made?;
    }
    let sync = Sync { class, place, state };
    let request = match args.restore {
        Some(_) => Request::default().policy(Policy::default().first_sync(FirstSync::ReplaceDevice)),
        None => args.request(),
    };
    match sync.run(&paired, &request).await? {
        Synced::Done(report) => print!("{report}"),
        Synced::Preview(preview) => print!("{preview}"),
        Synced::Stopped(preview) => {
            print!("{preview}");
            let approvable = preview.plan.stops.iter().all(|stop| stop.can_be_approved());
            return Err(match approvable {
                true => format!(
                    "nothing was written; if that is right, say --approve {}",
                    preview.approval
                ),
                false => {
                    "nothing was written; the first sync needs --policy merge, replace-device or replace-computer, \
                          and records that cannot be read have to be mended or moved away"
                        .to_owned()
                }
            }
            .into());
        }
        other => println!("{other:?}"),
    }
    Ok(())
}
