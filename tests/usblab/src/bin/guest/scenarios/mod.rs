//! The scenarios, by name.

mod bench;
mod breaks;
mod clients;
mod finding;
mod stock;

use std::fs;
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cabled_usblab::Events;

use crate::runner::NOTE;
use crate::system::{Kind, System};
use crate::tools::{self, CONTROLLER};
use crate::{Failure, Outcome, chain, plug};

/// Runs one and leaves its note.
///
/// # Errors
/// What the scenario ended with.
pub fn run(name: &str) -> Result<(), Failure> {
    let panics = watch_panics();
    let outcome = block_on(scenario(name)).and_then(|outcome| outcome);
    let panics = std::mem::take(&mut *panics.lock().unwrap_or_else(PoisonError::into_inner));
    let outcome = match (outcome, panics.first()) {
        (outcome, None) => outcome,
        (Ok(note), Some(first)) => Err(format!("{} panics, the first {first}; otherwise {note}", panics.len()).into()),
        (Err(error), Some(first)) => Err(format!("{error}; {} panics, the first {first}", panics.len()).into()),
    };
    match outcome {
        Ok(note) => Ok(fs::write(NOTE, note)?),
        Err(error) => {
            fs::write(NOTE, chain(error.as_ref()))?;
            Err(error)
        }
    }
}

/// What panics from now on, in any task: a runtime swallows them, a scenario must not.
fn watch_panics() -> Arc<Mutex<Vec<String>>> {
    let panics = Arc::new(Mutex::new(Vec::new()));
    let seen = panics.clone();
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        seen.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(panic.to_string());
        usual(panic);
    }));
    panics
}

/// A phone in a process of its own, plugged in until the process ends.
///
/// # Errors
/// It cannot be made or plugged in.
pub fn device(seed: &str) -> Result<(), Failure> {
    let phone = plug::phone(seed.parse()?)?;
    block_on(async {
        let _plugged = plug::plug(&phone).await?;
        std::future::pending::<Result<(), Failure>>().await
    })?
}

async fn scenario(name: &str) -> Outcome {
    match name {
        "boot" => boot(Events::Relay).await,
        "boot-udevd" => boot(Events::Udevd).await,
        "boot-nothing" => boot(Events::Nothing).await,

        "stock-tools" => stock::tools(Kind::Stock).await,
        "usbmuxd-tools" => stock::tools(Kind::Ours).await,

        "stock-connections" => clients::connections(Kind::StockUnpaired).await,
        "direct-work" => clients::work(Kind::Direct).await,
        "direct-sizes" => clients::sizes(Kind::Direct).await,
        "usbmuxd-sizes" => clients::sizes(Kind::OursUnpaired).await,
        "direct-connections" => clients::connections(Kind::Direct).await,
        "usbmuxd-connections" => clients::connections(Kind::OursUnpaired).await,
        "direct-two-phones" => clients::two_phones(Kind::Direct).await,
        "usbmuxd-two-phones" => clients::two_phones(Kind::OursUnpaired).await,

        "usbmuxd-stop" => clients::stop().await,
        "direct-hotplug" => finding::hotplug(Kind::Direct).await,
        "direct-busy" => finding::busy().await,
        "direct-mode" => finding::mode().await,
        "direct-ipheth" => finding::beside_ipheth().await,
        "udevd-stock" => finding::unconfigured(Kind::StockUnpaired).await,
        "udevd-direct" => finding::unconfigured(Kind::Direct).await,
        "udevd-usbmuxd" => finding::unconfigured(Kind::OursUnpaired).await,
        "polling-direct" => finding::hotplug(Kind::Direct).await,
        "polling-usbmuxd" => finding::hotplug(Kind::OursUnpaired).await,

        "direct-unplug" => breaks::unplug().await,
        "direct-killed" => breaks::killed().await,
        "direct-stall" => breaks::stall().await,
        "direct-silence" => breaks::silence().await,

        "bench-throughput" => bench::throughput().await,
        _ => Err(format!("nothing is called {name}").into()),
    }
}

/// The lab itself.
async fn boot(events: Events) -> Outcome {
    if !Path::new(CONTROLLER).exists() {
        return Err("there is no virtual USB controller".into());
    }
    let ports = fs::read_to_string(format!("{CONTROLLER}/status"))?
        .lines()
        .count()
        .saturating_sub(1);
    let daemon = Path::new("/run/udev/control").exists();
    if daemon != (events == Events::Udevd) {
        return Err(format!("events come from {}, and systemd-udevd runs: {daemon}", events.name()).into());
    }
    let _usbmuxd = System::start(Kind::StockUnpaired).await?;
    let listed = tools::output("idevice_id", &["-l"], Duration::from_secs(10))?;
    if !listed.trim().is_empty() {
        return Err(format!("nothing is plugged in, and usbmuxd lists {listed}").into());
    }
    Ok(format!("{ports} ports, nothing plugged in"))
}

fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    // The scenario itself runs on this thread and may wait for other programs; phones and drivers run on the others.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let value = runtime.block_on(future);
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(value)
}
