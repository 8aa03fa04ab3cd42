//! A usbmux daemon: every program on this computer reaches iPhones and iPads through it, as through the stock one.
//!
//! With a phone: `sudo usbmuxd`, after the stock daemon was stopped. Without one: `usbmuxd --virtual 17.7 --socket
//! 127.0.0.1:27099`, and `USBMUXD_SOCKET_ADDRESS=127.0.0.1:27099 idevice_id -l` in another window.
//! `docs/guide/usbmuxd.md` says more.

mod options;
mod origin;
mod preflight;
mod system;

use std::collections::HashSet;
use std::fs::File;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cabled::usbmux::server::Server;
use cabled::usbmux::store::PairRecordStore;
use cabled::usbmux::{DaemonAddr, DeviceSource, SourceEvent, Trouble};
use cabled_examples::{Failure, with_causes};
use clap::Parser;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing_subscriber::EnvFilter;

use options::Options;
use origin::Origin;
use preflight::{Preflight, PreflightOptions};
use system::{Bound, PidFile, Remote, Stop};

/// How long the end may take before the process just ends.
const END_LIMIT: Duration = Duration::from_secs(15);
/// With `--enable-exit`: how long no device may be attached. A phone that was unlocked comes back after a moment.
const IDLE_LIMIT: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let options = Options::parse();
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("usbmuxd: {}", with_causes(&*failure));
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<(), Failure> {
    if options.exit || options.force_exit {
        return system::ask_to_end(options.pid_file(), options.force_exit);
    }
    log_to(&options)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let ended = runtime.block_on(serve(&options));
    // Somebody may still be expected to type a line.
    runtime.shutdown_background();
    ended
}

fn log_to(options: &Options) -> Result<(), Failure> {
    let level = match options.verbose {
        0 => "warn,usbmuxd=info",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_target(false);
    match &options.logfile {
        None => {
            let is_terminal = std::io::stderr().is_terminal();
            log.with_ansi(is_terminal).with_writer(std::io::stderr).init();
        }
        Some(path) => {
            let file = File::options().create(true).append(true).open(path);
            let file = file.map_err(|error| format!("cannot open {}: {error}", path.display()))?;
            log.with_ansi(false).with_writer(Mutex::new(file)).init();
        }
    }
    Ok(())
}

async fn serve(options: &Options) -> Result<(), Failure> {
    let mut stop = Stop::new()?;
    // Locks and sockets first: whoever is second has not touched any device when it finds out.
    let _pid_file = options.pid_file().map(|path| PidFile::take(&path)).transpose()?;
    let bound = bind(options).await?;
    let store = records(options).await?;

    let origin = Origin::open(options).await?;
    let source: Arc<dyn DeviceSource> = match options.no_preflight {
        true => origin.source(),
        false => Arc::new(Preflight::start(
            origin.source(),
            store.clone(),
            PreflightOptions::default(),
        )),
    };
    let server = Server::new(Arc::clone(&source), store);
    let report = tokio::spawn(report(Arc::clone(&source)));
    let mut served = Vec::new();
    for bound in bound {
        let (serving, address) = bound.serve(&server)?;
        system::say(&format!("listening at {address}"));
        served.push(serving);
    }
    system::tell_systemd("READY=1");
    origin.settled().await;

    let lines = async {
        match origin.phones() {
            Some(phones) => phones.follow_lines().await,
            None => std::future::pending().await,
        }
    };
    let why = tokio::select! {
        signal = stop.asked(|| source.list().is_empty()) => signal,
        typed = lines => typed.map(|()| "quit")?,
        () = idle(&*source), if options.ends_with_the_last_device() => "no device is attached",
    };
    tracing::info!("{why}: ending");
    system::tell_systemd("STOPPING=1");

    let end = async {
        let mut ending: JoinSet<()> = served.into_iter().map(|serving| serving.shutdown()).collect();
        while ending.join_next().await.is_some() {}
        report.abort();
        drop((server, source));
        origin.close().await;
    };
    tokio::select! {
        ended = timeout(END_LIMIT, end) => ended.map_err(|_| "the devices could not be let go of in time".into()),
        // A second one, by somebody in a hurry.
        signal = stop.asked(|| true) => Err(format!("ended by a second {signal}").into()),
    }
}

async fn bind(options: &Options) -> Result<Vec<Bound>, Failure> {
    let remote = if options.allow_remote {
        Remote::Allowed
    } else {
        Remote::Refused
    };
    let mut bound = vec![Bound::new(&options.address(), remote).await?];
    if let Some(address) = options.tcp {
        let (host, port) = (address.ip().to_string(), address.port());
        bound.push(Bound::new(&DaemonAddr::Tcp { host, port }, remote).await?);
    }
    Ok(bound)
}

/// The pair records, with a system BUID, so that a folder that is not ours shows now and not when somebody wants to pair.
async fn records(options: &Options) -> Result<PairRecordStore, Failure> {
    let store = match &options.records {
        Some(folder) => PairRecordStore::new(folder),
        None => {
            PairRecordStore::system().ok_or("this system has no folder of pair records; name one with --records")?
        }
    };
    let buid = store.system_buid().await.map_err(|error| {
        let error = with_causes(&error);
        format!("{error} (run as root, or name a folder with --records)")
    })?;
    tracing::debug!(%buid, folder = %store.folder().display(), "pair records");
    Ok(store)
}

/// Says in the log what comes and goes, and each trouble once.
async fn report(source: Arc<dyn DeviceSource>) {
    let mut events = source.watch();
    let mut told = HashSet::new();
    for device in source.list() {
        tracing::info!(id = %device.id, udid = %device.udid, "attached");
    }
    let mut tell = |trouble: Trouble| {
        let trouble = trouble.to_string();
        if told.len() < 1024 && told.insert(trouble.clone()) {
            tracing::warn!("{trouble}");
        }
    };
    source.troubles().into_iter().for_each(&mut tell);
    loop {
        match events.recv().await {
            Ok(SourceEvent::Attached(device)) => tracing::info!(id = %device.id, udid = %device.udid, "attached"),
            Ok(SourceEvent::Detached(id)) => tracing::info!(%id, "detached"),
            Ok(SourceEvent::Trouble(trouble)) => tell(trouble),
            Ok(_) => {}
            Err(RecvError::Lagged(missed)) => tracing::info!(missed, "too much happens to tell it all"),
            Err(RecvError::Closed) => return,
        }
    }
}

/// Waits until no device has been attached for a while.
async fn idle(source: &dyn DeviceSource) {
    let mut events = source.watch();
    loop {
        let quiet = async {
            match source.list().is_empty() {
                true => sleep(IDLE_LIMIT).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            () = quiet => return,
            event = events.recv() => if let Err(RecvError::Closed) = event { return },
        }
    }
}
