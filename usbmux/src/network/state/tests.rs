use super::*;

const UDID: &str = "00008030-001A2B3C4D5E6F70";
const OTHER: &str = "00008101-000A1B2C3D4E5F60";

fn known(udid: &str, wifi: &str) -> KnownDevice {
    KnownDevice::new(udid.parse().unwrap()).with_wifi_address(wifi)
}

fn heard(instance: &str, ips: &[(&str, u32)]) -> Announcement {
    let announcement = Announcement::new(&format!("{instance}._apple-mobdev2._tcp.local.")).unwrap();
    ips.iter().fold(announcement, |announcement, (ip, interface)| {
        announcement.with_address(ip.parse().unwrap(), *interface)
    })
}

fn told(state: &mut State) -> Vec<String> {
    std::iter::from_fn(|| state.poll_event())
        .map(|event| match event {
            SourceEvent::Attached(device) => format!("+{}", device.id),
            SourceEvent::Changed(device) => format!("~{}", device.id),
            SourceEvent::Detached(id) => format!("-{id}"),
            SourceEvent::Trouble(trouble) => format!("! {trouble}"),
            SourceEvent::Cleared(trouble) => format!("ok {trouble}"),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn addresses(state: &State, id: u32) -> Vec<String> {
    let addresses = state.addresses(DeviceId(id)).unwrap_or_default();
    addresses.iter().map(ToString::to_string).collect()
}

#[test]
fn all_instances_of_a_device_are_one_device_until_the_last_one_ends() {
    let mut state = State::default();
    state.handle_known(vec![
        known(OTHER, "00:00:00:00:00:01"),
        known(UDID, "a4:5e:60:12:34:56"),
    ]);
    state.handle_announced(heard("a4:5e:60:12:34:56@fe80::1", &[("fe80::1", 3)]));
    assert_eq!(told(&mut state), ["+1"]);
    // A new address makes a new instance, while the old one has not timed out yet.
    let second = heard(
        "a4:5e:60:12:34:56@fe80::2",
        &[("10.0.0.7", 3), ("fe80::1", 3), ("fe80::2", 3)],
    );
    state.handle_announced(second.clone());
    assert_eq!(told(&mut state), ["~1"]);
    assert_eq!(addresses(&state, 1), ["10.0.0.7", "fe80::1%3", "fe80::2%3"]);
    state.handle_announced(second.clone());
    assert!(told(&mut state).is_empty());
    state.handle_withdrawn("a4:5e:60:12:34:56@fe80::1._apple-mobdev2._tcp.local.");
    assert!(told(&mut state).is_empty());
    state.handle_withdrawn(second.name());
    assert_eq!(told(&mut state), ["-1"]);
    assert_eq!((state.list().len(), state.addresses(DeviceId(1))), (0, None));
    state.handle_announced(second);
    assert_eq!(told(&mut state), ["+2"], "an id is never used again");
}

#[test]
fn a_stranger_becomes_a_device_when_its_record_comes_and_none_when_it_goes() {
    let mut state = State::default();
    state.handle_announced(heard("a4:5e:60:12:34:56@fe80::1", &[("10.0.0.7", 3)]));
    assert_eq!((state.strangers(), state.list().len()), (1, 0));
    state.handle_known(vec![known(UDID, "A4:5E:60:12:34:56")]);
    assert_eq!((state.strangers(), told(&mut state)), (0, vec!["+1".to_owned()]));
    state.handle_known(vec![known(UDID, "A4:5E:60:12:34:56")]);
    assert!(told(&mut state).is_empty());
    state.handle_known(Vec::new());
    assert_eq!((state.strangers(), told(&mut state)), (1, vec!["-1".to_owned()]));
}

#[test]
fn a_device_without_an_address_that_can_be_used_is_not_listed() {
    let mut state = State::default();
    state.handle_known(vec![known(UDID, "a4:5e:60:12:34:56")]);
    state.handle_announced(heard("a4:5e:60:12:34:56@fe80::1", &[("fe80::1", 0), ("127.0.0.1", 1)]));
    assert_eq!((state.strangers(), state.list().len()), (0, 0));
}

#[test]
fn a_scope_travels_with_a_link_local_address_and_with_no_other() {
    let mut state = State::default();
    state.handle_known(vec![
        known(UDID, "a4:5e:60:12:34:56"),
        known(OTHER, "00:00:00:00:00:01"),
    ]);
    state.handle_announced(heard("a4:5e:60:12:34:56@", &[("fe80::1", 3)]));
    state.handle_announced(heard("00:00:00:00:00:01@", &[("2001:db8::1", 4)]));
    let list = state.list();
    let at = |device: &AttachedDevice| match &device.connection {
        crate::ConnectionKind::Network(network) => {
            (network.address.socket_addr(5).unwrap().to_string(), network.interface)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(at(&list[0]), ("[fe80::1%3]:5".to_owned(), Some(3)));
    assert_eq!(at(&list[1]), ("[2001:db8::1]:5".to_owned(), Some(4)));
}

#[test]
fn a_flood_of_announcements_is_kept_within_bounds() {
    let mut state = State::default();
    for n in 0..3000 {
        state.handle_announced(heard(&format!("{n}@x"), &[("10.0.0.7", 3)]));
    }
    assert_eq!((state.announcements.len(), state.strangers()), (1024, 1024));
    // What is there already may change all the same.
    state.handle_known(vec![known(UDID, "5")]);
    state.handle_announced(heard("5@x", &[("10.0.0.8", 3)]));
    assert_eq!(addresses(&state, 1), ["10.0.0.8"]);
    state.handle_deaf();
    assert_eq!((state.list().len(), state.strangers()), (0, 0));
}

#[test]
fn each_part_has_its_own_trouble_and_is_cleared_alone() {
    let mut state = State::default();
    let say = |reason: &str| Some(reason.to_owned());
    state.handle_trouble(Part::Records, say("closed"));
    state.handle_trouble(Part::Browsing, say("deaf"));
    state.handle_trouble(Part::Browsing, say("deaf"));
    state.handle_trouble(Part::Browsing, say("mute"));
    state.handle_trouble(Part::Records, None);
    state.handle_trouble(Part::Records, None);
    assert_eq!(
        told(&mut state),
        [
            "! no devices from the network: closed",
            "! no devices from the network: deaf",
            "ok no devices from the network: deaf",
            "! no devices from the network: mute",
            "ok no devices from the network: closed",
        ]
    );
    assert_eq!(state.troubles().len(), 1);
}
