//! Descriptors as bytes.

use super::layout::{Endpoint, Extra, Function, IN, Interface, Transfer};
use super::{MuxEndpoints, Speed, UsbOptions};

/// Descriptor types.
pub(super) mod kind {
    pub(crate) const DEVICE: u8 = 1;
    pub(crate) const CONFIGURATION: u8 = 2;
    pub(crate) const STRING: u8 = 3;
    pub(crate) const INTERFACE: u8 = 4;
    pub(crate) const ENDPOINT: u8 = 5;
    pub(crate) const QUALIFIER: u8 = 6;
    pub(crate) const OTHER_SPEED: u8 = 7;
    pub(crate) const ASSOCIATION: u8 = 11;
    pub(crate) const BOS: u8 = 15;
    pub(crate) const HID: u8 = 0x21;
    pub(crate) const REPORT: u8 = 0x22;
    pub(crate) const CLASS_INTERFACE: u8 = 0x24;
    pub(crate) const COMPANION: u8 = 48;
}

/// A report descriptor of one vendor-defined byte that nobody ever sends.
pub(super) const HID_REPORT: [u8; 19] = [
    0x06, 0x00, 0xff, 0x09, 0x01, 0xa1, 0x01, 0x15, 0x00, 0x25, 0x01, 0x75, 0x08, 0x95, 0x01, 0x09, 0x01, 0x81, 0x02,
];
/// How the accessory's interface describes that report.
pub(super) const HID: [u8; 9] = [9, kind::HID, 0x11, 0x01, 0, 1, kind::REPORT, 19, 0];

/// The languages of all strings: English of the United States, 0x0409.
const LANGUAGES: [u8; 4] = [4, kind::STRING, 0x09, 0x04];

/// One configuration: what it offers, and its bytes at both speeds that a USB 2 device has.
#[derive(Debug)]
pub(super) struct Configuration {
    pub(super) value: u8,
    pub(super) functions: Vec<Function>,
    bytes: Vec<u8>,
    other_speed: Vec<u8>,
}

impl Configuration {
    /// Its interfaces in the order of their numbers.
    pub(super) fn interfaces(&self) -> impl Iterator<Item = (Function, &'static Interface)> {
        let of = |function: &Function| {
            let function = *function;
            function.interfaces().iter().map(move |interface| (function, interface))
        };
        self.functions.iter().flat_map(of)
    }
}

/// All that the device tells about itself.
#[derive(Debug)]
pub(super) struct Descriptors {
    speed: Speed,
    device: Vec<u8>,
    qualifier: Vec<u8>,
    bos: Vec<u8>,
    strings: Vec<Vec<u8>>,
    pub(super) configurations: Vec<Configuration>,
}

/// Strings get their numbers when they are first mentioned.
struct Strings(Vec<String>);

impl Strings {
    fn number(&mut self, text: &str) -> u8 {
        let at = self.0.iter().position(|known| known == text).unwrap_or_else(|| {
            self.0.push(text.to_owned());
            self.0.len().saturating_sub(1)
        });
        u8::try_from(at.saturating_add(1)).unwrap_or(0)
    }
}

impl Descriptors {
    pub(super) fn new(options: &UsbOptions, serial: &str) -> Self {
        let speed = options.speed;
        let layout = options.layout();
        // The first three have fixed numbers, even if two are the same.
        let mut strings = Strings(vec![
            "Apple Inc.".to_owned(),
            options.product_name.clone(),
            serial.to_owned(),
        ]);
        let configurations: Vec<_> = (1_u8..)
            .zip(&layout)
            .map(|(value, functions)| {
                let labels: Vec<_> = functions.iter().map(|function| function.label()).collect();
                let name = strings.number(&labels.join(" + "));
                let mut write = |kind, speed| {
                    let mut body = Vec::new();
                    let interfaces = write_functions(&mut body, &mut strings, functions, speed, options.mux_endpoints);
                    configuration(kind, value, name, interfaces, &body, speed)
                };
                let other = if speed == Speed::Full { Speed::High } else { Speed::Full };
                Configuration {
                    value,
                    functions: functions.clone(),
                    bytes: write(kind::CONFIGURATION, speed),
                    other_speed: write(kind::OTHER_SPEED, other),
                }
            })
            .collect();
        let count = u8::try_from(configurations.len()).unwrap_or(u8::MAX);
        Self {
            speed,
            device: device(options, count),
            qualifier: vec![10, kind::QUALIFIER, 0x00, 0x02, 0, 0, 0, 64, count, 0],
            bos: bos(),
            strings: strings.0.iter().map(|text| string(text)).collect(),
            configurations,
        }
    }

    /// The descriptor that GET_DESCRIPTOR names, whole; `None` if the device has no such thing.
    pub(super) fn get(&self, kind: u8, index: u8) -> Option<&[u8]> {
        let configuration = || self.configurations.get(usize::from(index));
        match kind {
            kind::DEVICE => Some(&self.device),
            kind::CONFIGURATION => configuration().map(|found| &found.bytes[..]),
            kind::STRING => match index.checked_sub(1) {
                None => Some(&LANGUAGES),
                Some(at) => self.strings.get(usize::from(at)).map(|bytes| &bytes[..]),
            },
            // Devices that have no second speed do not have these.
            kind::QUALIFIER if self.speed == Speed::High => Some(&self.qualifier),
            kind::OTHER_SPEED if self.speed == Speed::High => configuration().map(|found| &found.other_speed[..]),
            kind::BOS if self.speed == Speed::Super => Some(&self.bos),
            _ => None,
        }
    }

