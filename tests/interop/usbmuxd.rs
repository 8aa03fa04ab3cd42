//! `examples/usbmuxd` as a process of its own, with virtual phones, driven by other people's clients.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use cabled::usbmux::msg::Event;
use cabled::usbmux::{Daemon, DaemonAddr};
use cabled::wire::ids::Udid;
use cabled_tests::bed::path;
use cabled_tests::program::{self, Ran};
use cabled_tests::{Outcome, text};
use libtest_mimic::Trial;

use crate::trial;

/// The program under test, built with these tests.
const PROGRAM: &str = env!("CARGO_BIN_EXE_usbmuxd");
/// The longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn trials() -> Vec<Trial> {
    let pair = "idevicepair";
    vec![
        trial(
            "usbmuxd: asks for trust once, and pairs when the user has answered",
            &["idevice_id", "ideviceinfo", pair],
            asks_for_trust,
        ),
        trial(
            "usbmuxd: idevicebackup2 makes a backup through it",
            &["idevicebackup2", pair],
            backs_up,
        ),
        trial("usbmuxd: ifuse reads through it", &["ifuse", "fusermount"], mounts),
        trial("usbmuxd: pymobiledevice3 works with it", &["pymobiledevice3"], python),
        trial("usbmuxd: listeners hear of cables pulled and put back", &[], hot_plug),
        trial("usbmuxd: ends with SIGTERM and leaves no socket", &["kill"], ends),
        trial(
            "usbmuxd: a second one does not start while the first serves, and says what to do",
            &["idevice_id"],
            is_alone,
        ),
        trial(
            "usbmuxd: the socket of one that was killed is replaced",
            &["kill"],
            replaces_a_leftover,
        ),
        trial(
            "usbmuxd: the next run finds the records of the last, and the stock daemon's configuration",
            &[pair],
            keeps_records,
        ),
        trial("usbmuxd: one ends the other by its pid file", &[], ends_the_other),
    ]
}

/// A folder with a socket, records, and a home for programs.
struct Desk {
    folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

/// A daemon that runs. Dropping it kills it.
struct Running {
    child: Child,
    lines: ChildStdin,
    said: Receiver<String>,
    tcp: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Desk {
    fn new() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(text)?;
        std::fs::create_dir(folder.path().join("home")).map_err(text)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(text)?;
        Ok(Self { folder, runtime })
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("usbmuxd")
    }

    fn records(&self) -> PathBuf {
        self.folder.path().join("lockdown")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(["--socket", &path(&self.socket()), "--records", &path(&self.records())])
            .args(["--tcp", "127.0.0.1:0", "--files", "60", "--size", "3MB"])
            .args(args)
            .env_remove("RUST_LOG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        command
    }

    /// Starts a daemon and waits until it listens.
    fn start(&self, args: &[&str]) -> Result<Running, String> {
        let mut child = self.command(args).stderr(Stdio::null()).spawn().map_err(text)?;
        let lines = child.stdin.take().ok_or("no standard input")?;
        let output = child.stdout.take().ok_or("no standard output")?;
        let (sender, said) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut running = Running {
            child,
            lines,
            said,
            tcp: String::new(),
        };
        while running.tcp.is_empty() {
            let line = running.said.recv_timeout(PATIENCE).map_err(|_| "it does not listen")?;
            if let Some(address) = line.strip_prefix("listening at ").filter(|it| !it.starts_with("UNIX")) {
                running.tcp = address.to_owned();
            }
        }
        Ok(running)
    }

    /// Runs a program against the daemon.
    fn run(&self, address: &str, program: &str, args: &[&str]) -> Result<Ran, String> {
        let home = self.folder.path().join("home");
        let env: [(&str, &std::ffi::OsStr); 5] = [
            ("USBMUXD_SOCKET_ADDRESS", address.as_ref()),
            ("HOME", home.as_ref()),
            ("XDG_CONFIG_HOME", home.as_ref()),
            ("NO_COLOR", "1".as_ref()),
            ("COLUMNS", "300".as_ref()),
        ];
        program::run(program, args, &env, self.folder.path(), Duration::from_secs(120))
    }

    fn unix(&self) -> String {
        format!("UNIX:{}", path(&self.socket()))
    }

    fn daemon(&self) -> Daemon {
        Daemon::new(DaemonAddr::Unix(self.socket()))
    }

    /// Listens until `wanted` has its answer.
    fn hear<T>(&self, mut wanted: impl FnMut(Event) -> Option<T>) -> Result<T, String> {
        let daemon = self.daemon();
        let listening = async {
            let mut listener = daemon.listen().await.map_err(text)?;
            loop {
                let event = listener.next().await.map_err(text)?.ok_or("the daemon ended")?;
                if let Some(found) = wanted(event) {
                    return Ok(found);
                }
            }
        };
        self.runtime
            .block_on(async { tokio::time::timeout(PATIENCE, listening).await })
            .map_err(|_| "it was never told")?
    }

    /// Waits for the phone to be shown.
    fn phone(&self) -> Result<Udid, String> {
        self.hear(|event| match event {
            Event::Attached(device) => Some(device.udid),
            _ => None,
        })
    }
}

impl Running {
    fn type_line(&mut self, line: &str) -> Outcome {
        writeln!(self.lines, "{line}").map_err(text)
    }

