//! What one generation of phones does differently: a [`Profile`] is a bag of documented quirks.
//!
//! Every statement that the protocol notes mark as unverified is a field here, with a default and a setter, so that a
//! host can be tested against either behaviour.

mod generations;

use std::time::Duration;

use crate::service::afc::AfcQuirks;

/// One GiB in bytes.
pub const GIB: u64 = 1 << 30;

/// How a device spells its UDID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UdidStyle {
    /// 40 lower-case hexadecimal digits: everything before the A12 chip.
    Hex40,
    /// `00008020-` and 16 upper-case digits, chip id and exclusive chip id: A12 and later.
    ChipAndEcid,
}

/// Facts of the hardware, as lockdown tells them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Model {
    /// `ProductType`, such as `iPhone15,2`.
    pub product_type: String,
    /// What people call it, such as `iPhone 14 Pro`.
    pub marketing_name: String,
    /// `HardwareModel`, the board, such as `D73AP`.
    pub hardware_model: String,
    /// `DeviceClass`: `iPhone` or `iPad`. Daemons hide a device with none.
    pub device_class: String,
    /// `CPUArchitecture`, such as `arm64e`.
    pub cpu_architecture: String,
    /// `HardwarePlatform`, such as `t8120`.
    pub hardware_platform: String,
    /// `ChipID`.
    pub chip_id: u32,
    /// `BoardId`.
    pub board_id: u32,
    /// `ModelNumber`, without the region.
    pub model_number: String,
    /// How the UDID is spelled.
    pub udid_style: UdidStyle,
}

/// Which TLS versions the device offers in sessions and services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsVersions {
    /// TLS 1.2 alone.
    Tls12,
    /// TLS 1.2 and 1.3.
    Tls12And13,
    /// TLS 1.3 alone; no device is known to do this, clients can be tested with it.
    Tls13,
}

/// The encoding of a device's property-list answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlistFormat {
    /// XML, with the five bytes `<?xml` first.
    Xml,
    /// `bplist00`.
    Binary,
}

/// When the device wants its passcode typed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PasscodePrompt {
    /// Never asked.
    Never,
    /// Asked when the phone has a passcode.
    WhenSet,
}

/// What the device does with the `Snapshot` folder of an interrupted run. Open question 4 of the notes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeftoverSnapshot {
    /// Removes it and starts over.
    StartOver,
    /// Keeps what it finds there and sends the rest.
    Resume,
}

/// How the device reckons whether the host has room. Spec mobilebackup2 4.3 and 4.4.
///
/// `need = bytes to send + headroom`; the run goes on if the host reports more than that. Otherwise the device asks the
/// host to free `need - reported + extra` bytes if [`asks`](Self::asks) is set, and ends with 105 if nothing is gained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PurgeRule {
    /// Bytes wanted beyond those to send: 128 MiB.
    pub headroom: u64,
    /// Bytes added to the amount on the wire: 2 GiB on iOS 26, none in a log of 2022.
    pub extra: u64,
    /// The urgency level: 4.
    pub urgency: u64,
    /// Whether `DLMessagePurgeDiskSpace` is sent at all. Devices were seen to send it from iOS 14 on; it is off below
    /// iOS 18 here, since libimobiledevice 1.3.0 never answers it and hangs.
    pub asks: bool,
}

impl PurgeRule {
    /// The rule of the notes, with `extra` bytes on the wire.
    #[must_use]
    pub const fn new(extra: u64, asks: bool) -> Self {
        Self {
            headroom: 128 << 20,
            extra,
            urgency: 4,
            asks,
        }
    }

    /// Bytes the host must report more than, for `upload` bytes to send.
    #[must_use]
    pub const fn need(&self, upload: u64) -> u64 {
        upload.saturating_add(self.headroom)
    }

    /// Bytes the device asks the host to free, with `reported` bytes free.
    #[must_use]
    pub const fn amount(&self, upload: u64, reported: u64) -> u64 {
        self.need(upload).saturating_sub(reported).saturating_add(self.extra)
    }
}

/// Rounds of the two key derivations in the backup keybag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KdfRounds {
    /// `DPIC`: rounds of PBKDF2-HMAC-SHA256, done first.
    pub double: u32,
    /// `ITER`: rounds of PBKDF2-HMAC-SHA1.
    pub single: u32,
}

impl KdfRounds {
    /// What phones write: 10 million and 10 thousand rounds, seconds of work for every password.
    pub const REAL: Self = Self {
        double: 10_000_000,
        single: 10_000,
    };
    /// The default here, so that tests do not spend their time deriving keys: NOT what a phone writes.
    pub const QUICK: Self = Self {
        double: 50_000,
        single: 10_000,
    };

    /// Rounds of your own; a keybag with zero rounds is refused by readers.
    #[must_use]
    pub const fn new(double: u32, single: u32) -> Self {
        Self { double, single }
    }
}

