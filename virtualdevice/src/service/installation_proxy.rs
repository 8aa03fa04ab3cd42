//! `com.apple.mobile.installation_proxy`: which apps are there. Spec: lockdown, section 12.2.

use cabled_lockdown::services::installation_proxy::{Command, Reply};
use cabled_wire::WireError;
use cabled_wire::dict;
use cabled_wire::io::BoxStream;
use cabled_wire::plist::{DictExt, Dictionary, Value};

use super::{IDLE, ServeError, read_message, write_message};
use crate::contents::App;
use crate::phone::Phone;

/// The service's name.
pub const NAME: &str = "com.apple.mobile.installation_proxy";

/// Attributes told only when they are asked for by name.
const ON_DEMAND: &[&str] = &[
    "ApplicationSINF",
    "iTunesMetadata",
    "iTunesArtwork",
    "StaticDiskUsage",
    "DynamicDiskUsage",
];

/// Apps of the system: bundle id and name. They are in no backup's application list.
pub(super) const SYSTEM_APPS: &[(&str, &str)] = &[
    ("com.apple.mobilephone", "Phone"),
    ("com.apple.mobilesafari", "Safari"),
    ("com.apple.MobileSMS", "Messages"),
    ("com.apple.Music", "Music"),
    ("com.apple.camera", "Camera"),
    ("com.apple.mobileslideshow", "Photos"),
    ("com.apple.mobilenotes", "Notes"),
    ("com.apple.mobilecal", "Calendar"),
    ("com.apple.MobileAddressBook", "Contacts"),
    ("com.apple.Preferences", "Settings"),
];

/// Serves one connection.
pub(super) async fn serve(phone: Phone, mut stream: BoxStream) -> Result<(), ServeError> {
    loop {
        let command: Command = read_message(&mut stream, IDLE).await?;
        let (name, detail) = describe(&command);
        phone.log().record(NAME, &name, detail);
        for reply in answer(&phone, &command) {
            write_message(&phone, &mut stream, &reply).await?;
        }
    }
}

fn describe(command: &Command) -> (String, String) {
    let kind = |options: &Option<Dictionary>| {
        let text = options
            .as_ref()
            .and_then(|o| o.get("ApplicationType"))
            .and_then(Value::as_string);
        text.unwrap_or_default().to_owned()
    };
    match command {
        Command::Browse { options } => ("Browse".to_owned(), kind(options)),
        Command::Lookup { options } => ("Lookup".to_owned(), kind(options)),
        Command::Install {
            upgrade, package_path, ..
        } => (
            if *upgrade { "Upgrade" } else { "Install" }.to_owned(),
            package_path.clone(),
        ),
        Command::OnApplication { command, bundle_id, .. } => (command.clone(), bundle_id.clone()),
        Command::LookupArchives { .. } => ("LookupArchives".to_owned(), String::new()),
        Command::CheckCapabilitiesMatch { .. } => ("CheckCapabilitiesMatch".to_owned(), String::new()),
        _ => ("?".to_owned(), String::new()),
    }
}

fn answer(phone: &Phone, command: &Command) -> Vec<Reply> {
    match command {
        Command::Browse { options } => browse(phone, options.as_ref()),
        Command::Lookup { options } => match Query::new(options.as_ref()) {
            Ok(query) => vec![complete(Some(lookup(phone, &query)))],
            Err(error) => vec![wrong_option(&error)],
        },
        Command::OnApplication { command, bundle_id, .. } if command == "Uninstall" => uninstall(phone, bundle_id),
        Command::OnApplication { .. } => {
            vec![failed("APIInternalError", "Archives are gone since iOS 9.")]
        }
        Command::Install { .. } => {
            vec![failed("PackageInspectionFailed", "A virtual phone takes no packages.")]
        }
        Command::LookupArchives { .. } => vec![complete(Some(Dictionary::new()))],
        Command::CheckCapabilitiesMatch { .. } => vec![complete(Some(dict! { "CapabilitiesMatch" => true }))],
        _ => vec![failed("APIInternalError", "Unknown command.")],
    }
}

