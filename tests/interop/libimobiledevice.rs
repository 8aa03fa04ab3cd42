//! The tools of libimobiledevice 1.3.0, ideviceinstaller 1.1.1 and ifuse 1.1.4, as Debian builds them.

use std::path::Path;
use std::time::{Duration, Instant};

use cabled::virtualdevice::contents;
use cabled::virtualdevice::fs::map;
use cabled::virtualdevice::{Pairing, Phone, Profile};
use cabled::wire::plist::{self, DictExt, Limits};
use cabled_tests::bed::{Bed, path};
use cabled_tests::{Outcome, program, text};
use libtest_mimic::Trial;

use crate::trial;

pub(crate) fn trials() -> Vec<Trial> {
    let pair = "idevicepair";
    vec![
        trial("libimobiledevice: idevice_id lists the phone", &["idevice_id"], lists),
        trial(
            "libimobiledevice: idevicepair pairs, validates and unpairs",
            &[pair],
            pairs,
        ),
        trial(
            "libimobiledevice: idevicepair waits for the trust dialogue",
            &[pair],
            waits_for_trust,
        ),
        trial(
            "libimobiledevice: ideviceinfo reads every value",
            &["ideviceinfo", pair],
            reads_values,
        ),
        trial(
            "libimobiledevice: idevicename and idevicedate set values",
            &["idevicename", "idevicedate", pair],
            sets_values,
        ),
        trial(
            "libimobiledevice: ideviceinstaller lists the apps",
            &["ideviceinstaller", pair],
            lists_apps,
        ),
        trial(
            "libimobiledevice: notifications arrive both ways",
            &["idevicenotificationproxy", pair],
            notifies,
        ),
        trial(
            "libimobiledevice: idevicediagnostics reads",
            &["idevicediagnostics", pair],
            diagnoses,
        ),
        trial(
            "libimobiledevice: ifuse reads and writes",
            &["ifuse", "fusermount", pair],
            mounts,
        ),
    ]
}

/// A phone that has paired with the tools.
pub(crate) fn paired(profile: Profile) -> Result<(Bed, Phone), String> {
    let (bed, phone) = Bed::with_phone(profile)?;
    bed.run("idevicepair", &["pair"])?
        .ok()?
        .says("SUCCESS: Paired with device")?;
    Ok((bed, phone))
}

fn lists() -> Outcome {
    let (bed, phone) = Bed::with_phone(Profile::ios_18())?;
    let second = cabled_tests::bed::phone(Profile::ios_12_5(), 2, None)?;
    bed.plug(&second)?;
    let ran = bed.run("idevice_id", &["-l"])?.ok()?;
    let mut listed: Vec<_> = ran.stdout.lines().map(str::trim).collect();
    listed.sort_unstable();
    let mut phones = [phone.udid().to_string(), second.udid().to_string()];
    phones.sort_unstable();
    if listed == phones {
        Ok(())
    } else {
        Err(format!("{listed:?} are listed, not {phones:?}"))
    }
}

fn pairs() -> Outcome {
    for profile in Profile::all() {
        let (bed, phone) = paired(profile)?;
        bed.run("idevicepair", &["validate"])?
            .ok()?
            .says("SUCCESS: Validated pairing")?;
        if phone.pairings().len() != 1 {
            return Err(format!("the phone knows {} pairings", phone.pairings().len()));
        }
        bed.run("idevicepair", &["unpair"])?
            .ok()?
            .says("SUCCESS: Unpaired with device")?;
        if !phone.pairings().is_empty() {
            return Err("the phone still knows the pairing".into());
        }
        // This client pairs anew when it has no record; the user says no.
        phone.set_pairing(Pairing::Deny);
        bed.run("idevicepair", &["validate"])?.refused()?;
    }
    Ok(())
}

fn waits_for_trust() -> Outcome {
    let (bed, phone) = Bed::with_phone(Profile::ios_17_7())?;
    phone.set_pairing(Pairing::AskUser);
    bed.run("idevicepair", &["pair"])?
        .refused()?
        .says("Please accept the trust dialog")?;
    if !phone.answer_trust(true) {
        return Err("the phone shows no trust dialogue".into());
    }
    bed.run("idevicepair", &["pair"])?
        .ok()?
        .says("SUCCESS: Paired with device")?;
    Ok(())
}

fn reads_values() -> Outcome {
    for profile in Profile::all() {
        let version = profile.product_version.clone();
        let (bed, phone) = paired(profile)?;
        let ran = bed.run("ideviceinfo", &["-k", "ProductVersion"])?.ok()?;
        if ran.stdout.trim() != version {
            return Err(format!("{version} reads as {ran}"));
        }
        let ran = bed.run("ideviceinfo", &["-x"])?.ok()?;
        let values = plist::read_dict(ran.stdout.as_bytes(), &Limits::default()).map_err(text)?;
        for key in [
            "UniqueDeviceID",
            "DeviceName",
            "SerialNumber",
            "ProductType",
            "BuildVersion",
        ] {
            let ours = phone.value(None, key).and_then(|value| value.into_string());
            if values.text(key).map_err(text)? != ours.clone().unwrap_or_default() {
                return Err(format!("{key} is {ours:?} on the phone; {ran}"));
            }
        }
        bed.run("ideviceinfo", &["-q", "com.apple.disk_usage"])?
            .ok()?
            .says("TotalDataAvailable")?;
        bed.run("ideviceinfo", &["-s", "-k", "UniqueDeviceID"])?
            .ok()?
            .says(&phone.udid().to_string())?;
    }
    Ok(())
}