/// The numbers in a final `Response`. Spec mobilebackup2 13.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrorCodes {
    /// 1: generic, and "Error copying keychain data" when the screen locks and no escrow bag came.
    pub generic: i64,
    /// 3: an earlier run left a snapshot.
    pub snapshot_exists: i64,
    /// 4: no such file or directory.
    pub not_found: i64,
    /// 22: forbidden by management; an underlying code.
    pub forbidden: i64,
    /// 102: restored data waits for a restart.
    pub restart_first: i64,
    /// 103: status or properties unreadable.
    pub properties: i64,
    /// 104: several files failed.
    pub files_failed: i64,
    /// 105: the host's disk is too full.
    pub disk_full: i64,
    /// 205: the backup is damaged or incomplete.
    pub invalid_backup: i64,
    /// 207: wrong backup password.
    pub invalid_password: i64,
    /// 208: the device is locked.
    pub device_locked: i64,
    /// 211: Find My must be off.
    pub find_my: i64,
    /// 212: the setup assistant is not finished.
    pub setup: i64,
}

impl Default for ErrorCodes {
    fn default() -> Self {
        Self {
            generic: 1,
            snapshot_exists: 3,
            not_found: 4,
            forbidden: 22,
            restart_first: 102,
            properties: 103,
            files_failed: 104,
            disk_full: 105,
            invalid_backup: 205,
            invalid_password: 207,
            device_locked: 208,
            find_my: 211,
            setup: 212,
        }
    }
}

