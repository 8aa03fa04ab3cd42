//! The profiles themselves: one constructor per generation, each built on the one before it.

use std::time::Duration;

use crate::service::afc::AfcQuirks;

use super::{
    ErrorCodes, KdfRounds, LeftoverSnapshot, Model, PasscodePrompt, PlistFormat, Profile, PurgeRule, TlsVersions,
    UdidStyle,
};

/// Keys of the default domain that clients read before pairing.
const UNPAIRED_KEYS: &[&str] = &[
    "BasebandCertId",
    "BasebandKeyHashInformation",
    "BoardId",
    "BuildVersion",
    "CPUArchitecture",
    "ChipID",
    "DeviceClass",
    "DeviceColor",
    "DeviceName",
    "DevicePublicKey",
    "DieID",
    "HardwareModel",
    "HasSiDP",
    "PartitionType",
    "ProductName",
    "ProductType",
    "ProductVersion",
    "ProductionSOC",
    "ProtocolVersion",
    "SupportedDeviceFamilies",
    "TelephonyCapability",
    "TimeIntervalSince1970",
    "TimeZone",
    "TimeZoneOffsetFromUTC",
    "UniqueChipID",
    "UniqueDeviceID",
    "WiFiAddress",
];

const LOCKED_SERVICES: &[&str] = &[
    "com.apple.mobile.house_arrest",
    "com.apple.mobile.installation_proxy",
    "com.apple.mobilebackup2",
];

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|&item| item.to_owned()).collect()
}

/// `[product type, marketing name, board, architecture, platform, model number]`, then chip and board numbers.
fn iphone(names: [&str; 6], chip_id: u32, board_id: u32, udid_style: UdidStyle) -> Model {
    let [
        product_type,
        marketing_name,
        hardware_model,
        cpu_architecture,
        hardware_platform,
        model_number,
    ] = names.map(str::to_owned);
    Model {
        product_type,
        marketing_name,
        hardware_model,
        device_class: "iPhone".to_owned(),
        cpu_architecture,
        hardware_platform,
        chip_id,
        board_id,
        model_number,
        udid_style,
    }
}

impl Profile {
    /// iOS 10.3.3 on an iPhone 5s: no TLS on services over USB, DeviceLink 300, no prompts.
    #[must_use]
    pub fn ios_10_3() -> Self {
        Self {
            name: "10.3".to_owned(),
            model: iphone(
                ["iPhone6,1", "iPhone 5s", "N51AP", "arm64", "s5l8960x", "ME432"],
                0x8960,
                0,
                UdidStyle::Hex40,
            ),
            product_version: "10.3.3".to_owned(),
            build_version: "14G60".to_owned(),
            tls: TlsVersions::Tls12,
            enable_service_ssl: false,
            sends_close_notify: true,
            plain_after_stop_session: true,
            lockdown_format: PlistFormat::Xml,
            service_format: PlistFormat::Xml,
            unpaired_keys: strings(UNPAIRED_KEYS),
            unpaired_error: "GetProhibited".to_owned(),
            hides_wifi_address_while_pairing: false,
            drops_unpaired_after: None,
            trust_follows_system_buid: true,
            checks_device_certificate: true,
            returns_escrow_bag: true,
            locked_error: "PasswordProtected".to_owned(),
            locked_services: strings(LOCKED_SERVICES),
            escrow_before_first_unlock: false,
            service_port_lifetime: Duration::from_secs(60),
            unpair_answers_validate_pair: false,
            stop_session_says_success: true,
            heartbeat_interval: Duration::from_secs(10),
            heartbeat_grace: Duration::from_secs(15),
            mobile_gestalt_deprecated: false,
            afc: AfcQuirks::default(),
            browse_chunk: 20,
            restart_time: Duration::from_millis(300),
            device_link: (300, 0),
            protocol_versions: vec![2.0, 2.1],
            device_link_format: PlistFormat::Binary,
            status_version: "3.2".to_owned(),
            manifest_version: "10.0".to_owned(),
            system_domains_version: "24.0".to_owned(),
            encrypts_manifest_db: true,
            passcode_for_backup: PasscodePrompt::Never,
            passcode_for_password_change: PasscodePrompt::Never,
            passcode_timeout: Duration::from_secs(180),
            purge_rule: PurgeRule::new(0, false),
            upload_size_excess: 0,
            counts_hard_links: true,
            upload_block: 256 << 10,
            upload_batch: 50_000_000,
            moves_per_message: 128,
            frame_memory_limit: Some(64 << 20),
            lists_at_start: false,
            lists_at_end: true,
            full_request_beats_manifest: false,
            leftover_snapshot: LeftoverSnapshot::StartOver,
            status_cancels: true,
            copy_item_has_options: false,
            locked_backup_says_208: true,
            answers_info_and_list: true,
            unback: false,
            kdf_rounds: KdfRounds::QUICK,
            error_codes: ErrorCodes::default(),
        }
    }

