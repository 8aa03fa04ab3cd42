//! What has to be installed here, and how.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::Failure;
use crate::host::command::{find, run};

/// Programs the lab runs here or takes along into the guest, and the package each is in.
const PROGRAMS: &[(&str, &str)] = &[
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("usbmuxd", "usbmuxd"),
    ("idevice_id", "libimobiledevice-utils"),
    ("idevicebackup2", "libimobiledevice-utils"),
    ("udevadm", "udev"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
    ("strip", "binutils"),
];
/// A file of a package without programs, and the package.
const FILES: &[(&str, &str)] = &[("/usr/share/seabios/bios-256k.bin", "seabios")];

const MINUTE: Duration = Duration::from_secs(60);

/// Why the lab cannot run on this computer at all.
pub fn why_not() -> Option<String> {
    if std::env::consts::ARCH != "x86_64" {
        return Some(format!("the lab's guest is x86_64, this is {}", std::env::consts::ARCH));
    }
    if find("apt-get").is_none() {
        return Some(
            "the kernel and the programs of the guest come from Debian or Ubuntu, and there is no apt-get".into(),
        );
    }
    None
}

/// Installs what is missing. Asks for a password through `sudo` at most when somebody can type one.
///
/// # Errors
/// A package cannot be had, or the user may not install it: then the text names what to install by hand.
pub fn install() -> Result<(), Failure> {
    let absent = missing();
    if absent.is_empty() {
        return Ok(());
    }
    println!("installing {}", absent.join(" "));
    let attempt = |update: bool| -> Result<(), Failure> {
        if update {
            run(&mut apt(["update", "-qq"]), 3 * MINUTE)?;
        }
        let mut install = apt(["install", "-y", "-qq", "--no-install-recommends"]);
        run(install.args(&absent), 5 * MINUTE).map(drop)
    };
    attempt(false)
        .or_else(|_| attempt(true))
        .map_err(|error| format!("{error}\nto install by hand: apt-get install {}", absent.join(" ")))?;
    match missing() {
        still if still.is_empty() => Ok(()),
        still => Err(format!("installed, and yet there is nothing of {}", still.join(" ")).into()),
    }
}

fn missing() -> Vec<&'static str> {
    let programs = PROGRAMS.iter().filter(|(program, _)| find(program).is_none());
    let files = FILES.iter().filter(|(file, _)| !Path::new(file).exists());
    let mut absent: Vec<&str> = programs.chain(files).map(|(_, package)| *package).collect();
    absent.sort_unstable();
    absent.dedup();
    absent
}

/// `apt-get` with the rights it needs, never asking anything.
fn apt<const N: usize>(args: [&str; N]) -> Command {
    let mut command = if rustix::process::geteuid().is_root() {
        Command::new("env")
    } else {
        let mut sudo = Command::new("sudo");
        // Without a terminal nobody could answer.
        if !std::io::IsTerminal::is_terminal(&std::io::stdin()) {
            sudo.arg("-n");
        }
        sudo.arg("env");
        sudo
    };
    command.args([
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "-o",
        "DPkg::Lock::Timeout=120",
    ]);
    command.args(args);
    command
}

/// What a package depends on directly.
///
/// # Errors
/// `apt-cache` fails.
pub fn depends(package: &str) -> Result<Vec<String>, Failure> {
    let text = run(Command::new("apt-cache").args(["depends", package]), MINUTE)?;
    let names = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    Ok(names.map(str::to_owned).collect())
}

/// The version of a package that would be downloaded; `None` if no source has it.
///
/// # Errors
/// `apt-cache` fails.
pub fn candidate(package: &str) -> Result<Option<String>, Failure> {
    let text = run(Command::new("apt-cache").args(["policy", package]), MINUTE)?;
    let version = text.lines().find_map(|line| line.trim().strip_prefix("Candidate: "));
    Ok(version.filter(|version| *version != "(none)").map(str::to_owned))
}

/// Brings the lists of packages up to date.
///
/// # Errors
/// No network, or no rights.
pub fn update() -> Result<(), Failure> {
    run(&mut apt(["update", "-qq"]), 3 * MINUTE).map(drop)
}

/// Downloads a package into a folder and unpacks it into another, without installing it.
///
/// # Errors
/// The download fails, or takes more than four minutes.
pub fn download(package: &str, version: &str, into: &Path, unpacked: &Path) -> Result<(), Failure> {
    let mut fetch = Command::new("apt-get");
    fetch.args(["download", "-qq", &format!("{package}={version}")]);
    run(fetch.current_dir(into), 4 * MINUTE)?;
    for entry in std::fs::read_dir(into)? {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new("deb")) {
            run(Command::new("dpkg-deb").arg("-x").arg(&path).arg(unpacked), 2 * MINUTE)?;
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}
