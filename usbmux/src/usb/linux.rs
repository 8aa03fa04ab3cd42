//! What only Linux tells: device nodes, and who holds one.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use nusb::{Device, DeviceInfo};

use super::opening::Refusal;

/// Entries of `/proc` looked at for the owner of a device.
const MAX_PROCESSES: usize = 65_536;
/// Open files of one process looked at.
const MAX_FILES: usize = 4096;

/// The file that programs open to use the device.
pub(super) fn node(info: &DeviceInfo) -> String {
    format!("/dev/bus/usb/{:03}/{:03}", info.busnum(), info.device_address())
}

/// Why a device that the system lists cannot be opened because it is not there.
pub(super) fn absent(info: &DeviceInfo) -> String {
    format!(
        "the system lists it, but {} is not there; give this container /dev/bus/usb, or plug the device in again",
        node(info)
    )
}

/// The program that has the device open, if this user may see that. Reads the open files of all processes, which takes
/// some milliseconds; not to be called on a runtime's thread.
pub(super) fn owner(info: &DeviceInfo) -> Option<String> {
    let node = PathBuf::from(node(info));
    let this = std::process::id().to_string();
    let processes = fs::read_dir("/proc").ok()?.flatten().take(MAX_PROCESSES);
    processes
        .filter(|process| is_another(&process.file_name(), &this))
        .find(|process| has_open(&process.path(), &node))
        .map(|process| name_of(&process.path()))
}

/// Whether an entry of `/proc` is a process other than this one: `self` and `thread-self` are this one once more.
fn is_another(name: &OsStr, this: &str) -> bool {
    name != this
        && name
            .to_str()
            .is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
}

fn has_open(process: &Path, node: &Path) -> bool {
    // Those of other users cannot be read; without the rights of root the owner stays unknown then.
    let Ok(files) = fs::read_dir(process.join("fd")) else {
        return false;
    };
    files
        .flatten()
        .take(MAX_FILES)
        .any(|file| fs::read_link(file.path()).is_ok_and(|target| target == node))
}

fn name_of(process: &Path) -> String {
    let number = process.file_name().unwrap_or_default().to_string_lossy();
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    format!("{} (process {number})", cabled_wire::WireError::excerpt(name.trim()))
}

/// Makes the kernel's drivers let go of interfaces, but not other programs: those come through the driver `usbfs`. Reads
/// a few small files of the system; not to be called on a runtime's thread.
pub(super) fn release_drivers(device: &Device, info: &DeviceInfo, interfaces: &[u8]) -> Result<(), Refusal> {
    for &interface in interfaces {
        match driver_of(info.sysfs_path(), interface).as_deref() {
            None => {}
            Some("usbfs") => return Err(Refusal::Busy),
            Some(driver) => {
                tracing::debug!(
                    interface,
                    driver,
                    "detaching a kernel driver to set another configuration"
                );
                if let Err(error) = device.detach_kernel_driver(interface) {
                    // It may have let go by itself; if not, setting the configuration tells.
                    tracing::debug!(interface, driver, %error, "the driver stays");
                }
            }
        }
    }
    Ok(())
}

/// The driver bound to an interface of the active configuration; its folder is called `1-2:4.0` for the interface 0 of
/// configuration 4 of the device `1-2`.
fn driver_of(device: &Path, interface: u8) -> Option<String> {
    let prefix = format!("{}:", device.file_name()?.to_str()?);
    let suffix = format!(".{interface}");
    let folder = fs::read_dir(device).ok()?.flatten().take(256).find(|entry| {
        let name = entry.file_name();
        name.to_str()
            .is_some_and(|name| name.starts_with(&prefix) && name.ends_with(&suffix))
    })?;
    let driver = fs::read_link(folder.path().join("driver")).ok()?;
    Some(driver.file_name()?.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_of_an_interface_is_found_by_its_folder() {
        let root = tempfile::tempdir().unwrap();
        let device = root.path().join("1-2");
        fs::create_dir_all(device.join("1-2:4.0")).unwrap();
        fs::create_dir_all(device.join("1-2:4.10")).unwrap();
        fs::create_dir_all(device.join("1-2:4.2")).unwrap();
        std::os::unix::fs::symlink("../../drivers/ipheth", device.join("1-2:4.2/driver")).unwrap();
        std::os::unix::fs::symlink("../../drivers/usbfs", device.join("1-2:4.10/driver")).unwrap();
        assert_eq!(driver_of(&device, 2).as_deref(), Some("ipheth"));
        assert_eq!(driver_of(&device, 10).as_deref(), Some("usbfs"));
        assert_eq!(driver_of(&device, 0), None);
        assert_eq!(driver_of(&device, 1), None);
    }

    #[test]
    fn this_process_is_never_the_owner_by_any_of_its_names() {
        for name in ["17", "self", "thread-self", "cpuinfo"] {
            assert!(!is_another(name.as_ref(), "17"), "{name}");
        }
        assert!(is_another("171".as_ref(), "17"));
    }

    #[test]
    fn the_owner_of_an_open_file_is_found_among_the_processes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = fs::canonicalize(file.path()).unwrap();
        let this = PathBuf::from(format!("/proc/{}", std::process::id()));
        assert!(has_open(&this, &path));
        assert!(!has_open(&this, Path::new("/dev/bus/usb/999/999")));
        assert!(name_of(&this).contains(&format!("(process {})", std::process::id())));
    }
}
