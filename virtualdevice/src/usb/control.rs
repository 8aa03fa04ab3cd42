//! The device's side of control requests; does no I/O.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::descriptor::{Configuration, Descriptors, HID, HID_REPORT, kind};
use super::layout::{Function, Interface, Transfer};
use super::{ControlOutcome, Mode, Setup, UsbOptions};

/// `bmRequestType`: kind and recipient.
mod to {
    pub(super) const STANDARD_DEVICE: u8 = 0x00;
    pub(super) const STANDARD_INTERFACE: u8 = 0x01;
    pub(super) const STANDARD_ENDPOINT: u8 = 0x02;
    pub(super) const VENDOR_DEVICE: u8 = 0x40;
}

/// Standard values of `bRequest`.
mod request {
    pub(super) const GET_STATUS: u8 = 0x00;
    pub(super) const CLEAR_FEATURE: u8 = 0x01;
    pub(super) const SET_FEATURE: u8 = 0x03;
    pub(super) const SET_ADDRESS: u8 = 0x05;
    pub(super) const GET_DESCRIPTOR: u8 = 0x06;
    pub(super) const GET_CONFIGURATION: u8 = 0x08;
    pub(super) const SET_CONFIGURATION: u8 = 0x09;
    pub(super) const GET_INTERFACE: u8 = 0x0a;
    pub(super) const SET_INTERFACE: u8 = 0x0b;
    pub(super) const SET_SEL: u8 = 0x30;
    pub(super) const SET_ISOCH_DELAY: u8 = 0x31;
    /// Apple's: which mode, and go to another.
    pub(super) const GET_MODE: u8 = 0x45;
    pub(super) const SET_MODE: u8 = 0x52;
}

/// Feature number of an endpoint's halt.
const ENDPOINT_HALT: u16 = 0;

/// What a request means for the rest of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    /// Another configuration, or the same again; whatever ran is over.
    Configured,
    /// The multiplexer's interface was set up anew.
    MuxReset,
    /// The halt of this endpoint is over.
    HaltCleared(u8),
    /// The device leaves the bus and comes back in another mode.
    Leaves(Mode),
}

/// Which endpoint of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) function: Function,
    pub(super) transfer: Transfer,
}

/// The device as endpoint 0 knows it.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) descriptors: Descriptors,
    mode: Mode,
    newest_mode: Option<Mode>,
    configuration: u8,
    /// Alternate setting of each interface of the active configuration.
    settings: Vec<u8>,
    halted: BTreeSet<u8>,
}

impl Core {
    pub(super) fn new(options: &UsbOptions, serial: &str) -> Self {
        let mut core = Self {
            descriptors: Descriptors::new(options, serial),
            mode: options.mode,
            newest_mode: options.newest_mode,
            configuration: 0,
            settings: Vec::new(),
            halted: BTreeSet::new(),
        };
        core.configure(options.configuration);
        core
    }

    pub(super) fn configuration(&self) -> u8 {
        self.configuration
    }

    fn active(&self) -> Option<&Configuration> {
        self.descriptors.configuration(self.configuration)
    }

