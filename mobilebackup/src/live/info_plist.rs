//! `Info.plist`: what the host writes beside a backup. Spec 10.
//!
//! Whatever a companion service does not give is left out with a notice; the backup goes on.

use std::time::SystemTime;

use cabled_afc::Afc;
use cabled_lockdown::services::installation_proxy::{self, InstallationProxy};
use cabled_lockdown::services::springboard::{self, SpringBoard};
use cabled_lockdown::{Escrow, Paired};
use cabled_wire::plist::{self, Date, DictExt, Dictionary, Value};

use super::models;
use super::progress::Notice;

/// Files below `/iTunes_Control/iTunes/` that travel inside Info.plist.
const ITUNES_FILES: [&str; 11] = [
    "ApertureAlbumPrefs",
    "IC-Info.sidb",
    "IC-Info.sidv",
    "PhotosFolderAlbums",
    "PhotosFolderName",
    "PhotosFolderPrefs",
    "VoiceMemos.plist",
    "iPhotoAlbumPrefs",
    "iTunesApplicationIDs",
    "iTunesPrefs",
    "iTunesPrefs.plist",
];
/// Lockdown values that go in as they are: our key, lockdown's key. Missing ones are left out.
const VALUES: [(&str, &str); 10] = [
    ("Build Version", "BuildVersion"),
    ("Device Name", "DeviceName"),
    ("Display Name", "DeviceName"),
    ("ICCID", "IntegratedCircuitCardIdentity"),
    ("IMEI", "InternationalMobileEquipmentIdentity"),
    ("IMEI2", "InternationalMobileEquipmentIdentity2"),
    ("MEID", "MobileEquipmentIdentifier"),
    ("Phone Number", "PhoneNumber"),
    ("Product Version", "ProductVersion"),
    ("Serial Number", "SerialNumber"),
];
/// The largest file that is taken over AFC.
const MAX_FILE: u64 = 4 << 20;
/// The largest icon; they are some tens of kilobytes.
const MAX_ICON: usize = 1 << 20;
/// What icons, receipts and metadata of all apps may come to; 11 MB were seen.
const MAX_APPS: usize = 32 << 20;

/// What the device says of itself.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) values: Dictionary,
    pub(super) itunes: Dictionary,
    pub(super) min_itunes: Option<String>,
}

impl Facts {
    /// One session for all three questions.
    pub(super) async fn ask(paired: &Paired) -> Result<Self, cabled_lockdown::Error> {
        let mut session = paired.session().await?;
        let facts = async {
            let values = session
                .get_value(None, None)
                .await?
                .and_then(Value::into_dictionary)
                .unwrap_or_default();
            let itunes = session.get_value(Some("com.apple.iTunes"), None).await?;
            let min_itunes = session
                .get_value(Some("com.apple.mobile.iTunes"), Some("MinITunesVersion"))
                .await?;
            Ok(Self {
                values,
                itunes: itunes.and_then(Value::into_dictionary).unwrap_or_default(),
                min_itunes: min_itunes.and_then(Value::into_string),
            })
        }
        .await;
        session.stop().await;
        facts
    }
}

/// Everything that goes into the file, and what could not be had.
pub(super) async fn gather(paired: &Paired, afc: &Afc, udid: &str, facts: &Facts) -> (Vec<u8>, Vec<Notice>) {
    let mut notices = Vec::new();
    let mut info = basics(udid, facts, SystemTime::now());
    let (applications, installed) = apps(paired, &mut notices).await;
    info.insert("Applications".to_owned(), Value::Dictionary(applications));
    info.insert("Installed Applications".to_owned(), Value::Array(installed));
    info.insert(
        "iTunes Files".to_owned(),
        Value::Dictionary(itunes_files(afc, &mut notices).await),
    );
    if let Some(books) = file(afc, "/Books/iBooksData2.plist", "iBooks Data 2", &mut notices).await {
        info.insert("iBooks Data 2".to_owned(), Value::Data(books));
    }
    (plist::to_xml(&Value::Dictionary(info)), notices)
}