fn sets_values() -> Outcome {
    let (bed, phone) = paired(Profile::ios_16_7())?;
    bed.run("idevicename", &["Ein Gerät mit Namen"])?.ok()?;
    if phone.name() != "Ein Gerät mit Namen" {
        return Err(format!("the phone is called {:?}", phone.name()));
    }
    bed.run("idevicename", &[] as &[&str])?
        .ok()?
        .says("Ein Gerät mit Namen")?;
    bed.run("idevicedate", &[] as &[&str])?.ok()?;
    Ok(())
}

fn lists_apps() -> Outcome {
    let (bed, phone) = paired(Profile::ios_17_7())?;
    let mut ran = bed.run("ideviceinstaller", &["-l"])?.ok()?;
    for app in contents::apps(phone.seed()) {
        ran = ran.says(&app.bundle_id)?;
    }
    Ok(())
}

fn notifies() -> Outcome {
    let (bed, phone) = paired(Profile::ios_17_7())?;
    let mut heard = phone.notifications();
    bed.run("idevicenotificationproxy", &["post", "com.example.from-host"])?
        .ok()?;
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match heard.try_recv() {
            Ok(name) if name == "com.example.from-host" => break,
            Ok(_) => {}
            Err(_) if Instant::now() > deadline => return Err("the posted notification did not arrive".into()),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    // The observer runs until it is stopped: the phone speaks every now and then until it listens.
    let speaker = phone.clone();
    let task = bed.runtime.spawn(async move {
        loop {
            speaker.notify("com.apple.mobile.backup.domain_changed");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    let observe = ["observe", "com.apple.mobile.backup.domain_changed"];
    let ran = bed.run_for(
        "stdbuf",
        &[&["-oL", "idevicenotificationproxy"][..], &observe[..]].concat(),
        Duration::from_secs(3),
    );
    task.abort();
    ran?.says("> com.apple.mobile.backup.domain_changed")?;
    Ok(())
}

fn diagnoses() -> Outcome {
    let (bed, _phone) = paired(Profile::ios_17_7())?;
    bed.run("idevicediagnostics", &["diagnostics", "GasGauge"])?
        .ok()?
        .says("GasGauge")?;
    bed.run("idevicediagnostics", &["ioreg", "IODeviceTree"])?
        .ok()?
        .says("IORegistry")?;
    Ok(())
}

/// Unmounts when a test ends, however it ends.
struct Mount<'a> {
    bed: &'a Bed,
    at: String,
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _ = self.bed.run("fusermount", &["-u", "-z", &self.at]);
    }
}

fn mounts() -> Outcome {
    if !Path::new("/dev/fuse").exists() {
        return if program::missing_is_failure() {
            Err("/dev/fuse is missing".into())
        } else {
            Ok(())
        };
    }
    let (bed, phone) = paired(Profile::ios_17_7())?;
    let at = bed.folder("mount")?;
    bed.run("ifuse", &[path(&at)])?.ok()?;
    let mount = Mount {
        bed: &bed,
        at: path(&at),
    };
    reads_through(&at, &phone)?;
    writes_through(&at, &phone)?;
    drop(mount);
    Ok(())
}

fn reads_through(at: &Path, phone: &Phone) -> Outcome {
    let (domain, dcim) = map::media_path("/DCIM/100APPLE").map_err(text)?;
    let photos = phone.fs().children(domain, &dcim);
    if photos.is_empty() {
        return Err("the phone has no photos".into());
    }
    for photo in &photos {
        let there = std::fs::read(at.join("DCIM/100APPLE").join(photo.name())).map_err(text)?;
        let mut here = vec![0; there.len()];
        let content = photo.content().ok_or("a photo is no file")?;
        let read = content.read_at(0, &mut here).map_err(text)?;
        if content.len() != there.len() as u64 || read != there.len() || here != there {
            return Err(format!("{} reads otherwise", photo.name()));
        }
    }
    Ok(())
}

fn writes_through(at: &Path, phone: &Phone) -> Outcome {
    let file = at.join("Downloads/notes.bin");
    std::fs::create_dir_all(at.join("Downloads/more")).map_err(text)?;
    let bytes: Vec<u8> = (0..3_000_001_u32)
        .flat_map(|n| n.to_le_bytes())
        .take(3_000_001)
        .collect();
    std::fs::write(&file, &bytes).map_err(text)?;
    let renamed = at.join("Downloads/more/renamed.bin");
    std::fs::rename(&file, &renamed).map_err(text)?;
    if std::fs::read(&renamed).map_err(text)? != bytes {
        return Err("what was written reads otherwise".into());
    }
    let (domain, inside) = map::media_path("/Downloads/more/renamed.bin").map_err(text)?;
    let entry = phone
        .fs()
        .get(domain, &inside)
        .ok_or("the phone does not have the written file")?;
    if entry.len() != bytes.len() as u64 {
        return Err(format!("the phone has {} bytes of {}", entry.len(), bytes.len()));
    }
    std::os::unix::fs::symlink("renamed.bin", at.join("Downloads/more/link")).map_err(text)?;
    std::fs::remove_file(at.join("Downloads/more/link")).map_err(text)?;
    std::fs::remove_file(&renamed).map_err(text)?;
    std::fs::remove_dir(at.join("Downloads/more")).map_err(text)?;
    match phone.fs().get(domain, &inside) {
        None => Ok(()),
        Some(_) => Err("the phone still has the removed file".into()),
    }
}
