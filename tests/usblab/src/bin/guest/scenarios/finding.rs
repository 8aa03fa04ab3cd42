//! Phones that come and go, and what keeps them from being used.

use std::path::Path;
use std::time::{Duration, Instant};

use cabled::usbmux::{DeviceSource, Trouble};
use cabled::virtualdevice::usb::{Function, Mode, UsbOptions};

use crate::system::{Kind, System};
use crate::tools::{self, configuration, output, until, usb_devices};
use crate::{Failure, Outcome, plug, work};

const FOUND: Duration = Duration::from_secs(20);

/// In, out and in again, three times over.
pub async fn hotplug(kind: Kind) -> Outcome {
    let system = System::start(kind).await?;
    let phone = plug::phone(1)?;
    let (mut found, mut lost) = (Duration::ZERO, Duration::ZERO);
    for round in 0..3 {
        let plugged = plug::plug(&phone).await?;
        let (route, took) = system.find(phone.udid(), FOUND).await?;
        found = found.max(took);
        work::connections(&route, 5, round).await?;
        drop(plugged);
        lost = lost.max(system.lose(phone.udid(), FOUND).await?);
    }
    system.stop().await;
    Ok(format!(
        "three times; at most {:.2} s from the kernel's device to ours, {:.2} s from unplugged to gone",
        found.as_secs_f64(),
        lost.as_secs_f64()
    ))
}

/// The stock daemon holds the interface: we say so, and who; and take the device once it is free.
pub async fn busy() -> Outcome {
    let stock = System::start(Kind::StockUnpaired).await?;
    let phone = plug::phone(1)?;
    let _plugged = plug::plug(&phone).await?;
    stock.find(phone.udid(), FOUND).await?;
    let direct = System::start(Kind::Direct).await?;
    let System::Direct(bus) = &direct else { unreachable!() };
    let started = Instant::now();
    let owner = loop {
        let busy = bus.troubles().into_iter().find_map(|trouble| match trouble {
            Trouble::Busy { owner, .. } => Some(owner),
            _ => None,
        });
        match busy {
            Some(owner) => break owner,
            None if started.elapsed() > FOUND => return Err(format!("no word of it: {:?}", bus.troubles()).into()),
            None => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    let said = started.elapsed();
    let owner = owner.ok_or("it is busy, but who holds it is not said")?;
    if !owner.contains("usbmuxd") {
        return Err(format!("usbmuxd holds it, and {owner} is named").into());
    }
    if !bus.list().is_empty() {
        return Err("it is listed although it cannot be used".into());
    }
    drop(stock);
    let (route, took) = direct.find(phone.udid(), FOUND).await?;
    work::connections(&route, 5, 1).await?;
    direct.stop().await;
    Ok(format!(
        "said after {:.1} s: held by {owner}; ours {:.1} s after that ended",
        said.as_secs_f64(),
        took.as_secs_f64()
    ))
}

/// A phone in a mode without the multiplexer is asked for another and comes back; one at the same port that has it nowhere
/// is told of, and not asked again.
pub async fn mode() -> Outcome {
    let system = System::start(Kind::Direct).await?;
    let System::Direct(bus) = &system else { unreachable!() };
    let phone = plug::phone(1)?;
    let options = UsbOptions::of_profile(phone.profile()).with_mode(Mode::NcmOnly);
    let plugged = plug::plug_as(&phone, options).await?;
    let (route, found) = system.find(phone.udid(), FOUND).await?;
    work::connections(&route, 5, 1).await?;
    drop(plugged);
    system.lose(phone.udid(), FOUND).await?;

    let old = UsbOptions::of_profile(phone.profile())
        .with_configurations(vec![vec![Function::Ptp]])
        .with_newest_mode(None);
    let _plugged = plug::plug_as(&phone, old).await?;
    let started = Instant::now();
    while !bus
        .troubles()
        .iter()
        .any(|trouble| matches!(trouble, Trouble::NoMultiplexer { configurations: 1, .. }))
    {
        if started.elapsed() > FOUND {
            return Err(format!("no word of a phone without the multiplexer: {:?}", bus.troubles()).into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let said = started.elapsed();
    system.stop().await;
    Ok(format!(
        "in another mode and found after {:.2} s; one without it told of after {:.2} s",
        found.as_secs_f64(),
        said.as_secs_f64()
    ))
}

/// The kernel's own driver for the phone's network is there too, as on every desktop.
pub async fn beside_ipheth() -> Outcome {
    let module = std::fs::read_dir("/modules/extra")?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().contains("ipheth"));
    let Some(module) = module else {
        return Ok("this kernel has no ipheth".into());
    };
    output("insmod", &[&module.to_string_lossy()], Duration::from_secs(10))?;
    let ended = async {
        let system = System::start(Kind::Direct).await?;
        let phone = plug::phone(1)?;
        let _plugged = plug::plug(&phone).await?;
        let (route, found) = system.find(phone.udid(), FOUND).await?;
        let note = work::connections(&route, 20, 1).await?;
        system.stop().await;
        Ok::<_, Failure>(format!("found in {:.1} s, {note}", found.as_secs_f64()))
    };
    let ended = ended.await;
    tools::clear();
    output("rmmod", &["ipheth"], Duration::from_secs(10))?;
    ended
}

/// The rule of the usbmuxd package sets configuration 0 on arrival: first with the phone there before us, then after.
pub async fn unconfigured(kind: Kind) -> Outcome {
    let phone = plug::phone(1)?;
    let plugged = plug::plug(&phone).await?;
    let zero = || {
        usb_devices()
            .iter()
            .any(|device: &std::path::PathBuf| configuration(Path::new(device)) == 0)
    };
    // udevd's 0 may also come before the kernel's own choice, which then stands.
    let unconfigured = match until(Duration::from_secs(3), "udevd has set configuration 0", zero) {
        Ok(after) => format!("unconfigured by udevd after {:.2} s", after.as_secs_f64()),
        Err(_) => "udevd was faster than the kernel, whose configuration stands".to_owned(),
    };
    let mut system = System::start(kind).await?;
    let (route, found) = system.find(phone.udid(), FOUND).await?;
    work::connections(&route, 5, 1).await?;
    drop(plugged);
    if kind != Kind::Direct {
        // The rule also asks a daemon to end when the last phone is gone, which it does sooner or later.
        until(FOUND, "the kernel has lost the phone", || usb_devices().is_empty())?;
        drop(system);
        system = System::start(kind).await?;
    } else {
        system.lose(phone.udid(), FOUND).await?;
    }

    let _plugged = plug::plug(&phone).await?;
    let (route, again) = system.find(phone.udid(), FOUND).await?;
    work::connections(&route, 5, 2).await?;
    system.stop().await;
    Ok(format!(
        "{unconfigured}; found in {:.1} s, plugged in again in {:.1} s",
        found.as_secs_f64(),
        again.as_secs_f64()
    ))
}