    /// The interfaces of the active configuration.
    pub(super) fn interfaces(&self) -> Vec<&'static Interface> {
        let interfaces = self.active().map(Configuration::interfaces).into_iter().flatten();
        interfaces.map(|(_, interface)| interface).collect()
    }

    /// As [`Core::interfaces`], but those of the first configuration where none is active.
    pub(super) fn interfaces_or_first(&self) -> Vec<&'static Interface> {
        let chosen = self.active().or(self.descriptors.configurations.first());
        let interfaces = chosen.map(Configuration::interfaces).into_iter().flatten();
        interfaces.map(|(_, interface)| interface).collect()
    }

    /// Whether the multiplexer can be spoken to.
    pub(super) fn has_mux(&self) -> bool {
        self.active()
            .is_some_and(|active| active.functions.contains(&Function::Mux))
    }

    /// The endpoint with this address, in the settings that are active.
    pub(super) fn endpoint(&self, address: u8) -> Option<Found> {
        let interfaces = self.active()?.interfaces().zip(&self.settings);
        interfaces
            .filter_map(|((function, interface), setting)| {
                let endpoints = interface.settings.get(usize::from(*setting))?;
                let found = endpoints.iter().find(|endpoint| endpoint.address == address)?;
                Some(Found {
                    function,
                    transfer: found.transfer,
                })
            })
            .next()
    }

    pub(super) fn is_halted(&self, address: u8) -> bool {
        self.halted.contains(&address)
    }

    pub(super) fn halt(&mut self, address: u8) {
        self.halted.insert(address);
    }

    /// Makes a configuration the active one; says whether there is such a one.
    pub(super) fn configure(&mut self, value: u8) -> bool {
        let known = value == 0 || self.descriptors.configuration(value).is_some();
        if known {
            self.configuration = value;
            self.settings = vec![0; self.interfaces().len()];
            self.halted.clear();
        }
        known
    }

    /// Answers a request. What does not fit is refused, as devices do.
    pub(super) fn handle(&mut self, setup: Setup) -> (ControlOutcome, Effect) {
        let answer = if setup.is_in() {
            self.read(setup).map(|bytes| (limit(bytes, setup.length), Effect::None))
        } else {
            self.write(setup).map(|effect| (ControlOutcome::Done, effect))
        };
        match self.switch(setup).or(answer) {
            Some((outcome, effect)) => (outcome, effect),
            None => (ControlOutcome::Stall, Effect::None),
        }
    }

    /// The mode requests, which only some devices know. Linux' driver for the Ethernet function uses the same number of
    /// request with an interface as the recipient, for something else.
    fn switch(&self, setup: Setup) -> Option<(ControlOutcome, Effect)> {
        let newest = self.newest_mode?;
        if setup.request_type != to::VENDOR_DEVICE | 0x80 {
            return None;
        }
        match setup.request {
            request::GET_MODE => {
                let bytes: [u8; 4] = match self.mode {
                    Mode::Initial => [3, 3, 3, 0],
                    _ => [5, 3, 3, 0],
                };
                Some((limit(bytes.to_vec(), setup.length), Effect::None))
            }
            request::SET_MODE => {
                let wanted = Mode::from_number(setup.index).filter(|mode| *mode <= newest);
                let refused = u8::from(wanted.is_none());
                let effect = wanted.map_or(Effect::None, Effect::Leaves);
                Some((limit(vec![refused], setup.length), effect))
            }
            _ => None,
        }
    }

    fn read(&self, setup: Setup) -> Option<Vec<u8>> {
        let [value_low, value_high] = setup.value.to_le_bytes();
        let number = u8::try_from(setup.index).ok();
        match (setup.request_type & 0x7f, setup.request) {
            (to::STANDARD_DEVICE, request::GET_DESCRIPTOR) => {
                self.descriptors.get(value_high, value_low).map(<[u8]>::to_vec)
            }
            (to::STANDARD_INTERFACE, request::GET_DESCRIPTOR) => {
                let hid = self.interface(number?)?.class.first() == Some(&0x03);
                match value_high {
                    kind::HID if hid => Some(HID.to_vec()),
                    kind::REPORT if hid => Some(HID_REPORT.to_vec()),
                    _ => None,
                }
            }
            (to::STANDARD_DEVICE, request::GET_CONFIGURATION) => Some(vec![self.configuration]),
            (to::STANDARD_INTERFACE, request::GET_INTERFACE) => {
                self.settings.get(usize::from(number?)).map(|setting| vec![*setting])
            }
            // Self-powered.
            (to::STANDARD_DEVICE, request::GET_STATUS) => Some(vec![1, 0]),
            (to::STANDARD_INTERFACE, request::GET_STATUS) => self.interface(number?).map(|_| vec![0, 0]),
            (to::STANDARD_ENDPOINT, request::GET_STATUS) => {
                let address = number?;
                self.known(address).then(|| vec![u8::from(self.is_halted(address)), 0])
            }
            _ => None,
        }
    }

    fn write(&mut self, setup: Setup) -> Option<Effect> {
        let number = u8::try_from(setup.index).ok();
        match (setup.request_type & 0x7f, setup.request) {
            (to::STANDARD_DEVICE, request::SET_CONFIGURATION) => {
                let value = u8::try_from(setup.value).ok()?;
                self.configure(value).then_some(Effect::Configured)
            }
            (to::STANDARD_INTERFACE, request::SET_INTERFACE) => self.set_interface(number?, setup.value),
            (to::STANDARD_ENDPOINT, request::CLEAR_FEATURE) if setup.value == ENDPOINT_HALT => {
                let address = number?;
                let known = self.known(address);
                self.halted.remove(&address);
                known.then_some(Effect::HaltCleared(address))
            }
            (to::STANDARD_ENDPOINT, request::SET_FEATURE) if setup.value == ENDPOINT_HALT => {
                let address = number?;
                if address & 0x7f == 0 || !self.known(address) {
                    return None;
                }
                self.halt(address);
                Some(Effect::None)
            }
            // The bus deals in addresses, power and delays; there is nothing here that they would change.
            (
                to::STANDARD_DEVICE,
                request::SET_ADDRESS
                | request::SET_FEATURE
                | request::CLEAR_FEATURE
                | request::SET_SEL
                | request::SET_ISOCH_DELAY,
            )
            | (to::STANDARD_INTERFACE, request::SET_FEATURE | request::CLEAR_FEATURE) => Some(Effect::None),
            _ => None,
        }
    }

    fn set_interface(&mut self, number: u8, setting: u16) -> Option<Effect> {
        let at = usize::from(number);
        let (function, interface) = self.active()?.interfaces().nth(at)?;
        let setting = u8::try_from(setting).ok()?;
        interface.settings.get(usize::from(setting))?;
        *self.settings.get_mut(at)? = setting;
        let endpoints = interface.settings.iter().copied().flatten();
        endpoints.for_each(|endpoint| {
            self.halted.remove(&endpoint.address);
        });
        Some(if function == Function::Mux {
            Effect::MuxReset
        } else {
            Effect::None
        })
    }

    fn interface(&self, number: u8) -> Option<&'static Interface> {
        self.interfaces().get(usize::from(number)).copied()
    }

    /// Endpoint 0 always is.
    fn known(&self, address: u8) -> bool {
        address & 0x7f == 0 || self.endpoint(address).is_some()
    }
}

fn limit(mut bytes: Vec<u8>, length: u16) -> ControlOutcome {
    bytes.truncate(usize::from(length));
    ControlOutcome::Data(Bytes::from(bytes))
}
