//! vdirsyncer, khal and khard on the folders that a virtual phone was synced into.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use cabled::virtualdevice::Profile;
use cabled::virtualdevice::contents::Recipe;
use cabled_syncproto::engine::{FirstSync, Policy, Side, Verb};
use cabled_syncproto::pair::{Pair, Request, Synced};
use cabled_syncproto::replica::{Memory, OnThread, Vdir};
use cabled_syncproto::store::MemoryStore;
use cabled_syncproto::{DataClass, entity};
use cabled_tests::{Outcome, bed, program, text};
use libtest_mimic::Trial;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "sync: vdirsyncer copies our folders byte by byte",
            "vdirsyncer",
            vdirsyncer,
        ),
        trial("sync: khal lists the events of our folder", "khal", khal),
        trial("sync: khard lists the contacts of our folder", "khard", khard),
    ]
}

/// A test that needs a program. Where it is missing it fails in CI, and is ignored with the reason elsewhere.
fn trial(name: &str, needs: &'static str, body: impl FnOnce() -> Outcome + Send + 'static) -> Trial {
    if program::find(needs).is_some() {
        return Trial::test(name, move || body().map_err(Into::into));
    }
    let reason = format!("{needs} is not installed; docs/TESTING.md says how");
    if program::missing_is_failure() {
        Trial::test(name, move || Err(reason.into()))
    } else {
        Trial::test(name, || Ok(())).with_kind(reason).with_ignored_flag(true)
    }
}

/// What a virtual phone has of a class, in memory.
fn phone(class: &DataClass) -> Result<Memory, String> {
    let phone = bed::phone(Profile::ios_16_7(), 5, Some(&Recipe::tiny()))?;
    Ok(phone.sync().records(class).into_iter().collect())
}

/// Syncs the phone's records into a folder, and once more to see that nothing is left to do there. Memory keeps every key,
/// so it is still given what only files say.
fn synced(class: DataClass, folder: &Path) -> Result<Memory, String> {
    fs::create_dir_all(folder).map_err(text)?;
    let phone = phone(&class)?;
    let vdir = match class {
        DataClass::Contacts => Vdir::contacts(folder),
        _ => Vdir::calendars(folder),
    };
    let mut pair = Pair::new(class, phone.clone(), OnThread::new(vdir), MemoryStore::default());
    let request = Request::default().policy(Policy::default().first_sync(FirstSync::Merge));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(text)?;
    for writes in [true, false] {
        let synced = runtime.block_on(pair.sync(&request, &mut |_| {})).map_err(text)?;
        let Synced::Done(report) = synced else {
            return Err(format!("the sync stopped: {synced:?}"));
        };
        let created = report.count(Side::Computer, Verb::Create) > 0;
        if !report.failures.is_empty() || created != writes || (!writes && !report.plan.actions.computer.is_empty()) {
            return Err(format!("{}\n{:?}", report.plan, report.failures));
        }
    }
    Ok(phone)
}

fn run(name: &str, args: &[&str], folder: &Path) -> Result<String, String> {
    let env = [
        ("HOME", folder.as_os_str()),
        ("LC_ALL", "C.UTF-8".as_ref()),
        ("COLUMNS", "300".as_ref()),
        ("XDG_DATA_HOME", folder.as_os_str()),
        ("XDG_CACHE_HOME", folder.as_os_str()),
    ];
    Ok(program::run(name, args, &env, folder, Duration::from_secs(120))?
        .ok()?
        .stdout)
}

/// The contents of the items of a folder, however the files are called.
fn items(folder: &Path, extension: &str) -> Result<BTreeMap<Vec<u8>, usize>, String> {
    let mut items = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(text)? {
        let path = entry.map_err(text)?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !hidden && path.extension().is_some_and(|found| found == extension) {
            *items.entry(fs::read(&path).map_err(text)?).or_insert(0) += 1;
        }
    }
    Ok(items)
}

/// The values of a key of all records of an entity.
fn values(phone: &Memory, entity: &str, key: &str) -> Vec<String> {
    let all = phone.all();
    let records = all.values().filter(|record| record.entity.as_deref() == Some(entity));
    records
        .filter_map(|record| Some(record.attributes.get(key)?.as_string()?.to_owned()))
        .collect()
}

