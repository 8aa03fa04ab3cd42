//! A pair record for a device: the stored one while the device still knows it, otherwise a new one.

use std::ops::ControlFlow;
use std::sync::Arc;

use cabled::lockdown::{Lockdown, PairOptions, PairRecord, Paired, Trust};
use cabled::usbmux::{AttachedDevice, Daemon};
use cabled::wire::io::Connect;

use crate::Failure;

/// Label under which the examples speak to devices.
pub const LABEL: &str = "cabled example";

/// The device with a pair record that it accepts, pairing if needed; says on the terminal what the person has to do.
pub async fn paired(daemon: &Daemon, attached: &AttachedDevice) -> Result<Paired, Failure> {
    let device: Arc<dyn Connect> = Arc::new(daemon.device(attached));
    let stored = daemon.read_pair_record(&attached.udid).await?;
    let previous = stored.and_then(|bytes| PairRecord::parse(bytes.expose()).ok());
    if let Some(record) = &previous {
        let paired = Paired::new(device.clone(), record.clone());
        match paired.session().await {
            Ok(session) => {
                session.stop().await;
                return Ok(paired);
            }
            Err(error) if error.needs_pairing() => eprintln!("{}", crate::with_causes(&error)),
            Err(error) => return Err(error.into()),
        }
    }
    let record = pair(daemon, attached, previous).await?;
    Ok(Paired::new(device, record))
}

/// Pairs anew and stores the record with the daemon.
pub async fn pair(
    daemon: &Daemon,
    attached: &AttachedDevice,
    previous: Option<PairRecord>,
) -> Result<PairRecord, Failure> {
    let mut options = PairOptions::new(daemon.read_buid().await?).host_name("cabled");
    if let Some(previous) = previous {
        options = options.previous(previous);
    }
    let device: Arc<dyn Connect> = Arc::new(daemon.device(attached));
    let mut lockdown = Lockdown::connect(device, LABEL).await?;
    let mut said = None;
    let mut observer = |state: Trust| {
        if said != Some(state) {
            said = Some(state);
            match state {
                Trust::WaitForUser => eprintln!("Tap \"Trust\" on the device and enter its passcode."),
                Trust::Locked => eprintln!("Unlock the device."),
                _ => {}
            }
        }
        ControlFlow::Continue(())
    };
    let record = lockdown.pair(options, &mut observer).await?;
    lockdown.close().await;
    daemon
        .save_pair_record(&attached.udid, Some(attached.id), record.to_plist_xml().expose())
        .await?;
    Ok(record)
}
