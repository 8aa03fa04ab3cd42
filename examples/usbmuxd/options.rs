//! The command line. Options that the stock daemon has mean the same here.

use std::net::SocketAddr;
use std::path::PathBuf;

use cabled::usbmux::DaemonAddr;
use cabled_examples::phones::PhoneArgs;
use clap::Parser;

/// Expose a socket to multiplex connections from and to iPhones and iPads.
#[derive(Debug, Parser)]
#[command(name = "usbmuxd", version)]
pub struct Options {
    /// Where to listen: a path, `UNIX:/path` or `host:port`. Default: where every program looks, `/var/run/usbmuxd`.
    #[arg(short = 'S', long, value_name = "SOCKET")]
    pub socket: Option<DaemonAddr>,
    /// Listen on TCP as well; every client understands 127.0.0.1:PORT in USBMUXD_SOCKET_ADDRESS. Port 0: any that is free.
    #[arg(long, value_name = "ADDRESS")]
    pub tcp: Option<SocketAddr>,
    /// Let other computers in, by a TCP address that is not this computer's own. They can read all pair records.
    #[arg(long)]
    pub allow_remote: bool,
    /// Where pair records are kept. Default: where the stock daemon keeps them, `/var/lib/lockdown`.
    #[arg(short = 'C', long, visible_alias = "config-dir", value_name = "FOLDER")]
    pub records: Option<PathBuf>,
    /// Show devices at once, without asking them for trust.
    #[arg(short = 'p', long)]
    pub no_preflight: bool,
    /// Where the number of this process is kept, locked while it runs; NONE for nowhere. Default: `/var/run/usbmuxd.pid`
    /// with the default socket, otherwise none.
    #[arg(short = 'P', long, value_name = "FILE")]
    pub pidfile: Option<PathBuf>,
    /// End when no device is attached, also when the last one goes.
    #[arg(short = 'z', long)]
    pub enable_exit: bool,
    /// As a service of systemd, whose unit starts it when a device arrives: the same as --enable-exit.
    #[arg(short = 's', long)]
    pub systemd: bool,
    /// Ask the running daemon to end if no device is attached, and exit.
    #[arg(short = 'x', long)]
    pub exit: bool,
    /// Ask the running daemon to end, and exit.
    #[arg(short = 'X', long)]
    pub force_exit: bool,
    /// Stay in the foreground, which this daemon always does.
    #[arg(short = 'f', long)]
    pub foreground: bool,
    /// Say more; twice: every message. RUST_LOG decides for itself where it is set.
    #[arg(short = 'v', long, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Append the log to a file instead of standard error.
    #[arg(short = 'l', long, value_name = "FILE")]
    pub logfile: Option<PathBuf>,
    /// Serve a virtual phone with this version of iOS in place of USB; may be given more than once.
    #[arg(long = "virtual", value_name = "PROFILE")]
    pub virtual_phones: Vec<String>,
    /// Serve USB devices also where virtual phones are served.
    #[arg(long)]
    pub usb: bool,
    /// Virtual phones show a trust dialogue that waits for the line `trust`, in place of trusting at once.
    #[arg(long, requires = "virtual_phones")]
    pub ask: bool,
    #[command(flatten)]
    pub phone: PhoneArgs,
}

impl Options {
    /// Where to listen first of all.
    pub fn address(&self) -> DaemonAddr {
        self.socket.clone().unwrap_or_else(DaemonAddr::platform_default)
    }

    /// Where the process's number goes.
    pub fn pid_file(&self) -> Option<PathBuf> {
        match &self.pidfile {
            Some(none) if none.as_os_str() == "NONE" => None,
            Some(path) => Some(path.clone()),
            // The stock daemon's: neither starts while the other runs.
            None if self.address() == DaemonAddr::platform_default() && cfg!(unix) => {
                Some("/var/run/usbmuxd.pid".into())
            }
            None => None,
        }
    }

    /// Whether to end when the last device goes.
    pub fn ends_with_the_last_device(&self) -> bool {
        self.enable_exit || self.systemd
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(args: &[&str]) -> Options {
        Options::try_parse_from([&["usbmuxd"], args].concat()).unwrap()
    }

    #[test]
    fn the_command_line_is_sound() {
        Options::command().debug_assert();
    }

    #[test]
    fn what_the_stock_daemon_is_started_with_is_understood() {
        let options = parse(&["-f", "-v", "-v", "-p", "-s"]);
        assert!(options.foreground && options.no_preflight && options.ends_with_the_last_device());
        assert_eq!(options.verbose, 2);
        let options = parse(&[
            "-S",
            "127.0.0.1:27015",
            "-C",
            "/tmp/records",
            "-P",
            "NONE",
            "-l",
            "/tmp/log",
        ]);
        assert_eq!(
            options.address(),
            DaemonAddr::Tcp {
                host: "127.0.0.1".into(),
                port: 27015
            }
        );
        assert_eq!(options.pid_file(), None);
        assert!(options.records.is_some() && options.logfile.is_some());
    }

    #[cfg(unix)]
    #[test]
    fn the_pid_file_is_the_stock_daemons_where_the_socket_is() {
        assert_eq!(parse(&[]).pid_file(), Some("/var/run/usbmuxd.pid".into()));
        assert_eq!(
            parse(&["-S", "/var/run/usbmuxd"]).pid_file(),
            Some("/var/run/usbmuxd.pid".into())
        );
        assert_eq!(parse(&["-S", "/tmp/other"]).pid_file(), None);
        assert_eq!(parse(&["-P", "/tmp/pid"]).pid_file(), Some("/tmp/pid".into()));
    }
}
