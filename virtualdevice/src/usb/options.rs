//! How a phone presents itself on the bus.

use crate::mux::DeviceMuxOptions;
use crate::profile::Profile;

use super::{Function, Mode, Speed};

/// Which of the multiplexer's endpoints is described first; phones do both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MuxEndpoints {
    /// OUT, then IN.
    #[default]
    OutFirst,
    /// IN, then OUT.
    InFirst,
}

/// What a phone is on the bus; the defaults are those of a current iPhone on USB 2.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UsbOptions {
    /// `idProduct`.
    pub product: u16,
    /// `bcdDevice`.
    pub release: u16,
    /// The product's string.
    pub product_name: String,
    /// The serial number's string, where it is not to follow from the phone's UDID.
    pub serial: Option<String>,
    /// How fast it talks.
    pub speed: Speed,
    /// The mode it is in.
    pub mode: Mode,
    /// The highest mode it goes to when asked; `None` for a phone that refuses both mode requests.
    pub newest_mode: Option<Mode>,
    /// Functions of each configuration, in place of those of the mode.
    pub configurations: Option<Vec<Vec<Function>>>,
    /// The configuration that is active from the start; 0 for none, as after power-on.
    pub configuration: u8,
    /// The order of the multiplexer's endpoints.
    pub mux_endpoints: MuxEndpoints,
    /// How the multiplexer behaves.
    pub mux: DeviceMuxOptions,
}

impl Default for UsbOptions {
    fn default() -> Self {
        Self {
            product: 0x12a8,
            release: 0x1702,
            product_name: "iPhone".to_owned(),
            serial: None,
            speed: Speed::High,
            mode: Mode::Initial,
            newest_mode: Some(Mode::NcmOnly),
            configurations: None,
            configuration: 0,
            mux_endpoints: MuxEndpoints::OutFirst,
            mux: DeviceMuxOptions::default(),
        }
    }
}

impl UsbOptions {
    /// What a phone with this profile is on the bus: its product, and the modes its iOS knows.
    #[must_use]
    pub fn of_profile(profile: &Profile) -> Self {
        let newest_mode = match profile.version().0 {
            0..13 => None,
            13..16 => Some(Mode::Ncm),
            16 => Some(Mode::EthernetAndNcm),
            _ => Some(Mode::NcmOnly),
        };
        let (product, name) = match profile.model.device_class.as_str() {
            "iPad" => (0x12ab, "iPad"),
            "iPod" => (0x12aa, "iPod"),
            _ => (0x12a8, "iPhone"),
        };
        Self {
            product,
            product_name: name.to_owned(),
            newest_mode,
            ..Self::default()
        }
    }

    /// Sets `idProduct` (default 0x12a8, an iPhone) and its string.
    #[must_use]
    pub fn with_product(mut self, product: u16, name: impl Into<String>) -> Self {
        self.product = product;
        self.product_name = name.into();
        self
    }

    /// Sets the serial number's string (default: the UDID without its hyphen).
    #[must_use]
    pub fn with_serial(mut self, serial: impl Into<String>) -> Self {
        self.serial = Some(serial.into());
        self
    }

    /// Sets how fast it talks (default [`Speed::High`]).
    #[must_use]
    pub fn with_speed(mut self, speed: Speed) -> Self {
        self.speed = speed;
        self
    }

    /// Sets the mode it is in (default [`Mode::Initial`]).
    #[must_use]
    pub fn with_mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets the highest mode it goes to (default [`Mode::NcmOnly`]); `None` for an old phone, which stalls the requests.
    #[must_use]
    pub fn with_newest_mode(mut self, mode: Option<Mode>) -> Self {
        self.newest_mode = mode;
        self
    }

    /// Sets the functions of each configuration (default: those of the mode); one to six configurations.
    ///
    /// They stay as they are when the phone goes to another mode.
    #[must_use]
    pub fn with_configurations(mut self, configurations: Vec<Vec<Function>>) -> Self {
        self.configurations = Some(configurations);
        self
    }

    /// Sets the configuration that is active from the start (default 0: none). For hosts that drive the device with no
    /// kernel in between; a kernel sets one itself.
    #[must_use]
    pub fn with_configuration(mut self, value: u8) -> Self {
        self.configuration = value;
        self
    }

    /// Sets the order of the multiplexer's endpoints in the descriptor (default OUT first).
    #[must_use]
    pub fn with_mux_endpoints(mut self, order: MuxEndpoints) -> Self {
        self.mux_endpoints = order;
        self
    }

    /// Sets how the multiplexer behaves.
    #[must_use]
    pub fn with_mux(mut self, mux: DeviceMuxOptions) -> Self {
        self.mux = mux;
        self
    }

    pub(super) fn layout(&self) -> Vec<Vec<Function>> {
        self.configurations
            .clone()
            .unwrap_or_else(|| self.mode.configurations())
    }
}
