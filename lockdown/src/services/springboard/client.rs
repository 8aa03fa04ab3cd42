use cabled_wire::WireError;
use cabled_wire::io::BoxStream;
use cabled_wire::plist::{Dictionary, Value};

use super::{Command, Reply};
use crate::link::PlistLink;
use crate::msg::Message;
use crate::services::{REPLY_LIMIT, ServiceError};

const SERVICE: &str = "springboardservices";

/// A client of springboardservices (spec: lockdown 12.3). Methods are not safe to drop half-way.
#[derive(Debug)]
pub struct SpringBoard {
    link: PlistLink,
}

impl SpringBoard {
    /// On the stream of [`super::SERVICE`].
    #[must_use]
    pub fn new(stream: BoxStream) -> Self {
        Self {
            link: PlistLink::new(stream),
        }
    }

    /// The pages of the home screen, the dock first, as the device keeps them.
    ///
    /// # Errors
    /// [`ServiceError::Refused`], [`ServiceError::WrongReply`], [`ServiceError::Link`].
    pub async fn icon_state(&mut self) -> Result<Vec<Value>, ServiceError> {
        match self
            .ask(&Command::GetIconState {
                format_version: Some("2".to_owned()),
            })
            .await?
        {
            Reply::IconState(pages) => Ok(pages),
            other => Err(unexpected(other, "getIconState")),
        }
    }

    /// Arranges the home screen. The device does not answer.
    ///
    /// # Errors
    /// [`ServiceError::Link`].
    pub async fn set_icon_state(&mut self, pages: Vec<Value>) -> Result<(), ServiceError> {
        let command = Command::SetIconState {
            icon_state: Value::Array(pages),
        };
        Ok(self
            .link
            .send(&command.encode_binary(), "arranging the home screen", REPLY_LIMIT)
            .await?)
    }

    /// An app's icon as PNG.
    ///
    /// # Errors
    /// [`ServiceError::Refused`], [`ServiceError::WrongReply`], [`ServiceError::Link`].
    pub async fn icon_png(&mut self, bundle_id: &str) -> Result<Vec<u8>, ServiceError> {
        self.png(
            &Command::GetIconPng {
                bundle_id: bundle_id.to_owned(),
            },
            "getIconPNGData",
        )
        .await
    }

    /// The home screen's wallpaper as PNG.
    ///
    /// # Errors
    /// As [`Self::icon_png`].
    pub async fn wallpaper_png(&mut self) -> Result<Vec<u8>, ServiceError> {
        self.png(&Command::GetHomeScreenWallpaperPng, "getHomeScreenWallpaperPNGData")
            .await
    }

    /// How the device is held: 0 unknown, 1 portrait, 2 upside down, 3 and 4 landscape.
    ///
    /// # Errors
    /// As [`Self::icon_png`].
    pub async fn orientation(&mut self) -> Result<u64, ServiceError> {
        match self.ask(&Command::GetInterfaceOrientation).await? {
            Reply::Orientation(n) => Ok(n),
            other => Err(unexpected(other, "getInterfaceOrientation")),
        }
    }

    /// Sizes and counts of the home screen, as the device names them.
    ///
    /// # Errors
    /// As [`Self::icon_png`].
    pub async fn icon_metrics(&mut self) -> Result<Dictionary, ServiceError> {
        match self.ask(&Command::GetHomeScreenIconMetrics).await? {
            Reply::Values(values) => Ok(values),
            other => Err(unexpected(other, "getHomeScreenIconMetrics")),
        }
    }

    async fn png(&mut self, command: &Command, request: &'static str) -> Result<Vec<u8>, ServiceError> {
        match self.ask(command).await? {
            Reply::Png(data) => Ok(data),
            other => Err(unexpected(other, request)),
        }
    }

    async fn ask(&mut self, command: &Command) -> Result<Reply, ServiceError> {
        // Binary, as the clients in the field send it to this service.
        Ok(self.link.ask_binary(command, "asking SpringBoard", REPLY_LIMIT).await?)
    }
}

fn unexpected(reply: Reply, request: &'static str) -> ServiceError {
    match reply {
        Reply::Failed { error, .. } => ServiceError::Refused {
            service: SERVICE,
            request,
            error: WireError::excerpt(&error),
            description: None,
        },
        _ => ServiceError::WrongReply {
            service: SERVICE,
            request,
        },
    }
}
