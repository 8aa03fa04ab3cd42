//! Work with data that is checked.

use std::path::Path;
use std::time::Duration;

use cabled::lockdown::Lockdown;

use crate::system::{Kind, Process, SOCKET, System};
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

/// Our daemon told to end ends in order, and the phone is free at once; and where another daemon serves, it does not
/// start, and takes nothing away.
pub async fn stop() -> Outcome {
    let system = System::start(Kind::OursUnpaired).await?;
    let phone = plug::phone(1)?;
    let _plugged = plug::plug(&phone).await?;
    let (route, _) = system.find(phone.udid(), FOUND).await?;
    let _in_use = work::open(&route, crate::workbench::ECHO).await?;
    let System::Daemon(_, mut process) = system else {
        return Err("not a daemon".into());
    };
    let took = process.stop()?;
    if Path::new(SOCKET).exists() {
        return Err("the socket is still there".into());
    }

    let stock = System::start(Kind::StockUnpaired).await?;
    let (route, free) = stock.find(phone.udid(), FOUND).await?;
    let mut second = Process::start("usbmuxd-cabled", &["-p", "-P", "NONE"])?;
    let (status, _) = second.ended(Duration::from_secs(10))?;
    if status.success() {
        return Err("a second daemon on the same socket says that all went well".into());
    }
    work::connections(&route, 5, 1).await?;
    if stock.list().await?.is_empty() {
        return Err("the first daemon lists nothing any more".into());
    }
    Ok(format!(
        "ended in {:.2} s, the stock daemon had the phone after {:.1} s and kept its socket",
        took.as_secs_f64(),
        free.as_secs_f64()
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
