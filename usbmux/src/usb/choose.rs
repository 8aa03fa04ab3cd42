//! From a device's descriptors to what has to be done with it. No I/O. Spec: usbmux, section 7.

use nusb::descriptors::{ConfigurationDescriptor, InterfaceDescriptor, TransferType};
use nusb::transfer::Direction;

/// Class, subclass and protocol of the multiplexer's interface. All three have to match: other interfaces of the same
/// device share the first.
const MUX_CLASS: (u8, u8, u8) = (0xff, 0xfe, 0x02);
/// The largest packet that any speed of USB has for bulk transfers, in bytes.
const MAX_PACKET: usize = 1024;
/// Configurations looked at. Devices have six at most; the descriptor's own limit is 255.
const MAX_CONFIGURATIONS: usize = 32;

/// What is known about a device before anything was changed on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    /// `bConfigurationValue` of the active configuration; 0 when the device is not configured.
    pub(super) active: u8,
    pub(super) configurations: Vec<Configuration>,
}

/// One configuration of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Configuration {
    /// `bConfigurationValue`, never 0.
    pub(super) value: u8,
    /// Numbers of its interfaces.
    pub(super) interfaces: Vec<u8>,
    /// The multiplexer's interface, if it has one.
    pub(super) mux: Option<MuxInterface>,
}

/// The interface to claim and its two endpoints, as the descriptor has them: their order and addresses vary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MuxInterface {
    pub(super) number: u8,
    /// Address of the bulk endpoint from the device.
    pub(super) bulk_in: u8,
    /// Address of the bulk endpoint to the device.
    pub(super) bulk_out: u8,
}

/// What to do with a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// The active configuration has the multiplexer: leave everything as it is. Another configuration could end somebody's
    /// network link or screen capture.
    UseActive(MuxInterface),
    /// Another configuration has it: the highest of those, after the kernel's drivers let go of these interfaces.
    Configure { value: u8, interfaces: Vec<u8> },
    /// No configuration has it: another mode might.
    SwitchMode { configurations: u8 },
}

impl View {
    pub(super) fn new<'d>(active: u8, configurations: impl Iterator<Item = ConfigurationDescriptor<'d>>) -> Self {
        let configurations = configurations
            .take(MAX_CONFIGURATIONS)
            // The value 0 means unconfigured and cannot be set.
            .filter(|configuration| configuration.configuration_value() != 0)
            .map(|descriptor| Configuration::new(&descriptor))
            .collect();
        Self { active, configurations }
    }

    /// Decides.
    pub(super) fn plan(&self) -> Plan {
        let active = self.configurations.iter().find(|c| c.value == self.active);
        if let Some(mux) = active.and_then(|c| c.mux) {
            return Plan::UseActive(mux);
        }
        let best = self
            .configurations
            .iter()
            .filter(|c| c.mux.is_some())
            .max_by_key(|c| c.value);
        match best {
            Some(best) => Plan::Configure {
                value: best.value,
                interfaces: active.map(|c| c.interfaces.clone()).unwrap_or_default(),
            },
            None => Plan::SwitchMode {
                configurations: u8::try_from(self.configurations.len()).unwrap_or(u8::MAX),
            },
        }
    }
}

impl Configuration {
    fn new(descriptor: &ConfigurationDescriptor<'_>) -> Self {
        let first_settings = || {
            descriptor
                .interface_alt_settings()
                .filter(|interface| interface.alternate_setting() == 0)
        };
        let mut interfaces: Vec<u8> = first_settings().map(|interface| interface.interface_number()).collect();
        interfaces.sort_unstable();
        interfaces.dedup();
        Self {
            value: descriptor.configuration_value(),
            interfaces,
            mux: first_settings().find_map(|interface| MuxInterface::new(&interface)),
        }
    }
}

