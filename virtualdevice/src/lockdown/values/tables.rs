//! The values a phone starts with.

use std::collections::BTreeMap;

use cabled_wire::dict;
use cabled_wire::ids::Udid;
use cabled_wire::plist::{Dictionary, Value};

use super::Facts;
use crate::profile::Profile;

/// Domains of which hosts may set every key, in a session.
pub(super) const HOSTS_MAY_SET: &[&str] = &[
    "com.apple.Accessibility",
    "com.apple.international",
    "com.apple.mobile.tethered_sync",
    "com.apple.mobile.wireless_lockdown",
];

fn texts(list: &[&str]) -> Value {
    Value::Array(list.iter().map(|&text| Value::from(text)).collect())
}

fn data(bytes: &[u8]) -> Value {
    Value::Data(bytes.to_vec())
}

/// The default domain. `DevicePublicKey` is added when asked for, as its key is made then.
pub(super) fn default_domain(profile: &Profile, facts: &Facts, udid: &Udid, name: &str) -> Dictionary {
    let mut dict = identity(profile, facts, udid, name);
    dict.extend(radio(facts));
    dict.extend(dict! {
        "ActivationState" => "Activated",
        "ActivationStateAcknowledged" => true,
        "BrickState" => false,
        "FusingStatus" => 3_u64,
        "HasSiDP" => true,
        "HostAttached" => true,
        "NonVolatileRAM" => dict! { "auto-boot" => data(b"true"), "com.apple.System.boot-nonce" => data(&[]) },
        "PartitionType" => "GUID_partition_scheme",
        "PasswordProtected" => false,
        "ProductionSOC" => true,
        "ProtocolVersion" => "2",
        "SBLockdownEverRegisteredKey" => false,
        "SoftwareBehavior" => data(&[0x11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        "SoftwareBundleVersion" => "",
        "TimeZone" => "Europe/Berlin",
        "TimeZoneOffsetFromUTC" => 3600.0,
        "TrustedHostAttached" => true,
        "UseRaptorCerts" => true,
        "Uses24HourClock" => true,
    });
    dict
}

fn identity(profile: &Profile, facts: &Facts, udid: &Udid, name: &str) -> Dictionary {
    let model = &profile.model;
    let family: u64 = if model.device_class == "iPad" { 2 } else { 1 };
    let key_hash: Vec<u8> = facts.nonce.iter().copied().take(20).collect();
    dict! {
        "BoardId" => u64::from(model.board_id),
        "BuildVersion" => profile.build_version.as_str(),
        "CPUArchitecture" => model.cpu_architecture.as_str(),
        "CertID" => 6_u64,
        "ChipID" => u64::from(model.chip_id),
        "ChipSerialNo" => data(&facts.ecid.to_be_bytes()),
        "DeviceClass" => model.device_class.as_str(),
        "DeviceColor" => "1",
        "DeviceName" => name,
        "DieID" => facts.die_id,
        "EthernetAddress" => facts.ethernet.as_str(),
        "FirmwareVersion" => format!("iBoot-{}", profile.build_version),
        "HardwareModel" => model.hardware_model.as_str(),
        "HardwarePlatform" => model.hardware_platform.as_str(),
        "HumanReadableProductVersionString" => profile.product_version.as_str(),
        "MLBSerialNumber" => facts.mlb_serial.as_str(),
        "ModelNumber" => model.model_number.as_str(),
        "PkHash" => data(&key_hash),
        "ProductName" => "iPhone OS",
        "ProductType" => model.product_type.as_str(),
        "ProductVersion" => profile.product_version.as_str(),
        "RegionInfo" => "LL/A",
        "SerialNumber" => facts.serial.as_str(),
        "SupportedDeviceFamilies" => Value::Array(vec![family.into()]),
        "UniqueChipID" => facts.ecid,
        "UniqueDeviceID" => udid.as_str(),
        "WiFiAddress" => facts.wifi.as_str(),
        "BluetoothAddress" => facts.bluetooth.as_str(),
    }
}

fn radio(facts: &Facts) -> Dictionary {
    let serial: Vec<u8> = facts.nonce.iter().copied().rev().take(4).collect();
    dict! {
        "BasebandCertId" => 2_u64,
        "BasebandChipID" => 0_u64,
        "BasebandKeyHashInformation" => dict! { "AKeyStatus" => 2_u64, "SKeyStatus" => 0_u64 },
        "BasebandSerialNumber" => data(&serial),
        "BasebandStatus" => "BBInfoAvailable",
        "BasebandVersion" => "1.00.00",
        "IntegratedCircuitCardIdentity" => facts.iccid.as_str(),
        "InternationalMobileEquipmentIdentity" => facts.imei.as_str(),
        "InternationalMobileEquipmentIdentity2" => facts.imei2.as_str(),
        "InternationalMobileSubscriberIdentity" => facts.imsi.as_str(),
        "MobileEquipmentIdentifier" => facts.meid.as_str(),
        "MobileSubscriberCountryCode" => "001",
        "MobileSubscriberNetworkCode" => "01",
        "PhoneNumber" => facts.phone_number.as_str(),
        "SIMStatus" => "kCTSIMSupportSIMStatusReady",
        "SIMTrayStatus" => "kCTSIMSupportSIMTrayInsertedWithSIM",
        "TelephonyCapability" => true,
        "kCTPostponementInfoPRLName" => 0_u64,
        "kCTPostponementInfoServiceProvisioningState" => false,
        "kCTPostponementStatus" => "kCTPostponementStatusReady",
    }
}

/// All other domains.
pub(super) fn domains(profile: &Profile) -> BTreeMap<String, Dictionary> {
    let mut domains: BTreeMap<String, Dictionary> = [
        (
            super::BACKUP,
            dict! { "RequiresEncryption" => false, "CloudBackupEnabled" => false },
        ),
        ("com.apple.mobile.iTunes", itunes()),
        (
            "com.apple.iTunes",
            dict! { "LibraryApplications" => Value::Array(Vec::new()) },
        ),
        (super::DISK_USAGE, dict! { "AmountDataReserved" => 209_715_200_u64 }),
        ("com.apple.mobile.battery", battery()),
        ("com.apple.international", international()),
        (
            "com.apple.mobile.wireless_lockdown",
            dict! {
                "EnableWifiConnections" => false,
                "EnableWifiDebugging" => false,
                "SupportsWifi" => true,
                "SupportsWifiSyncing" => true,
            },
        ),
        ("com.apple.mobile.data_sync", Dictionary::new()),
        ("com.apple.mobile.tethered_sync", Dictionary::new()),
        (
            "com.apple.mobile.sync_data_class",
            dict! { "DeviceHandlesDefaultCalendar" => true, "DeviceSupportsClearingData" => true },
        ),
        ("com.apple.fmip", dict! { "IsAssociated" => false }),
        (
            "com.apple.purplebuddy",
            dict! { "SetupDone" => true, "SetupState" => "SetupUsingAssistant" },
        ),
        (
            "com.apple.PurpleBuddy",
            dict! { "SetupDone" => true, "SetupState" => "SetupUsingAssistant" },
        ),
        (
            "com.apple.mobile.restriction",
            dict! { "ProhibitAppInstall" => false, "ProhibitAppDelete" => false },
        ),
        ("com.apple.mobile.chaperone", dict! { "DeviceIsChaperoned" => false }),
        (
            "com.apple.Accessibility",
            dict! {
                "AssistiveTouchEnabledByiTunes" => 0_u64,
                "VoiceOverTouchEnabledByiTunes" => 0_u64,
                "InvertDisplayEnabledByiTunes" => 0_u64,
                "ZoomTouchEnabledByiTunes" => 0_u64,
            },
        ),
        ("com.apple.mobile.lockdownd", dict! { "ProtocolVersion" => "2" }),
        (
            "com.apple.mobile.user_preferences",
            dict! { "DiagnosticsAllowed" => false },
        ),
    ]
    .into_iter()
    .map(|(name, dict)| (name.to_owned(), dict))
    .collect();
    if profile.version() >= (16, 0) {
        domains.insert(
            "com.apple.security.mac.amfi".to_owned(),
            dict! { "DeveloperModeStatus" => false },
        );
    }
    domains
}

fn itunes() -> Dictionary {
    dict! {
        "MinITunesVersion" => "12.8.0",
        "MinMacOSVersion" => "10.11.6",
        "SyncDataClasses" => texts(&["Contacts", "Calendars", "Bookmarks", "Mail Accounts", "Notes"]),
        "AppleDRMVersion" => dict! { "Format" => 4_u64, "Maximum" => 100_u64, "Minimum" => 4_u64 },
        "iTunesSetupComplete" => true,
        "PhoneSettings" => false,
        "SupportsFullSyncBackup" => true,
    }
}

fn battery() -> Dictionary {
    dict! {
        "BatteryCurrentCapacity" => 80_u64,
        "BatteryIsCharging" => true,
        "ExternalChargeCapable" => true,
        "ExternalConnected" => true,
        "FullyCharged" => false,
        "GasGaugeCapability" => true,
        "HasBattery" => true,
    }
}

fn international() -> Dictionary {
    dict! {
        "Keyboard" => "en_US",
        "Language" => "en",
        "Locale" => "en_US",
        "SupportedKeyboards" => texts(&["de_DE", "en_GB", "en_US", "fr_FR"]),
        "SupportedLanguages" => texts(&["de", "en", "en-GB", "fr", "ja"]),
        "SupportedLocales" => texts(&["de_DE", "en_GB", "en_US", "fr_FR", "ja_JP"]),
    }
}
