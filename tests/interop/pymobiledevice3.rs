//! pymobiledevice3, at the version of `requirements.txt`.

use cabled::virtualdevice::contents;
use cabled::virtualdevice::fs::map;
use cabled::virtualdevice::{Phone, Profile};
use cabled_tests::bed::{Bed, path};
use cabled_tests::program::Ran;
use cabled_tests::{Outcome, text};
use libtest_mimic::Trial;

use crate::trial;

const PROGRAM: &str = "pymobiledevice3";

pub(crate) fn trials() -> Vec<Trial> {
    let needs = &[PROGRAM];
    vec![
        trial("pymobiledevice3: lists the phone", needs, lists),
        trial("pymobiledevice3: pairs and unpairs", needs, pairs),
        trial("pymobiledevice3: reads and sets values", needs, values),
        trial("pymobiledevice3: lists, pushes, pulls and removes files", needs, files),
        trial("pymobiledevice3: lists the apps", needs, apps),
    ]
}

/// Runs it against the bed's daemon, which the environment names; talkative, so that a failure shows where it was.
pub(crate) fn run(bed: &Bed, args: &[&str]) -> Result<Ran, String> {
    bed.run(PROGRAM, &[&["-v"], args].concat())
}

/// A phone that has paired with it.
pub(crate) fn paired(profile: Profile) -> Result<(Bed, Phone), String> {
    let (bed, phone) = Bed::with_phone(profile)?;
    run(&bed, &["lockdown", "pair"])?.ok()?;
    if phone.pairings().is_empty() {
        return Err("the phone knows no pairing".into());
    }
    Ok((bed, phone))
}

fn lists() -> Outcome {
    for profile in Profile::all() {
        let version = profile.product_version.clone();
        let (bed, phone) = Bed::with_phone(profile)?;
        let ran = run(&bed, &["usbmux", "list"])?.ok()?;
        ran.says(phone.udid().as_str())?.says(&version)?;
    }
    Ok(())
}

fn pairs() -> Outcome {
    let (bed, phone) = paired(Profile::ios_17_7())?;
    run(&bed, &["lockdown", "get", "", "DeviceName"])?
        .ok()?
        .says(&phone.name())?;
    run(&bed, &["lockdown", "unpair"])?.ok()?;
    if phone.pairings().is_empty() {
        Ok(())
    } else {
        Err("the phone still knows the pairing".into())
    }
}

fn values() -> Outcome {
    let (bed, phone) = paired(Profile::ios_18())?;
    run(&bed, &["lockdown", "info"])?
        .ok()?
        .says("UniqueDeviceID")?
        .says(phone.udid().as_str())?;
    run(&bed, &["lockdown", "device-name", "Neuer Name"])?.ok()?;
    if phone.name() == "Neuer Name" {
        Ok(())
    } else {
        Err(format!("the phone is called {:?}", phone.name()))
    }
}

fn files() -> Outcome {
    let (bed, phone) = paired(Profile::ios_17_7())?;
    let folder = bed.folder("files")?;
    let bytes: Vec<u8> = (0..700_001_u32).flat_map(|n| n.to_le_bytes()).take(2_500_001).collect();
    std::fs::write(folder.join("up.bin"), &bytes).map_err(text)?;
    run(
        &bed,
        &["afc", "push", &path(&folder.join("up.bin")), "/Downloads/up.bin"],
    )?
    .ok()?;
    let (domain, inside) = map::media_path("/Downloads/up.bin").map_err(text)?;
    let entry = phone
        .fs()
        .get(domain, &inside)
        .ok_or("the phone does not have the pushed file")?;
    let content = entry.content().ok_or("the pushed file is no file")?;
    let mut there = vec![0; bytes.len()];
    if content.len() != bytes.len() as u64
        || content.read_at(0, &mut there).map_err(text)? != bytes.len()
        || there != bytes
    {
        return Err("the pushed file is another one on the phone".into());
    }
    run(&bed, &["afc", "ls", "/Downloads"])?.ok()?.says("up.bin")?;
    run(
        &bed,
        &["afc", "pull", "/Downloads/up.bin", &path(&folder.join("down.bin"))],
    )?
    .ok()?;
    if std::fs::read(folder.join("down.bin")).map_err(text)? != bytes {
        return Err("the pulled file is another one".into());
    }
    run(&bed, &["afc", "rm", "/Downloads/up.bin"])?.ok()?;
    match phone.fs().get(domain, &inside) {
        None => Ok(()),
        Some(_) => Err("the phone still has the removed file".into()),
    }
}

fn apps() -> Outcome {
    let (bed, phone) = paired(Profile::ios_16_7())?;
    let mut ran = run(&bed, &["apps", "list"])?.ok()?;
    for app in contents::apps(phone.seed()) {
        ran = ran.says(&app.bundle_id)?;
    }
    Ok(())
}
