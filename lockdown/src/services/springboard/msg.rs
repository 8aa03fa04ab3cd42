use cabled_wire::WireError;
use cabled_wire::plist::{Dictionary, Value};

use crate::msg::Message;
use crate::msg::fields::{Builder, Fields};

/// What a host says; clients send binary property lists here (spec: lockdown 12.3). Keys are lower case.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Command {
    /// `getIconState`: answered by [`Reply::IconState`].
    GetIconState {
        /// `formatVersion`, "2".
        format_version: Option<String>,
    },
    /// `setIconState`: not answered.
    SetIconState {
        /// `iconState`, as `getIconState` returned it.
        icon_state: Value,
    },
    /// `getIconPNGData`: answered by [`Reply::Png`].
    GetIconPng {
        /// `bundleId`.
        bundle_id: String,
    },
    /// `getInterfaceOrientation`: answered by [`Reply::Orientation`].
    GetInterfaceOrientation,
    /// `getHomeScreenWallpaperPNGData`: answered by [`Reply::Png`].
    GetHomeScreenWallpaperPng,
    /// `getHomeScreenIconMetrics`: answered by a dictionary.
    GetHomeScreenIconMetrics,
    /// `getWallpaperInfo`: answered by a dictionary.
    GetWallpaperInfo {
        /// `wallpaperName`: `homescreen` or `lockscreen`.
        name: String,
    },
    /// `getWallpaperPreviewImage`: answered by [`Reply::Png`].
    GetWallpaperPreviewImage {
        /// `wallpaperName`: `homescreen` or `lockscreen`.
        name: String,
    },
    /// A command this version does not know, kept whole.
    Unknown(Dictionary),
}

/// What a device says. Replies do not name their request: [`Reply::from_plist`] tells them apart by content.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reply {
    /// An array: the pages of the home screen, the dock first.
    IconState(Vec<Value>),
    /// `pngData`.
    Png(Vec<u8>),
    /// `interfaceOrientation`: 0 unknown, 1 portrait, 2 upside down, 3 and 4 landscape.
    Orientation(u64),
    /// `Error`.
    Failed {
        /// The reason as the device spelled it.
        error: String,
        /// Further keys.
        extra: Dictionary,
    },
    /// Any other dictionary: metrics, wallpaper information.
    Values(Dictionary),
}

impl Message for Command {
    fn to_plist(&self) -> Value {
        let start = |command: &str| Builder::default().set("command", command);
        match self {
            Self::GetIconState { format_version } => start("getIconState")
                .opt("formatVersion", format_version.as_deref())
                .build(),
            Self::SetIconState { icon_state } => start("setIconState").set("iconState", icon_state.clone()).build(),
            Self::GetIconPng { bundle_id } => start("getIconPNGData").set("bundleId", bundle_id.as_str()).build(),
            Self::GetInterfaceOrientation => start("getInterfaceOrientation").build(),
            Self::GetHomeScreenWallpaperPng => start("getHomeScreenWallpaperPNGData").build(),
            Self::GetHomeScreenIconMetrics => start("getHomeScreenIconMetrics").build(),
            Self::GetWallpaperInfo { name } => start("getWallpaperInfo").set("wallpaperName", name.as_str()).build(),
            Self::GetWallpaperPreviewImage { name } => start("getWallpaperPreviewImage")
                .set("wallpaperName", name.as_str())
                .build(),
            Self::Unknown(dict) => Value::Dictionary(dict.clone()),
        }
    }

    fn from_plist(value: Value) -> Result<Self, WireError> {
        let mut f = Fields::of(value, "springboardservices command")?;
        Ok(match f.peek_text("command")? {
            "getIconState" => Self::GetIconState {
                format_version: f.opt_text("formatVersion")?,
            },
            "setIconState" => Self::SetIconState {
                icon_state: f.take("iconState").ok_or(WireError::Missing {
                    key: "iconState".to_owned(),
                })?,
            },
            "getIconPNGData" => Self::GetIconPng {
                bundle_id: f.text("bundleId")?,
            },
            "getInterfaceOrientation" => Self::GetInterfaceOrientation,
            "getHomeScreenWallpaperPNGData" => Self::GetHomeScreenWallpaperPng,
            "getHomeScreenIconMetrics" => Self::GetHomeScreenIconMetrics,
            "getWallpaperInfo" => Self::GetWallpaperInfo {
                name: f.text("wallpaperName")?,
            },
            "getWallpaperPreviewImage" => Self::GetWallpaperPreviewImage {
                name: f.text("wallpaperName")?,
            },
            _ => Self::Unknown(f.rest()),
        })
    }
}

impl Message for Reply {
    fn to_plist(&self) -> Value {
        match self {
            Self::IconState(pages) => Value::Array(pages.clone()),
            Self::Png(data) => Builder::default().opt_data("pngData", Some(data)).build(),
            Self::Orientation(n) => Builder::default().set("interfaceOrientation", *n).build(),
            Self::Failed { error, extra } => Builder::on(extra).set("Error", error.as_str()).build(),
            Self::Values(dict) => Value::Dictionary(dict.clone()),
        }
    }

    fn from_plist(value: Value) -> Result<Self, WireError> {
        let mut f = match value {
            Value::Array(pages) => return Ok(Self::IconState(pages)),
            other => Fields::of(other, "springboardservices reply")?,
        };
        if let Some(error) = f.opt_text("Error")? {
            return Ok(Self::Failed { error, extra: f.rest() });
        }
        if f.peek().len() == 1 {
            if let Some(data) = f.opt_data("pngData")? {
                return Ok(Self::Png(data));
            }
            if let Some(n) = f.opt_count("interfaceOrientation", 255)? {
                return Ok(Self::Orientation(n));
            }
        }
        Ok(Self::Values(f.rest()))
    }
}
