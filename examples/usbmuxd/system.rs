//! What the daemon has to do with the system: sockets, its number in a file, signals, and systemd.

use std::io::Write;
use std::path::Path;

use cabled::usbmux::DaemonAddr;
use cabled::usbmux::server::{Server, Serving, bind_tcp};
#[cfg(unix)]
use cabled::usbmux::server::{UnixSocket, bind_unix};
use cabled_examples::Failure;
use tokio::net::TcpListener;

/// Says a line on standard output, if anybody reads it.
pub fn say(line: &str) {
    let mut output = std::io::stdout();
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}

/// A socket that is ours and not served yet.
pub enum Bound {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixSocket),
}

/// Whether other computers may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    Refused,
    Allowed,
}

impl Bound {
    /// Takes a socket. A UNIX socket that another daemon serves is left alone, one of a daemon that died is replaced.
    pub async fn new(address: &DaemonAddr, remote: Remote) -> Result<Self, Failure> {
        match address {
            #[cfg(unix)]
            DaemonAddr::Unix(path) => Ok(Self::Unix(bind_unix(path).map_err(|error| hint(&error))?)),
            DaemonAddr::Tcp { host, port } => {
                let found = tokio::net::lookup_host((host.as_str(), *port)).await?.next();
                let address = found.ok_or_else(|| format!("{host} has no address"))?;
                if !address.ip().is_loopback() && remote == Remote::Refused {
                    return Err(format!(
                        "{address} is open to other computers, which could then read all pair records; \
                         use 127.0.0.1, or add --allow-remote"
                    )
                    .into());
                }
                let bound = bind_tcp(address).map_err(|error| format!("cannot listen at {address}: {error}"))?;
                Ok(Self::Tcp(bound))
            }
            other => Err(format!("this system has no sockets like {other}; use --socket 127.0.0.1:27015").into()),
        }
    }

    /// Serves it, and gives what clients have to put into USBMUXD_SOCKET_ADDRESS.
    pub fn serve(self, server: &Server) -> Result<(Serving, String), Failure> {
        match self {
            Self::Tcp(listener) => {
                let serving = server.serve_tcp(listener)?;
                let address = serving.address().map(|address| address.to_string());
                Ok((serving, address.unwrap_or_default()))
            }
            #[cfg(unix)]
            Self::Unix(socket) => {
                let address = format!("UNIX:{}", socket.path().display());
                Ok((server.serve_unix(socket), address))
            }
        }
    }
}

#[cfg(unix)]
fn hint(error: &std::io::Error) -> Failure {
    use std::io::ErrorKind;

    let remedy = match error.kind() {
        ErrorKind::AddrInUse => " (`systemctl stop usbmuxd`; --socket PATH)",
        ErrorKind::PermissionDenied | ErrorKind::NotFound => " (run as root, or name another path with --socket)",
        _ => "",
    };
    format!("{error}{remedy}").into()
}

pub use platform::{PidFile, Stop, ask_to_end};

#[cfg(unix)]
mod platform {
    use std::fs::File;
    use std::io::{Read, Seek};
    use std::path::PathBuf;

    use rustix::fs::{FlockOperation, fcntl_lock};
    use rustix::process::{Pid, Signal, kill_process};
    use tokio::signal::unix::{Signal as Signals, SignalKind, signal};

    use super::*;

    /// The file with this process's number. Its lock is what the stock daemon takes as well: one of us runs at a time.
    pub struct PidFile {
        file: File,
    }

