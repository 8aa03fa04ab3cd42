//! One connection: handshake, requests, results.

use std::time::{Duration, Instant};

use bytes::Bytes;
use cabled_devicelink::msg::{Encoding, Message};
use cabled_wire::dict;
use cabled_wire::io::BoxStream;
use cabled_wire::plist::{DictExt, Dictionary, Value};
use tokio::time::timeout;

use super::error::{Outcome, Refusal, ServeError, Stop, refusal, refuse};
use super::link::Link;
use super::state::State;
use super::{legacy, password, report, restore, run};
use crate::phone::Phone;
use crate::profile::{ErrorCodes, PlistFormat, Profile};

/// The name of the service, as StartService takes it.
pub const NAME: &str = "com.apple.mobilebackup2";
/// How long a restart waits for the host to let go of the connection.
const RESTART_GRACE: Duration = Duration::from_secs(10);

/// Everything a request needs.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) phone: Phone,
    pub(super) state: State,
    pub(super) link: Link,
    escrow: Option<Bytes>,
    pub(super) started: Instant,
    /// `TargetIdentifier`: the directory written to.
    pub(super) target: String,
    /// `SourceIdentifier`, else the target: the directory read first.
    pub(super) source: String,
    /// The restore that just ended wants one.
    pub(super) restart: bool,
}

/// Serves one connection of `com.apple.mobilebackup2`; `escrow` is the bag that StartService was given.
///
/// Speaks first, takes one request after the other, and keeps the connection open after a result until the host ends
/// it. A restart that a restore asked for happens then, or after 10 s. Hashing, encryption and databases run on
/// blocking threads. Dropping the future ends the connection in the middle of whatever it did, as a pulled cable does;
/// the phone stays usable.
///
/// # Errors
/// [`ServeError`]; a request that was refused is none.
///
/// Spec: mobilebackup2, sections 14 and 19.
pub async fn serve(phone: Phone, stream: BoxStream, escrow: Option<Bytes>) -> Result<(), ServeError> {
    let state = phone.backup_state().clone();
    let profile = phone.profile();
    let encoding = match profile.device_link_format {
        PlistFormat::Xml => Encoding::Xml,
        PlistFormat::Binary => Encoding::Binary,
    };
    let link = Link::new(stream, encoding, state.idle_limit(), profile.frame_memory_limit);
    let target = phone.udid().to_string();
    let mut session = Session {
        source: target.clone(),
        target,
        phone,
        state,
        link,
        escrow,
        started: Instant::now(),
        restart: false,
    };
    let served = session.talk().await;
    session.link.close().await;
    if session.restart {
        session.phone.reboot();
    }
    served
}

impl Session {
    pub(super) fn profile(&self) -> &Profile {
        self.phone.profile()
    }

    pub(super) fn codes(&self) -> ErrorCodes {
        self.phone.profile().error_codes
    }

    async fn talk(&mut self) -> Result<(), ServeError> {
        let (major, minor) = self.profile().device_link;
        self.link.send(&Message::VersionExchange { major, minor }).await?;
        match self.link.receive("the answer to its version").await {
            // Clients answer with the device's number or with 400, whatever the device said.
            Ok(Message::VersionsOk { major: theirs }) if theirs == major || matches!(theirs, 300 | 400) => {}
            Ok(Message::Disconnect { .. }) | Err(ServeError::Closed { .. }) => return Ok(()),
            Ok(other) => return Err(unexpected("the answer to its version", &other)),
            Err(error) => return Err(error),
        }
        self.link.send(&Message::DeviceReady).await?;
        loop {
            let next = self.link.receive("a request");
            let message = if self.restart {
                match timeout(RESTART_GRACE, next).await {
                    Ok(message) => message,
                    Err(_) => return Ok(()),
                }
            } else {
                next.await
            };
            match message {
                Ok(Message::ProcessMessage(request)) => self.request(request).await?,
                Ok(Message::Disconnect { .. }) | Err(ServeError::Closed { .. }) => return Ok(()),
                // After a result the link may simply be gone.
                Err(ServeError::Io(_)) if self.restart => return Ok(()),
                Ok(other) => return Err(unexpected("a request", &other)),
                Err(error) => return Err(error),
            }
        }
    }

    async fn request(&mut self, request: Dictionary) -> Result<(), ServeError> {
        let name = request.text("MessageName")?.to_owned();
        self.phone.log().record(NAME, &name, describe(&request));
        if name == "Hello" {
            return self.hello(&request).await;
        }
        self.started = Instant::now();
        let done = self.carry_out(&name, request).await;
        let (code, description, content) = match done {
            Ok(content) => (0, None, content),
            Err(Stop::Refuse(Refusal { code, text })) => (code, Some(text), None),
            Err(Stop::End(error)) => return Err(error),
        };
        let outcome = report::Outcome {
            request: name,
            code,
            description: description.clone(),
        };
        self.state.set_outcome(outcome);
        let mut response = dict! { "MessageName" => "Response", "ErrorCode" => code };
        response.extend(description.map(|text| ("ErrorDescription".to_owned(), Value::String(text))));
        response.extend(content.map(|text| ("Content".to_owned(), Value::String(text))));
        self.link.send(&Message::ProcessMessage(response)).await
    }