    /// iOS 12.5.7 on an iPhone 6.
    #[must_use]
    pub fn ios_12_5() -> Self {
        Self {
            name: "12.5".to_owned(),
            model: iphone(
                ["iPhone7,2", "iPhone 6", "N61AP", "arm64", "t7000", "MG4F2"],
                0x7000,
                6,
                UdidStyle::Hex40,
            ),
            product_version: "12.5.7".to_owned(),
            build_version: "16H81".to_owned(),
            ..Self::ios_10_3()
        }
    }

    /// iOS 14.8.1 on an iPhone 8: DeviceLink 400, TLS on every service, passcode for password changes.
    #[must_use]
    pub fn ios_14_8() -> Self {
        Self {
            name: "14.8".to_owned(),
            model: iphone(
                ["iPhone10,1", "iPhone 8", "D20AP", "arm64", "t8015", "MQ6K2"],
                0x8015,
                2,
                UdidStyle::Hex40,
            ),
            product_version: "14.8.1".to_owned(),
            build_version: "18H107".to_owned(),
            tls: TlsVersions::Tls12And13,
            enable_service_ssl: true,
            device_link: (400, 0),
            passcode_for_password_change: PasscodePrompt::WhenSet,
            ..Self::ios_12_5()
        }
    }

    /// iOS 16.7.10 on an iPhone X: passcode for every backup.
    #[must_use]
    pub fn ios_16_7() -> Self {
        Self {
            name: "16.7".to_owned(),
            model: iphone(
                ["iPhone10,3", "iPhone X", "D22AP", "arm64", "t8015", "MQA52"],
                0x8015,
                6,
                UdidStyle::Hex40,
            ),
            product_version: "16.7.10".to_owned(),
            build_version: "20H350".to_owned(),
            status_version: "3.3".to_owned(),
            passcode_for_backup: PasscodePrompt::WhenSet,
            ..Self::ios_14_8()
        }
    }

    /// iOS 17.7.2 on an iPhone XR: the UDID with a hyphen.
    #[must_use]
    pub fn ios_17_7() -> Self {
        Self {
            name: "17.7".to_owned(),
            model: iphone(
                ["iPhone11,8", "iPhone XR", "N841AP", "arm64e", "t8020", "MT3K2"],
                0x8020,
                12,
                UdidStyle::ChipAndEcid,
            ),
            product_version: "17.7.2".to_owned(),
            build_version: "21H221".to_owned(),
            ..Self::ios_16_7()
        }
    }

    /// iOS 18.5 on an iPhone 15 Pro: asks the host to free space, MobileGestalt is gone.
    #[must_use]
    pub fn ios_18() -> Self {
        Self {
            name: "18".to_owned(),
            model: iphone(
                ["iPhone16,1", "iPhone 15 Pro", "D83AP", "arm64e", "t8130", "MTQP3"],
                0x8130,
                4,
                UdidStyle::ChipAndEcid,
            ),
            product_version: "18.5".to_owned(),
            build_version: "22F76".to_owned(),
            mobile_gestalt_deprecated: true,
            purge_rule: PurgeRule::new(0, true),
            ..Self::ios_17_7()
        }
    }

    /// iOS 26.0.1 on an iPhone 17: the purge amount has 2 GiB on top.
    #[must_use]
    pub fn ios_26() -> Self {
        Self {
            name: "26".to_owned(),
            model: iphone(
                ["iPhone18,3", "iPhone 17", "V57AP", "arm64e", "t8150", "MG6J4"],
                0x8150,
                8,
                UdidStyle::ChipAndEcid,
            ),
            product_version: "26.0.1".to_owned(),
            build_version: "23A355".to_owned(),
            purge_rule: PurgeRule::new(2 << 30, true),
            ..Self::ios_18()
        }
    }
}
