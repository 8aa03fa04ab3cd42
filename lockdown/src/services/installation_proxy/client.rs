use std::time::Duration;

use cabled_wire::WireError;
use cabled_wire::io::BoxStream;
use cabled_wire::plist::{Dictionary, Value};

use super::{Command, Reply};
use crate::link::PlistLink;
use crate::services::{REPLY_LIMIT, ServiceError};

/// How many apps a listing may have.
pub const MAX_APPS: usize = 100_000;
/// How many bytes a listing may have as it is sent, all chunks together.
pub const MAX_LISTING: usize = 64 << 20;
/// How long one step of an installation may take.
const STEP_LIMIT: Duration = Duration::from_secs(300);
const SERVICE: &str = "installation_proxy";

/// A client of installation_proxy (spec: lockdown 12.2).
#[derive(Debug)]
pub struct InstallationProxy {
    link: PlistLink,
}

/// A listing that arrives in chunks. Reading it to the end, or dropping the client, is the only way to end it.
#[derive(Debug)]
pub struct Browse<'a> {
    link: &'a mut PlistLink,
    seen: usize,
    bytes: usize,
    done: bool,
}

/// A step of an installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// `Status`, such as `InstallingApplication`.
    pub status: String,
    /// `PercentComplete`, 0 to 100, where the device tells.
    pub percent: Option<u64>,
}

impl InstallationProxy {
    /// On the stream of [`super::SERVICE`].
    #[must_use]
    pub fn new(stream: BoxStream) -> Self {
        Self {
            link: PlistLink::new(stream),
        }
    }

    /// Lists apps of a type (`User`, `System`, `Any`) with some attributes (none: all of them), chunk by chunk.
    ///
    /// # Errors
    /// [`ServiceError::Link`].
    pub async fn browse(&mut self, application_type: &str, attributes: &[&str]) -> Result<Browse<'_>, ServiceError> {
        let attributes: Vec<String> = attributes.iter().map(|&name| name.to_owned()).collect();
        let command = Command::browse(application_type, &attributes);
        self.link.say(&command, "listing apps", REPLY_LIMIT).await?;
        Ok(Browse {
            link: &mut self.link,
            seen: 0,
            bytes: 0,
            done: false,
        })
    }

    /// The attributes of some apps by bundle id; those that are not installed are left out.
    ///
    /// # Errors
    /// [`ServiceError::Refused`], [`ServiceError::Link`], [`ServiceError::TooMany`].
    pub async fn lookup(&mut self, bundle_ids: &[&str], attributes: &[&str]) -> Result<Dictionary, ServiceError> {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let command = Command::lookup(&owned(bundle_ids), &owned(attributes));
        match self.link.ask::<Reply>(&command, "looking up apps", REPLY_LIMIT).await? {
            Reply::Complete { lookup, .. } => {
                let found = lookup.unwrap_or_default();
                if found.len() > MAX_APPS {
                    return Err(ServiceError::TooMany {
                        service: SERVICE,
                        max: MAX_APPS,
                    });
                }
                Ok(found)
            }
            other => Err(unexpected(other, "Lookup")),
        }
    }

    /// Installs (or upgrades) a package that was uploaded over AFC, such as `PublicStaging/app.ipa`.
    ///
    /// `observer` hears each step. Dropping the future leaves the device installing.
    ///
    /// # Errors
    /// [`ServiceError::Refused`] with the device's reason, [`ServiceError::Link`] if a step takes 5 minutes.
    pub async fn install(
        &mut self,
        package_path: &str,
        options: Option<Dictionary>,
        observer: &mut (dyn FnMut(&Progress) + Send),
    ) -> Result<(), ServiceError> {
        let command = Command::Install {
            upgrade: false,
            package_path: package_path.to_owned(),
            options,
        };
        self.run(&command, "Install", observer).await
    }

    /// Removes an app and its data.
    ///
    /// # Errors
    /// As [`Self::install`].
    pub async fn uninstall(
        &mut self,
        bundle_id: &str,
        observer: &mut (dyn FnMut(&Progress) + Send),
    ) -> Result<(), ServiceError> {
        let command = Command::OnApplication {
            command: "Uninstall".to_owned(),
            bundle_id: bundle_id.to_owned(),
            options: None,
        };
        self.run(&command, "Uninstall", observer).await
    }

    /// Whether the device has all of some capabilities; the reply's `LookupResult` as it is.
    ///
    /// # Errors
    /// [`ServiceError::Refused`], [`ServiceError::Link`].
    pub async fn check_capabilities(&mut self, capabilities: Value) -> Result<Option<Dictionary>, ServiceError> {
        let command = Command::CheckCapabilitiesMatch {
            capabilities,
            options: None,
        };
        match self
            .link
            .ask::<Reply>(&command, "checking capabilities", REPLY_LIMIT)
            .await?
        {
            Reply::Complete { lookup, .. } => Ok(lookup),
            other => Err(unexpected(other, "CheckCapabilitiesMatch")),
        }
    }

    async fn run(
        &mut self,
        command: &Command,
        request: &'static str,
        observer: &mut (dyn FnMut(&Progress) + Send),
    ) -> Result<(), ServiceError> {
        let mut reply = self
            .link
            .ask::<Reply>(command, "installing or removing an app", STEP_LIMIT)
            .await?;
        loop {
            match reply {
                Reply::Progress { status, percent, .. } => observer(&Progress { status, percent }),
                Reply::Complete { .. } => return Ok(()),
                other => return Err(unexpected(other, request)),
            }
            reply = self.link.hear("installing or removing an app", STEP_LIMIT).await?;
        }
    }
}