    /// Protocol versions are reals, compared with a tolerance: some hosts send four-byte ones.
    async fn hello(&mut self, request: &Dictionary) -> Result<(), ServeError> {
        let offered = request.opt_array("SupportedProtocolVersions")?.unwrap_or_default();
        let offered: Vec<f64> = offered.iter().filter_map(Value::as_real).collect();
        let known = self.profile().protocol_versions.iter().copied();
        let common = known.filter(|known| offered.iter().any(|theirs| (theirs - known).abs() < 0.01));
        let chosen = common.fold(None, |best: Option<f64>, version| {
            Some(best.map_or(version, |b| b.max(version)))
        });
        let reply = match chosen {
            Some(version) => dict! { "MessageName" => "Response", "ErrorCode" => 0, "ProtocolVersion" => version },
            None => dict! { "MessageName" => "Response", "ErrorCode" => 1, "ProtocolVersion" => 0.0 },
        };
        self.link.send(&Message::ProcessMessage(reply)).await
    }

    async fn carry_out(&mut self, name: &str, request: Dictionary) -> Outcome<Option<String>> {
        let codes = self.codes();
        if let Some((code, text)) = self.phone.faults().take_backup_error(name) {
            return Err(Stop::Refuse(Refusal { code, text }));
        }
        self.identify(&request)?;
        let nothing = |()| None;
        match name {
            "Backup" => {
                let options = request.opt_dict("Options").ok().flatten();
                let full = options
                    .and_then(|o| o.opt_boolean("ForceFullBackup").ok().flatten())
                    .unwrap_or(false);
                let done = run::backup(self, full).await;
                if matches!(done, Err(Stop::End(_))) {
                    self.state.was_cut();
                }
                done.map(nothing)
            }
            "Restore" => restore::restore(self, &request).await.map(nothing),
            "ChangePassword" => password::change(self, &request).await.map(nothing),
            "Info" => legacy::info(self).await.map(Some),
            "List" => legacy::list(self).await.map(Some),
            "Unback" => legacy::unback(self, &request).await.map(nothing),
            "Extract" => legacy::extract(self, &request).await.map(nothing),
            // They destroy data or talk to a cloud: known, and not carried out here.
            "EraseDevice" | "EnableCloudBackup" => refuse(codes.generic, &format!("{name} is not permitted")),
            "CancelBackup" => refuse(codes.generic, "No backup is running on this connection"),
            other => refuse(codes.generic, &format!("Unknown message {}", other.escape_debug())),
        }
    }

    /// Takes the two directory names of a request. The target must be this phone's.
    fn identify(&mut self, request: &Dictionary) -> Outcome<()> {
        let generic = self.codes().generic;
        let text = |key: &str| {
            request
                .opt_text(key)
                .ok()
                .flatten()
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        let Some(target) = text("TargetIdentifier") else {
            return refuse(generic, "TargetIdentifier is missing");
        };
        let mine = self.phone.udid();
        if target.parse().ok().as_ref() != Some(mine) {
            return refuse(generic, "TargetIdentifier is another device's");
        }
        let source = text("SourceIdentifier").unwrap_or_else(|| target.clone());
        if source.contains(['/', '\0']) || matches!(source.as_str(), "." | "..") {
            return refuse(generic, "SourceIdentifier is no directory name");
        }
        (self.target, self.source) = (target, source);
        Ok(())
    }

    /// Shows the passcode prompt where this generation wants one.
    pub(super) async fn passcode(&mut self, wanted: bool) -> Outcome<()> {
        if wanted && !self.phone.ask_passcode().await {
            return refuse(self.codes().device_locked, "Device locked");
        }
        Ok(())
    }

    /// Protected files can be read: the screen is unlocked, or the host brought this pairing's escrow bag.
    pub(super) fn can_read_protected_files(&self) -> bool {
        let bag = self
            .escrow
            .as_deref()
            .is_some_and(|bag| self.phone.escrow_bag_is_known(bag));
        bag || !self.phone.is_locked()
    }

    /// Refuses as a locked phone does to a host without the bag.
    pub(super) fn locked(&self) -> Stop {
        let codes = self.codes();
        Stop::Refuse(if self.profile().locked_backup_says_208 {
            refusal(codes.device_locked, "Device locked")
        } else {
            refusal(codes.generic, "Error copying keychain data")
        })
    }

    pub(super) fn setup_finished(&self, what: &str) -> Outcome<()> {
        if self.phone.setup_done() {
            return Ok(());
        }
        refuse(self.codes().setup, &format!("Unable to {what} until Setup is finished"))
    }
}

fn unexpected(phase: &'static str, message: &Message) -> ServeError {
    ServeError::Unexpected {
        phase,
        name: message.name().to_owned(),
    }
}

/// The keys of a request and its harmless values; never a password.
fn describe(request: &Dictionary) -> String {
    let mut parts = Vec::new();
    let mut add = |dict: &Dictionary| {
        for (key, value) in dict {
            match value {
                Value::Boolean(value) => parts.push(format!("{key}={value}")),
                Value::String(value) if key.ends_with("Identifier") => parts.push(format!("{key}={value}")),
                _ if key == "MessageName" || key == "Options" => {}
                _ => parts.push(key.clone()),
            }
        }
    };
    add(request);
    if let Ok(Some(options)) = request.opt_dict("Options") {
        add(options);
    }
    parts.join(" ")
}
