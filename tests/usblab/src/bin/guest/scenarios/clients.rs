//! Work with data that is checked.

use std::time::Duration;

use cabled::lockdown::Lockdown;

use crate::system::{Kind, System};
use crate::work::{self, Route};
use crate::{Failure, Outcome, plug};

const FOUND: Duration = Duration::from_secs(20);

/// Pairing, files, a backup.
pub async fn work(kind: Kind) -> Outcome {
    let system = System::start(kind).await?;
    let phone = plug::phone(1)?;
    let _plugged = plug::plug(&phone).await?;
    let (route, found) = system.find(phone.udid(), FOUND).await?;
    let note = work::pair_files_backup(&route, phone.udid()).await?;
    system.stop().await;
    Ok(format!("found in {:.1} s, {note}", found.as_secs_f64()))
}

/// Packets around the sizes at which USB needs an empty one.
pub async fn sizes(kind: Kind) -> Outcome {
    let system = System::start(kind).await?;
    let phone = plug::phone(1)?;
    let _plugged = plug::plug(&phone).await?;
    let (route, _) = system.find(phone.udid(), FOUND).await?;
    let note = work::sizes(&route).await?;
    system.stop().await;
    Ok(note)
}

/// Two hundred connections, opened and closed at random.
pub async fn connections(kind: Kind) -> Outcome {
    let system = System::start(kind).await?;
    let phone = plug::phone(1)?;
    let _plugged = plug::plug(&phone).await?;
    let (route, _) = system.find(phone.udid(), FOUND).await?;
    let note = work::connections(&route, 200, 1).await?;
    // And it still works.
    work::sizes(&route).await?;
    system.stop().await;
    Ok(note)
}

/// Two phones at once, each asked who it is while both carry data; one pulled out from beside the other.
pub async fn two_phones(kind: Kind) -> Outcome {
    let system = System::start(kind).await?;
    let (one, two) = (plug::phone(1)?, plug::phone(2)?);
    let plugged_one = plug::plug(&one).await?;
    let _plugged_two = plug::plug(&two).await?;
    let (route_one, _) = system.find(one.udid(), FOUND).await?;
    let (route_two, _) = system.find(two.udid(), FOUND).await?;
    for (route, phone) in [(&route_one, &one), (&route_two, &two)] {
        let says = who(route).await?;
        if says != phone.udid().to_string() {
            return Err(format!("the way to {} leads to {says}", phone.udid()).into());
        }
    }
    tokio::try_join!(
        work::connections(&route_one, 40, 1),
        work::connections(&route_two, 40, 2)
    )?;
    drop(plugged_one);
    let gone = system.lose(one.udid(), FOUND).await?;
    let note = work::connections(&route_two, 10, 3).await?;
    system.stop().await;
    Ok(format!(
        "40 connections each at once; one gone in {:.2} s, then on the other {note}",
        gone.as_secs_f64()
    ))
}

async fn who(route: &Route) -> Result<String, Failure> {
    let mut lockdown = Lockdown::connect(route.clone(), "usblab").await?;
    let value = lockdown.get_value(None, Some("UniqueDeviceID")).await?;
    lockdown.close().await;
    value
        .and_then(|value| value.into_string())
        .ok_or_else(|| "it does not say who it is".into())
}
