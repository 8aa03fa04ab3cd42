use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Said {
    Devices(Vec<(u32, u8)>),
    Attached(u32, u8),
    Detached(u32),
    Paired(u32),
    Lost(bool),
}

fn said() -> impl Strategy<Value = Said> {
    let device = || (0..12_u32, 0..6_u8);
    prop_oneof![
        1 => proptest::collection::vec(device(), 0..12).prop_map(Said::Devices),
        6 => device().prop_map(|(id, phone)| Said::Attached(id, phone)),
        4 => (0..12_u32).prop_map(Said::Detached),
        1 => (0..12_u32).prop_map(Said::Paired),
        1 => any::<bool>().prop_map(Said::Lost),
    ]
}

fn device((id, phone): (u32, u8)) -> AttachedDevice {
    AttachedDevice::usb(
        DeviceId(id),
        format!("00008030-00000000000000A{phone}").parse().unwrap(),
    )
}

fn hear(state: &mut State, said: Said) {
    match said {
        Said::Devices(devices) => state.handle_daemon(devices.into_iter().map(device).collect()),
        Said::Attached(id, phone) => state.handle_attached(device((id, phone))),
        Said::Detached(id) => state.handle_detached(DeviceId(id)),
        Said::Paired(id) => state.handle_paired(DeviceId(id)),
        Said::Lost(closed) => state.handle_lost(if closed { "closed" } else { "nobody" }),
    }
}

const LIMIT: usize = 5;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn whatever_a_daemon_says_the_events_lead_to_the_list_and_no_id_comes_twice(
        all in proptest::collection::vec(said(), 0..80),
    ) {
        let mut state = State::new("a daemon".to_owned(), LIMIT);
        let (mut told, mut troubles) = (BTreeMap::new(), Vec::new());
        let mut used = BTreeSet::new();
        for said in all {
            hear(&mut state, said);
            while let Some(event) = state.poll_event() {
                match event {
                    SourceEvent::Attached(device) => {
                        prop_assert!(used.insert(device.id), "an id is used again");
                        told.insert(device.id, device);
                    }
                    SourceEvent::Changed(device) => {
                        let before = told.insert(device.id, device.clone());
                        prop_assert!(before.is_some_and(|before| before != device && before.udid == device.udid));
                    }
                    SourceEvent::Detached(id) => prop_assert!(told.remove(&id).is_some()),
                    SourceEvent::Paired(id) => prop_assert!(told.contains_key(&id)),
                    SourceEvent::Trouble(trouble) => troubles.push(trouble),
                    SourceEvent::Cleared(trouble) => {
                        let at = troubles.iter().position(|told| *told == trouble);
                        troubles.remove(at.expect("told before"));
                    }
                }
            }
            prop_assert_eq!(told.values().cloned().collect::<Vec<_>>(), state.list());
            let mut now: Vec<_> = state.troubles().cloned().collect();
            now.sort_by_key(ToString::to_string);
            troubles.sort_by_key(ToString::to_string);
            prop_assert_eq!(&troubles, &now);
            prop_assert!(told.len() <= LIMIT);
            for own in told.keys() {
                prop_assert!(state.at_daemon(*own).is_some());
            }
        }
    }
}

#[test]
fn what_no_honest_daemon_sends_is_cut_off() {
    let mut state = State::new("a daemon".to_owned(), LIMIT);
    let network = crate::Network {
        address: NetworkAddress::from_raw([7; 5000]),
        service_name: Some("x".repeat(2000)),
        interface: None,
    };
    let mut phone = AttachedDevice::network(DeviceId(1), "00008030-00000000000000A1".parse().unwrap(), network);
    phone.extra.insert("x".repeat(5000), 1.into());
    state.handle_attached(phone);
    state.handle_attached(AttachedDevice {
        connection: ConnectionKind::Other("y".repeat(5000)),
        ..device((2, 2))
    });
    let [phone, other] = &state.list()[..] else {
        panic!("two")
    };
    let ConnectionKind::Network(network) = &phone.connection else {
        panic!("{phone:?}")
    };
    assert_eq!(network.address.raw().len(), 128);
    assert_eq!((network.service_name.as_deref(), phone.extra.len()), (None, 0));
    assert_eq!(other.connection, ConnectionKind::Other("unknown".to_owned()));
}
