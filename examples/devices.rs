//! Lists the devices of all sources as one, with the ways to each, and watches them with `--watch`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use cabled::usbmux::devices::{Attachment, Device, DeviceEvent, Devices, DevicesBuilder, SourceState};
use cabled::usbmux::network::{NetworkOptions, NetworkSource};
use cabled::usbmux::store::PairRecordStore;
use cabled::usbmux::usb::{UsbBus, UsbOptions};
use cabled::usbmux::{ConnectionKind, Daemon, DaemonAddr};
use cabled::virtualdevice::Phone;
use cabled::virtualdevice::front::Front;
use cabled_examples::table::Table;
use cabled_examples::{Failure, phones, print, run};
use clap::Parser;

/// List attached iPhones and iPads, from one source or several. Without any, the system's daemon is asked.
#[derive(Parser)]
struct Args {
    /// Open devices on this computer's USB ports in this program. One that a daemon holds is busy.
    #[arg(long)]
    usb: bool,
    /// Ask the usbmux daemon, at `UNIX:/path` or `host:port`. Default: USBMUXD_SOCKET_ADDRESS, then the system's.
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1)]
    socket: Option<Option<DaemonAddr>>,
    /// Look for paired devices on the network.
    #[arg(long)]
    network: bool,
    /// Pair records that tell devices on the network. Default: the system's folder, which often only root can read.
    #[arg(long, value_name = "DIR", requires = "network")]
    records: Option<PathBuf>,
    /// Show a virtual phone of this iOS version, on a cable and on the network; with --watch its cable is pulled.
    #[arg(long, value_name = "PROFILE", num_args = 0..=1, default_missing_value = "17.7")]
    r#virtual: Option<String>,
    /// Keep watching and print what comes and goes.
    #[arg(long)]
    watch: bool,
    /// With --watch: stop after so many seconds.
    #[arg(long, value_name = "SECONDS", requires = "watch")]
    seconds: Option<u64>,
}

/// How long sources are waited for; a device on USB that does not answer takes half a minute to be given up.
const SETTLED: Duration = Duration::from_secs(40);

fn main() -> ExitCode {
    run(devices(Args::parse()))
}

async fn devices(args: Args) -> Result<(), Failure> {
    let mut sources = Devices::builder();
    // Ends, and lets go of the devices, when this function does.
    let bus = match args.usb {
        true => Some(UsbBus::start(UsbOptions::default())?),
        false => None,
    };
    if let Some(bus) = &bus {
        sources = sources.usb(bus.clone());
    }
    let mut network = None;
    if args.network {
        let mut options = NetworkOptions::default();
        if let Some(folder) = &args.records {
            options = options.with_records(PairRecordStore::new(folder));
        }
        let source = network.insert(NetworkSource::start(options));
        sources = sources.network(source.clone());
    }
    let elsewhere = args.usb || args.network || args.r#virtual.is_some();
    if args.socket.is_some() || !elsewhere {
        let address = match args.socket.clone().flatten() {
            Some(address) => address,
            None => DaemonAddr::from_env()?,
        };
        sources = sources.daemon(Daemon::new(address));
    }
    let records = tempfile::tempdir()?;
    let front = Front::new(records.path());
    if let Some(profile) = &args.r#virtual {
        sources = virtual_phone(sources, &front, profile).await?;
    }

    let devices = sources.start();
    if tokio::time::timeout(SETTLED, devices.settled()).await.is_err() {
        eprintln!("Not everything has answered yet; this is what is known.");
    }
    show(&devices)?;
    if let Some(strangers @ 1..) = network.map(|network| network.strangers()) {
        println!("{strangers} on the network that this computer has no pair record of");
    }
    if args.watch {
        let watching = watch(&devices, args.r#virtual.is_some().then_some(&front));
        match args.seconds {
            Some(seconds) => {
                let _ = tokio::time::timeout(Duration::from_secs(seconds), watching).await;
            }
            None => tokio::select! {
                () = watching => {}
                stopped = tokio::signal::ctrl_c() => stopped?,
            },
        }
    }
    if let Some(bus) = bus {
        bus.shutdown().await;
    }
    Ok(())
}

/// A phone on a cable and on the network at once.
async fn virtual_phone(sources: DevicesBuilder, front: &Front, profile: &str) -> Result<DevicesBuilder, Failure> {
    let phone: Phone = phones::phone(phones::profile(profile)?, 1, None)?;
    front.add(phone.clone()).await?;
    front.add(std::sync::Arc::new(phone.over_network())).await?;
    Ok(sources.source(front.source()))
}

fn show(devices: &Devices) -> Result<(), Failure> {
    let list = devices.list();
    let mut table = Table::new(["udid", "reached by", "more ways"]);
    for device in &list {
        let others: Vec<_> = device.attachments().skip(1).map(way).collect();
        table.row([device.udid().to_string(), way(device.preferred()), others.join("; ")]);
    }
    print(|out| {
        match list.is_empty() {
            true => writeln!(out, "No device is there.")?,
            false => write!(out, "{table}")?,
        }
        for SourceState { origin, devices, .. } in devices.sources() {
            writeln!(out, "{origin}: {devices} attached")?;
        }
        for trouble in devices.troubles() {
            writeln!(out, "! {trouble}")?;
        }
        Ok(())
    })
}

async fn watch(devices: &Devices, front: Option<&Front>) {
    let mut events = devices.watch();
    loop {
        match events.next().await {
            DeviceEvent::Attached(device) => println!("+ {}", line(&device)),
            DeviceEvent::Changed(device) => println!("~ {}", line(&device)),
            DeviceEvent::Detached(device) => println!("- {}", device.udid()),
            DeviceEvent::Trouble(trouble) => println!("! {trouble}"),
            DeviceEvent::Cleared(trouble) => println!("over: {trouble}"),
            other => println!("{other:?}"),
        }
        // What a person would do with a phone of flesh and blood: pull the cable, then walk away.
        if let Some(next) = front.and_then(|front| front.devices().into_iter().min_by_key(|device| device.id)) {
            tokio::time::sleep(Duration::from_secs(1)).await;
            front.map(|front| front.remove(next.id));
        }
    }
}

fn line(device: &Device) -> String {
    let ways: Vec<_> = device.attachments().map(way).collect();
    format!("{}  {}", device.udid(), ways.join("; "))
}

/// `cable, 480 Mbit/s (own USB)`.
fn way(attachment: &Attachment) -> String {
    let detail = match &attachment.device.connection {
        ConnectionKind::Usb(usb) => usb.speed.map(|speed| format!("{} Mbit/s", speed / 1_000_000)),
        ConnectionKind::Network(network) => {
            let address = network.address.socket_addr(0).ok();
            address.map(|address| address.ip().to_string())
        }
        _ => None,
    };
    let detail = detail.map(|detail| format!(", {detail}")).unwrap_or_default();
    format!("{}{detail} ({})", attachment.way(), attachment.origin)
}