fn complete(lookup: Option<Dictionary>) -> Reply {
    Reply::Complete {
        lookup,
        extra: Dictionary::new(),
    }
}

fn failed(error: &str, description: &str) -> Reply {
    Reply::Failed {
        error: error.to_owned(),
        description: Some(description.to_owned()),
        detail: None,
        extra: Dictionary::new(),
    }
}

fn wrong_option(error: &WireError) -> Reply {
    failed("APIInternalError", &error.to_string())
}

/// What is asked about the apps.
struct Query {
    user: bool,
    system: bool,
    bundle_ids: Option<Vec<String>>,
    attributes: Option<Vec<String>>,
}

impl Query {
    fn new(options: Option<&Dictionary>) -> Result<Self, WireError> {
        let texts = |key: &str| -> Result<Option<Vec<String>>, WireError> {
            let Some(list) = options.map(|o| o.opt_array(key)).transpose()?.flatten() else {
                return Ok(None);
            };
            Ok(Some(
                list.iter().filter_map(Value::as_string).map(str::to_owned).collect(),
            ))
        };
        let kind = options
            .and_then(|o| o.get("ApplicationType"))
            .and_then(Value::as_string)
            .unwrap_or("Any");
        Ok(Self {
            user: matches!(kind, "User" | "Any"),
            system: matches!(kind, "System" | "Any"),
            bundle_ids: texts("BundleIDs")?,
            // An empty list asks for everything, as none does.
            attributes: texts("ReturnAttributes")?.filter(|list| !list.is_empty()),
        })
    }

    fn wants_app(&self, bundle_id: &str) -> bool {
        self.bundle_ids
            .as_ref()
            .is_none_or(|ids| ids.iter().any(|id| id == bundle_id))
    }

    fn pick(&self, mut attributes: Dictionary) -> Dictionary {
        match &self.attributes {
            Some(wanted) => attributes.retain(|key, _| wanted.iter().any(|name| name == key)),
            None => attributes.retain(|key, _| !ON_DEMAND.contains(&key.as_str())),
        }
        attributes
    }

    fn wants(&self, attribute: &str) -> bool {
        self.attributes
            .as_ref()
            .is_some_and(|wanted| wanted.iter().any(|name| name == attribute))
    }

    /// Bundle id and attributes of every app that is asked for.
    fn run(&self, phone: &Phone) -> Vec<(String, Dictionary)> {
        let mut found = Vec::new();
        if self.user {
            for app in phone.apps().iter().filter(|app| self.wants_app(&app.bundle_id)) {
                found.push((app.bundle_id.clone(), self.pick(user_app(phone, app, self))));
            }
        }
        if self.system {
            for (bundle_id, name) in SYSTEM_APPS.iter().filter(|(bundle_id, _)| self.wants_app(bundle_id)) {
                found.push(((*bundle_id).to_owned(), self.pick(system_app(phone, bundle_id, name))));
            }
        }
        found
    }
}

