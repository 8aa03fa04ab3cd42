//! The three property lists of a new backup (spec backup-format, 2 to 4).

use cabled_wire::dict;
use cabled_wire::plist::{Date, Dictionary, Value};

use super::options::BuildOptions;
use crate::archive::layout::Layout;
use crate::archive::wrap::WrappedKey;

/// `Info.plist`, which a host writes.
pub(crate) fn info(options: &BuildOptions, guid: [u8; 16]) -> Dictionary {
    let (product_type, product_version, build) = options.product();
    let udid = options.udid_text();
    let guid: String = guid.iter().map(|byte| format!("{byte:02X}")).collect();
    dict! {
        "Applications" => Dictionary::new(),
        "Build Version" => build,
        "Device Name" => options.device_name.as_str(),
        "Display Name" => options.device_name.as_str(),
        "GUID" => guid,
        "Installed Applications" => Value::Array(Vec::new()),
        "Last Backup Date" => Date::from(options.date),
        "Product Type" => product_type,
        "Product Version" => product_version,
        "Serial Number" => options.serial_number.as_str(),
        "Target Identifier" => udid.as_str(),
        "Target Type" => "Device",
        "Unique Identifier" => udid.to_ascii_uppercase(),
        "iTunes Files" => Dictionary::new(),
        "iTunes Settings" => Dictionary::new(),
        "iTunes Version" => "12.13.0.0",
    }
}

/// `Manifest.plist`, which a device writes.
pub(crate) fn manifest(options: &BuildOptions, keybag: Vec<u8>, index_key: Option<&WrappedKey>) -> Dictionary {
    let (product_type, product_version, build) = options.product();
    let (version, domains) = match options.layout {
        Layout::Current => ("10.0", "24.0"),
        Layout::Flat => ("9.1", "20.0"),
    };
    let lockdown = dict! {
        "BuildVersion" => build,
        "DeviceName" => options.device_name.as_str(),
        "ProductType" => product_type,
        "ProductVersion" => product_version,
        "SerialNumber" => options.serial_number.as_str(),
        "UniqueDeviceID" => options.udid_text(),
        "com.apple.Accessibility" => Dictionary::new(),
        "com.apple.MobileDeviceCrashCopy" => Dictionary::new(),
        "com.apple.TerminalFlashr" => Dictionary::new(),
        "com.apple.mobile.data_sync" => Dictionary::new(),
        "com.apple.mobile.iTunes.accessories" => Dictionary::new(),
        "com.apple.mobile.wireless_lockdown" => Dictionary::new(),
    };
    let mut manifest = dict! {
        "BackupKeyBag" => Value::Data(keybag),
        "Version" => version,
        "Date" => Date::from(options.date),
        "SystemDomainsVersion" => domains,
        "WasPasscodeSet" => true,
        "Lockdown" => lockdown,
        "Applications" => Dictionary::new(),
        "IsEncrypted" => options.password.is_some(),
    };
    if let Some(key) = index_key {
        manifest.insert("ManifestKey".to_owned(), Value::Data(key.encode().to_vec()));
    }
    manifest
}

/// `Status.plist`, which a device writes last.
pub(crate) fn status(options: &BuildOptions, uuid: [u8; 16]) -> Dictionary {
    let version = match options.layout {
        Layout::Current => "3.3",
        Layout::Flat => "2.4",
    };
    let state = if options.finished { "finished" } else { "uploading" };
    dict! {
        "IsFullBackup" => false,
        "Version" => version,
        "UUID" => uuid_text(uuid),
        "Date" => Date::from(options.date),
        "BackupState" => "new",
        "SnapshotState" => state,
    }
}

fn uuid_text(bytes: [u8; 16]) -> String {
    let mut text = String::new();
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        // Version 4, variant 1: random.
        let byte = match index {
            6 => (byte & 0x0f) | 0x40,
            8 => (byte & 0x3f) | 0x80,
            _ => *byte,
        };
        text.push_str(&format!("{byte:02X}"));
    }
    text
}
