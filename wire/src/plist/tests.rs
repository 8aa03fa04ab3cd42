#![expect(
    clippy::cast_possible_truncation,
    clippy::arithmetic_side_effects,
    reason = "small numbers of test data"
)]

use proptest::prelude::*;

use super::*;

/// A binary property list of `levels` arrays, each holding the next one `width` times.
fn shared_arrays(levels: u8, width: u8) -> Vec<u8> {
    let mut out = b"bplist00".to_vec();
    let mut offsets = Vec::new();
    for level in 0..levels {
        offsets.push(out.len() as u8);
        out.push(0xa0 | width);
        out.extend(std::iter::repeat_n(level + 1, width.into()));
    }
    offsets.push(out.len() as u8);
    out.extend([0x10, 7]);
    let table = out.len() as u64;
    out.extend(&offsets);
    out.extend([0, 0, 0, 0, 0, 0, 1, 1]);
    out.extend((offsets.len() as u64).to_be_bytes());
    out.extend(0_u64.to_be_bytes());
    out.extend(table.to_be_bytes());
    out
}

#[test]
fn shared_references_are_counted_before_they_unfold() {
    let bomb = shared_arrays(9, 14);
    assert!(bomb.len() < 250, "{} bytes", bomb.len());
    let error = read(&bomb, &Limits::default()).unwrap_err();
    assert_eq!(
        error,
        WireError::Bomb {
            what: "values",
            max: 4_000_000
        }
    );
    // The same shape, small enough: 1 + 3 + 9 values.
    assert!(read(&shared_arrays(2, 3), &Limits::default().with_nodes(13)).is_ok());
    assert!(read(&shared_arrays(2, 3), &Limits::default().with_nodes(12)).is_err());
}

#[test]
fn a_long_text_shared_often_is_counted_by_its_bytes() {
    let text = "x".repeat(100_000);
    let value = Value::Array(vec![Value::String(text); 1000]);
    let bytes = to_binary(&value);
    assert!(bytes.len() < 110_000, "the writer stores it once");
    let limits = Limits {
        payload: 1 << 20,
        ..Limits::default()
    };
    assert_eq!(
        read(&bytes, &limits),
        Err(WireError::Bomb {
            what: "bytes",
            max: 1 << 20
        })
    );
}

#[test]
fn a_list_that_contains_itself_is_refused() {
    let mut looped = shared_arrays(1, 1);
    looped[9] = 0; // the only element is the array itself
    assert_eq!(read(&looped, &Limits::default()), Err(WireError::Cycle));
}

#[test]
fn nesting_is_limited_in_both_encodings() {
    let mut value = Value::Integer(1.into());
    for _ in 0..40 {
        value = Value::Array(vec![value]);
    }
    for bytes in [to_binary(&value), to_xml(&value)] {
        assert!(read(&bytes, &Limits::default().with_depth(40)).is_ok());
        let deep = Err(WireError::TooDeep { max: 37 });
        assert_eq!(read(&bytes, &Limits::default().with_depth(37)), deep);
    }
}

#[test]
fn a_megabyte_of_open_tags_ends_in_an_error_and_not_in_the_stack() {
    let xml = format!("<?xml version=\"1.0\"?><plist>{}", "<array>".repeat(150_000));
    assert_eq!(
        read(xml.as_bytes(), &Limits::default()),
        Err(WireError::TooDeep { max: 64 })
    );
}

#[test]
fn entities_cannot_be_declared() {
    let xml = br#"<?xml version="1.0"?><!DOCTYPE plist [<!ENTITY a "aaaa">]><plist><string>&a;</string></plist>"#;
    assert!(matches!(read(xml, &Limits::default()), Err(WireError::Plist { .. })));
}

#[test]
fn what_is_written_as_xml_has_no_control_character() {
    let name = Value::String("a\0b\u{1f}c\td\r\n".to_owned());
    let xml = to_xml(&name);
    assert!(xml.iter().all(|byte| *byte >= 0x20 || matches!(byte, b'\t' | b'\n')));
    let read = read(&xml, &Limits::default()).unwrap();
    assert_eq!(read.as_string(), Some("a b c\td\r\n"));
}

#[test]
fn control_characters_in_a_device_name_are_read_as_blanks() {
    let xml = b"<?xml version=\"1.0\"?><plist version=\"1.0\"><dict><key>DeviceName</key><string>a\x01b</string></dict></plist>";
    let dict = read_dict(xml, &Limits::default()).unwrap();
    assert!(matches!(dict.text("DeviceName").unwrap(), "a b" | "a\u{1}b"));
}

#[test]
fn a_negative_code_is_read_in_each_of_its_encodings() {
    let xml = b"<?xml version=\"1.0\"?><plist><integer>18446744073709551603</integer></plist>";
    let wide = Value::Integer(18_446_744_073_709_551_603_u64.into());
    for bytes in [xml.to_vec(), to_binary(&wide), to_binary(&Value::Integer((-13).into()))] {
        assert_eq!(as_integer(&read(&bytes, &Limits::default()).unwrap()), Some(-13));
    }
}

#[test]
fn wrong_types_and_missing_keys_name_the_key() {
    let dict = crate::dict! { "Port" => "many", "Flag" => 1 };
    assert_eq!(
        dict.integer("Port"),
        Err(WireError::Type {
            key: "Port".into(),
            expected: "an integer"
        })
    );
    assert_eq!(dict.data("Bag"), Err(WireError::Missing { key: "Bag".into() }));
    assert_eq!(dict.opt_data("Bag"), Ok(None));
    assert_eq!(dict.boolean("Flag"), Ok(true));
}