fn vdirsyncer() -> Outcome {
    let temp = tempfile::tempdir().map_err(text)?;
    let (ours, theirs) = (temp.path().join("ours"), temp.path().join("theirs"));
    synced(DataClass::Contacts, &ours.join("people"))?;
    synced(DataClass::Calendars, &ours.join("calendars"))?;
    for (class, extension, from) in [("cards", ".vcf", "ours"), ("events", ".ics", "ours/calendars")] {
        let collections = if class == "cards" {
            vec!["people"]
        } else {
            vec!["home", "work"]
        };
        let to = theirs.join(class);
        for collection in &collections {
            fs::create_dir_all(to.join(collection)).map_err(text)?;
        }
        let named: Vec<String> = collections.iter().map(|name| format!("{name:?}")).collect();
        let config = format!(
            "[general]\nstatus_path = \"status-{class}\"\n[pair {class}]\na = \"ours_{class}\"\nb = \"theirs_{class}\"\n\
             collections = [{}]\nmetadata = [\"color\", \"displayname\"]\n[storage ours_{class}]\ntype = \"filesystem\"\n\
             path = \"{from}\"\nfileext = \"{extension}\"\n[storage theirs_{class}]\ntype = \"filesystem\"\n\
             path = \"theirs/{class}\"\nfileext = \"{extension}\"\n",
            named.join(", ")
        );
        let file = format!("{class}.conf");
        fs::write(temp.path().join(&file), config).map_err(text)?;
        run("vdirsyncer", &["-c", &file, "discover"], temp.path())?;
        run("vdirsyncer", &["-c", &file, "sync"], temp.path())?;
        run("vdirsyncer", &["-c", &file, "metasync"], temp.path())?;
        for collection in collections {
            let (source, copy) = (temp.path().join(from).join(collection), to.join(collection));
            let (wanted, found) = (items(&source, &extension[1..])?, items(&copy, &extension[1..])?);
            if wanted.is_empty() || wanted != found {
                return Err(format!(
                    "{collection}: {} items, {} after vdirsyncer",
                    wanted.len(),
                    found.len()
                ));
            }
            if class == "events" {
                for meta in ["displayname", "color"] {
                    let read = |folder: &Path| fs::read_to_string(folder.join(meta)).map_err(text);
                    if read(&source)? != read(&copy)? {
                        return Err(format!("{collection}: {meta} differs"));
                    }
                }
            }
        }
    }
    Ok(())
}

fn khal() -> Outcome {
    let temp = tempfile::tempdir().map_err(text)?;
    let phone = synced(DataClass::Calendars, &temp.path().join("calendars"))?;
    let locale = "timeformat = %H:%M\ndateformat = %Y-%m-%d\nlongdateformat = %Y-%m-%d\ndatetimeformat = %Y-%m-%d %H:%M\n\
                  longdatetimeformat = %Y-%m-%d %H:%M\nlocal_timezone = UTC\ndefault_timezone = UTC\n";
    let config =
        format!("[calendars]\n[[home]]\npath = calendars/home\n[[work]]\npath = calendars/work\n[locale]\n{locale}");
    fs::write(temp.path().join("khal.conf"), config).map_err(text)?;
    let args = [
        "-c",
        "khal.conf",
        "list",
        "--notstarted",
        "--format",
        "<{title}>",
        "--day-format",
        "",
        "2023-01-01",
        "730d",
    ];
    let listed = run("khal", &args, temp.path())?;
    let events = values(&phone, entity::EVENT, "summary");
    if events.is_empty() {
        return Err("the phone has no events".into());
    }
    match events.iter().find(|event| !listed.contains(&format!("<{event}>"))) {
        Some(missing) => Err(format!("khal does not list {missing:?}:\n{listed}")),
        None => Ok(()),
    }
}

fn khard() -> Outcome {
    let temp = tempfile::tempdir().map_err(text)?;
    let phone = synced(DataClass::Contacts, &temp.path().join("people"))?;
    let config = "[addressbooks]\n[[people]]\npath = people\n[general]\ndefault_action = list\n";
    fs::write(temp.path().join("khard.conf"), config).map_err(text)?;
    for (command, entity, key) in [
        ("list", entity::CONTACT, "last name"),
        ("phone", entity::PHONE_NUMBER, "value"),
        ("email", entity::EMAIL_ADDRESS, "value"),
    ] {
        let listed = run("khard", &["-c", "khard.conf", command, "-p"], temp.path())?;
        let wanted = values(&phone, entity, key);
        if wanted.is_empty() {
            return Err(format!("the phone has no {key}"));
        }
        if let Some(missing) = wanted.iter().find(|value| !listed.contains(value.as_str())) {
            return Err(format!("khard {command} does not list {missing:?}:\n{listed}"));
        }
    }
    Ok(())
}
