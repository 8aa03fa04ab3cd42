//! libimobiledevice's tools.

use std::path::Path;
use std::time::Duration;

use cabled::mobilebackup::archive::verify::VerifyOptions;
use cabled::mobilebackup::archive::{Archive, Silent};

use crate::system::{Kind, System};
use crate::tools::{output, until};
use crate::{Failure, Outcome, plug};

const QUICK: Duration = Duration::from_secs(20);
const SLOW: Duration = Duration::from_secs(60);

/// List, values without and with a session, pair, a backup that is sound, and gone when it is pulled out.
pub async fn tools(kind: Kind) -> Outcome {
    let system = System::start(kind).await?;
    let phone = plug::phone(1)?;
    let plugged = plug::plug(&phone).await?;
    let udid = phone.udid().to_string();
    let lists = || output("idevice_id", &["-l"], QUICK).is_ok_and(|text| text.lines().any(|line| line.trim() == udid));
    let listed = until(QUICK, "idevice_id lists the phone", lists)?;

    says(&output("ideviceinfo", &["-s", "-k", "UniqueDeviceID"], QUICK)?, &udid)?;
    says(&output("idevicepair", &["pair"], QUICK)?, "SUCCESS: Paired with device")?;
    says(
        &output("idevicepair", &["validate"], QUICK)?,
        "SUCCESS: Validated pairing",
    )?;
    let version = phone.profile().product_version.clone();
    says(&output("ideviceinfo", &["-k", "ProductVersion"], QUICK)?, &version)?;

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

    drop(plugged);
    let gone = until(QUICK, "idevice_id lists nothing", || {
        output("idevice_id", &["-l"], QUICK).is_ok_and(|text| !text.contains(&udid))
    })?;
    drop(system);
    Ok(format!(
        "listed {:.1} s after the kernel found it, paired, backup sound, gone {:.1} s after the cable",
        listed.as_secs_f64(),
        gone.as_secs_f64()
    ))
}

fn says(text: &str, wanted: &str) -> Result<(), Failure> {
    if text.contains(wanted) {
        Ok(())
    } else {
        Err(format!("{wanted:?} is missing in {text}").into())
    }
}