    impl PidFile {
        /// Takes the file, or says which process has it.
        pub fn take(path: &Path) -> Result<Self, Failure> {
            let mut file = open(path)?;
            if !lock(&file, path)? {
                let other = number_in(&mut file).map_or_else(String::new, |pid| format!(" (process {pid})"));
                return Err(format!(
                    "another usbmuxd runs{other} and holds {}; stop it with `systemctl stop usbmuxd` or `usbmuxd -X`, \
                     or give this one its own --socket",
                    path.display()
                )
                .into());
            }
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())?;
            Ok(Self { file })
        }
    }

    impl Drop for PidFile {
        fn drop(&mut self) {
            // The file stays: whoever waits for its lock must not get one that is gone.
            let _ = self.file.set_len(0);
        }
    }

    fn open(path: &Path) -> Result<File, Failure> {
        let opened = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        let hint = "run as root, or use --pidfile";
        opened.map_err(|error| format!("cannot open {}: {error} ({hint})", path.display()).into())
    }

    /// Says whether the lock is ours now.
    fn lock(file: &File, path: &Path) -> Result<bool, Failure> {
        match fcntl_lock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => Ok(false),
            Err(error) => Err(format!("cannot lock {}: {error}", path.display()).into()),
        }
    }

    fn number_in(file: &mut File) -> Option<i32> {
        let mut text = String::new();
        file.take(32).read_to_string(&mut text).ok()?;
        text.trim().parse().ok().filter(|pid| *pid > 1)
    }

    /// Asks the daemon that holds a pid file to end, `by_force` also while devices are attached.
    pub fn ask_to_end(path: Option<PathBuf>, by_force: bool) -> Result<(), Failure> {
        let path = path.ok_or("the daemon to end is found by its pid file; name it with --pidfile")?;
        let nobody = || format!("no usbmuxd holds {}", path.display());
        if !path.exists() {
            return Err(nobody().into());
        }
        let mut file = open(&path)?;
        if lock(&file, &path)? {
            return Err(nobody().into());
        }
        let pid = number_in(&mut file).and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| format!("{} names no process", path.display()))?;
        let signal = if by_force { Signal::TERM } else { Signal::USR1 };
        kill_process(pid, signal).map_err(|error| format!("cannot signal process {pid:?}: {error}").into())
    }

    /// The signals that end the daemon.
    pub struct Stop {
        terminate: Signals,
        interrupt: Signals,
        polite: Signals,
    }

    impl Stop {
        /// From now on the signals do nothing but to end [`Stop::asked`].
        pub fn new() -> Result<Self, Failure> {
            Ok(Self {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
                polite: signal(SignalKind::user_defined1())?,
            })
        }

        /// Waits for the daemon to be asked to end; `is_idle` says whether it may be asked politely.
        pub async fn asked(&mut self, is_idle: impl Fn() -> bool) -> &'static str {
            loop {
                tokio::select! {
                    _ = self.terminate.recv() => return "SIGTERM",
                    _ = self.interrupt.recv() => return "SIGINT",
                    _ = self.polite.recv() => match is_idle() {
                        true => return "SIGUSR1",
                        false => tracing::info!("asked to end, but devices are attached"),
                    },
                }
            }
        }
    }
}

#[cfg(not(unix))]
mod platform {
    use std::path::PathBuf;

    use super::*;

    /// Nothing here: the TCP port can be taken only once.
    pub struct PidFile;

    impl PidFile {
        pub fn take(_path: &Path) -> Result<Self, Failure> {
            Err("--pidfile is for UNIX systems".into())
        }
    }

    pub fn ask_to_end(_path: Option<PathBuf>, _by_force: bool) -> Result<(), Failure> {
        Err("--exit and --force-exit are for UNIX systems; stop the process".into())
    }

    /// Ctrl-C.
    pub struct Stop;

    impl Stop {
        pub fn new() -> Result<Self, Failure> {
            Ok(Self)
        }

        pub async fn asked(&mut self, _is_idle: impl Fn() -> bool) -> &'static str {
            let _ = tokio::signal::ctrl_c().await;
            "Ctrl-C"
        }
    }
}

/// Tells systemd, where it started us, how things are: `READY=1`, `STOPPING=1`.
pub fn tell_systemd(state: &str) {
    #[cfg(target_os = "linux")]
    if let Some(path) = std::env::var_os("NOTIFY_SOCKET")
        && let Err(error) = notify(&path, state)
    {
        tracing::debug!(%error, "systemd was not told");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = state;
}

#[cfg(target_os = "linux")]
fn notify(path: &std::ffi::OsStr, state: &str) -> std::io::Result<()> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(path)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}
