//! Plugs a phone into this machine's Linux kernel, through its virtual host controller. The only part of the crate that is
//! about one system.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep};

use super::serve::{Served, UsbipError, serve};
use super::speed_code;
use crate::usb::{Departure, Speed, UsbError, UsbFaults, UsbPhone};

/// Where the kernel has the controller.
const CONTROLLER: &str = "/sys/devices/platform/vhci_hcd.0";
/// More than any status file has.
const MAX_STATUS: u64 = 64 << 10;
/// Status files of one controller: `status`, `status.1` and so on.
const MAX_STATUS_FILES: u32 = 128;
/// State of a port that is free.
const FREE: u32 = 4;
/// How long the kernel may take to let go of a port.
const RELEASE_LIMIT: Duration = Duration::from_secs(5);
/// Pause between two looks at the controller's files, which tell nothing by themselves.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A phone cannot be plugged into this kernel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// The kernel module is not there.
    #[error("the kernel has no virtual USB host controller at {}; load it: modprobe vhci-hcd", .0.display())]
    NoController(PathBuf),
    /// Only root may.
    #[error("no permission to use {}; plugging in needs root", .0.display())]
    NoPermission(PathBuf),
    /// Every port for this speed has a device already.
    #[error(
        "all {ports} ports of the virtual host controller for this speed are in use; detach one: usbip detach -p PORT"
    )]
    NoFreePort {
        /// How many there are.
        ports: usize,
    },
    /// A status file is not what the documentation says.
    #[error(
        "the controller's status line `{line}` is not understood; this kernel may be too old (before 4.13) or too new"
    )]
    Status {
        /// The line, shortened.
        line: String,
    },
    /// The kernel still has the device.
    #[error("the kernel did not let go of port {port} within {} seconds", RELEASE_LIMIT.as_secs())]
    StillAttached {
        /// The port.
        port: u32,
    },
    /// The phone itself cannot be on a bus.
    #[error(transparent)]
    Usb(#[from] UsbError),
    /// The host's side of the conversation broke.
    #[error("the kernel broke the protocol")]
    Usbip(#[from] UsbipError),
    /// The system refused something.
    #[error("the kernel refused {doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What it said.
        #[source]
        source: io::Error,
    },
}

/// One port of the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Port {
    /// Its number, for [`Vhci::detach`] and `usbip detach -p`.
    pub number: u32,
    /// Whether it is one for super speed.
    pub is_super_speed: bool,
    /// Whether nothing is plugged into it.
    pub is_free: bool,
}

/// The kernel's virtual host controller.
#[derive(Clone, Debug)]
pub struct Vhci {
    folder: PathBuf,
}

/// Plugs a phone into this machine's kernel: [`Vhci::system`] and [`Vhci::attach`].
///
/// # Errors
/// [`AttachError`].
pub async fn attach(phone: UsbPhone) -> Result<Attachment, AttachError> {
    Vhci::system()?.attach(phone).await
}

impl Vhci {
    /// The controller of this system.
    ///
    /// # Errors
    /// [`AttachError::NoController`].
    pub fn system() -> Result<Self, AttachError> {
        let controller = Self::at(CONTROLLER);
        match controller.folder.is_dir() {
            true => Ok(controller),
            false => Err(AttachError::NoController(controller.folder)),
        }
    }

    /// The controller whose files are in this folder.
    #[must_use]
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// All ports. Reads files of the kernel, which takes some microseconds.
    ///
    /// # Errors
    /// [`AttachError::NoController`], [`AttachError::NoPermission`], [`AttachError::Status`], [`AttachError::Io`].
    pub fn ports(&self) -> Result<Vec<Port>, AttachError> {
        let mut ports = Vec::new();
        for number in 0..MAX_STATUS_FILES {
            let name = if number == 0 {
                "status".to_owned()
            } else {
                format!("status.{number}")
            };
            match read_bounded(&self.folder.join(name)) {
                Ok(text) => parse_status(&text, &mut ports)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound && number > 0 => break,
                Err(error) => return Err(self.failed("to tell its ports", error)),
            }
        }
        Ok(ports)
    }

    /// Plugs a phone in, and serves the kernel from a task of the current tokio runtime.
    ///
    /// A phone that goes to another mode is plugged in again by itself, perhaps at another port. Dropping the future
    /// leaves nothing plugged in.
    ///
    /// # Errors
    /// [`AttachError`].
    pub async fn attach(&self, mut phone: UsbPhone) -> Result<Attachment, AttachError> {
        let (port, stream) = self.plug(phone.options().speed).await?;
        let state = watch::Sender::new(Some(port));
        let (faults, watched) = (phone.faults(), state.subscribe());
        let controller = self.clone();
        let task = tokio::spawn(async move {
            let ended = controller.run(&mut phone, port, stream, &state).await;
            state.send_replace(None);
            (phone, ended)
        });
        Ok(Attachment {
            controller: self.clone(),
            faults,
            port: watched,
            task,
        })
    }