impl Browse<'_> {
    /// The next chunk; `None` when the listing is complete. Safe to drop.
    ///
    /// # Errors
    /// [`ServiceError::Refused`]; [`ServiceError::TooMany`] above [`MAX_APPS`]; [`ServiceError::TooLarge`] above
    /// [`MAX_LISTING`]; [`ServiceError::Link`], also when the
    /// device closes the stream before the end.
    pub async fn next(&mut self) -> Result<Option<Vec<Dictionary>>, ServiceError> {
        if self.done {
            return Ok(None);
        }
        let phase = "listing apps";
        let body = self.link.receive_within(phase, REPLY_LIMIT).await?;
        self.bytes = self.bytes.saturating_add(body.len());
        if self.bytes > MAX_LISTING {
            self.link.give_up();
            return Err(ServiceError::TooLarge {
                service: SERVICE,
                max: MAX_LISTING,
            });
        }
        match self.link.decode::<Reply>(&body, phase)? {
            Reply::Browsing { list, .. } => {
                self.seen = self.seen.saturating_add(list.len().max(1)); // empty chunks must end some time, too
                if self.seen > MAX_APPS {
                    self.link.give_up();
                    return Err(ServiceError::TooMany {
                        service: SERVICE,
                        max: MAX_APPS,
                    });
                }
                Ok(Some(list))
            }
            Reply::Complete { .. } => {
                self.done = true;
                Ok(None)
            }
            other => {
                self.done = true;
                Err(unexpected(other, "Browse"))
            }
        }
    }

    /// All chunks together.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn all(mut self) -> Result<Vec<Dictionary>, ServiceError> {
        let mut apps = Vec::new();
        while let Some(chunk) = self.next().await? {
            apps.extend(chunk);
        }
        Ok(apps)
    }
}

impl Drop for Browse<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.link.give_up(); // the rest of the listing would meet the next command
        }
    }
}

fn unexpected(reply: Reply, request: &'static str) -> ServiceError {
    match reply {
        Reply::Failed { error, description, .. } => ServiceError::Refused {
            service: SERVICE,
            request,
            error: WireError::excerpt(&error),
            description: description.map(|text| WireError::excerpt(&text)),
        },
        Reply::Unknown(_) | Reply::Browsing { .. } | Reply::Progress { .. } | Reply::Complete { .. } => {
            ServiceError::WrongReply {
                service: SERVICE,
                request,
            }
        }
    }
}
