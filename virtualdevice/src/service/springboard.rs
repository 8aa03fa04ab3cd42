//! `com.apple.springboardservices`: icons and wallpapers. Spec: lockdown, section 12.3.

use cabled_lockdown::msg::Message;
use cabled_lockdown::services::springboard::{Command, Reply};
use cabled_wire::dict;
use cabled_wire::io::BoxStream;
use cabled_wire::plist::{self, Dictionary, Value};

use super::installation_proxy::SYSTEM_APPS;
use super::{IDLE, ServeError, limits, read_frame, write_frame};
use crate::phone::{Phone, locked};

/// The service's name.
pub const NAME: &str = "com.apple.springboardservices";

/// Icons in the dock, and on one page.
const DOCK: usize = 4;
const PAGE: usize = 24;

/// Serves one connection; every reply has the encoding of its request.
pub(super) async fn serve(phone: Phone, mut stream: BoxStream) -> Result<(), ServeError> {
    loop {
        let body = read_frame(&mut stream, IDLE).await?;
        if body.is_empty() {
            continue;
        }
        let binary = body.starts_with(b"bplist00");
        let command = Command::from_plist(plist::read(&body, &limits())?)?;
        if let Some(reply) = answer(&phone, command) {
            let reply = if binary { reply.encode_binary() } else { reply.encode() };
            write_frame(&mut stream, &reply).await?;
        }
    }
}

fn answer(phone: &Phone, command: Command) -> Option<Reply> {
    let log = |request: &str, detail: &str| phone.log().record(NAME, request, detail);
    Some(match command {
        Command::GetIconState { format_version } => {
            log("getIconState", format_version.as_deref().unwrap_or_default());
            let kept = locked(&phone.inner().icon_state).clone();
            Reply::IconState(kept.unwrap_or_else(|| icon_state(phone)))
        }
        Command::SetIconState { icon_state } => {
            log("setIconState", "");
            if let Value::Array(pages) = icon_state {
                *locked(&phone.inner().icon_state) = Some(pages);
            }
            return None;
        }
        Command::GetIconPng { bundle_id } => {
            log("getIconPNGData", &bundle_id);
            Reply::Png(icon(phone, &bundle_id))
        }
        Command::GetInterfaceOrientation => Reply::Orientation(1),
        Command::GetHomeScreenWallpaperPng => Reply::Png(icon(phone, "wallpaper")),
        Command::GetHomeScreenIconMetrics => Reply::Values(metrics()),
        Command::GetWallpaperInfo { name } => Reply::Values(dict! { "wallpaperName" => name, "hasWallpaper" => true }),
        Command::GetWallpaperPreviewImage { name } => Reply::Png(icon(phone, &name)),
        _ => Reply::Failed {
            error: "Unknown command".to_owned(),
            extra: Dictionary::new(),
        },
    })
}

/// The app's icon, or one made for this name: an app with no icon of its own gets one too.
fn icon(phone: &Phone, name: &str) -> Vec<u8> {
    let apps = phone.apps();
    match apps.iter().find(|app| app.bundle_id == name) {
        Some(app) => app.icon_png.to_vec(),
        None => crate::contents::icon_png(phone.seed(), name),
    }
}

fn metrics() -> Dictionary {
    dict! {
        "homeScreenHeight" => 844_u64,
        "homeScreenIconColumns" => 4_u64,
        "homeScreenIconDockMaxCount" => 4_u64,
        "homeScreenIconFolderColumns" => 3_u64,
        "homeScreenIconFolderMaxPages" => 15_u64,
        "homeScreenIconFolderRows" => 3_u64,
        "homeScreenIconHeight" => 60_u64,
        "homeScreenIconMaxPages" => 15_u64,
        "homeScreenIconRows" => 6_u64,
        "homeScreenIconWidth" => 60_u64,
        "homeScreenWidth" => 390_u64,
    }
}

/// The dock, then pages of the other apps.
fn icon_state(phone: &Phone) -> Vec<Value> {
    let entry = |bundle_id: &str, name: &str| {
        Value::Dictionary(dict! {
            "bundleIdentifier" => bundle_id,
            "displayIdentifier" => bundle_id,
            "displayName" => name,
            "iconModDate" => plist::Date::from(std::time::UNIX_EPOCH),
        })
    };
    let mut icons: Vec<Value> = SYSTEM_APPS
        .iter()
        .map(|(bundle_id, name)| entry(bundle_id, name))
        .collect();
    icons.extend(phone.apps().iter().map(|app| entry(&app.bundle_id, &app.name)));
    let pages = icons.split_off(DOCK.min(icons.len()));
    std::iter::once(Value::Array(icons))
        .chain(pages.chunks(PAGE).map(|page| Value::Array(page.to_vec())))
        .collect()
}