fn user_app(phone: &Phone, app: &App, query: &Query) -> Dictionary {
    let executable: String = app.name.chars().filter(char::is_ascii_alphanumeric).collect();
    let groups: Dictionary = app
        .groups
        .iter()
        .map(|group| {
            let path = crate::fs::map::device_path(&format!("AppDomainGroup-{group}"), "").unwrap_or_default();
            (group.clone(), Value::from(path))
        })
        .collect();
    let mut attributes = dict! {
        "ApplicationSINF" => Value::Data(app.sinf.to_vec()),
        "ApplicationType" => "User",
        "CFBundleDisplayName" => app.name.as_str(),
        "CFBundleExecutable" => executable.as_str(),
        "CFBundleIdentifier" => app.bundle_id.as_str(),
        "CFBundleName" => app.name.as_str(),
        "CFBundlePackageType" => "APPL",
        "CFBundleShortVersionString" => app.short_version.as_str(),
        "CFBundleVersion" => app.version.as_str(),
        "Container" => app.container_path.as_str(),
        "EnvironmentVariables" => dict! {
            "CFFIXED_USER_HOME" => app.container_path.as_str(),
            "HOME" => app.container_path.as_str(),
            "TMPDIR" => format!("{}/tmp", app.container_path),
        },
        "GroupContainers" => groups,
        "IsAppClip" => false,
        "IsDemotedApp" => false,
        "IsUpgradeable" => true,
        "MinimumOSVersion" => "10.0",
        "Path" => app.bundle_path.as_str(),
        "SignerIdentity" => "Apple iPhone OS Application Signing",
        "UIDeviceFamily" => phone.value(None, "SupportedDeviceFamilies").unwrap_or(Value::Array(vec![1_u64.into()])),
        "UIFileSharingEnabled" => app.file_sharing,
        "iTunesMetadata" => Value::Data(app.metadata.to_vec()),
    };
    // Walks the containers, so only on demand.
    if query.wants("DynamicDiskUsage") {
        let files = app
            .domains()
            .into_iter()
            .flat_map(|domain| phone.fs().subtree(&domain, ""));
        let bytes = files.fold(0_u64, |sum, entry| sum.saturating_add(entry.len()));
        attributes.insert("DynamicDiskUsage".to_owned(), bytes.into());
    }
    if query.wants("StaticDiskUsage") {
        attributes.insert("StaticDiskUsage".to_owned(), (40_u64 << 20).into());
    }
    attributes
}

fn system_app(phone: &Phone, bundle_id: &str, name: &str) -> Dictionary {
    dict! {
        "ApplicationType" => "System",
        "CFBundleDisplayName" => name,
        "CFBundleExecutable" => name,
        "CFBundleIdentifier" => bundle_id,
        "CFBundleName" => name,
        "CFBundleShortVersionString" => "1.0",
        "CFBundleVersion" => phone.profile().product_version.as_str(),
        "Path" => format!("/private/var/staged_system_apps/{name}.app"),
        "SignerIdentity" => "Apple iPhone OS Application Signing",
        "UIFileSharingEnabled" => false,
    }
}

fn browse(phone: &Phone, options: Option<&Dictionary>) -> Vec<Reply> {
    let query = match Query::new(options) {
        Ok(query) => query,
        Err(error) => return vec![wrong_option(&error)],
    };
    let found: Vec<Dictionary> = query.run(phone).into_iter().map(|(_, attributes)| attributes).collect();
    let count = |n: usize| u64::try_from(n).ok();
    let total = count(found.len());
    let mut replies = Vec::new();
    let mut index = 0_usize;
    for chunk in found.chunks(phone.profile().browse_chunk.max(1)) {
        replies.push(Reply::Browsing {
            index: count(index),
            amount: count(chunk.len()),
            total,
            list: chunk.to_vec(),
        });
        index = index.saturating_add(chunk.len());
    }
    replies.push(complete(None));
    replies
}

fn lookup(phone: &Phone, query: &Query) -> Dictionary {
    query
        .run(phone)
        .into_iter()
        .map(|(bundle_id, attributes)| (bundle_id, Value::Dictionary(attributes)))
        .collect()
}

fn uninstall(phone: &Phone, bundle_id: &str) -> Vec<Reply> {
    if SYSTEM_APPS.iter().any(|(system, _)| *system == bundle_id) {
        return vec![failed("UninstallProhibited", "This app belongs to the system.")];
    }
    let progress = |status: &str, percent| Reply::Progress {
        status: status.to_owned(),
        percent: Some(percent),
        extra: Dictionary::new(),
    };
    let mut replies = Vec::new();
    // An app that is not there is as gone as can be.
    if phone.uninstall(bundle_id) {
        replies.push(progress("RemovingApplication", 50));
        replies.push(progress("GeneratingApplicationMap", 90));
    }
    replies.push(complete(None));
    replies
}
