//! The values lockdown tells and lets be set. Spec: lockdown, section 4.
//!
//! A host may set, in a session: `DeviceName`, `TimeIntervalSince1970`, `TimeZone` and `Uses24HourClock` of the default
//! domain, and everything of `com.apple.international`, `com.apple.Accessibility`,
//! `com.apple.mobile.wireless_lockdown` and `com.apple.mobile.tethered_sync`; without one only `UntrustedHostBUID`.
//! Everything else is answered with `ImmutableValue` where it exists and with `SetProhibited` where it does not.

mod facts;
mod tables;

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use cabled_lockdown::msg::LockdownError;
use cabled_wire::ids::Udid;
use cabled_wire::plist::{self, Dictionary, Value};

pub(crate) use facts::Facts;

use crate::phone::{Phone, locked};
use crate::profile::Profile;

/// Domain of the backup settings.
pub(crate) const BACKUP: &str = "com.apple.mobile.backup";
const DISK_USAGE: &str = "com.apple.disk_usage";

/// The largest value a host may set, in bytes of binary plist.
const MAX_VALUE: usize = 64 << 10;
/// Keys a host may bring one domain to.
const MAX_KEYS: usize = 512;
/// Bytes of a text a host may set in the default domain.
const MAX_TEXT: usize = 255;

/// All values of one phone.
#[derive(Debug)]
pub(crate) struct Values {
    default: Dictionary,
    domains: BTreeMap<String, Dictionary>,
    /// Seconds the phone's clock is ahead of ours.
    clock_ahead: f64,
}

impl Values {
    pub(crate) fn new(profile: &Profile, facts: &Facts, udid: &Udid, name: Option<String>) -> Self {
        let name = name.unwrap_or_else(|| format!("Virtual {}", profile.model.marketing_name));
        Self {
            default: tables::default_domain(profile, facts, udid, &name),
            domains: tables::domains(profile),
            clock_ahead: 0.0,
        }
    }

    fn domain(&self, domain: Option<&str>) -> Option<&Dictionary> {
        match domain {
            None => Some(&self.default),
            Some(name) => self.domains.get(name),
        }
    }
}

fn host_clock() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |now| now.as_secs_f64())
}

/// A value as a session reads it.
pub(crate) fn read(phone: &Phone, domain: Option<&str>, key: &str) -> Option<Value> {
    if let Some(value) = computed(phone, domain, key) {
        return Some(value);
    }
    locked(&phone.inner().values).domain(domain)?.get(key).cloned()
}

/// A whole domain; empty where there is none.
pub(crate) fn read_domain(phone: &Phone, domain: Option<&str>) -> Dictionary {
    let mut dict = locked(&phone.inner().values)
        .domain(domain)
        .cloned()
        .unwrap_or_default();
    let keys: &[&str] = match domain {
        None => &["TimeIntervalSince1970", "PasswordProtected"],
        Some(DISK_USAGE) => &[
            "TotalDiskCapacity",
            "TotalDataCapacity",
            "TotalDataAvailable",
            "AmountDataAvailable",
            "TotalSystemCapacity",
        ],
        Some(BACKUP) => &["WillEncrypt"],
        Some(_) => &[],
    };
    for key in keys {
        if let Some(value) = computed(phone, domain, key) {
            dict.insert((*key).to_owned(), value);
        }
    }
    dict
}

/// Values that are not kept but follow from the phone's state.
fn computed(phone: &Phone, domain: Option<&str>, key: &str) -> Option<Value> {
    match (domain, key) {
        (None, "TimeIntervalSince1970") => {
            let ahead = locked(&phone.inner().values).clock_ahead;
            Some(Value::Real(host_clock() + ahead))
        }
        (None, "PasswordProtected") => Some(phone.is_locked().into()),
        (Some(BACKUP), "WillEncrypt") => Some(phone.backup_state().is_encrypted().into()),
        (Some(DISK_USAGE), "TotalDiskCapacity" | "TotalDataCapacity") => Some(phone.fs().total_bytes().into()),
        (Some(DISK_USAGE), "TotalDataAvailable" | "AmountDataAvailable") => Some(phone.fs().free_bytes().into()),
        (Some(DISK_USAGE), "TotalSystemCapacity") => Some(0_u64.into()),
        _ => None,
    }
}

/// Sets or removes a value and posts what belongs to it.
pub(crate) fn write(phone: &Phone, domain: Option<&str>, key: &str, value: Option<Value>) {
    {
        let mut values = locked(&phone.inner().values);
        if domain.is_none() && key == "TimeIntervalSince1970" {
            let set = value
                .as_ref()
                .and_then(plist::as_real)
                .filter(|seconds| seconds.is_finite());
            values.clock_ahead = set.map_or(0.0, |seconds| seconds - host_clock());
            return;
        }
        let dict = match domain {
            None => &mut values.default,
            Some(name) => values.domains.entry(name.to_owned()).or_default(),
        };
        match value {
            Some(value) => dict.insert(key.to_owned(), value),
            None => dict.remove(key),
        };
    }
    if let Some(notification) = notification(domain, key) {
        phone.notify(notification);
    }
}