fn basics(udid: &str, facts: &Facts, now: SystemTime) -> Dictionary {
    let mut info = Dictionary::new();
    let mut put = |key: &str, value: Value| info.insert(key.to_owned(), value);
    for (key, name) in VALUES {
        // Only text: a phone without a number has something else there.
        if let Some(text) = facts.values.get(name).and_then(Value::as_string) {
            put(key, text.into());
        }
    }
    if let Some(product) = facts.values.get("ProductType").and_then(Value::as_string) {
        put("Product Type", product.into());
        if let Some(name) = models::marketing_name(product) {
            put("Product Name", name.into());
        }
    }
    put("GUID", uuid::Uuid::new_v4().simple().to_string().to_uppercase().into());
    put("Last Backup Date", Value::Date(Date::from(now)));
    put("Target Identifier", udid.into());
    put("Target Type", "Device".into());
    put("Unique Identifier", udid.to_uppercase().into());
    let settings = Value::Dictionary(facts.itunes.clone());
    if plist::to_xml(&settings).is_empty() {
        // Something in it cannot be said in XML; with it nothing could be written at all.
        put("iTunes Settings", Value::Dictionary(Dictionary::new()));
    } else {
        put("iTunes Settings", settings);
    }
    put("iTunes Version", facts.min_itunes.as_deref().unwrap_or("10.0.1").into());
    info
}

/// Apps with receipt and metadata, which a restore installs again, and the ids of all user apps.
async fn apps(paired: &Paired, notices: &mut Vec<Notice>) -> (Dictionary, Vec<Value>) {
    let (mut applications, mut installed, mut total) = (Dictionary::new(), Vec::new(), 0_usize);
    let mut lack = |part, reason: String| notices.push(Notice::InfoPlist { part, reason });
    let mut proxy = match paired.start_service(installation_proxy::SERVICE, Escrow::Never).await {
        Ok(stream) => InstallationProxy::new(stream),
        Err(error) => {
            lack("Applications", error.to_string());
            return (applications, installed);
        }
    };
    let attributes = ["CFBundleIdentifier", "ApplicationSINF", "iTunesMetadata"];
    let listed = async {
        let mut browse = proxy.browse("User", &attributes).await?;
        while let Some(chunk) = browse.next().await? {
            for app in chunk {
                let Ok(id) = app.text("CFBundleIdentifier") else {
                    continue;
                };
                total = total.saturating_add(id.len());
                if total > MAX_APPS {
                    continue;
                }
                installed.push(Value::from(id));
                let (Ok(sinf), Ok(metadata)) = (app.data("ApplicationSINF"), app.data("iTunesMetadata")) else {
                    continue;
                };
                total = total.saturating_add(sinf.len()).saturating_add(metadata.len());
                if total > MAX_APPS {
                    continue;
                }
                let mut entry = Dictionary::new();
                entry.insert("ApplicationSINF".to_owned(), Value::Data(sinf.to_vec()));
                entry.insert("iTunesMetadata".to_owned(), Value::Data(metadata.to_vec()));
                applications.insert(id.to_owned(), Value::Dictionary(entry));
            }
        }
        Ok::<(), cabled_lockdown::services::ServiceError>(())
    }
    .await;
    if let Err(error) = listed {
        lack("Applications", error.to_string());
    }
    if total > MAX_APPS {
        lack(
            "Applications",
            format!("names, receipts and metadata are more than {MAX_APPS} bytes"),
        );
    }
    if !applications.is_empty() {
        icons(paired, &mut applications, total, &mut lack).await;
    }
    (applications, installed)
}