    fn signal(&self, signal: &str) -> Outcome {
        let sent = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status()
            .map_err(text)?;
        sent.success().then_some(()).ok_or_else(|| "no signal was sent".into())
    }

    fn ended(&mut self) -> Result<ExitStatus, String> {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().map_err(text)? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err("it does not end".into())
    }
}

fn check(holds: bool, otherwise: &str) -> Outcome {
    if holds { Ok(()) } else { Err(otherwise.to_owned()) }
}

fn asks_for_trust() -> Outcome {
    let desk = Desk::new()?;
    let mut running = desk.start(&["--virtual", "17.7", "--ask"])?;
    let udid = desk.phone()?;
    let (unix, tcp) = (desk.unix(), running.tcp.clone());
    for address in [&unix, &tcp] {
        desk.run(address, "idevice_id", &["-l"])?.ok()?.says(udid.as_str())?;
    }
    desk.run(&tcp, "ideviceinfo", &["-s", "-k", "ProductVersion"])?
        .ok()?
        .says("17.7")?;
    desk.run(&unix, "idevicepair", &["pair"])?
        .refused()?
        .says("Please accept the trust dialog")?;
    let record = desk.records().join(format!("{udid}.plist"));
    check(!record.exists(), "there is a record, and nobody has answered")?;
    // A listener hears of the pairing that the daemon itself makes.
    std::thread::scope(|threads| {
        let heard = threads.spawn(|| {
            let desk = DeskView(&desk);
            desk.hears_of_pairing()
        });
        std::thread::sleep(Duration::from_millis(500));
        running.type_line("trust")?;
        heard.join().map_err(|_| "the listener failed".to_owned())?
    })?;
    let mode = std::fs::metadata(&record).map_err(text)?.permissions().mode() & 0o777;
    check(mode == 0o600, "everybody can read the record")?;
    desk.run(&tcp, "idevicepair", &["validate"])?
        .ok()?
        .says("SUCCESS: Validated pairing")?;
    desk.run(&unix, "ideviceinfo", &["-k", "DeviceName"])?.ok()?;
    desk.run(&unix, "idevicepair", &["unpair"])?
        .ok()?
        .says("SUCCESS: Unpaired with device")?;
    check(!record.exists(), "the record is still there")
}

/// What a second thread may use of a desk: the runtime is the first one's.
struct DeskView<'a>(&'a Desk);

impl DeskView<'_> {
    fn hears_of_pairing(&self) -> Outcome {
        let daemon = self.0.daemon();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(text)?;
        let listening = async {
            let mut listener = daemon.listen().await.map_err(text)?;
            loop {
                match listener.next().await.map_err(text)? {
                    Some(Event::Paired(_)) => return Ok(()),
                    Some(_) => {}
                    None => return Err("the daemon ended".to_owned()),
                }
            }
        };
        runtime
            .block_on(async { tokio::time::timeout(PATIENCE, listening).await })
            .map_err(|_| "nobody was told of the pairing".to_owned())?
    }
}