fn notification(domain: Option<&str>, key: &str) -> Option<&'static str> {
    match (domain, key) {
        (None, "DeviceName") => Some("com.apple.mobile.lockdown.device_name_changed"),
        (None, "TimeZone") => Some("com.apple.mobile.lockdown.timezone_changed"),
        (None, "PhoneNumber") => Some("com.apple.mobile.lockdown.phone_number_changed"),
        (None, "ActivationState") => Some("com.apple.mobile.lockdown.activation_state"),
        (Some(BACKUP), _) => Some("com.apple.mobile.backup.domain_changed"),
        (Some("com.apple.mobile.data_sync" | "com.apple.mobile.tethered_sync"), _) => {
            Some("com.apple.mobile.data_sync.domain_changed")
        }
        (Some("com.apple.international"), "Language") => Some("com.apple.language.changed"),
        _ => None,
    }
}

/// Whether a host may set this value, in a session or not.
pub(crate) fn may_set(
    phone: &Phone,
    domain: Option<&str>,
    key: &str,
    value: &Value,
    in_session: bool,
) -> Result<(), LockdownError> {
    let text = |value: &Value| {
        value
            .as_string()
            .is_some_and(|text| !text.is_empty() && text.len() <= MAX_TEXT)
    };
    let fits = match (domain, key) {
        (None, "UntrustedHostBUID") => text(value),
        _ if !in_session => return Err(LockdownError::SessionInactive),
        (None, "DeviceName" | "TimeZone") => text(value),
        (None, "Uses24HourClock") => value.as_boolean().is_some(),
        (None, "TimeIntervalSince1970") => plist::as_real(value).is_some_and(f64::is_finite),
        (Some(name), _) if tables::HOSTS_MAY_SET.contains(&name) => plist::to_binary(value).len() <= MAX_VALUE,
        _ if read(phone, domain, key).is_some() => return Err(LockdownError::ImmutableValue),
        _ => false,
    };
    let values = locked(&phone.inner().values);
    let new_key = values.domain(domain).is_none_or(|dict| !dict.contains_key(key));
    let full = values.domain(domain).is_some_and(|dict| dict.len() >= MAX_KEYS);
    if fits && key.len() <= MAX_TEXT && !(new_key && full) {
        Ok(())
    } else {
        Err(LockdownError::SetProhibited)
    }
}

/// Whether a host may remove this value.
pub(crate) fn may_remove(phone: &Phone, domain: Option<&str>, key: &str) -> Result<(), LockdownError> {
    if read(phone, domain, key).is_none() {
        return Err(LockdownError::MissingValue);
    }
    match domain {
        Some(name) if tables::HOSTS_MAY_SET.contains(&name) => Ok(()),
        _ => Err(LockdownError::RemoveProhibited),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;

    fn phone() -> Phone {
        Phone::builder()
            .profile(Profile::ios_16_7())
            .seed(5)
            .empty()
            .capacity(1 << 40)
            .build()
            .unwrap()
    }

    #[test]
    fn every_value_an_info_plist_wants_is_there() {
        let phone = phone();
        for key in [
            "BuildVersion",
            "DeviceName",
            "IntegratedCircuitCardIdentity",
            "InternationalMobileEquipmentIdentity",
            "MobileEquipmentIdentifier",
            "PhoneNumber",
            "ProductType",
            "ProductVersion",
            "SerialNumber",
            "UniqueDeviceID",
        ] {
            assert!(
                phone
                    .value(None, key)
                    .and_then(Value::into_string)
                    .is_some_and(|v| !v.is_empty()),
                "{key}"
            );
        }
        assert!(
            phone
                .value(Some("com.apple.mobile.iTunes"), "MinITunesVersion")
                .is_some()
        );
        assert!(!phone.domain(Some("com.apple.iTunes")).is_empty());
        assert!(phone.domain(None).get("UniqueDeviceID").is_some());
    }

    #[test]
    fn computed_values_follow_the_phone() {
        let phone = phone();
        let total = phone.value(Some(DISK_USAGE), "TotalDiskCapacity");
        assert_eq!(total.and_then(|v| v.as_unsigned_integer()), Some(1 << 40));
        assert_eq!(
            phone.domain(Some(BACKUP)).get("WillEncrypt"),
            Some(&Value::Boolean(false))
        );
        phone.set_passcode(true);
        phone.lock();
        assert_eq!(phone.domain(None).get("PasswordProtected"), Some(&Value::Boolean(true)));
        phone.set_find_my(true);
        assert!(phone.find_my());
        phone.set_setup_done(false);
        assert!(!phone.setup_done());
    }

    #[test]
    fn hosts_cannot_fill_the_phone_with_values() {
        let phone = phone();
        let domain = Some("com.apple.Accessibility");
        assert!(may_set(&phone, domain, "Small", &Value::from(1_u64), true).is_ok());
        let large = Value::Data(vec![0; MAX_VALUE + 1]);
        assert_eq!(
            may_set(&phone, domain, "Large", &large, true),
            Err(LockdownError::SetProhibited)
        );
        let long = "k".repeat(MAX_TEXT + 1);
        assert_eq!(
            may_set(&phone, domain, &long, &Value::from(1_u64), true),
            Err(LockdownError::SetProhibited)
        );
        for n in 0..MAX_KEYS {
            phone.set_value(domain, &n.to_string(), true);
        }
        assert_eq!(
            may_set(&phone, domain, "One more", &Value::from(1_u64), true),
            Err(LockdownError::SetProhibited)
        );
        assert!(
            may_set(&phone, domain, "7", &Value::from(1_u64), true).is_ok(),
            "a key that is there may change"
        );
    }
}
