//! What finds the phone and opens connections to it: the stock daemon, ours, or our driver in this process.

use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cabled::usbmux::usb::{UsbBus, UsbOptions};
use cabled::usbmux::{AttachedDevice, Daemon, DaemonAddr, DeviceSource};
use cabled::wire::ids::{DeviceId, Udid};
use cabled::wire::io::{BoxFuture, BoxStream, Connect, ConnectError};

use rustix::process::{Pid, Signal, kill_process};

use crate::Failure;
use crate::tools;
use crate::work::Route;

/// Where usbmuxd listens.
pub const SOCKET: &str = "/var/run/usbmuxd";
/// Where it keeps its number.
const PID_FILE: &str = "/var/run/usbmuxd.pid";
/// Where it keeps pair records.
pub const RECORDS: &str = "/var/lib/lockdown";

/// Between two looks at what is listed: asking takes the one processor away from what is to happen.
const LOOK: Duration = Duration::from_millis(20);

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Debian's usbmuxd, as it is started everywhere: it pairs with a phone before it lists it.
    Stock,
    /// The same with `-p`: it lists a phone at once.
    StockUnpaired,
    /// Our daemon, as it is started.
    Ours,
    /// The same with `-p`.
    OursUnpaired,
    /// Our driver in this process.
    Direct,
}

/// A running one.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a scenario has one")]
pub enum System {
    /// A daemon at [`SOCKET`], and its process.
    Daemon(Daemon, Process),
    /// Our driver.
    Direct(UsbBus),
}

impl System {
    /// Starts one and waits until it answers.
    ///
    /// # Errors
    /// It does not come up within ten seconds.
    pub async fn start(kind: Kind) -> Result<Self, Failure> {
        for left in [SOCKET, PID_FILE] {
            let _ = std::fs::remove_file(left);
        }
        let process = match kind {
            Kind::Direct => return Ok(Self::Direct(UsbBus::start(UsbOptions::default())?)),
            Kind::Stock => Process::start("/usr/sbin/usbmuxd", &["-f", "-v"])?,
            Kind::StockUnpaired => Process::start("/usr/sbin/usbmuxd", &["-f", "-p"])?,
            Kind::Ours => Process::start("usbmuxd-cabled", &["-v"])?,
            Kind::OursUnpaired => Process::start("usbmuxd-cabled", &["-p"])?,
        };
        tools::until(Duration::from_secs(10), "the daemon listens", || {
            UnixStream::connect(SOCKET).is_ok()
        })?;
        let address: DaemonAddr = format!("UNIX:{SOCKET}").parse()?;
        Ok(Self::Daemon(Daemon::new(address), process))
    }

    /// All devices it has now.
    ///
    /// # Errors
    /// A daemon does not answer.
    pub async fn list(&self) -> Result<Vec<AttachedDevice>, Failure> {
        Ok(match self {
            Self::Daemon(daemon, _) => daemon.list().await?,
            Self::Direct(bus) => bus.list(),
        })
    }

    /// Waits for a phone; the way to it, and how long it took.
    ///
    /// # Errors
    /// It is not listed after `limit`; for our driver with what it says about that.
    pub async fn find(&self, udid: &Udid, limit: Duration) -> Result<(Route, Duration), Failure> {
        let started = Instant::now();
        loop {
            if let Some(attached) = self.list().await?.into_iter().find(|device| device.udid == *udid) {
                return Ok((self.route(&attached), started.elapsed()));
            }
            if started.elapsed() > limit {
                let troubles = match self {
                    Self::Direct(bus) => format!(": {:?}", bus.troubles()),
                    Self::Daemon(..) => String::new(),
                };
                return Err(format!("{udid} is not listed after {limit:.0?}{troubles}").into());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until a phone is no longer listed; how long it took.
    ///
    /// # Errors
    /// It still is after `limit`.
    pub async fn lose(&self, udid: &Udid, limit: Duration) -> Result<Duration, Failure> {
        let started = Instant::now();
        while self.list().await?.iter().any(|device| device.udid == *udid) {
            if started.elapsed() > limit {
                return Err(format!("{udid} is still listed {limit:.0?} after it was unplugged").into());
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(started.elapsed())
    }

    /// Ends it in order.
    pub async fn stop(self) {
        if let Self::Direct(bus) = self {
            bus.shutdown().await;
        }
    }

    fn route(&self, attached: &AttachedDevice) -> Route {
        match self {
            Self::Daemon(daemon, _) => Arc::new(daemon.device(attached)),
            Self::Direct(bus) => Arc::new(OnBus {
                bus: bus.clone(),
                id: attached.id,
                udid: attached.udid.clone(),
            }),
        }
    }
}

/// One device of our driver.
#[derive(Clone, Debug)]
struct OnBus {
    bus: UsbBus,
    id: DeviceId,
    udid: Udid,
}

impl Connect for OnBus {
    fn connect(&self, port: u16) -> BoxFuture<'_, Result<BoxStream, ConnectError>> {
        DeviceSource::connect(&self.bus, self.id, port)
    }

    fn udid(&self) -> Option<&Udid> {
        Some(&self.udid)
    }
}

/// A program that ends with the scenario.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts a program; what it prints goes to the console.
    ///
    /// # Errors
    /// There is no such program.
    pub fn start(program: &str, args: &[&str]) -> Result<Self, Failure> {
        let child = Command::new(program).args(args).stdin(Stdio::null()).spawn();
        Ok(Self(child.map_err(|error| format!("{program}: {error}"))?))
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Errors
    /// It has not after ten seconds, or says that something went wrong.
    pub fn stop(&mut self) -> Result<Duration, Failure> {
        let number = i32::try_from(self.0.id())?;
        kill_process(Pid::from_raw(number).ok_or("no process")?, Signal::TERM)?;
        self.ended(Duration::from_secs(10)).and_then(|(status, took)| {
            if status.success() {
                Ok(took)
            } else {
                Err(format!("it ended with {status}").into())
            }
        })
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// It has not after `limit`.
    pub fn ended(&mut self, limit: Duration) -> Result<(ExitStatus, Duration), Failure> {
        let mut status = None;
        let took = tools::until(limit, "the process ends", || {
            status = self.0.try_wait().ok().flatten();
            status.is_some()
        })?;
        Ok((status.ok_or("no status")?, took))
    }

    /// Ends it at once, as a crash does.
    ///
    /// # Errors
    /// It is not ours any more.
    pub fn kill(&mut self) -> Result<(), Failure> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
