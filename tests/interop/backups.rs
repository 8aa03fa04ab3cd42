//! Backups by every client of the virtual phone, each opened and compared with the phone, and each restored by every
//! client onto a second phone, which then is compared with the first.

use std::path::Path;

use cabled::lockdown::Paired;
use cabled::mobilebackup::folder::plain::PlainFolder;
use cabled::mobilebackup::live::{
    Backup, BackupOptions, ChangePassword, PasswordChange, RequestOptions, Restore, RestoreOptions,
};
use cabled::virtualdevice::contents::{self, Recipe};
use cabled::virtualdevice::{Phone, PhoneEvent, Profile};
use cabled_examples::reach::Reached;
use cabled_examples::{check, pairing};
use cabled_tests::bed::{self, Bed, path};
use cabled_tests::{Outcome, text};
use libtest_mimic::Trial;

use crate::{pymobiledevice3, trial};

const LIBIMOBILEDEVICE: &[&str] = &["idevicepair", "idevicebackup2"];
const PYMOBILEDEVICE3: &[&str] = &["pymobiledevice3"];
const OURS: &[&str] = &[];

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial(
            "backup: libimobiledevice, through every state",
            LIBIMOBILEDEVICE,
            || every_state(&Libimobiledevice),
        ),
        trial("backup: pymobiledevice3, through every state", PYMOBILEDEVICE3, || {
            every_state(&Pymobiledevice3)
        }),
        trial("backup: ours, through every state", OURS, || every_state(&Ours)),
        trial(
            "backup: libimobiledevice against every iOS version",
            LIBIMOBILEDEVICE,
            || every_version(&Libimobiledevice),
        ),
        trial(
            "backup: pymobiledevice3 against every iOS version",
            PYMOBILEDEVICE3,
            || every_version(&Pymobiledevice3),
        ),
        trial("backup: ours against every iOS version", OURS, || every_version(&Ours)),
        trial(
            "backup: libimobiledevice asks for info and list",
            LIBIMOBILEDEVICE,
            info_and_list,
        ),
    ];
    macro_rules! restores {
        ($($maker:ident, $maker_needs:ident => $restorer:ident, $restorer_needs:ident: $name:literal;)*) => {$(
            let needs: Vec<&'static str> = [$maker_needs, $restorer_needs].concat();
            trials.push(trial(concat!("restore: ", $name), &needs, || restored(&$maker, &$restorer)));
        )*};
    }
    restores! {
        Ours, OURS => Ours, OURS: "made by ours, restored by ours";
        Ours, OURS => Libimobiledevice, LIBIMOBILEDEVICE: "made by ours, restored by libimobiledevice";
        Ours, OURS => Pymobiledevice3, PYMOBILEDEVICE3: "made by ours, restored by pymobiledevice3";
        Libimobiledevice, LIBIMOBILEDEVICE => Ours, OURS: "made by libimobiledevice, restored by ours";
        Libimobiledevice, LIBIMOBILEDEVICE => Libimobiledevice, LIBIMOBILEDEVICE: "made and restored by libimobiledevice";
        Pymobiledevice3, PYMOBILEDEVICE3 => Ours, OURS: "made by pymobiledevice3, restored by ours";
        Pymobiledevice3, PYMOBILEDEVICE3 => Pymobiledevice3, PYMOBILEDEVICE3: "made and restored by pymobiledevice3";
    }
    trials
}

/// A client that backs up and restores. Each call is one run of its program; `dir` holds a folder per device.
trait Client {
    fn pair(&self, bed: &Bed, phone: &Phone) -> Outcome;
    fn back_up(&self, bed: &Bed, phone: &Phone, dir: &Path, full: bool) -> Outcome;
    fn change_password(&self, bed: &Bed, phone: &Phone, dir: &Path, old: Option<&str>, new: Option<&str>) -> Outcome;
    /// Restores everything of `source`'s backup onto the bed's phone and has it restart.
    fn restore(&self, bed: &Bed, phone: &Phone, dir: &Path, source: &Phone, password: Option<&str>) -> Outcome;
}