#[test]
fn dates_in_xml_are_whole_seconds() {
    let date = |millis: i64| {
        let offset = Duration::from_millis(millis.unsigned_abs());
        let time = if millis < 0 {
            SystemTime::UNIX_EPOCH - offset
        } else {
            SystemTime::UNIX_EPOCH + offset
        };
        Value::Date(time.into())
    };
    let value = Value::Array(vec![
        date(1_700_000_000_789),
        crate::dict! { "Old" => date(-1500), "Flag" => true }.into(),
    ]);
    let text = String::from_utf8(to_xml(&value)).unwrap();
    assert!(text.contains("<date>2023-11-14T22:13:20Z</date>"), "{text}");
    assert!(text.contains("<date>1969-12-31T23:59:58Z</date>"), "{text}");
    assert!(text.contains("<true/>"), "{text}");
}

#[test]
fn an_archive_reference_is_said_in_xml_as_apple_says_it() {
    let archive: Value = crate::dict! { "root" => Value::Uid(Uid::new(7)) }.into();
    let read_back = read_dict(&to_xml(&archive), &Limits::default()).unwrap();
    assert_eq!(read_back.dict("root").unwrap().integer("CF$UID"), Ok(7));
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::Boolean),
        any::<i64>().prop_map(|n| Value::Integer(n.into())),
        (-1e9..1e9_f64).prop_map(Value::Real),
        "[a-zé\u{1f600} ]{0,12}".prop_map(Value::String),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Value::Data),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec(("[a-z]{1,6}", inner), 0..6)
                .prop_map(|pairs| { Value::Dictionary(pairs.into_iter().collect()) }),
        ]
    })
}

proptest! {
    #[test]
    fn values_survive_a_round_trip(value in any_value()) {
        prop_assert_eq!(&read(&to_binary(&value), &Limits::default()).unwrap(), &value);
        // XML cannot tell a real without a fraction from an integer's text, but everything else comes back.
        read(&to_xml(&value), &Limits::default()).unwrap();
    }

    #[test]
    fn reading_never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..200), magic in any::<bool>()) {
        if magic && bytes.len() > 8 {
            bytes[..8].copy_from_slice(b"bplist00");
        }
        let _ = read(&bytes, &Limits::default());
    }

    #[test]
    fn a_damaged_list_never_panics_nor_unfolds(value in any_value(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = to_binary(&value);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = read(&bytes, &Limits::default().with_nodes(10_000));
    }
}

#[test]
fn a_date_that_no_calendar_has_can_be_written_or_is_refused_but_never_panics() {
    for seconds in [
        1e11_f64,
        -1e11,
        1e13,
        -1e13,
        1e17,
        -1e17,
        1e300,
        -1e300,
        f64::NAN,
        f64::INFINITY,
    ] {
        let mut bytes = b"bplist00\x33".to_vec();
        bytes.extend_from_slice(&seconds.to_be_bytes());
        bytes.push(8); // the offset table: one object, right behind the magic
        bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, 1, 1]);
        bytes.extend_from_slice(&1_u64.to_be_bytes());
        bytes.extend_from_slice(&0_u64.to_be_bytes());
        bytes.extend_from_slice(&17_u64.to_be_bytes());
        let Ok(value) = read(&bytes, &Limits::default()) else {
            continue;
        };
        let _ = to_xml(&value);
        let _ = to_binary(&value);
        let _ = format!("{value:?}");
    }
}

#[test]
fn nesting_that_is_hidden_from_a_careless_count_is_still_too_deep() {
    for open in [
        "<array a=\"/>\">",
        "<array a='/>'>",
        "<array><!--></array>-->",
        "<array><?></array>?>",
        "<array><!DOCTYPE x <y></array>>",
        "<array><!DOCTYPE \"></array>\">",
        "<array><![CDATA[</array>]]>",
        "<array></x>",
        "<array></array '></array></array>'>",
        "<array><!doctype x <y></array>>",
    ] {
        let (open_all, close_all) = (open.repeat(100_000), "</array>".repeat(100_000));
        let bytes = format!("<?xml version=\"1.0\"?><plist>{open_all}{close_all}</plist>");
        assert!(read(bytes.as_bytes(), &Limits::default()).is_err(), "{open}");
    }
    let harmless = b"<plist a='>'><!-- </x> --><array b=\"1\"><!----></array></plist>";
    assert_eq!(read(harmless, &Limits::default()).unwrap(), Value::Array(Vec::new()));
}

#[test]
fn an_xml_date_beyond_the_calendar_never_panics() {
    for text in [
        "9999-12-31T23:59:59-01:00",
        "0000-01-01T00:00:00+23:59",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "2026-01-01T00:00:00&#90;",
        "-0001-01-01T00:00:00Z",
    ] {
        for tag in ["date", "x:date", "date a='>'"] {
            let name = tag.split(' ').next().unwrap_or(tag);
            let bytes = format!("<plist><{tag}>{text}</{name}></plist>");
            if let Ok(value) = read(bytes.as_bytes(), &Limits::default()) {
                let _ = (to_xml(&value), to_binary(&value), format!("{value:?}"));
            }
        }
    }
    let good = b"<plist><date>2026-01-01T00:00:00Z</date></plist>";
    assert!(matches!(read(good, &Limits::default()), Ok(Value::Date(_))));
}
