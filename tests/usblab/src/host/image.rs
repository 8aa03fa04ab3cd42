//! What the guest boots into: busybox, modules, other people's programs and ours, with the libraries they name.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::Failure;
use crate::host::archive::Archive;
use crate::host::command::{find, run};
use crate::host::kernel::Kernel;

/// Other people's programs that run in the guest.
const PROGRAMS: &[&str] = &[
    "usbmuxd",
    "idevice_id",
    "ideviceinfo",
    "idevicepair",
    "idevicebackup2",
    "udevadm",
];
/// Their files. What a package does not bring is left out.
const RULES: &str = "39-usbmuxd.rules";

/// The first program. Everything else is in Rust.
const INIT: &str = "#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o size=4g tmpfs /tmp
for module in /modules/*.ko; do
  [ -e \"$module\" ] && insmod \"$module\"
done
ifconfig lo 127.0.0.1 up
usblab-guest run
sync
poweroff -f
";
const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nusbmux:x:100:46:usbmux:/var/lib/usbmux:/bin/false\n";
const GROUPS: &str = "root:x:0:\ntty:x:5:\ndisk:x:6:\ndialout:x:20:\ncdrom:x:24:\naudio:x:29:\nvideo:x:44:\nplugdev:x:46:\n\
                      input:x:101:\nkvm:x:102:\nrender:x:103:\nsgx:x:104:\nlp:x:7:\ntape:x:26:\nkmem:x:15:\nnetdev:x:105:\n";

/// Writes the guest's files to `to`. `ours` are programs of this repository, with their names in the guest.
///
/// # Errors
/// A program is missing, or the disk fails.
pub fn build(kernel: &Kernel, ours: &[(PathBuf, &str)], work: &Path, to: &Path) -> Result<(), Failure> {
    let mut archive = Archive::default();
    for folder in [
        "/dev",
        "/proc",
        "/sys",
        "/run",
        "/tmp",
        "/root",
        "/var/lib/lockdown",
        "/etc/udev/rules.d",
    ] {
        archive.folder(folder);
    }
    archive.link("/var/run", "../run");
    archive.file("/init", 0o755, INIT.into());
    archive.file("/etc/passwd", 0o644, USERS.into());
    archive.file("/etc/group", 0o644, GROUPS.into());
    archive.file(
        "/etc/nsswitch.conf",
        0o644,
        b"passwd: files\ngroup: files\nhosts: files\n".to_vec(),
    );
    archive.file("/etc/hosts", 0o644, b"127.0.0.1 localhost\n".to_vec());

    let busybox = find("busybox").ok_or("busybox is not installed")?;
    with_libraries(&mut archive, &busybox, "/bin/busybox")?;
    for applet in [
        "sh", "mount", "insmod", "rmmod", "ifconfig", "sync", "poweroff", "ls", "cat", "ps", "dmesg", "kill",
    ] {
        archive.link(&format!("/bin/{applet}"), "busybox");
    }
    for (folder, modules) in [("/modules", &kernel.modules), ("/modules/extra", &kernel.extra)] {
        archive.folder(folder);
        for module in modules {
            let name = module.file_name().unwrap_or_default().to_string_lossy();
            archive.copy(module, &format!("{folder}/{name}"))?;
        }
    }
    for program in PROGRAMS {
        let path = find(program).ok_or_else(|| format!("{program} is not installed"))?;
        with_libraries(&mut archive, &path, &format!("/usr/bin/{program}"))?;
    }
    // udevadm is the daemon as well, by this name.
    archive.link("/usr/lib/systemd/systemd-udevd", "/usr/bin/udevadm");
    archive.link("/usr/sbin/usbmuxd", "/usr/bin/usbmuxd");
    for folder in ["/lib/udev/rules.d", "/usr/lib/udev/rules.d"] {
        let rules = Path::new(folder).join(RULES);
        if rules.is_file() {
            archive.copy(&rules, &format!("/usr/lib/udev/rules.d/{RULES}"))?;
        }
    }
    for (program, name) in ours {
        let stripped = work.join(name);
        run(
            Command::new("strip").arg("-o").arg(&stripped).arg(program),
            Duration::from_secs(60),
        )?;
        with_libraries(&mut archive, &stripped, &format!("/bin/{name}"))?;
        std::fs::remove_file(stripped)?;
    }
    archive.write(to)
}

/// Adds a program and every library that `ldd` names, at the same paths.
fn with_libraries(archive: &mut Archive, program: &Path, to: &str) -> Result<(), Failure> {
    archive.copy(program, to)?;
    // It fails for programs without libraries.
    let text = run(Command::new("ldd").arg(program), Duration::from_secs(20)).unwrap_or_default();
    for line in text.lines() {
        if line.contains("=> not found") {
            return Err(format!("{} lacks a library: {}", program.display(), line.trim()).into());
        }
        if let Some(library) = library(line)
            && !archive.has(library)
        {
            archive.copy(Path::new(library), library)?;
        }
    }
    Ok(())
}

/// The path in a line of `ldd`: `libc.so.6 => /lib/libc.so.6 (0x…)` or `/lib64/ld-linux-x86-64.so.2 (0x…)`.
fn library(line: &str) -> Option<&str> {
    let line = line.split_once("=> ").map_or(line, |(_, path)| path).trim();
    let path = line.split_once(" (")?.0;
    path.starts_with('/').then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_taken_from_each_kind_of_line() {
        assert_eq!(
            library("\tlibc.so.6 => /lib/libc.so.6 (0x0000)"),
            Some("/lib/libc.so.6")
        );
        assert_eq!(
            library("\t/lib64/ld-linux-x86-64.so.2 (0x0000)"),
            Some("/lib64/ld-linux-x86-64.so.2")
        );
        assert_eq!(library("\tlinux-vdso.so.1 (0x0000)"), None);
        assert_eq!(library("\tnot a dynamic executable"), None);
    }
}