async fn icons(paired: &Paired, apps: &mut Dictionary, mut total: usize, lack: &mut impl FnMut(&'static str, String)) {
    let mut springboard = match paired.start_service(springboard::SERVICE, Escrow::Never).await {
        Ok(stream) => SpringBoard::new(stream),
        Err(error) => return lack("PlaceholderIcon", error.to_string()),
    };
    let ids: Vec<String> = apps.keys().cloned().collect();
    let mut failures = 0_u32;
    for id in ids {
        match springboard.icon_png(&id).await {
            Ok(icon) if icon.len() <= MAX_ICON && total.saturating_add(icon.len()) <= MAX_APPS => {
                total = total.saturating_add(icon.len());
                if let Some(Value::Dictionary(entry)) = apps.get_mut(&id) {
                    entry.insert("PlaceholderIcon".to_owned(), Value::Data(icon));
                }
            }
            Ok(_) => lack("PlaceholderIcon", format!("the icon of {id} is too large")),
            Err(error) => {
                lack("PlaceholderIcon", error.to_string());
                failures = failures.saturating_add(1);
                // The service answers none any more; do not wait for each of hundreds.
                if failures >= 3 {
                    return;
                }
            }
        }
    }
}

async fn itunes_files(afc: &Afc, notices: &mut Vec<Notice>) -> Dictionary {
    let mut files = Dictionary::new();
    for name in ITUNES_FILES {
        if let Some(data) = file(afc, &format!("/iTunes_Control/iTunes/{name}"), "iTunes Files", notices).await {
            files.insert(name.to_owned(), Value::Data(data));
        }
    }
    files
}

async fn file(afc: &Afc, path: &str, part: &'static str, notices: &mut Vec<Notice>) -> Option<Vec<u8>> {
    match afc.read_file(path, MAX_FILE).await {
        Ok(data) => Some(data.to_vec()),
        Err(error) if error.is_not_found() => None,
        Err(error) => {
            notices.push(Notice::InfoPlist {
                part,
                reason: error.to_string(),
            });
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cabled_wire::dict;

    #[test]
    fn missing_values_are_left_out_and_types_are_those_of_apple() {
        let facts = Facts {
            values: dict! {
                "DeviceName" => "Anna's iPhone", "ProductType" => "iPhone14,5", "ProductVersion" => "17.7",
                "SerialNumber" => "F2LX", "BuildVersion" => "21H16", "PhoneNumber" => 5,
            },
            itunes: Dictionary::new(),
            min_itunes: None,
        };
        let udid = "00008030-001a2b3c4d5e6f70";
        let info = basics(udid, &facts, SystemTime::UNIX_EPOCH);
        assert_eq!(info.text("Display Name"), Ok("Anna's iPhone"));
        assert_eq!(info.text("Product Name"), Ok("iPhone 13"));
        assert_eq!(info.text("Target Identifier"), Ok(udid));
        assert_eq!(info.text("Unique Identifier"), Ok("00008030-001A2B3C4D5E6F70"));
        assert_eq!(info.text("iTunes Version"), Ok("10.0.1"));
        assert!(matches!(info.get("Last Backup Date"), Some(Value::Date(_))));
        let guid = info.text("GUID").unwrap();
        assert!(
            guid.len() == 32 && guid.chars().all(|c| c.is_ascii_digit() || c.is_ascii_uppercase()),
            "{guid}"
        );
        for absent in ["MEID", "IMEI", "ICCID", "Phone Number"] {
            assert!(!info.contains_key(absent), "{absent}");
        }
    }

    #[test]
    fn settings_that_xml_cannot_say_do_not_empty_the_file() {
        let facts = Facts {
            values: dict! { "DeviceName" => "Anna's iPhone" },
            itunes: dict! { "Odd" => Value::Uid(cabled_wire::plist::Uid::new(1)) },
            min_itunes: None,
        };
        let info = basics("udid", &facts, SystemTime::UNIX_EPOCH);
        let bytes = plist::to_xml(&Value::Dictionary(info));
        let info = plist::read_dict(&bytes, &plist::Limits::default()).unwrap();
        assert_eq!(info.text("Device Name"), Ok("Anna's iPhone"));
    }
}