impl MuxInterface {
    /// The interface if it is the multiplexer's: exactly two bulk endpoints, one each way, with packets that can be.
    fn new(interface: &InterfaceDescriptor<'_>) -> Option<Self> {
        if (interface.class(), interface.subclass(), interface.protocol()) != MUX_CLASS {
            return None;
        }
        let mut endpoints = interface.endpoints();
        let (Some(one), Some(other), None) = (endpoints.next(), endpoints.next(), endpoints.next()) else {
            return None;
        };
        let usable = [&one, &other].into_iter().all(|endpoint| {
            endpoint.transfer_type() == TransferType::Bulk
                && (1..=MAX_PACKET).contains(&endpoint.max_packet_size())
                && endpoint.address() & 0x0f != 0
        });
        let (bulk_in, bulk_out) = match (one.direction(), other.direction()) {
            (Direction::In, Direction::Out) => (one.address(), other.address()),
            (Direction::Out, Direction::In) => (other.address(), one.address()),
            _ => return None,
        };
        usable.then_some(Self {
            number: interface.interface_number(),
            bulk_in,
            bulk_out,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BULK: u8 = 2;

    fn endpoint(address: u8, kind: u8, packet: u16) -> Vec<u8> {
        let [low, high] = packet.to_le_bytes();
        vec![7, 5, address, kind, low, high, 0]
    }

    fn interface(number: u8, alternate: u8, class: (u8, u8, u8), endpoints: &[Vec<u8>]) -> Vec<u8> {
        let count = u8::try_from(endpoints.len()).unwrap();
        let mut bytes = vec![9, 4, number, alternate, count, class.0, class.1, class.2, 0];
        bytes.extend(endpoints.concat());
        bytes
    }

    fn configuration(value: u8, interfaces: &[Vec<u8>]) -> Vec<u8> {
        let inside = interfaces.concat();
        let [low, high] = u16::try_from(inside.len().saturating_add(9)).unwrap().to_le_bytes();
        let mut bytes = vec![
            9,
            2,
            low,
            high,
            u8::try_from(interfaces.len()).unwrap(),
            value,
            0,
            0xc0,
            250,
        ];
        bytes.extend(inside);
        bytes
    }

    fn ptp() -> Vec<u8> {
        let endpoints = [
            endpoint(0x02, BULK, 512),
            endpoint(0x81, BULK, 512),
            endpoint(0x83, 3, 64),
        ];
        interface(0, 0, (6, 1, 1), &endpoints)
    }

    fn mux(number: u8) -> Vec<u8> {
        interface(
            number,
            0,
            MUX_CLASS,
            &[endpoint(0x04, BULK, 512), endpoint(0x85, BULK, 512)],
        )
    }

    fn ethernet() -> Vec<u8> {
        let carrying = interface(
            2,
            1,
            (0xff, 0xfd, 1),
            &[endpoint(0x86, BULK, 512), endpoint(0x05, BULK, 512)],
        );
        [interface(2, 0, (0xff, 0xfd, 1), &[]), carrying].concat()
    }

    fn view(active: u8, configurations: &[Vec<u8>]) -> View {
        View::new(
            active,
            configurations
                .iter()
                .filter_map(|bytes| ConfigurationDescriptor::new(bytes)),
        )
    }

    /// The usual four.
    fn iphone(active: u8) -> View {
        view(
            active,
            &[
                configuration(1, &[ptp()]),
                configuration(2, &[interface(0, 0, (3, 0, 0), &[endpoint(0x81, 3, 64)])]),
                configuration(3, &[ptp(), mux(1)]),
                configuration(4, &[ptp(), mux(1), ethernet()]),
            ],
        )
    }

    const MUX: MuxInterface = MuxInterface {
        number: 1,
        bulk_in: 0x85,
        bulk_out: 0x04,
    };

    #[test]
    fn an_active_configuration_with_the_multiplexer_is_left_alone() {
        assert_eq!(iphone(3).plan(), Plan::UseActive(MUX));
        assert_eq!(iphone(4).plan(), Plan::UseActive(MUX));
    }

    #[test]
    fn otherwise_the_highest_that_has_it_is_set_and_the_old_interfaces_are_let_go() {
        let of = |active, interfaces: &[u8]| {
            let plan = Plan::Configure {
                value: 4,
                interfaces: interfaces.to_vec(),
            };
            assert_eq!(iphone(active).plan(), plan);
        };
        of(1, &[0]);
        of(2, &[0]);
        of(0, &[]);
        of(99, &[]); // the system names one that the device does not have
    }

    #[test]
    fn all_three_class_bytes_have_to_match() {
        let video = interface(
            1,
            0,
            (0xff, 0x2a, 0xff),
            &[endpoint(0x04, BULK, 512), endpoint(0x85, BULK, 512)],
        );
        let other = interface(
            3,
            0,
            (0xff, 0xfe, 0x01),
            &[endpoint(0x05, BULK, 512), endpoint(0x86, BULK, 512)],
        );
        let of = view(5, &[configuration(5, &[video, other, mux(2)])]);
        assert_eq!(of.plan(), Plan::UseActive(MuxInterface { number: 2, ..MUX }));
    }

    #[test]
    fn an_interface_with_other_endpoints_is_not_the_multiplexer() {
        let (into, out) = (endpoint(0x85, BULK, 512), endpoint(0x04, BULK, 512));
        let wrong: &[&[Vec<u8>]] = &[
            &[],
            std::slice::from_ref(&into),
            &[into.clone(), endpoint(0x86, BULK, 512)],
            &[out.clone(), endpoint(0x05, BULK, 512)],
            &[into.clone(), out.clone(), endpoint(0x87, 3, 64)],
            &[into.clone(), endpoint(0x04, 3, 64)],
            &[into.clone(), endpoint(0x04, BULK, 0)],
            &[endpoint(0x85, BULK, 1025), out.clone()],
            &[endpoint(0x80, BULK, 512), out.clone()],
        ];
        for endpoints in wrong {
            let of = view(1, &[configuration(1, &[interface(0, 0, MUX_CLASS, endpoints)])]);
            assert_eq!(of.plan(), Plan::SwitchMode { configurations: 1 }, "{endpoints:02x?}");
        }
    }

    #[test]
    fn the_order_of_the_endpoints_does_not_matter_and_another_alternate_setting_does_not_count() {
        let turned = interface(1, 0, MUX_CLASS, &[endpoint(0x85, BULK, 64), endpoint(0x04, BULK, 64)]);
        assert_eq!(view(3, &[configuration(3, &[turned])]).plan(), Plan::UseActive(MUX));
        let later = interface(1, 1, MUX_CLASS, &[endpoint(0x85, BULK, 64), endpoint(0x04, BULK, 64)]);
        let of = view(3, &[configuration(3, &[later])]);
        assert_eq!(of.plan(), Plan::SwitchMode { configurations: 1 });
    }

    #[test]
    fn a_configuration_with_the_value_0_is_none() {
        let of = view(0, &[configuration(0, &[mux(1)])]);
        assert_eq!(of.plan(), Plan::SwitchMode { configurations: 0 });
    }

    #[test]
    fn a_device_without_descriptors_has_nothing_to_offer() {
        assert_eq!(view(0, &[]).plan(), Plan::SwitchMode { configurations: 0 });
    }

    proptest! {
        #[test]
        fn hostile_descriptors_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), active: u8) {
            let mut bytes = bytes;
            if let Some(head) = bytes.first_chunk_mut::<4>() {
                *head = [9, 2, head[2], head[3] & 1];
            }
            let _ = View::new(active, ConfigurationDescriptor::new(&bytes).into_iter()).plan();
        }

        #[test]
        fn a_damaged_descriptor_never_gives_an_unusable_interface(at in 0_usize..120, value: u8, active in 0_u8..6) {
            let mut all = [configuration(3, &[ptp(), mux(1)]), configuration(4, &[ptp(), mux(1), ethernet()])].concat();
            if let Some(byte) = all.get_mut(at) {
                *byte = value;
            }
            let first = ConfigurationDescriptor::new(&all);
            let rest = first.as_ref().map_or(all.len(), |c| c.as_bytes().len());
            let second = ConfigurationDescriptor::new(&all[rest..]);
            if let Plan::UseActive(mux) = View::new(active, first.into_iter().chain(second)).plan() {
                prop_assert!(mux.bulk_in & 0x80 != 0 && mux.bulk_out & 0x80 == 0);
                prop_assert!(mux.bulk_in & 0x0f != 0 && mux.bulk_out & 0x0f != 0);
            }
        }
    }
}