    async fn run(
        &self,
        phone: &mut UsbPhone,
        mut port: u32,
        mut stream: UnixStream,
        state: &watch::Sender<Option<u32>>,
    ) -> Result<Served, AttachError> {
        loop {
            match serve(stream, phone).await? {
                Served::Departed(Departure::ModeSwitch(mode)) => {
                    tracing::debug!(?mode, port, "the phone comes back in another mode");
                    self.released(port).await?;
                    phone.replug();
                    (port, stream) = self.plug(phone.options().speed).await?;
                    state.send_replace(Some(port));
                }
                ended => return Ok(ended),
            }
        }
    }

    /// Gives the kernel one end of a socket pair, at a free port.
    async fn plug(&self, speed: Speed) -> Result<(u32, UnixStream), AttachError> {
        let io = |doing| move |source| AttachError::Io { doing, source };
        let (ours, theirs) = StdStream::pair().map_err(io("a pair of sockets"))?;
        ours.set_nonblocking(true).map_err(io("a socket that does not block"))?;
        let ours = UnixStream::from_std(ours).map_err(io("a socket in this runtime"))?;
        let controller = self.clone();
        let port = spawn_blocking(move || controller.hand_over(&theirs, speed)).await;
        Ok((port.map_err(|stopped| io("the wait for it")(stopped.into()))??, ours))
    }

    fn hand_over(&self, socket: &StdStream, speed: Speed) -> Result<u32, AttachError> {
        let is_super_speed = speed == Speed::Super;
        let mut ports = self.ports()?;
        ports.retain(|port| port.is_super_speed == is_super_speed);
        let code = speed_code(speed);
        for port in ports.iter().filter(|port| port.is_free) {
            // Any bus and device number will do, as long as no two are the same.
            let device = (1_u32 << 16) | port.number.saturating_add(1);
            let line = format!("{} {} {device} {code}", port.number, socket.as_raw_fd());
            match self.write("attach", &line) {
                Ok(()) => return Ok(port.number),
                // Somebody else was faster.
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
                Err(error) => return Err(self.failed("a new device", error)),
            }
        }
        Err(AttachError::NoFreePort { ports: ports.len() })
    }

    /// Takes a device off a port, whoever plugged it in.
    ///
    /// # Errors
    /// [`AttachError::NoController`], [`AttachError::NoPermission`], [`AttachError::Io`].
    pub fn detach(&self, port: u32) -> Result<(), AttachError> {
        self.write("detach", &port.to_string())
            .map_err(|error| self.failed("to let go of a port", error))
    }

    fn write(&self, name: &str, line: &str) -> io::Result<()> {
        OpenOptions::new()
            .write(true)
            .open(self.folder.join(name))?
            .write_all(line.as_bytes())
    }