    pub(super) fn configuration(&self, value: u8) -> Option<&Configuration> {
        self.configurations.iter().find(|found| found.value == value)
    }
}

fn device(options: &UsbOptions, configurations: u8) -> Vec<u8> {
    // The size of endpoint 0 is an exponent at super speed.
    let (version, packet) = match options.speed {
        Speed::Full | Speed::High => (0x0200_u16, 64),
        Speed::Super => (0x0300, 9),
    };
    let mut bytes = vec![18, kind::DEVICE];
    bytes.extend(version.to_le_bytes());
    bytes.extend([0, 0, 0, packet]);
    for field in [super::VENDOR, options.product, options.release] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend([1, 2, 3, configurations]);
    bytes
}

/// USB 2 extension and super speed capability: no power management that a host could wait for.
fn bos() -> Vec<u8> {
    let mut bytes = vec![5, kind::BOS, 22, 0, 2];
    bytes.extend([7, 16, 2, 0, 0, 0, 0]);
    bytes.extend([10, 16, 3, 0, 0x0e, 0, 1, 0, 0, 0]);
    bytes
}

fn string(text: &str) -> Vec<u8> {
    let units: Vec<u8> = text.encode_utf16().take(126).flat_map(u16::to_le_bytes).collect();
    let len = u8::try_from(units.len().saturating_add(2)).unwrap_or(u8::MAX);
    let mut bytes = vec![len, kind::STRING];
    bytes.extend(units);
    bytes
}

fn configuration(kind: u8, value: u8, name: u8, interfaces: u8, body: &[u8], speed: Speed) -> Vec<u8> {
    let total = u16::try_from(body.len().saturating_add(9)).unwrap_or(u16::MAX);
    // 500 mA, counted in 2 mA, or in 8 mA at super speed; self-powered.
    let power = if speed == Speed::Super { 62 } else { 250 };
    let mut bytes = vec![9, kind];
    bytes.extend(total.to_le_bytes());
    bytes.extend([interfaces, value, name, 0xc0, power]);
    bytes.extend_from_slice(body);
    bytes
}

/// Writes the interfaces of a configuration and says how many they are.
fn write_functions(
    out: &mut Vec<u8>,
    strings: &mut Strings,
    functions: &[Function],
    speed: Speed,
    order: MuxEndpoints,
) -> u8 {
    let mut number = 0_u8;
    for function in functions {
        if *function == Function::Ncm {
            out.extend([8, kind::ASSOCIATION, number, 2, 0x02, 0x0d, 0x00, 0]);
        }
        for interface in function.interfaces() {
            let swapped = *function == Function::Mux && order == MuxEndpoints::InFirst;
            let name = strings.number(interface.name);
            write_interface(out, strings, number, name, interface, (speed, swapped));
            number = number.saturating_add(1);
        }
    }
    number
}

fn write_interface(
    out: &mut Vec<u8>,
    strings: &mut Strings,
    number: u8,
    name: u8,
    interface: &Interface,
    (speed, swapped): (Speed, bool),
) {
    let [class, subclass, protocol] = interface.class;
    for (setting, endpoints) in (0_u8..).zip(interface.settings) {
        let count = u8::try_from(endpoints.len()).unwrap_or(u8::MAX);
        out.extend([
            9,
            kind::INTERFACE,
            number,
            setting,
            count,
            class,
            subclass,
            protocol,
            name,
        ]);
        match interface.extra {
            Extra::Hid => out.extend(HID),
            Extra::Ncm => {
                let address = strings.number("020000000001");
                out.extend([5, kind::CLASS_INTERFACE, 0x00, 0x10, 0x01]);
                out.extend([5, kind::CLASS_INTERFACE, 0x06, number, number.saturating_add(1)]);
                out.extend([
                    13,
                    kind::CLASS_INTERFACE,
                    0x0f,
                    address,
                    0,
                    0,
                    0,
                    0,
                    0xea,
                    0x05,
                    0,
                    0,
                    0,
                ]);
                out.extend([6, kind::CLASS_INTERFACE, 0x1a, 0x00, 0x01, 0]);
            }
            Extra::None => {}
        }
        let mut ordered = endpoints.to_vec();
        if swapped {
            ordered.reverse();
        }
        ordered
            .iter()
            .for_each(|endpoint| write_endpoint(out, *endpoint, speed));
    }
}

fn write_endpoint(out: &mut Vec<u8>, endpoint: Endpoint, speed: Speed) {
    let (attributes, packet, interval) = match endpoint.transfer {
        Transfer::Bulk => (2, speed.bulk_packet(), 0),
        Transfer::Interrupt => (3, 64, if speed == Speed::Full { 10 } else { 7 }),
    };
    out.extend([7, kind::ENDPOINT, endpoint.address, attributes]);
    out.extend(packet.to_le_bytes());
    out.push(interval);
    if speed == Speed::Super {
        let per_interval: u16 = if endpoint.transfer == Transfer::Interrupt {
            packet
        } else {
            0
        };
        out.extend([6, kind::COMPANION, 0, 0]);
        out.extend(per_interval.to_le_bytes());
    }
}

/// Whether an endpoint address means towards the host.
pub(super) const fn is_in(address: u8) -> bool {
    address & IN != 0
}