struct Libimobiledevice;

impl Libimobiledevice {
    fn run(bed: &Bed, args: &[&str]) -> Outcome {
        bed.run("idevicebackup2", args)?.ok().map(|_| ())
    }
}

impl Client for Libimobiledevice {
    fn pair(&self, bed: &Bed, _: &Phone) -> Outcome {
        bed.run("idevicepair", &["pair"])?.ok().map(|_| ())
    }

    fn back_up(&self, bed: &Bed, _: &Phone, dir: &Path, full: bool) -> Outcome {
        let dir = path(dir);
        let args: Vec<&str> = if full {
            vec!["backup", "--full", &dir]
        } else {
            vec!["backup", &dir]
        };
        Self::run(bed, &args)
    }

    fn change_password(&self, bed: &Bed, _: &Phone, dir: &Path, old: Option<&str>, new: Option<&str>) -> Outcome {
        let dir = path(dir);
        match (old, new) {
            (None, Some(new)) => Self::run(bed, &["encryption", "on", new, &dir]),
            (Some(old), Some(new)) => Self::run(bed, &["changepw", old, new, &dir]),
            (Some(old), None) => Self::run(bed, &["encryption", "off", old, &dir]),
            (None, None) => Ok(()),
        }
    }

    fn restore(&self, bed: &Bed, _: &Phone, dir: &Path, source: &Phone, password: Option<&str>) -> Outcome {
        let (dir, source) = (path(dir), source.udid().to_string());
        let mut args = vec!["-s", &source, "restore", "--system", "--settings", "--remove"];
        if let Some(password) = password {
            args.extend(["--password", password]);
        }
        args.push(&dir);
        Self::run(bed, &args)
    }
}

struct Pymobiledevice3;

impl Pymobiledevice3 {
    fn run(bed: &Bed, args: &[&str]) -> Outcome {
        pymobiledevice3::run(bed, &[&["backup2"], args].concat())?
            .ok()
            .map(|_| ())
    }
}

impl Client for Pymobiledevice3 {
    fn pair(&self, bed: &Bed, _: &Phone) -> Outcome {
        pymobiledevice3::run(bed, &["lockdown", "pair"])?.ok().map(|_| ())
    }

    fn back_up(&self, bed: &Bed, _: &Phone, dir: &Path, full: bool) -> Outcome {
        let dir = path(dir);
        let args: Vec<&str> = if full {
            vec!["backup", "--full", &dir]
        } else {
            vec!["backup", &dir]
        };
        Self::run(bed, &args)
    }

    fn change_password(&self, bed: &Bed, _: &Phone, dir: &Path, old: Option<&str>, new: Option<&str>) -> Outcome {
        let dir = path(dir);
        match (old, new) {
            (None, Some(new)) => Self::run(bed, &["encryption", "on", new, "-b", &dir]),
            (Some(old), Some(new)) => Self::run(bed, &["change-password", old, new, "-b", &dir]),
            (Some(old), None) => Self::run(bed, &["encryption", "off", old, "-b", &dir]),
            (None, None) => Ok(()),
        }
    }

    fn restore(&self, bed: &Bed, _: &Phone, dir: &Path, source: &Phone, password: Option<&str>) -> Outcome {
        let (dir, source) = (path(dir), source.udid().to_string());
        // Its `--settings` is sent as `RestorePreserveSettings`: to restore them it has to be told not to.
        let mut args = vec!["restore", "--system", "--no-settings", "--remove", "--source", &source];
        if let Some(password) = password {
            args.extend(["-p", password]);
        }
        args.push(&dir);
        Self::run(bed, &args)
    }
}

struct Ours;