macro_rules! profile {
    ($($(#[$doc:meta])* $field:ident, $with:ident: $type:ty;)*) => {
        /// Everything one generation of phones does in its own way.
        ///
        /// Begin with a constructor ([`Profile::ios_17_7`], [`Profile::by_name`]) and change what you want to test:
        ///
        /// ```
        /// use cabled_virtualdevice::Profile;
        /// let profile = Profile::ios_17_7().with_device_link((500, 0)).with_enable_service_ssl(false);
        /// assert_eq!(profile.product_version, "17.7.2");
        /// ```
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub struct Profile {
            $($(#[$doc])* pub $field: $type,)*
        }

        impl Profile {
            $(
                #[doc = concat!("Sets [`", stringify!($field), "`](Self::", stringify!($field), ").")]
                #[must_use]
                pub fn $with(mut self, value: impl Into<$type>) -> Self {
                    self.$field = value.into();
                    self
                }
            )*
        }
    };
}

profile! {
    /// Short name, such as `17.7`; what [`Profile::by_name`] takes.
    name, with_name: String;
    /// The hardware.
    model, with_model: Model;
    /// `ProductVersion`. Below 10.0 libimobiledevice speaks TLS 1.0 only, which this phone does not.
    product_version, with_product_version: String;
    /// `BuildVersion`.
    build_version, with_build_version: String;

    // Pairing, sessions and services.

    /// TLS versions offered. Which versions accept TLS 1.3 is unverified; default: from iOS 14 on.
    tls, with_tls: TlsVersions;
    /// `EnableServiceSSL` of StartService over USB. Default: false (the key is absent) before iOS 13, true since.
    enable_service_ssl, with_enable_service_ssl: bool;
    /// Whether a clean end of a TLS stream is said with close_notify. Devices often do not; default true.
    sends_close_notify, with_sends_close_notify: bool;
    /// After StopSession: plain frames again on the same stream (true, default), or close.
    plain_after_stop_session, with_plain_after_stop_session: bool;
    /// Encoding of lockdown's answers. Default XML.
    lockdown_format, with_lockdown_format: PlistFormat;
    /// Encoding of the companion services' answers. Default XML; SpringBoard answers as it was asked.
    service_format, with_service_format: PlistFormat;
    /// Keys of the default domain readable before pairing. The exact set is unverified.
    unpaired_keys, with_unpaired_keys: Vec<String>;
    /// Error for any other key before pairing: `GetProhibited` by default (unverified).
    unpaired_error, with_unpaired_error: String;
    /// Refuse `WiFiAddress` while the trust dialogue shows, as iOS 7 did. Default false.
    hides_wifi_address_while_pairing, with_hides_wifi_address_while_pairing: bool;
    /// Drop a lockdown connection that has had no session for this long, as iOS 7 did after 30 s. Default none.
    drops_unpaired_after, with_drops_unpaired_after: Option<Duration>;
    /// A host that has been trusted once pairs again with other keys and no dialogue. What the answer is bound to is
    /// unverified; default true, as `idevicepair` and `usbmuxd` make new keys for every request.
    trust_follows_system_buid, with_trust_follows_system_buid: bool;
    /// Pair is refused with `InvalidPairRecord` if the device certificate holds another key than the phone's. Whether
    /// devices look at it is unverified; default true, since no session could come of it.
    checks_device_certificate, with_checks_device_certificate: bool;
    /// Whether Pair returns an EscrowBag. Default true; watches return none.
    returns_escrow_bag, with_returns_escrow_bag: bool;
    /// The error for requests that need an unlocked screen: `PasswordProtected` (default) or `DeviceLocked`.
    locked_error, with_locked_error: String;
    /// Services not started on a locked screen unless the pairing's EscrowBag comes along. Which ones is unverified;
    /// default: house_arrest, installation_proxy and mobilebackup2.
    locked_services, with_locked_services: Vec<String>;
    /// Whether an EscrowBag opens [`locked_services`](Self::locked_services) between restart and first unlock too.
    /// Default false: `EscrowLocked`.
    escrow_before_first_unlock, with_escrow_before_first_unlock: bool;
    /// How long a port handed out by StartService waits for its one connection. Default 60 s.
    service_port_lifetime, with_service_port_lifetime: Duration;
    /// Unpair is answered with `Request` `ValidatePair`, as some versions do. Default false.
    unpair_answers_validate_pair, with_unpair_answers_validate_pair: bool;
    /// StopSession's answer carries `Result` `Success`, on which pymobiledevice3 insists. Default true.
    stop_session_says_success, with_stop_session_says_success: bool;
    /// Interval the heartbeat service announces. Default 10 s.
    heartbeat_interval, with_heartbeat_interval: Duration;
    /// Over the network: services end after this long with no heartbeat. Default 15 s; notes say 10 to 20.
    heartbeat_grace, with_heartbeat_grace: Duration;
    /// MobileGestalt answers `MobileGestaltDeprecated` in diagnostics. Default from iOS 18 on.
    mobile_gestalt_deprecated, with_mobile_gestalt_deprecated: bool;
    /// Apps in one Browse chunk. Default 20.
    browse_chunk, with_browse_chunk: usize;
    /// How long the phone is gone during a restart. Default 300 ms; real ones need a minute.
    restart_time, with_restart_time: Duration;

    /// How AFC behaves at first; [`Phone::afc`](crate::Phone::afc) changes it at run time. Default: as documented there.
    afc, with_afc: AfcQuirks;

    // Backup and restore.

    /// DeviceLink major and minor: 300.0 up to iOS 13, 400.0 since.
    device_link, with_device_link: (u64, u64);
    /// Versions accepted in Hello. Default 2.0 and 2.1; the difference is unknown.
    protocol_versions, with_protocol_versions: Vec<f64>;
    /// Encoding of the DeviceLink frames. Default binary.
    device_link_format, with_device_link_format: PlistFormat;
    /// `Version` in Status.plist. `2.4` and `3.3` were seen; which release began with `3.3` is unverified.
    status_version, with_status_version: String;
    /// `Version` in Manifest.plist.
    manifest_version, with_manifest_version: String;
    /// `SystemDomainsVersion` in Manifest.plist. The value per release is unverified.
    system_domains_version, with_system_domains_version: String;
    /// Whether Manifest.db is encrypted in an encrypted backup. Since iOS 10.2.
    encrypts_manifest_db, with_encrypts_manifest_db: bool;
    /// Passcode wanted for every backup: iOS 15.7.1, and 16.1 and later.
    passcode_for_backup, with_passcode_for_backup: PasscodePrompt;
    /// Passcode wanted to change the backup password: iOS 13 and later.
    passcode_for_password_change, with_passcode_for_password_change: PasscodePrompt;
    /// How long the prompt waits before the run ends with 208. Default 180 s.
    passcode_timeout, with_passcode_timeout: Duration;
    /// Room wanted on the host.
    purge_rule, with_purge_rule: PurgeRule;
    /// Bytes added to the device's estimate of what it will send; some devices say terabytes. Default 0.
    upload_size_excess, with_upload_size_excess: u64;
    /// Whether the estimate counts every hard link at full size. Default true.
    counts_hard_links, with_counts_hard_links: bool;
    /// Payload bytes of one upload block. Default 256 KiB, the largest seen.
    upload_block, with_upload_block: usize;
    /// Bytes after which one upload batch ends. Default 50 MB, from a log.
    upload_batch, with_upload_batch: u64;
    /// Pairs in one MoveItems. Default 128, the most seen.
    moves_per_message, with_moves_per_message: usize;
    /// The largest block from the host the backup agent holds; a larger one gets it killed and the link ends. The
    /// exact size is unverified: 32 KiB is fine, 128 MiB kills. Default 64 MiB; `None` takes any.
    frame_memory_limit, with_frame_memory_limit: Option<u64>;
    /// Whether stale directories are listed at the start of an incremental run. Open question 14; default false.
    lists_at_start, with_lists_at_start: bool;
    /// Whether the stored directories are listed and compared at the end. Default true.
    lists_at_end, with_lists_at_end: bool;
    /// `IsFullBackup` true beside a good manifest makes the run full. Open question 13; default false.
    full_request_beats_manifest, with_full_request_beats_manifest: bool;
    /// What becomes of an interrupted run's `Snapshot`.
    leftover_snapshot, with_leftover_snapshot: LeftoverSnapshot;
    /// A negative status ends the run as cancelled. Open question 5; default true.
    status_cancels, with_status_cancels: bool;
    /// CopyItem carries an options dictionary before the progress value. Open question 6; default false.
    copy_item_has_options, with_copy_item_has_options: bool;
    /// A backup started on a locked screen with no escrow bag ends with 208 (true), or with 1 "Error copying keychain
    /// data" (false). Default true.
    locked_backup_says_208, with_locked_backup_says_208: bool;
    /// Info and List are answered. Worked up to iOS 9; later is unverified, default true.
    answers_info_and_list, with_answers_info_and_list: bool;
    /// Unback and Extract are carried out. Only up to iOS 9; default false.
    unback, with_unback: bool;
    /// Rounds of key derivation. Default [`KdfRounds::QUICK`], which no phone writes.
    kdf_rounds, with_kdf_rounds: KdfRounds;
    /// The numbers in a final Response.
    error_codes, with_error_codes: ErrorCodes;
}

impl Profile {
    /// `(major, minor)` of the product version; zero where it is not a number.
    #[must_use]
    pub fn version(&self) -> (u32, u32) {
        let mut parts = self.product_version.split('.').map(|part| part.parse().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    }

    /// All profiles, oldest first.
    #[must_use]
    pub fn all() -> Vec<Self> {
        vec![
            Self::ios_10_3(),
            Self::ios_12_5(),
            Self::ios_14_8(),
            Self::ios_16_7(),
            Self::ios_17_7(),
            Self::ios_18(),
            Self::ios_26(),
        ]
    }

    /// The profile of that name or product version: `17.7`, `17.7.2`, `18`, `ios26`.
    ///
    /// Names are matched whole, so `1` is none; use [`Profile::ios`] for the nearest.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        let lower = name.trim().to_ascii_lowercase();
        let wanted = lower
            .strip_prefix("ios")
            .unwrap_or(&lower)
            .trim_start_matches([' ', '-', '_']);
        let major_only = !wanted.is_empty() && !wanted.contains('.');
        Self::all().into_iter().find(|profile| {
            let same_major = major_only && profile.name.split('.').next() == Some(wanted);
            profile.name == wanted || profile.product_version == wanted || same_major
        })
    }

    /// The newest profile that is not newer than `major.minor`; the oldest one for anything older.
    #[must_use]
    pub fn ios(major: u32, minor: u32) -> Self {
        let mut best = Self::ios_10_3();
        for profile in Self::all() {
            if profile.version() <= (major, minor) {
                best = profile;
            }
        }
        best
    }
}

impl Default for Profile {
    /// iOS 17.7.
    fn default() -> Self {
        Self::ios_17_7()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_found_by_its_name_and_version() {
        for profile in Profile::all() {
            assert_eq!(Profile::by_name(&profile.name).as_ref(), Some(&profile));
            assert_eq!(Profile::by_name(&profile.product_version).as_ref(), Some(&profile));
            assert!(
                profile.version() >= (10, 0),
                "rustls cannot serve {}",
                profile.product_version
            );
        }
        assert_eq!(Profile::by_name("iOS 26").map(|p| p.name), Some("26".to_owned()));
        assert_eq!(Profile::by_name("1"), None);
        assert_eq!(Profile::by_name(""), None);
    }

    #[test]
    fn ios_picks_the_nearest_profile_at_or_below() {
        assert_eq!(Profile::ios(17, 7).name, "17.7");
        assert_eq!(Profile::ios(17, 0).name, "16.7");
        assert_eq!(Profile::ios(9, 3).name, "10.3");
        assert_eq!(Profile::ios(99, 0).name, "26");
    }

    #[test]
    fn purge_arithmetic_is_that_of_the_notes() {
        let rule = PurgeRule::new(2 << 30, true);
        assert_eq!(rule.need(1000), 1000 + 134_217_728);
        assert_eq!(rule.amount(1000, 500), 134_217_728 + 500 + 2_147_483_648);
        assert_eq!(rule.need(u64::MAX), u64::MAX);
    }

    #[test]
    fn device_link_numbers_changed_with_ios_14() {
        for profile in Profile::all() {
            let expected = if profile.version() < (14, 0) {
                (300, 0)
            } else {
                (400, 0)
            };
            assert_eq!(profile.device_link, expected, "{}", profile.name);
        }
    }
}
