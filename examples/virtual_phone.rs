//! Serves virtual phones on a loopback port for any client, until it is stopped.
//!
//! While it runs it reads lines: what a phone's user could do.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use cabled::virtualdevice::front::Front;
use cabled::virtualdevice::usb::{UsbFaults, UsbOptions, UsbPhone};
use cabled::virtualdevice::usbip::UsbipServer;
use cabled::virtualdevice::{Pairing, Phone};
use cabled::wire::io::Connect;
use cabled_examples::person;
use cabled_examples::phones::{self, PhoneArgs};
use cabled_examples::table::bytes;
use cabled_examples::{Failure, run};
use clap::Parser;
use tokio::io::{AsyncBufReadExt, BufReader};

/// Serve virtual iPhones to any client.
#[derive(Parser)]
struct Args {
    /// Where to listen; every client understands 127.0.0.1:PORT in USBMUXD_SOCKET_ADDRESS.
    #[arg(long, default_value = "127.0.0.1:27099")]
    listen: SocketAddr,
    /// Also listen on a UNIX socket.
    #[arg(long)]
    unix: Option<PathBuf>,
    /// Also offer the phones as USB devices to other kernels, which expect port 3240. There is no password.
    #[arg(long, value_name = "ADDR")]
    usbip: Option<SocketAddr>,
    /// The phones' iOS versions; one phone for each.
    #[arg(long = "profile", value_name = "PROFILE", default_value = "17.7")]
    profiles: Vec<String>,
    #[command(flatten)]
    phone: PhoneArgs,
    /// Serve empty phones, to restore onto.
    #[arg(long)]
    empty: bool,
    /// Show a trust dialogue that waits for the line `trust`, in place of trusting at once.
    #[arg(long)]
    ask: bool,
    /// Where pair records are kept. Default: a temporary folder.
    #[arg(long)]
    records: Option<PathBuf>,
}

fn main() -> ExitCode {
    run(serve(Args::parse()))
}

async fn serve(args: Args) -> Result<(), Failure> {
    let temporary = tempfile::tempdir()?;
    let front = Front::new(args.records.clone().unwrap_or_else(|| temporary.path().to_owned()));
    let usbip = UsbipServer::new();
    let (mut cables, mut bus_ids) = (Vec::new(), Vec::new());
    let mut served = Vec::new();
    for (name, seed) in args.profiles.iter().zip(args.phone.seed..) {
        let recipe = args.phone.recipe().seed(seed);
        let phone = phones::phone(phones::profile(name)?, seed, (!args.empty).then_some(&recipe))?;
        if args.ask {
            phone.set_pairing(Pairing::AskUser);
        }
        let device: Arc<dyn Connect> = Arc::new(phone.clone());
        if args.usbip.is_some() {
            let options = UsbOptions::of_profile(phone.profile());
            let device = UsbPhone::new(Arc::clone(&device), options)?;
            cables.push(device.faults());
            bus_ids.push(usbip.export(device));
        }
        front.add(device).await?;
        let used = phone.fs().total_bytes() - phone.fs().free_bytes();
        println!(
            "{}  iOS {}, {}, {} of contents",
            phone.udid(),
            phone.profile().product_version,
            phone.name(),
            bytes(used)
        );
        served.push(phone);
    }
    let handle = front.serve_tcp(args.listen)?;
    let unix = args.unix.map(|path| front.serve_unix(path)).transpose()?;
    let address = handle.addr().unwrap_or(args.listen);
    println!("listening at {address}; point a client there:");
    println!("  USBMUXD_SOCKET_ADDRESS={address} idevice_id -l");
    println!("  cargo run --release --example backup -- --socket {address}");
    let usb = match args.usbip {
        Some(address) => Some(usbip.serve_tcp(address).await?),
        None => None,
    };
    if let Some(serving) = &usb {
        let address = serving.addr();
        println!("offered over USB/IP at {address}; on a Linux machine, as root:");
        for bus_id in bus_ids {
            println!(
                "  modprobe vhci-hcd && usbip --tcp-port {} attach -r {} -b {bus_id}",
                address.port(),
                address.ip()
            );
        }
    }
    println!("lines to type: {}, unplug, quit", person::LINES);
    act(&served, &cables).await?;
    handle.shutdown().await;
    if let Some(unix) = unix {
        unix.shutdown().await;
    }
    Ok(())
}

/// Does what the lines say until `quit` or Ctrl-C; an end of input only ends the lines.
async fn act(phones: &[Phone], cables: &[UsbFaults]) -> Result<(), Failure> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut day = 0;
    let mut open = true;
    loop {
        let line = tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(()),
            line = lines.next_line(), if open => line?,
        };
        let Some(line) = line else {
            open = false;
            continue;
        };
        let line = line.trim();
        if line == "quit" {
            return Ok(());
        }
        // Those of USB/IP: the kernel notices, and may attach the phone again.
        if line == "unplug" {
            cables.iter().for_each(UsbFaults::unplug);
            continue;
        }
        for phone in phones {
            println!("{}", person::act(phone, line, day)?);
        }
        day += 1;
    }
}
