use cabled_wire::WireError;
use cabled_wire::plist::{Dictionary, Value};

use crate::msg::Message;
use crate::msg::fields::{Builder, Fields};

/// What a host says, once per connection (spec: lockdown 12.5).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Command {
    /// `VendContainer`: the whole container; the app must be signed for development.
    VendContainer {
        /// `Identifier`: the bundle id.
        bundle_id: String,
    },
    /// `VendDocuments`: only `/Documents`; the app must share files.
    VendDocuments {
        /// `Identifier`: the bundle id.
        bundle_id: String,
    },
    /// A command this version does not know, kept whole.
    Unknown(Dictionary),
}

/// What a device says; after `Complete` the stream speaks AFC.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reply {
    /// `Status: Complete`.
    Complete,
    /// `Error`, such as `ApplicationLookupFailed` or `InstallationLookupFailed`.
    Failed {
        /// The reason as the device spelled it.
        error: String,
    },
    /// A message this version does not know, kept whole.
    Unknown(Dictionary),
}

impl Message for Command {
    fn to_plist(&self) -> Value {
        let (command, bundle_id) = match self {
            Self::VendContainer { bundle_id } => ("VendContainer", bundle_id),
            Self::VendDocuments { bundle_id } => ("VendDocuments", bundle_id),
            Self::Unknown(dict) => return Value::Dictionary(dict.clone()),
        };
        Builder::default()
            .set("Command", command)
            .set("Identifier", bundle_id.as_str())
            .build()
    }

    fn from_plist(value: Value) -> Result<Self, WireError> {
        let mut f = Fields::of(value, "house_arrest command")?;
        Ok(match f.peek_text("Command")? {
            "VendContainer" => Self::VendContainer {
                bundle_id: f.text("Identifier")?,
            },
            "VendDocuments" => Self::VendDocuments {
                bundle_id: f.text("Identifier")?,
            },
            _ => Self::Unknown(f.rest()),
        })
    }
}

impl Message for Reply {
    fn to_plist(&self) -> Value {
        match self {
            Self::Complete => Builder::default().set("Status", "Complete").build(),
            Self::Failed { error } => Builder::default().set("Error", error.as_str()).build(),
            Self::Unknown(dict) => Value::Dictionary(dict.clone()),
        }
    }

    fn from_plist(value: Value) -> Result<Self, WireError> {
        let mut f = Fields::of(value, "house_arrest reply")?;
        if let Some(error) = f.opt_text("Error")? {
            return Ok(Self::Failed { error });
        }
        Ok(match f.opt_text("Status")?.as_deref() {
            Some("Complete") => Self::Complete,
            Some(other) => {
                let other = Value::from(other);
                let mut dict = f.rest();
                dict.insert("Status".to_owned(), other);
                Self::Unknown(dict)
            }
            None => Self::Unknown(f.rest()),
        })
    }
}
