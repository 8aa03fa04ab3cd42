use cabled_wire::WireError;
use cabled_wire::plist::{Dictionary, Value};

use crate::msg::Message;
use crate::msg::fields::{Builder, Fields, texts};

/// What a host says; the key is `Request` here, not `Command` (spec: lockdown 12.4).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Request {
    /// `All`, `WiFi`, `GasGauge`, `NAND` and other bare requests for facts; some were removed over time.
    Facts {
        /// `Request` as spelled.
        kind: String,
    },
    /// `MobileGestalt`.
    MobileGestalt {
        /// `MobileGestaltKeys`.
        keys: Vec<String>,
    },
    /// `IORegistry`.
    IoRegistry(Entry),
    /// `Sleep`.
    Sleep,
    /// `Restart`.
    Restart(PowerOptions),
    /// `Shutdown`.
    Shutdown(PowerOptions),
    /// `Goodbye`.
    Goodbye,
    /// A request with keys this version does not know, kept whole.
    Unknown(Dictionary),
}

/// Which part of the I/O registry is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// `EntryName`.
    pub name: Option<String>,
    /// `EntryClass`, such as `IOPMPowerSource`.
    pub class: Option<String>,
    /// `CurrentPlane`, such as `IODeviceTree`.
    pub plane: Option<String>,
}

/// How to restart or shut down; absent is false.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PowerOptions {
    /// `WaitForDisconnect`: only once this connection is closed.
    pub wait_for_disconnect: Option<bool>,
    /// `DisplayPass`: show a mark of success.
    pub display_pass: Option<bool>,
    /// `DisplayFail`: show a mark of failure.
    pub display_fail: Option<bool>,
}

/// What a device says.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// `Status`: `Success`, `Failure` or `UnknownRequest`.
    pub status: String,
    /// `Diagnostics`.
    pub diagnostics: Option<Dictionary>,
    /// Further keys.
    pub extra: Dictionary,
}

impl Entry {
    /// By `EntryName`.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: Some(name.into()),
            class: None,
            plane: None,
        }
    }

    /// By `EntryClass`.
    #[must_use]
    pub fn of_class(class: impl Into<String>) -> Self {
        Self {
            name: None,
            class: Some(class.into()),
            plane: None,
        }
    }

    /// By `CurrentPlane`: a whole tree.
    #[must_use]
    pub fn plane(plane: impl Into<String>) -> Self {
        Self {
            name: None,
            class: None,
            plane: Some(plane.into()),
        }
    }
}

impl PowerOptions {
    fn decode(f: &mut Fields) -> Result<Self, WireError> {
        Ok(Self {
            wait_for_disconnect: f.opt_boolean("WaitForDisconnect")?,
            display_pass: f.opt_boolean("DisplayPass")?,
            display_fail: f.opt_boolean("DisplayFail")?,
        })
    }

    fn build(self, b: Builder) -> Value {
        b.opt("WaitForDisconnect", self.wait_for_disconnect)
            .opt("DisplayPass", self.display_pass)
            .opt("DisplayFail", self.display_fail)
            .build()
    }
}

impl Reply {
    /// `Status` of a request that worked.
    pub const SUCCESS: &'static str = "Success";
    /// `Status` of a request that did not.
    pub const FAILURE: &'static str = "Failure";
    /// `Status` of a request the device does not know.
    pub const UNKNOWN_REQUEST: &'static str = "UnknownRequest";

    /// A reply with nothing but a status.
    #[must_use]
    pub fn status(status: &str) -> Self {
        Self {
            status: status.to_owned(),
            diagnostics: None,
            extra: Dictionary::new(),
        }
    }
}

impl Message for Request {
    fn to_plist(&self) -> Value {
        let start = |request: &str| Builder::default().set("Request", request);
        match self {
            Self::Facts { kind } => start(kind).build(),
            Self::MobileGestalt { keys } => start("MobileGestalt").set("MobileGestaltKeys", texts(keys)).build(),
            Self::IoRegistry(entry) => start("IORegistry")
                .opt("EntryName", entry.name.as_deref())
                .opt("EntryClass", entry.class.as_deref())
                .opt("CurrentPlane", entry.plane.as_deref())
                .build(),
            Self::Sleep => start("Sleep").build(),
            Self::Restart(options) => options.build(start("Restart")),
            Self::Shutdown(options) => options.build(start("Shutdown")),
            Self::Goodbye => start("Goodbye").build(),
            Self::Unknown(dict) => Value::Dictionary(dict.clone()),
        }
    }

    fn from_plist(value: Value) -> Result<Self, WireError> {
        let mut f = Fields::of(value, "diagnostics_relay request")?;
        let request = f.peek_text("Request")?.to_owned();
        Ok(match request.as_str() {
            "MobileGestalt" => Self::MobileGestalt {
                keys: f.opt_texts("MobileGestaltKeys")?.unwrap_or_default(),
            },
            "IORegistry" => Self::IoRegistry(Entry {
                name: f.opt_text("EntryName")?,
                class: f.opt_text("EntryClass")?,
                plane: f.opt_text("CurrentPlane")?,
            }),
            "Sleep" => Self::Sleep,
            "Restart" => Self::Restart(PowerOptions::decode(&mut f)?),
            "Shutdown" => Self::Shutdown(PowerOptions::decode(&mut f)?),
            "Goodbye" => Self::Goodbye,
            _ if f.peek().len() == 1 => Self::Facts { kind: request },
            _ => Self::Unknown(f.rest()),
        })
    }
}

impl Message for Reply {
    fn to_plist(&self) -> Value {
        Builder::on(&self.extra)
            .set("Status", self.status.as_str())
            .opt("Diagnostics", self.diagnostics.clone().map(Value::Dictionary))
            .build()
    }

    fn from_plist(value: Value) -> Result<Self, WireError> {
        let mut f = Fields::of(value, "diagnostics_relay reply")?;
        Ok(Self {
            status: f.text("Status")?,
            diagnostics: f.opt_dict("Diagnostics")?,
            extra: f.rest(),
        })
    }
}
