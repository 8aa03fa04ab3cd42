//! Lists the devices that a usbmux daemon knows, and watches for more with `--watch`.

use std::process::ExitCode;

use cabled::usbmux::{AttachedDevice, ConnectionKind};
use cabled_examples::{Failure, reach::Reach, run, table::Table};
use clap::Parser;

/// List attached iPhones and iPads.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    reach: Reach,
    /// Keep watching and print what comes and goes.
    #[arg(long)]
    watch: bool,
}

fn main() -> ExitCode {
    run(devices(Args::parse()))
}

async fn devices(args: Args) -> Result<(), Failure> {
    let daemon = args.reach.daemon()?;
    let mut table = Table::new(["id", "udid", "connection"]);
    let devices = daemon.list().await?;
    for device in &devices {
        table.row([device.id.to_string(), device.udid.to_string(), connection(device)]);
    }
    if devices.is_empty() {
        println!("No device is attached at {}.", daemon.address());
    } else {
        print!("{table}");
    }
    if args.watch {
        let mut events = daemon.listen().await?;
        loop {
            println!("{:?}", events.next().await?);
        }
    }
    Ok(())
}

fn connection(device: &AttachedDevice) -> String {
    match &device.connection {
        ConnectionKind::Usb(usb) => match usb.speed {
            Some(speed) => format!("USB, {} Mbit/s", speed / 1_000_000),
            None => "USB".into(),
        },
        ConnectionKind::Network(_) => "network".into(),
        other => format!("{other:?}"),
    }
}
