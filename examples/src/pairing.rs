//! A pair record for a device: the stored one while the device still knows it, otherwise a new one.

use std::ops::ControlFlow;
use std::sync::Arc;

use cabled::lockdown::{Lockdown, PairOptions, PairRecord, Paired, Trust};
use cabled::wire::io::Connect;

use crate::Failure;
use crate::reach::Reached;

/// Label under which the examples speak to devices.
pub const LABEL: &str = "cabled example";

/// The device with a pair record that it accepts, pairing if needed; says on the terminal what the person has to do.
pub async fn paired(reached: &Reached) -> Result<Paired, Failure> {
    let device: Arc<dyn Connect> = reached.device.clone();
    let stored = reached.records.read(&reached.udid).await?;
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
    let record = pair(reached, previous).await?;
    Ok(Paired::new(device, record))
}

/// Pairs anew and stores the record where the device's records are.
pub async fn pair(reached: &Reached, previous: Option<PairRecord>) -> Result<PairRecord, Failure> {
    let mut options = PairOptions::new(reached.records.system_buid().await?).host_name("cabled");
    if let Some(previous) = previous {
        options = options.previous(previous);
    }
    let mut lockdown = Lockdown::connect(reached.device.clone(), LABEL).await?;
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
    reached.records.save(&reached.udid, &record.to_plist_xml()).await?;
    Ok(record)
}
