//! What the phone tells about itself, read by a parser of its own.

use cabled_virtualdevice::Profile;
use cabled_virtualdevice::usb::{
    ControlOutcome, Function, Mode, MuxEndpoints, Setup, Speed, UsbError, UsbOptions, UsbPhone,
};

use super::{Toy, UDID, configured, read, set_configuration, toy, usb, usb_with};

/// One alternate setting of an interface, as the descriptors have it.
#[derive(Debug, PartialEq)]
struct Setting {
    number: u8,
    setting: u8,
    class: [u8; 3],
    /// Address, attributes, packet size.
    endpoints: Vec<(u8, u8, u16)>,
}

/// Splits a configuration into its descriptors by their length bytes and reads interfaces and endpoints.
fn settings(configuration: &[u8]) -> Vec<Setting> {
    let total = usize::from(u16::from_le_bytes([configuration[2], configuration[3]]));
    assert_eq!(configuration.len(), total, "wTotalLength is the length");
    let mut found: Vec<Setting> = Vec::new();
    let mut declared = Vec::new();
    let mut rest = configuration;
    while !rest.is_empty() {
        let (one, tail) = rest.split_at(usize::from(rest[0]));
        rest = tail;
        match one[1] {
            4 => {
                declared.push(usize::from(one[4]));
                found.push(Setting {
                    number: one[2],
                    setting: one[3],
                    class: [one[5], one[6], one[7]],
                    endpoints: Vec::new(),
                });
            }
            5 => {
                let packet = u16::from_le_bytes([one[4], one[5]]);
                found.last_mut().unwrap().endpoints.push((one[2], one[3], packet));
            }
            _ => {}
        }
    }
    let counted: Vec<_> = found.iter().map(|setting| setting.endpoints.len()).collect();
    assert_eq!(counted, declared, "bNumEndpoints is the number of endpoints");
    let interfaces = found.iter().filter(|setting| setting.setting == 0).count();
    assert_eq!(usize::from(configuration[4]), interfaces, "bNumInterfaces");
    found
}

async fn configurations(usb: &mut UsbPhone) -> Vec<Vec<Setting>> {
    let device = read(usb, Setup::get_descriptor(1, 0, 18)).await;
    let mut all = Vec::new();
    for index in 0..device[17] {
        let head = read(usb, Setup::get_descriptor(2, index, 9)).await;
        assert_eq!((head.len(), head[5]), (9, index + 1), "values count from 1");
        let total = u16::from_le_bytes([head[2], head[3]]);
        all.push(settings(&read(usb, Setup::get_descriptor(2, index, total)).await));
    }
    let beyond = usb.control(Setup::get_descriptor(2, device[17], 9), &[]).await;
    assert_eq!(beyond, ControlOutcome::Stall);
    all
}

const MUX: [u8; 3] = [0xff, 0xfe, 0x02];

/// Values of the configurations that have the multiplexer.
async fn with_mux(usb: &mut UsbPhone) -> Vec<usize> {
    let all = configurations(usb).await;
    let has = |settings: &Vec<Setting>| settings.iter().any(|setting| setting.class == MUX);
    (1..)
        .zip(&all)
        .filter(|(_, settings)| has(settings))
        .map(|(value, _)| value)
        .collect()
}

#[tokio::test]
async fn the_initial_mode_has_the_four_configurations_of_a_real_phone() {
    let mut usb = usb();
    let device = read(&mut usb, Setup::get_descriptor(1, 0, 64)).await;
    assert_eq!(
        device,
        [18, 1, 0, 2, 0, 0, 0, 64, 0xac, 5, 0xa8, 0x12, 2, 0x17, 1, 2, 3, 4]
    );
    let all = configurations(&mut usb).await;
    let ptp = || Setting {
        number: 0,
        setting: 0,
        class: [6, 1, 1],
        endpoints: vec![(0x02, 2, 512), (0x81, 2, 512), (0x83, 3, 64)],
    };
    let mux = || Setting {
        number: 1,
        setting: 0,
        class: MUX,
        endpoints: vec![(0x04, 2, 512), (0x85, 2, 512)],
    };
    let ethernet = |setting, endpoints| Setting {
        number: 2,
        setting,
        class: [0xff, 0xfd, 1],
        endpoints,
    };
    assert_eq!(all[0], [ptp()]);
    assert_eq!(
        all[1].iter().map(|setting| setting.class).collect::<Vec<_>>(),
        [[3, 0, 0]]
    );
    assert_eq!(all[2], [ptp(), mux()]);
    let active = vec![(0x86, 2, 512), (0x05, 2, 512)];
    assert_eq!(all[3], [ptp(), mux(), ethernet(0, vec![]), ethernet(1, active)]);
}

