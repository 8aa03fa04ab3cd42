use cabled_wire::WireError;
use cabled_wire::plist::{Dictionary, Value};

use crate::msg::Message;
use crate::msg::fields::{Builder, Fields};

/// What a host says. Nothing but `Shutdown` is answered.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Command {
    /// `PostNotification`.
    Post {
        /// `Name` of the notification.
        name: String,
    },
    /// `ObserveNotification`: relay this one from now on.
    Observe {
        /// `Name` of the notification.
        name: String,
    },
    /// `Shutdown`: answered by [`Event::ProxyDeath`], then the stream closes.
    Shutdown,
    /// A command this version does not know, kept whole.
    Unknown(Dictionary),
}

/// What a device says.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// `RelayNotification`: an observed notification was posted.
    Relay {
        /// `Name` of the notification.
        name: String,
    },
    /// `ProxyDeath`: the service ends; also unasked.
    ProxyDeath,
    /// A message this version does not know, kept whole.
    Unknown(Dictionary),
}

fn named(command: &str, name: &str) -> Value {
    Builder::default().set("Command", command).set("Name", name).build()
}

fn plain(command: &str) -> Value {
    Builder::default().set("Command", command).build()
}

impl Message for Command {
    fn to_plist(&self) -> Value {
        match self {
            Self::Post { name } => named("PostNotification", name),
            Self::Observe { name } => named("ObserveNotification", name),
            Self::Shutdown => plain("Shutdown"),
            Self::Unknown(dict) => Value::Dictionary(dict.clone()),
        }
    }

    fn from_plist(value: Value) -> Result<Self, WireError> {
        let mut f = Fields::of(value, "notification_proxy command")?;
        Ok(match f.peek_text("Command")? {
            "PostNotification" => Self::Post { name: f.text("Name")? },
            "ObserveNotification" => Self::Observe { name: f.text("Name")? },
            "Shutdown" => Self::Shutdown,
            _ => Self::Unknown(f.rest()),
        })
    }
}

impl Message for Event {
    fn to_plist(&self) -> Value {
        match self {
            Self::Relay { name } => named("RelayNotification", name),
            Self::ProxyDeath => plain("ProxyDeath"),
            Self::Unknown(dict) => Value::Dictionary(dict.clone()),
        }
    }

    fn from_plist(value: Value) -> Result<Self, WireError> {
        let mut f = Fields::of(value, "notification_proxy event")?;
        Ok(match f.peek_text("Command")? {
            "RelayNotification" => Self::Relay { name: f.text("Name")? },
            "ProxyDeath" => Self::ProxyDeath,
            _ => Self::Unknown(f.rest()),
        })
    }
}
