use std::time::Duration;

use cabled_wire::WireError;
use cabled_wire::plist::{Dictionary, Value};

use crate::msg::Message;
use crate::msg::fields::{Builder, Fields};

/// What a host says (spec: lockdown 12.6).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Command {
    /// `CommandCreateAssertion`: lasts until the connection ends or the time is up.
    Create {
        /// `AssertionTypeKey`.
        kind: AssertionKind,
        /// `AssertionNameKey`: who asks.
        name: String,
        /// `AssertionTimeoutKey`: seconds on the wire, whole or not.
        timeout: Duration,
        /// `AssertionDetailKey`: why.
        detail: Option<String>,
    },
    /// A command this version does not know, kept whole.
    Unknown(Dictionary),
}

/// What is to be prevented.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AssertionKind {
    /// `AMDPowerAssertionTypeWirelessSync`: stay reachable over Wi-Fi.
    WirelessSync,
    /// `PreventUserIdleSystemSleep`.
    PreventUserIdleSystemSleep,
    /// `PreventSystemSleep`.
    PreventSystemSleep,
    /// Another type, as spelled.
    Other(String),
}

/// What a device says.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reply {
    /// The assertion holds. The keys of the answer are not known; they are kept.
    Created(Dictionary),
    /// `ErrorKey`: refused.
    Failed {
        /// What the device says, text or number.
        error: Value,
        /// Further keys.
        extra: Dictionary,
    },
}

impl AssertionKind {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::WirelessSync => "AMDPowerAssertionTypeWirelessSync",
            Self::PreventUserIdleSystemSleep => "PreventUserIdleSystemSleep",
            Self::PreventSystemSleep => "PreventSystemSleep",
            Self::Other(name) => name,
        }
    }
}

impl From<&str> for AssertionKind {
    fn from(name: &str) -> Self {
        match name {
            "AMDPowerAssertionTypeWirelessSync" => Self::WirelessSync,
            "PreventUserIdleSystemSleep" => Self::PreventUserIdleSystemSleep,
            "PreventSystemSleep" => Self::PreventSystemSleep,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl Message for Command {
    fn to_plist(&self) -> Value {
        match self {
            Self::Create {
                kind,
                name,
                timeout,
                detail,
            } => Builder::default()
                .set("CommandKey", "CommandCreateAssertion")
                .set("AssertionTypeKey", kind.as_str())
                .set("AssertionNameKey", name.as_str())
                .set("AssertionTimeoutKey", seconds(*timeout))
                .opt("AssertionDetailKey", detail.as_deref())
                .build(),
            Self::Unknown(dict) => Value::Dictionary(dict.clone()),
        }
    }

    fn from_plist(value: Value) -> Result<Self, WireError> {
        let mut f = Fields::of(value, "assertion_agent command")?;
        if f.peek_text("CommandKey")? != "CommandCreateAssertion" {
            return Ok(Self::Unknown(f.rest()));
        }
        let seconds = f.opt_real("AssertionTimeoutKey")?.ok_or_else(|| WireError::Missing {
            key: "AssertionTimeoutKey".to_owned(),
        })?;
        let timeout = Duration::try_from_secs_f64(seconds).map_err(|_| WireError::Type {
            key: "AssertionTimeoutKey".to_owned(),
            expected: "a number of seconds",
        })?;
        Ok(Self::Create {
            kind: f.text("AssertionTypeKey")?.as_str().into(),
            name: f.text("AssertionNameKey")?,
            timeout,
            detail: f.opt_text("AssertionDetailKey")?,
        })
    }
}

/// Whole seconds travel as an integer, as pymobiledevice3 sends them.
fn seconds(timeout: Duration) -> Value {
    if timeout.subsec_nanos() == 0 {
        timeout.as_secs().into()
    } else {
        timeout.as_secs_f64().into()
    }
}

impl Message for Reply {
    fn to_plist(&self) -> Value {
        match self {
            Self::Created(dict) => Value::Dictionary(dict.clone()),
            Self::Failed { error, extra } => Builder::on(extra).set("ErrorKey", error.clone()).build(),
        }
    }

    fn from_plist(value: Value) -> Result<Self, WireError> {
        let mut f = Fields::of(value, "assertion_agent reply")?;
        Ok(match f.take("ErrorKey") {
            Some(error) => Self::Failed { error, extra: f.rest() },
            None => Self::Created(f.rest()),
        })
    }
}