impl Ours {
    fn paired(bed: &Bed, phone: &Phone) -> Result<Paired, String> {
        let daemon = bed.daemon()?;
        bed.runtime.block_on(async {
            let device = daemon
                .find(phone.udid())
                .await
                .map_err(text)?
                .ok_or("the phone is not listed")?;
            pairing::paired(&Reached::at_daemon(&daemon, device))
                .await
                .map_err(text)
        })
    }
}

impl Client for Ours {
    fn pair(&self, bed: &Bed, phone: &Phone) -> Outcome {
        Self::paired(bed, phone).map(|_| ())
    }

    fn back_up(&self, bed: &Bed, phone: &Phone, dir: &Path, full: bool) -> Outcome {
        let paired = Self::paired(bed, phone)?;
        let mut folder = PlainFolder::new(dir);
        let options = BackupOptions::default().full(full);
        bed.runtime
            .block_on(Backup::new(&paired).run(options, &mut folder, &mut ()))
            .map(|_| ())
            .map_err(text)
    }

    fn change_password(&self, bed: &Bed, phone: &Phone, dir: &Path, old: Option<&str>, new: Option<&str>) -> Outcome {
        let change = match (old, new) {
            (None, Some(new)) => PasswordChange::Enable { new: new.into() },
            (Some(old), Some(new)) => PasswordChange::Change {
                old: old.into(),
                new: new.into(),
            },
            (Some(old), None) => PasswordChange::Disable { old: old.into() },
            (None, None) => return Ok(()),
        };
        let paired = Self::paired(bed, phone)?;
        let mut folder = PlainFolder::new(dir);
        let options = RequestOptions::default();
        let run = ChangePassword::new(&paired);
        bed.runtime
            .block_on(run.run(change, options, &mut folder, &mut ()))
            .map(|_| ())
            .map_err(text)
    }

    fn restore(&self, bed: &Bed, phone: &Phone, dir: &Path, source: &Phone, password: Option<&str>) -> Outcome {
        let paired = Self::paired(bed, phone)?;
        let mut folder = PlainFolder::new(dir);
        let mut options = RestoreOptions::default()
            .source(source.udid().as_str())
            .system_files(true)
            .preserve_settings(false)
            .remove_items_not_restored(true);
        if let Some(password) = password {
            options = options.password(password);
        }
        bed.runtime
            .block_on(Restore::new(&paired).run(options, &mut folder, &mut ()))
            .map(|_| ())
            .map_err(text)
    }
}

/// Opens the backup in `dir` and compares it with the phone.
fn compared(dir: &Path, phone: &Phone, password: Option<&str>) -> Outcome {
    let expected = bed::digest(phone)?;
    let folder = dir.join(phone.udid().as_str());
    let report = check::equals(&folder, password, &expected, |_| {}).map_err(text)?;
    if report.files < 50 {
        Err(format!("only {} files are in the backup", report.files))
    } else {
        Ok(())
    }
}

