//! libimobiledevice's tools.

use std::path::Path;
use std::time::{Duration, Instant};

use cabled::lockdown::{PairRecord, Paired};
use cabled::mobilebackup::archive::verify::VerifyOptions;
use cabled::mobilebackup::archive::{Archive, Silent};
use cabled::virtualdevice::Phone;

use crate::system::{Kind, System};
use crate::tools::{output, until_every};
use crate::{Failure, Outcome, plug, work};

const QUICK: Duration = Duration::from_secs(20);
/// Keys take a while on an emulated processor.
const SLOW: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(300);

/// Our own client goes on where the tools stop, with the pair record that they left.
pub async fn tools(kind: Kind) -> Outcome {
    let system = System::start(kind).await?;
    let phone = plug::phone(1)?;
    let plugged = plug::plug(&phone).await?;
    let udid = phone.udid().to_string();
    let lists = || output("idevice_id", &["-l"], QUICK).is_ok_and(|text| text.lines().any(|line| line.trim() == udid));
    // The daemon makes keys for a pair record first.
    let listed = until_every(PAUSE, SLOW, "idevice_id lists the phone", lists)?;

    says(&output("ideviceinfo", &["-s", "-k", "UniqueDeviceID"], QUICK)?, &udid)?;
    let started = Instant::now();
    says(&output("idevicepair", &["pair"], SLOW)?, "SUCCESS: Paired with device")?;
    let paired = started.elapsed();
    says(
        &output("idevicepair", &["validate"], QUICK)?,
        "SUCCESS: Validated pairing",
    )?;
    let version = phone.profile().product_version.clone();
    says(&output("ideviceinfo", &["-k", "ProductVersion"], QUICK)?, &version)?;

    let started = Instant::now();
    let folder = Path::new("/tmp/backups");
    std::fs::create_dir_all(folder)?;
    says(
        &output("idevicebackup2", &["backup", "--full", "/tmp/backups"], SLOW)?,
        "Backup Successful",
    )?;
    let archive = Archive::open(folder.join(&udid))?;
    if !archive.verify(&VerifyOptions::default(), &mut Silent)?.is_sound() {
        return Err("the backup is not sound".into());
    }
    std::fs::remove_dir_all(folder)?;
    let backup = started.elapsed();

    let own = own_client(&system, &phone).await?;
    drop(plugged);
    let gone = until_every(PAUSE, QUICK, "idevice_id lists nothing", || {
        output("idevice_id", &["-l"], QUICK).is_ok_and(|text| !text.contains(&udid))
    })?;
    drop(system);
    Ok(format!(
        "listed after {:.1} s, pair {:.1} s, idevicebackup2 {:.1} s; our client {own}; gone after {:.1} s",
        listed.as_secs_f64(),
        paired.as_secs_f64(),
        backup.as_secs_f64(),
        gone.as_secs_f64()
    ))
}

async fn own_client(system: &System, phone: &Phone) -> Outcome {
    let System::Daemon(daemon, _) = system else {
        return Err("not a daemon".into());
    };
    let stored = daemon
        .read_pair_record(phone.udid())
        .await?
        .ok_or("the daemon has no pair record")?;
    let (route, _) = system.find(phone.udid(), QUICK).await?;
    let paired = Paired::new(route, PairRecord::parse(stored.expose())?);
    work::files_backup(&paired, phone.udid()).await
}

fn says(text: &str, wanted: &str) -> Result<(), Failure> {
    if text.contains(wanted) {
        Ok(())
    } else {
        Err(format!("{wanted:?} is missing in {text}").into())
    }
}
