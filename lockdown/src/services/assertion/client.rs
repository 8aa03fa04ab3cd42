use std::time::Duration;

use cabled_wire::WireError;
use cabled_wire::io::BoxStream;
use cabled_wire::plist::Value;

use super::{AssertionKind, Command, Reply};
use crate::link::PlistLink;
use crate::services::{REPLY_LIMIT, ServiceError};

/// Keeps a device awake until dropped, or until its time is up (spec: lockdown 12.6).
#[derive(Debug)]
pub struct PowerAssertion {
    link: PlistLink,
}

impl PowerAssertion {
    /// Takes an assertion on the stream of [`super::SERVICE`]; `name` is who asks. Dropping the future takes it back.
    ///
    /// # Errors
    /// [`ServiceError::Refused`], [`ServiceError::Link`].
    pub async fn take(
        stream: BoxStream,
        kind: AssertionKind,
        name: &str,
        timeout: Duration,
    ) -> Result<Self, ServiceError> {
        let mut assertion = Self {
            link: PlistLink::new(stream),
        };
        assertion.renew(kind, name, timeout).await?;
        Ok(assertion)
    }

    /// Takes another one in its place, to last longer. Not safe to drop half-way.
    ///
    /// # Errors
    /// [`ServiceError::Refused`], [`ServiceError::Link`].
    pub async fn renew(&mut self, kind: AssertionKind, name: &str, timeout: Duration) -> Result<(), ServiceError> {
        let command = Command::Create {
            kind,
            name: name.to_owned(),
            timeout,
            detail: None,
        };
        match self.link.ask(&command, "keeping the device awake", REPLY_LIMIT).await? {
            Reply::Created(_) => Ok(()),
            Reply::Failed { error, .. } => Err(ServiceError::Refused {
                service: "assertion_agent",
                request: "CommandCreateAssertion",
                error: match error {
                    Value::String(text) => WireError::excerpt(&text),
                    Value::Integer(number) => number.to_string(),
                    _ => "a structured error".to_owned(),
                },
                description: None,
            }),
        }
    }
}