/// Full, incremental, encrypted, another password, not encrypted: compared with the phone after each.
fn every_state(client: &dyn Client) -> Outcome {
    let (bed, phone) = Bed::with_phone(Profile::ios_17_7())?;
    let dir = bed.folder("backups")?;
    client.pair(&bed, &phone)?;
    let step = |name: &str, done: Outcome| done.map_err(|error| format!("{name}: {error}"));

    step("full backup", client.back_up(&bed, &phone, &dir, true))?;
    step("full backup", compared(&dir, &phone, None))?;
    let full = phone
        .backup_state()
        .last_backup()
        .ok_or("the phone knows of no backup")?;

    let changes = contents::mutate(phone.fs(), 5).map_err(text)?;
    step("incremental backup", client.back_up(&bed, &phone, &dir, false))?;
    step("incremental backup", compared(&dir, &phone, None))?;
    let incremental = phone
        .backup_state()
        .last_backup()
        .ok_or("the phone knows of no backup")?;
    if incremental.full || incremental.files_sent >= full.files_sent || incremental.files_sent == 0 {
        return Err(format!(
            "the incremental run sent {} files, the full one {}",
            incremental.files_sent, full.files_sent
        ));
    }
    if changes.removed.is_empty() || incremental.files_removed == 0 {
        return Err("the incremental run removed nothing".into());
    }

    step(
        "encryption on",
        client.change_password(&bed, &phone, &dir, None, Some("first pässword")),
    )?;
    step("encrypted backup", client.back_up(&bed, &phone, &dir, false))?;
    step("encrypted backup", compared(&dir, &phone, Some("first pässword")))?;

    step(
        "change of the password",
        client.change_password(&bed, &phone, &dir, Some("first pässword"), Some("second")),
    )?;
    contents::mutate(phone.fs(), 6).map_err(text)?;
    step(
        "backup with the second password",
        client.back_up(&bed, &phone, &dir, false),
    )?;
    step(
        "backup with the second password",
        compared(&dir, &phone, Some("second")),
    )?;
    if compared(&dir, &phone, Some("first pässword")).is_ok() {
        return Err("the first password still opens the backup".into());
    }

    step(
        "encryption off",
        client.change_password(&bed, &phone, &dir, Some("second"), None),
    )?;
    step("backup without a password", client.back_up(&bed, &phone, &dir, false))?;
    step("backup without a password", compared(&dir, &phone, None))
}

/// A full and an incremental backup of each generation of phones.
fn every_version(client: &dyn Client) -> Outcome {
    for profile in Profile::all() {
        let name = profile.name.clone();
        let (bed, phone) = Bed::with_phone(profile)?;
        let dir = bed.folder("backups")?;
        let done = client
            .pair(&bed, &phone)
            .and_then(|()| client.back_up(&bed, &phone, &dir, true));
        done.and_then(|()| compared(&dir, &phone, None))
            .map_err(|error| format!("iOS {name}, full: {error}"))?;
        contents::mutate(phone.fs(), 5).map_err(text)?;
        let done = client
            .back_up(&bed, &phone, &dir, false)
            .and_then(|()| compared(&dir, &phone, None));
        done.map_err(|error| format!("iOS {name}, incremental: {error}"))?;
    }
    Ok(())
}

/// A backup by one client, plain and then encrypted, restored by another onto an empty phone.
fn restored(maker: &dyn Client, restorer: &dyn Client) -> Outcome {
    let (bed, phone) = Bed::with_phone(Profile::ios_16_7())?;
    let dir = bed.folder("backups")?;
    maker.pair(&bed, &phone)?;
    for password in [None, Some("a password")] {
        maker.change_password(&bed, &phone, &dir, None, password)?;
        maker.back_up(&bed, &phone, &dir, false)?;
        compared(&dir, &phone, password)?;
        let second = Bed::new()?;
        let target = bed::phone(Profile::ios_16_7(), 77, password.is_some().then(Recipe::tiny).as_ref())?;
        second.plug(&target)?;
        restorer.pair(&second, &target)?;
        let mut events = target.events();
        restorer.restore(&second, &target, &dir, &phone, password)?;
        second.runtime.block_on(async {
            let restarted = async { while !matches!(events.recv().await, Ok(PhoneEvent::Restarted) | Err(_)) {} };
            tokio::time::timeout(std::time::Duration::from_secs(30), restarted)
                .await
                .map_err(|_| "no restart")
        })?;
        bed::same(&bed::digest(&phone)?, &bed::digest(&target)?)?;
    }
    Ok(())
}

fn info_and_list() -> Outcome {
    let profile = Profile::ios_10_3();
    let (bed, phone) = Bed::with_phone(profile)?;
    let dir = bed.folder("backups")?;
    Libimobiledevice.pair(&bed, &phone)?;
    Libimobiledevice.back_up(&bed, &phone, &dir, true)?;
    bed.run("idevicebackup2", &["info", &path(&dir)])?.ok()?;
    bed.run("idevicebackup2", &["list", &path(&dir)])?
        .ok()?
        .says("HomeDomain")?;
    Ok(())
}