    /// Waits until the kernel has let go of a port.
    async fn released(&self, port: u32) -> Result<(), AttachError> {
        let started = Instant::now();
        loop {
            let controller = self.clone();
            let ports = spawn_blocking(move || controller.ports()).await;
            let is_free = match ports {
                Ok(ports) => ports?.iter().any(|known| known.number == port && known.is_free),
                Err(_) => false,
            };
            if is_free {
                return Ok(());
            }
            if started.elapsed() > RELEASE_LIMIT {
                return Err(AttachError::StillAttached { port });
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    fn failed(&self, doing: &'static str, source: io::Error) -> AttachError {
        match source.kind() {
            io::ErrorKind::NotFound => AttachError::NoController(self.folder.clone()),
            io::ErrorKind::PermissionDenied => AttachError::NoPermission(self.folder.clone()),
            _ => AttachError::Io { doing, source },
        }
    }
}

/// A phone that is plugged into the kernel. Dropping it pulls the cable, and the phone is gone with it.
#[derive(Debug)]
#[must_use = "dropping it pulls the cable"]
pub struct Attachment {
    controller: Vhci,
    faults: UsbFaults,
    port: watch::Receiver<Option<u32>>,
    task: JoinHandle<(UsbPhone, Result<Served, AttachError>)>,
}

impl Attachment {
    /// The port, or `None` when the phone is not plugged in any more.
    #[must_use]
    pub fn port(&self) -> Option<u32> {
        *self.port.borrow()
    }

    /// The cable, to make it bad.
    #[must_use]
    pub fn faults(&self) -> UsbFaults {
        self.faults.clone()
    }

    /// Waits until the phone is not plugged in any more, whoever did that. Dropping the future is safe.
    pub async fn ended(&self) {
        let mut port = self.port.clone();
        let _ = port.wait_for(Option::is_none).await;
    }

    /// Pulls the cable, waits until the kernel has noticed, and gives the phone back, ready for another
    /// [`Vhci::attach`]; `None` if its task was aborted. Dropping the future leaves the phone unplugged.
    ///
    /// # Errors
    /// What went wrong while it was plugged in, or [`AttachError::StillAttached`].
    pub async fn unplug(mut self) -> Result<Option<UsbPhone>, AttachError> {
        let port = self.port();
        self.faults.unplug();
        let Ok((mut phone, ended)) = (&mut self.task).await else {
            return Ok(None);
        };
        ended?;
        if let Some(port) = port {
            self.controller.released(port).await?;
        }
        phone.replug();
        Ok(Some(phone))
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_STATUS).read_to_string(&mut text)?;
    Ok(text)
}

/// Lines such as `hs  0000 004 000 00000000 000000 0-0`, below a heading.
fn parse_status(text: &str, ports: &mut Vec<Port>) -> Result<(), AttachError> {
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        let is_super_speed = match fields.next() {
            Some("hs") => false,
            Some("ss") => true,
            Some("hub") | None => continue,
            Some(_) => return Err(odd(line)),
        };
        let mut number = || fields.next().and_then(|field| field.parse::<u32>().ok());
        let (Some(number), Some(state)) = (number(), number()) else {
            return Err(odd(line));
        };
        ports.push(Port {
            number,
            is_super_speed,
            is_free: state == FREE,
        });
    }
    Ok(())
}

fn odd(line: &str) -> AttachError {
    AttachError::Status {
        line: line.chars().take(80).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "hub port sta spd dev      sockfd local_busid\n\
                          hs  0000 006 003 00010002 000005 1-1\n\
                          hs  0001 004 000 00000000 000000 0-0\n\
                          ss  0008 004 000 00000000 000000 0-0\n";

    fn ports(text: &str) -> Result<Vec<Port>, AttachError> {
        let mut ports = Vec::new();
        parse_status(text, &mut ports).map(|()| ports)
    }

    #[test]
    fn the_status_file_tells_which_ports_are_free() {
        let found: Vec<_> = ports(STATUS)
            .unwrap()
            .iter()
            .map(|port| (port.number, port.is_super_speed, port.is_free))
            .collect();
        assert_eq!(found, [(0, false, false), (1, false, true), (8, true, true)]);
    }

    #[test]
    fn a_status_line_of_another_kind_is_refused() {
        for line in [
            "prt sta spd bus dev socket local_busid",
            "hs",
            "hs 0000",
            "hs x 004",
            "hs 0000 -4",
            "ss 99999999999 004",
        ] {
            let error = ports(line).unwrap_err().to_string();
            assert!(error.contains(line.split('\n').next().unwrap()), "{error}");
        }
        assert_eq!(ports("").unwrap(), []);
    }

    #[test]
    fn a_missing_controller_says_which_module_to_load() {
        let folder = tempfile::tempdir().unwrap();
        let error = Vhci::at(folder.path()).ports().unwrap_err();
        assert!(error.to_string().contains("modprobe vhci-hcd"), "{error}");
    }

    #[test]
    fn the_kernel_gets_a_free_port_of_the_right_speed_and_a_socket() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("status"), STATUS).unwrap();
        let (ours, _theirs) = StdStream::pair().unwrap();
        for (speed, port, code) in [(Speed::Full, 1, 2), (Speed::High, 1, 3), (Speed::Super, 8, 5)] {
            // A plain file in place of the kernel's.
            std::fs::write(folder.path().join("attach"), "").unwrap();
            assert_eq!(Vhci::at(folder.path()).hand_over(&ours, speed).unwrap(), port);
            let line = std::fs::read_to_string(folder.path().join("attach")).unwrap();
            let device = 65_536 + port + 1;
            assert_eq!(line, format!("{port} {} {device} {code}", ours.as_raw_fd()));
        }
        std::fs::write(folder.path().join("status"), "hs 0000 006 003 00010002 000005 1-1\n").unwrap();
        let full = Vhci::at(folder.path()).hand_over(&ours, Speed::High).unwrap_err();
        assert!(matches!(full, AttachError::NoFreePort { ports: 1 }), "{full}");
    }
}