fn backs_up() -> Outcome {
    let desk = Desk::new()?;
    let running = desk.start(&["--virtual", "17.7"])?;
    let udid = desk.phone()?;
    // The daemon has paired by itself.
    desk.run(&running.tcp, "idevicepair", &["validate"])?.ok()?;
    let folder = desk.folder.path().join("backup");
    std::fs::create_dir(&folder).map_err(text)?;
    desk.run(&desk.unix(), "idevicebackup2", &["backup", "--full", &path(&folder)])?
        .ok()?
        .says("Backup Successful")?;
    let manifest = folder.join(udid.as_str()).join("Manifest.db");
    check(manifest.is_file(), "the backup has no manifest")
}

fn mounts() -> Outcome {
    if !Path::new("/dev/fuse").exists() {
        return check(!program::missing_is_failure(), "/dev/fuse is missing");
    }
    let desk = Desk::new()?;
    let running = desk.start(&["--virtual", "18"])?;
    desk.phone()?;
    let at = desk.folder.path().join("mount");
    std::fs::create_dir(&at).map_err(text)?;
    desk.run(&running.tcp, "ifuse", &[&path(&at)])?.ok()?;
    let read = || -> Outcome {
        let there = std::fs::read_dir(at.join("DCIM")).map_err(text)?.count();
        check(there > 0, "the phone has no photos")?;
        std::fs::write(at.join("note.txt"), "by cable").map_err(text)?;
        let back = std::fs::read(at.join("note.txt")).map_err(text)?;
        check(back == b"by cable", "what was written reads otherwise")
    };
    let outcome = read();
    let _ = desk.run(&running.tcp, "fusermount", &["-u", "-z", &path(&at)]);
    outcome
}

fn python() -> Outcome {
    let desk = Desk::new()?;
    let running = desk.start(&["--virtual", "17.7"])?;
    let udid = desk.phone()?;
    let tcp = running.tcp.as_str();
    desk.run(tcp, "pymobiledevice3", &["usbmux", "list"])?
        .ok()?
        .says(udid.as_str())?;
    desk.run(tcp, "pymobiledevice3", &["lockdown", "info"])?
        .ok()?
        .says("UniqueDeviceID")?;
    desk.run(tcp, "pymobiledevice3", &["afc", "ls", "/"])?
        .ok()?
        .says("DCIM")?;
    Ok(())
}

fn hot_plug() -> Outcome {
    let desk = Desk::new()?;
    let mut running = desk.start(&["--virtual", "17.7", "--no-preflight"])?;
    let mut seen = Vec::new();
    let mut typed = Ok(());
    desk.hear(|event| {
        let line = match event {
            Event::Attached(device) if seen.is_empty() => {
                seen.push(device.id);
                "unplug"
            }
            Event::Detached(id) if seen.contains(&id) => "plug",
            Event::Attached(device) => return Some(device.id).filter(|id| !seen.contains(id)),
            _ => return None,
        };
        typed = running.type_line(line);
        None
    })?;
    typed
}

fn ends() -> Outcome {
    let desk = Desk::new()?;
    let mut running = desk.start(&["--virtual", "17.7"])?;
    desk.phone()?;
    // With a client in the middle of something.
    let daemon = desk.daemon();
    let listener = desk.runtime.block_on(daemon.listen()).map_err(text)?;
    running.signal("-TERM")?;
    let status = running.ended()?;
    drop(listener);
    check(status.code() == Some(0), &format!("it ended with {status}"))?;
    check(!desk.socket().exists(), "the socket is still there")
}

