use cabled_wire::WireError;
use cabled_wire::plist::{Dictionary, Value};

use crate::msg::Message;
use crate::msg::fields::{Builder, Fields};

/// What a device says (spec: lockdown 10.4).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Beat {
    /// `Marco`: answer with [`Polo`] at once.
    Marco {
        /// `Interval`: seconds until the next one.
        interval: Option<u64>,
        /// Further keys.
        extra: Dictionary,
    },
    /// `SleepyTime`: the device goes to sleep and the connection ends.
    SleepyTime,
    /// A message this version does not know, kept whole.
    Unknown(Dictionary),
}

/// What a host says: `Polo`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Polo;

impl Beat {
    /// The longest interval that is believed, in seconds.
    pub const MAX_INTERVAL: u64 = 3600;
}

impl Message for Beat {
    fn to_plist(&self) -> Value {
        match self {
            Self::Marco { interval, extra } => Builder::on(extra)
                .set("Command", "Marco")
                .opt("Interval", *interval)
                .build(),
            Self::SleepyTime => Builder::default().set("Command", "SleepyTime").build(),
            Self::Unknown(dict) => Value::Dictionary(dict.clone()),
        }
    }

    fn from_plist(value: Value) -> Result<Self, WireError> {
        let mut f = Fields::of(value, "heartbeat message")?;
        Ok(match f.peek_text("Command")? {
            "Marco" => {
                f.take("Command");
                Self::Marco {
                    interval: f.opt_count("Interval", Self::MAX_INTERVAL)?,
                    extra: f.rest(),
                }
            }
            "SleepyTime" => Self::SleepyTime,
            _ => Self::Unknown(f.rest()),
        })
    }
}

impl Message for Polo {
    fn to_plist(&self) -> Value {
        Builder::default().set("Command", "Polo").build()
    }

    fn from_plist(value: Value) -> Result<Self, WireError> {
        let mut f = Fields::of(value, "heartbeat answer")?;
        let command = f.text("Command")?;
        if command == "Polo" {
            Ok(Self)
        } else {
            Err(WireError::Unexpected {
                what: "heartbeat answer",
                name: WireError::excerpt(&command),
            })
        }
    }
}