#[tokio::test]
async fn every_mode_has_its_number_of_configurations() {
    let expected = [
        (Mode::Initial, 4, vec![3, 4]),
        (Mode::ScreenCapture, 5, vec![3, 4, 5]),
        (Mode::Ncm, 5, vec![3, 4, 5]),
        (Mode::EthernetAndNcm, 6, vec![3, 4, 5, 6]),
        (Mode::NcmOnly, 1, vec![]),
    ];
    for (mode, count, mux) in expected {
        let mut usb = usb_with(UsbOptions::default().with_mode(mode));
        assert_eq!(configurations(&mut usb).await.len(), count, "{mode:?}");
        assert_eq!(with_mux(&mut usb).await, mux, "{mode:?}");
    }
    let functions = vec![
        vec![Function::Ptp],
        vec![Function::Ptp, Function::Mux],
        vec![Function::Accessory],
    ];
    let mut odd = usb_with(UsbOptions::default().with_configurations(functions));
    assert_eq!(with_mux(&mut odd).await, [2]);
}

#[tokio::test]
async fn the_video_interface_of_screen_capture_comes_before_the_multiplexer() {
    let mut usb = usb_with(UsbOptions::default().with_mode(Mode::ScreenCapture));
    let classes: Vec<_> = configurations(&mut usb).await[4]
        .iter()
        .map(|setting| setting.class)
        .collect();
    assert_eq!(classes, [[6, 1, 1], [0xff, 0x2a, 0xff], MUX]);
}

#[tokio::test]
async fn packet_sizes_follow_the_speed() {
    for (speed, packet, version, control, qualifier) in [
        (Speed::Full, 64, 0x0200, 64, false),
        (Speed::High, 512, 0x0200, 64, true),
        (Speed::Super, 1024, 0x0300, 9, false),
    ] {
        let mut usb = usb_with(
            UsbOptions::default()
                .with_speed(speed)
                .with_mux_endpoints(MuxEndpoints::InFirst),
        );
        let device = read(&mut usb, Setup::get_descriptor(1, 0, 18)).await;
        assert_eq!(
            (u16::from_le_bytes([device[2], device[3]]), device[7]),
            (version, control)
        );
        let all = configurations(&mut usb).await;
        assert_eq!(all[2][1].endpoints, [(0x85, 2, packet), (0x04, 2, packet)]);
        let other_speed = usb.control(Setup::get_descriptor(6, 0, 10), &[]).await;
        assert_eq!(other_speed != ControlOutcome::Stall, qualifier, "{speed:?}");
        if qualifier {
            let slow = read(&mut usb, Setup::get_descriptor(7, 2, 512)).await;
            assert_eq!((slow[1], settings(&slow)[1].endpoints[0].2), (7, 64));
        }
        let companions = read(&mut usb, Setup::get_descriptor(2, 0, 512)).await;
        let companions = companions.windows(2).filter(|pair| pair == &[6, 48]).count();
        assert_eq!(companions, if speed == Speed::Super { 3 } else { 0 });
        let bos = usb.control(Setup::get_descriptor(15, 0, 64), &[]).await;
        assert_eq!(
            matches!(bos, ControlOutcome::Data(bytes) if bytes.len() == 22),
            speed == Speed::Super
        );
    }
}