fn is_alone() -> Outcome {
    let desk = Desk::new()?;
    let running = desk.start(&["--virtual", "17.7"])?;
    desk.phone()?;
    let second = desk
        .command(&["--virtual", "17.7"])
        .stderr(Stdio::piped())
        .output()
        .map_err(text)?;
    check(!second.status.success(), "a second one started")?;
    let said = String::from_utf8_lossy(&second.stderr);
    check(
        said.contains("another daemon serves") && said.contains("systemctl stop usbmuxd"),
        &format!("it says {said:?}"),
    )?;
    desk.run(&desk.unix(), "idevice_id", &["-l"])?.ok()?;
    desk.run(&running.tcp, "idevice_id", &["-l"])?.ok()?;
    Ok(())
}

fn replaces_a_leftover() -> Outcome {
    let desk = Desk::new()?;
    let mut running = desk.start(&["--virtual", "17.7", "--no-preflight"])?;
    running.signal("-KILL")?;
    check(running.ended()?.signal() == Some(9), "it was not killed")?;
    let left = std::fs::symlink_metadata(desk.socket()).map_err(text)?;
    check(left.file_type().is_socket(), "nothing is left over")?;
    let _second = desk.start(&["--virtual", "17.7", "--no-preflight"])?;
    desk.phone().map(drop)
}

fn keeps_records() -> Outcome {
    let desk = Desk::new()?;
    std::fs::create_dir(desk.records()).map_err(text)?;
    let theirs = cabled_golden::path(&format!("{}/SystemConfiguration.plist", cabled_golden::USBMUXD));
    std::fs::copy(theirs, desk.records().join("SystemConfiguration.plist")).map_err(text)?;
    let first = desk.start(&["--virtual", "17.7"])?;
    let udid = desk.phone()?;
    desk.run(&first.tcp, "idevicepair", &["systembuid"])?
        .ok()?
        .says("DCFF9382-E37F-D0F8-9749-A3690037FF53")?;
    let read = || {
        desk.runtime
            .block_on(desk.daemon().read_pair_record(&udid))
            .map_err(text)
    };
    let record = read()?.ok_or("the daemon made no record")?;
    drop(first);
    // This phone asks before it trusts, so nothing replaces the record.
    let second = desk.start(&["--virtual", "17.7", "--ask"])?;
    check(read()?.as_ref() == Some(&record), "the record is another one")?;
    desk.run(&second.tcp, "idevicepair", &["systembuid"])?
        .ok()?
        .says("DCFF9382-E37F-D0F8-9749-A3690037FF53")?;
    Ok(())
}

fn ends_the_other() -> Outcome {
    let desk = Desk::new()?;
    let pid_file = path(&desk.folder.path().join("usbmuxd.pid"));
    let args = ["--virtual", "17.7", "--no-preflight", "--pidfile", &pid_file];
    let mut running = desk.start(&args)?;
    desk.phone()?;
    let other = desk.folder.path().join("other");
    let second = Command::new(PROGRAM)
        .args(["--socket", &path(&other), "--virtual", "17.7", "--pidfile", &pid_file])
        .output()
        .map_err(text)?;
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    check(
        !second.status.success() && said.contains(&format!("process {}", running.child.id())),
        &format!("it says {said:?}"),
    )?;
    let tell = |option: &str| Command::new(PROGRAM).args([option, "--pidfile", &pid_file]).status();
    check(tell("--exit").map_err(text)?.success(), "it was not asked")?;
    std::thread::sleep(Duration::from_millis(300));
    check(
        running.child.try_wait().map_err(text)?.is_none(),
        "it ended, though a device is attached",
    )?;
    check(tell("--force-exit").map_err(text)?.success(), "it was not told")?;
    let status = running.ended()?;
    check(status.code() == Some(0), &format!("it ended with {status}"))?;
    check(!tell("--exit").map_err(text)?.success(), "nobody is there to be asked")
}