/// A string descriptor's text.
async fn text(usb: &mut UsbPhone, index: u8) -> String {
    let bytes = read(usb, Setup::get_descriptor(3, index, 255)).await;
    assert_eq!((usize::from(bytes[0]), bytes[1]), (bytes.len(), 3));
    let units: Vec<_> = bytes[2..]
        .chunks(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .collect();
    String::from_utf16(&units).unwrap()
}

#[tokio::test]
async fn the_serial_number_is_the_udid_without_its_hyphen() {
    let mut modern = usb();
    assert_eq!(read(&mut modern, Setup::get_descriptor(3, 0, 255)).await, [4, 3, 9, 4]);
    assert_eq!(text(&mut modern, 1).await, "Apple Inc.");
    assert_eq!(text(&mut modern, 2).await, "iPhone");
    assert_eq!(text(&mut modern, 3).await, UDID.replace('-', ""));
    assert_eq!(text(&mut modern, 3).await.len(), 24);
    let beyond = modern.control(Setup::get_descriptor(3, 200, 255), &[]).await;
    assert_eq!(beyond, ControlOutcome::Stall);

    let udid = "00112233445566778899aabbccddeeff00112233";
    let older = std::sync::Arc::new(Toy(Some(udid.parse().unwrap())));
    let mut older = UsbPhone::new(older, UsbOptions::default()).unwrap();
    assert_eq!(text(&mut older, 3).await, udid);
    let mut odd = usb_with(UsbOptions::default().with_serial("f".repeat(40)));
    assert_eq!(text(&mut odd, 3).await, "f".repeat(40));
}

#[tokio::test]
async fn a_phone_that_cannot_be_on_a_bus_says_why() {
    let nameless = UsbPhone::new(std::sync::Arc::new(Toy(None)), UsbOptions::default());
    assert!(matches!(nameless, Err(UsbError::NoSerial)));
    for count in [0, 7] {
        let options = UsbOptions::default().with_configurations(vec![vec![Function::Mux]; count]);
        let refused = UsbPhone::new(toy(), options);
        assert!(matches!(refused, Err(UsbError::Configurations { count: told }) if told == count));
    }
    let options = UsbOptions::default().with_configuration(5);
    assert!(matches!(
        UsbPhone::new(toy(), options),
        Err(UsbError::NoConfiguration { value: 5 })
    ));
}

#[tokio::test]
async fn standard_requests_are_answered_as_the_standard_has_it() {
    let request = |request_type, request, value, index, length| Setup {
        request_type,
        request,
        value,
        index,
        length,
    };
    let mut usb = usb();
    assert_eq!(read(&mut usb, request(0x80, 8, 0, 0, 1)).await, [0], "unconfigured");
    set_configuration(&mut usb, 4).await;
    assert_eq!(read(&mut usb, request(0x80, 8, 0, 0, 1)).await, [4]);
    assert_eq!(
        usb.control(Setup::set_configuration(9), &[]).await,
        ControlOutcome::Stall
    );
    assert_eq!(usb.configuration(), 4, "what cannot be set changes nothing");

    assert_eq!(read(&mut usb, request(0x81, 10, 0, 2, 1)).await, [0]);
    assert_eq!(usb.control(Setup::set_interface(2, 1), &[]).await, ControlOutcome::Done);
    assert_eq!(read(&mut usb, request(0x81, 10, 0, 2, 1)).await, [1]);
    for (interface, setting) in [(2, 2), (1, 1), (3, 0)] {
        let outcome = usb.control(Setup::set_interface(interface, setting), &[]).await;
        assert_eq!(outcome, ControlOutcome::Stall, "{interface} {setting}");
    }

    assert_eq!(read(&mut usb, request(0x80, 0, 0, 0, 2)).await, [1, 0], "self-powered");
    assert_eq!(read(&mut usb, request(0x82, 0, 0, 0x85, 2)).await, [0, 0]);
    let halt = request(0x02, 3, 0, 0x85, 0);
    assert_eq!(usb.control(halt, &[]).await, ControlOutcome::Done);
    assert_eq!(read(&mut usb, request(0x82, 0, 0, 0x85, 2)).await, [1, 0]);
    assert_eq!(usb.control(Setup::clear_halt(0x85), &[]).await, ControlOutcome::Done);
    assert_eq!(read(&mut usb, request(0x82, 0, 0, 0x85, 2)).await, [0, 0]);
    assert_eq!(
        usb.control(Setup::clear_halt(0x0f), &[]).await,
        ControlOutcome::Stall,
        "no such endpoint"
    );

    // An answer is never longer than the host has room for.
    assert_eq!(read(&mut usb, Setup::get_descriptor(1, 0, 8)).await.len(), 8);
    for unknown in [
        request(0x80, 0x77, 0, 0, 1),
        request(0x40, 1, 0, 0, 0),
        request(0x81, 6, 0x2200, 0, 64),
    ] {
        assert_eq!(usb.control(unknown, &[]).await, ControlOutcome::Stall, "{unknown:?}");
    }
    set_configuration(&mut usb, 2).await;
    let report = read(&mut usb, request(0x81, 6, 0x2200, 0, 64)).await;
    let hid = read(&mut usb, request(0x81, 6, 0x2100, 0, 64)).await;
    assert_eq!(usize::from(hid[7]), report.len());
}

#[tokio::test]
async fn an_accepted_mode_takes_the_phone_off_the_bus_and_back_in_it() {
    let mut usb = configured(UsbOptions::default()).await;
    assert_eq!(read(&mut usb, Setup::get_mode()).await, [3, 3, 3, 0]);
    assert_eq!(read(&mut usb, Setup::set_mode(9)).await, [1], "no such mode");
    assert!(usb.departure().is_none());
    assert_eq!(read(&mut usb, Setup::set_mode(3)).await, [0]);
    let departure = usb.departure();
    assert_eq!(
        departure,
        Some(cabled_virtualdevice::usb::Departure::ModeSwitch(Mode::Ncm))
    );
    assert_eq!(usb.control(Setup::get_mode(), &[]).await, ControlOutcome::Gone);
    usb.replug();
    assert_eq!(usb.configuration(), 0);
    assert_eq!(configurations(&mut usb).await.len(), 5);
    assert_eq!(read(&mut usb, Setup::get_mode()).await, [5, 3, 3, 0]);
}

#[tokio::test]
async fn old_phones_and_other_recipients_refuse_the_mode_requests() {
    let mut old = usb_with(UsbOptions::of_profile(&Profile::ios_10_3()));
    for setup in [Setup::get_mode(), Setup::set_mode(3)] {
        assert_eq!(old.control(setup, &[]).await, ControlOutcome::Stall);
    }
    let mut newer = usb_with(UsbOptions::of_profile(&Profile::ios_14_8()));
    assert_eq!(
        read(&mut newer, Setup::set_mode(4)).await,
        [1],
        "mode 4 came with iOS 16"
    );
    // What Linux' Ethernet driver asks the interface, with the number of the mode request.
    let ipheth = Setup {
        request_type: 0xc1,
        request: 0x45,
        value: 0,
        index: 2,
        length: 1,
    };
    set_configuration(&mut newer, 4).await;
    assert_eq!(newer.control(ipheth, &[]).await, ControlOutcome::Stall);
}
