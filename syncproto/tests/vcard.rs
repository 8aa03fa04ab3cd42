//! Contacts through vCard and back, in both directions. Spec: mobilesync, sections 8.1 and 8.6.
#![cfg(feature = "vobject")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

use cabled_syncproto::entity;
use cabled_syncproto::interchange::vcard::{self, Version, WriteOptions};
use cabled_syncproto::interchange::{InterchangeError, Limits};
use cabled_syncproto::record::{Record, RecordId};
use cabled_syncproto::records::{CivilDate, Contact, Graph, Timestamp, View};
use proptest::prelude::*;

fn id(text: &str) -> RecordId {
    RecordId::new(text).unwrap()
}

fn read(lines: &[&str]) -> Contact {
    let text = format!(
        "BEGIN:VCARD\r\nVERSION:4.0\r\nUID:x\r\n{}\r\nEND:VCARD\r\n",
        lines.join("\r\n")
    );
    vcard::read(&text, &Limits::default()).unwrap().contacts.pop().unwrap()
}

fn write(contact: &Contact) -> String {
    vcard::write(contact, &WriteOptions::default()).replace("\r\n ", "")
}

fn keeps(contact: &Contact, line: &str) {
    let text = write(contact);
    assert!(text.contains(&format!("{line}\r\n")), "{line} is not in\n{text}");
}

fn phone(line: &str) -> (String, Option<String>) {
    let contact = read(&["FN:A", line]);
    let phone = &contact.phones[0].view;
    keeps(&contact, line);
    (phone.kind.clone().unwrap(), phone.label.clone())
}

#[test]
fn of_several_values_the_preferred_is_taken_and_the_others_are_kept() {
    let contact = read(&[
        "FN:A",
        "NOTE:one",
        "NOTE;PREF=1:two",
        "TITLE:chief",
        "TITLE:cook",
        "NICKNAME:a,b",
    ]);
    assert_eq!(contact.person.notes.as_deref(), Some("two"));
    assert_eq!(contact.person.job_title.as_deref(), Some("chief"));
    assert_eq!(contact.person.nickname, None);
    for line in ["NOTE:one", "NOTE;PREF=1:two", "TITLE:cook", "NICKNAME:a,b"] {
        keeps(&contact, line);
    }
}

#[test]
fn several_values_of_a_name_component_are_joined_with_a_blank() {
    let contact = read(&["FN:A", "N:Gonzalez;Ana;Maria,Luisa;Dr.;Jr.;Lopez;III"]);
    assert_eq!(contact.person.last_name.as_deref(), Some("Gonzalez Lopez"));
    assert_eq!(contact.person.middle_name.as_deref(), Some("Maria Luisa"));
    assert_eq!(contact.person.suffix.as_deref(), Some("Jr. III"));
    keeps(&contact, "N:Gonzalez;Ana;Maria,Luisa;Dr.;Jr.;Lopez;III");
}

#[test]
fn units_beyond_the_second_share_the_department_and_come_back_apart() {
    let mut contact = read(&["FN:A", "ORG:Acme;Research;Lab 2"]);
    assert_eq!(contact.person.department.as_deref(), Some("Research, Lab 2"));
    keeps(&contact, "ORG:Acme;Research;Lab 2");
    contact.person.department = Some("Sales".into());
    keeps(&contact, "ORG:Acme;Sales");
}

#[test]
fn apples_framed_labels_become_the_devices_words() {
    let contact = read(&[
        "FN:A",
        "item1.EMAIL:a@b.c",
        "item1.X-ABLabel:_$!<Work>!$_",
        "item2.TEL:1",
        "item2.X-ABLABEL:iPhone",
    ]);
    assert_eq!(contact.emails[0].view.kind.as_deref(), Some("work"));
    assert_eq!(contact.phones[0].view.kind.as_deref(), Some("other"));
    assert_eq!(contact.phones[0].view.label.as_deref(), Some("iPhone"));
    keeps(&contact, "item1.X-ABLabel:_$!<Work>!$_");
}

#[test]
fn sets_of_telephone_types_become_one_word() {
    assert_eq!(phone("TEL;TYPE=cell,work,voice,pref:1").0, "mobile");
    assert_eq!(phone("TEL;TYPE=fax;TYPE=work:1").0, "work fax");
    assert_eq!(phone("TEL;TYPE=home,fax:1").0, "home fax");
    assert_eq!(phone("TEL;TYPE=fax:1"), ("other".to_owned(), Some("fax".to_owned())));
    assert_eq!(phone("TEL;TYPE=pager:1").0, "pager");
    assert_eq!(phone("TEL;VALUE=uri;TYPE=home:tel:+1-555").0, "home");
    assert_eq!(
        read(&["FN:A", "TEL;VALUE=uri:tel:+1-555"]).phones[0]
            .view
            .value
            .as_deref(),
        Some("+1-555")
    );
}

#[test]
fn post_box_and_extended_address_go_before_the_street_and_come_back() {
    let line = "ADR;TYPE=home;CC=de:PO 1;Floor 2;Main St 3;Town;;12345;Germany";
    let mut contact = read(&["FN:A", line]);
    assert_eq!(
        contact.addresses[0].view.street.as_deref(),
        Some("PO 1\nFloor 2\nMain St 3")
    );
    assert_eq!(contact.addresses[0].view.country_code.as_deref(), Some("de"));
    keeps(&contact, line);
    contact.addresses[0].view.street = Some("Elsewhere".into());
    keeps(&contact, "ADR;TYPE=home;CC=de:;;Elsewhere;Town;;12345;Germany");
}

#[test]
fn message_services_are_known_by_any_of_their_names_and_others_are_kept() {
    let service = |line: &str| {
        let contact = read(&["FN:A", line]);
        keeps(&contact, line);
        contact
            .ims
            .first()
            .map(|im| (im.view.service.clone().unwrap(), im.view.user.clone().unwrap()))
    };
    let is = |service: &str| Some((service.to_owned(), "ann".to_owned()));
    assert_eq!(service("IMPP:xmpp:ann"), is("jabber"));
    assert_eq!(service("IMPP;X-SERVICE-TYPE=Skype:x-apple:ann"), is("skype"));
    assert_eq!(service("IMPP;SERVICE-TYPE=ICQ:icq:ann"), is("icq"));
    assert_eq!(service("X-AIM:ann"), is("aim"));
    assert_eq!(service("IMPP;X-SERVICE-TYPE=Signal:signal:ann"), None);
}

#[test]
fn the_first_anniversary_is_a_word_and_other_dates_have_labels() {
    let contact = read(&[
        "FN:A",
        "ANNIVERSARY:20090808",
        "item1.X-ABDATE:20100101",
        "item1.X-ABLABEL:first day",
    ]);
    let kinds: Vec<_> = contact
        .dates
        .iter()
        .map(|date| date.view.kind.as_deref().unwrap())
        .collect();
    assert_eq!(kinds, ["anniversary", "other"]);
    assert_eq!(contact.dates[1].view.label.as_deref(), Some("first day"));
}

#[test]
fn relations_by_name_are_read_and_those_by_address_are_kept() {
    let contact = read(&[
        "FN:A",
        "RELATED;TYPE=spouse;VALUE=text:Bo",
        "RELATED;TYPE=friend:urn:uuid:1234",
    ]);
    assert_eq!(contact.related.len(), 1);
    assert_eq!(contact.related[0].view.kind.as_deref(), Some("spouse"));
    keeps(&contact, "RELATED;TYPE=friend:urn:uuid:1234");
}

#[test]
fn pictures_by_reference_and_large_ones_are_kept_and_not_sent() {
    let contact = read(&["FN:A", "PHOTO:https://example.org/a.jpg"]);
    assert_eq!(contact.person.image, None);
    keeps(&contact, "PHOTO:https://example.org/a.jpg");
    let large = format!("PHOTO:data:image/jpeg;base64,{}", "AAAA".repeat(256_001));
    let contact = read(&["FN:A", &large]);
    assert_eq!(contact.person.image, None);
    keeps(&contact, &large);
}

#[test]
fn birthdays_as_text_are_kept_and_those_without_a_year_have_1604() {
    let contact = read(&["FN:A", "BDAY;VALUE=text:circa 1800"]);
    assert_eq!(contact.person.birthday, None);
    keeps(&contact, "BDAY;VALUE=text:circa 1800");
    let birthday = |line: &str| {
        let contact = read(&["FN:A", line]);
        keeps(&contact, line);
        contact.person.birthday.unwrap()
    };
    let day = |year| Timestamp::noon(CivilDate::new(year, 4, 12).unwrap());
    assert_eq!(birthday("BDAY:--0412"), day(1604));
    assert_eq!(birthday("BDAY;X-APPLE-OMIT-YEAR=1604:1604-04-12"), day(1604));
    assert_eq!(birthday("BDAY:19850412T230000Z"), day(1985));
}

#[test]
fn what_no_device_has_a_place_for_survives() {
    let lines = [
        "GENDER:F",
        "GEO:geo:46.772673,-71.282945",
        "TZ:-0500",
        "LANG;TYPE=work;PREF=1:en",
        "CATEGORIES:a,b",
        "CALURI:http://cal.example/ann",
        "PRONOUNS;LANGUAGE=en:she/her",
        "item7.X-SOCIALPROFILE;type=twitter:http://t.co/ann",
        "item7.X-ABLABEL:mine",
        "X-UNKNOWN;A=\"b;c\";D=e^n:f\\,g;h",
        "KEY:data:application/pgp-keys;base64,AAAA",
    ];
    let mut all = vec!["FN:A"];
    all.extend(lines);
    let contact = read(&all);
    for line in lines {
        keeps(&contact, line);
    }
}

#[test]
fn a_full_name_of_ones_own_is_kept_until_the_name_changes() {
    let mut contact = read(&["FN:The great Ann", "N:Example;Ann;;;"]);
    keeps(&contact, "FN:The great Ann");
    contact.person.last_name = Some("Other".into());
    keeps(&contact, "FN:Ann Other");
    let only = read(&["FN:Just A Name"]);
    assert_eq!(only.person.first_name.as_deref(), Some("Just A Name"));
    let company = read(&["FN:Acme", "ORG:Acme", "KIND:org"]);
    assert!(company.person.is_company());
    assert_eq!(company.person.first_name, None);
}

#[test]
fn an_old_card_is_read_with_its_encodings() {
    let text = "BEGIN:VCARD\r\nVERSION:2.1\r\nN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:M=C3=BCller;J=C3=B6rg;;;\r\n\
                TEL;CELL;VOICE:0151\r\nEND:VCARD\r\n";
    let contact = vcard::read(text, &Limits::default()).unwrap().contacts.pop().unwrap();
    assert_eq!(contact.person.last_name.as_deref(), Some("Müller"));
    assert_eq!(contact.phones[0].view.kind.as_deref(), Some("mobile"));
}

#[test]
fn a_hundred_thousand_cards_within_each_other_are_refused() {
    let text = "BEGIN:VCARD\r\n".repeat(100_000);
    assert!(matches!(
        vcard::read(&text, &Limits::default()),
        Err(InterchangeError::TooLarge { .. })
    ));
    assert!(matches!(
        vcard::read("BEGIN:VCARD\r\n", &Limits::default()),
        Err(InterchangeError::Unbalanced { .. })
    ));
}

#[test]
fn a_group_names_its_members() {
    let graph_id = id("0B7C2E1A-5a00-4d2e-8f00-000000000001");
    let group = Record::new(entity::GROUP)
        .with("name", "Friends; and more")
        .with("members", vec!["a".into(), graph_id.as_str().into()])
        .with("com.example.x", 7);
    let view = cabled_syncproto::records::Group::read(&id("g"), &group).unwrap();
    for version in [Version::V3, Version::V4] {
        let text = vcard::write_group(&id("g"), &view, &WriteOptions::default().version(version));
        let read = vcard::read(&text, &Limits::default()).unwrap();
        let mut again = read.groups[0].view.write();
        again.attributes.retain(|key, _| !key.starts_with("vcard:"));
        assert_eq!(again, group);
    }
}

/// Cards as Apple, Google and Nextcloud export them.
const EXPORTS: [&str; 3] = [
    "BEGIN:VCARD\r\nVERSION:3.0\r\nPRODID:-//Apple Inc.//macOS 14.5//EN\r\nN:Example;Ann;M.;Dr.;\r\nFN:Dr. Ann M. Example\r\n\
     NICKNAME:Annie\r\nORG:Acme Inc.;Research\r\nTITLE:Engineer\r\nEMAIL;type=INTERNET;type=WORK;type=pref:ann@acme.example\r\n\
     TEL;type=CELL;type=VOICE;type=pref:+1 (555) 010-0100\r\nTEL;type=IPHONE;type=CELL;type=VOICE:555\r\n\
     item1.ADR;type=HOME;type=pref:;;1 Main St\\nApt 2;Springfield;IL;62701;United States\r\nitem1.X-ABADR:us\r\n\
     item2.URL;type=pref:http://example.org/\\,x\r\nitem2.X-ABLabel:_$!<HomePage>!$_\r\nNOTE:Line one\\nLine two\\; with\\, marks\r\n\
     BDAY;X-APPLE-OMIT-YEAR=1604:1604-04-12\r\nitem3.X-ABRELATEDNAMES;type=pref:Bo\r\nitem3.X-ABLabel:_$!<Spouse>!$_\r\n\
     item4.X-ABDATE;type=pref:2009-08-08\r\nitem4.X-ABLabel:_$!<Anniversary>!$_\r\n\
     IMPP;X-SERVICE-TYPE=Jabber;type=HOME;type=pref:xmpp:ann@jabber.example\r\nX-SOCIALPROFILE;type=twitter:http://twitter.com/ann\r\n\
     PHOTO;ENCODING=b;TYPE=JPEG:/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgICAgMCAgIDAwMDBAYEBAQEBAgGBgU\r\n GCQgKCgkI\r\n\
     UID:6C3B1F50-0000-4000-8000-00000000000A\r\nX-ABUID:6C3B1F50:ABPerson\r\nEND:VCARD\r\n",
    "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Bo Beispiel\r\nN:Beispiel;Bo;;;\r\nEMAIL;TYPE=INTERNET;TYPE=HOME:bo@gmail.example\r\n\
     TEL;TYPE=CELL:+49 151 0000000\r\nitem1.EMAIL;TYPE=INTERNET:bo@club.example\r\nitem1.X-ABLabel:Verein\r\n\
     ADR;TYPE=HOME:;;Hauptstr. 1;Berlin;;10115;DE;Hauptstr. 1\\n10115 Berlin\\nDE\r\nBDAY:19790105\r\n\
     CATEGORIES:myContacts,Club\r\nNOTE:x\r\nEND:VCARD\r\n",
    "BEGIN:VCARD\r\nVERSION:4.0\r\nPRODID:-//Sabre//Sabre VObject 4.5.4//EN\r\nUID:0b7c2e1a-5a00-4d2e-8f00-000000000001\r\n\
     FN:Cid Café\r\nN:Café;Cid;;;\r\nADR;TYPE=HOME:;;Rue 1;Paris;;75001;France\r\nEMAIL;TYPE=HOME:cid@nc.example\r\n\
     TEL;TYPE=HOME,VOICE;PREF=1:+33 1 00 00 00\r\nURL;TYPE=home:https://nc.example\r\nGENDER:M\r\n\
     REV;VALUE=DATE-AND-OR-TIME:20260101T101010Z\r\nCLOUD:00000000-CID@nc.example\r\nRELATED;TYPE=friend;VALUE=text:Ann\r\n\
     X-SOCIALPROFILE;TYPE=MASTODON:https://m.example/@cid\r\nEND:VCARD\r\n",
];

/// Every line but those that have a place of their own, in any order.
fn sorted(text: &str) -> Vec<String> {
    let text = text.replace("\r\n ", "");
    let skip = ["PRODID", "UID:"];
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| !skip.iter().any(|skip| line.starts_with(skip)))
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}

#[test]
fn what_other_programs_export_comes_back_line_by_line() {
    for text in EXPORTS {
        let contact = vcard::read(text, &Limits::default()).unwrap().contacts.pop().unwrap();
        let written = vcard::write(&contact, &WriteOptions::default());
        assert_eq!(sorted(&written), sorted(text));
        assert_eq!(written, vcard::write(&contact, &WriteOptions::default()));
        // Through records and back it is still the same.
        let mut graph = Graph::default();
        contact.write(&mut graph).unwrap();
        let again = Contact::read(&graph, &contact.id).unwrap();
        assert_eq!(vcard::write(&again, &WriteOptions::default()), written);
    }
    let apple = vcard::read(EXPORTS[0], &Limits::default())
        .unwrap()
        .contacts
        .pop()
        .unwrap();
    assert_eq!(apple.person.notes.as_deref(), Some("Line one\nLine two; with, marks"));
    assert_eq!(apple.urls[0].view.value.as_deref(), Some("http://example.org/,x"));
    assert_eq!(apple.addresses[0].view.country_code.as_deref(), Some("us"));
    assert_eq!(apple.dates[0].view.kind.as_deref(), Some("anniversary"));
    assert!(apple.person.image.is_some());
}

fn words() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9 ,;:\\\\.\"\u{e9}\u{1f600}\n-]{1,12}"
}

fn part() -> impl Strategy<Value = Record> {
    let kind = prop::sample::select(vec![
        "home",
        "work",
        "mobile",
        "main",
        "home fax",
        "pager",
        "other",
        "spouse",
        "anniversary",
        "odd",
    ]);
    let entity = prop::sample::select(vec![
        entity::PHONE_NUMBER,
        entity::EMAIL_ADDRESS,
        entity::URL,
        entity::RELATED_NAME,
        entity::STREET_ADDRESS,
        entity::IM,
        entity::DATE,
        "com.apple.contacts.CalendarURI",
    ]);
    let service = prop::sample::select(vec!["jabber", "aim", "qq", "carrier pigeon"]);
    (
        entity,
        kind,
        prop::option::of(words()),
        words(),
        words(),
        service,
        -4_000_000_000_i64..4_000_000_000,
    )
        .prop_map(|(entity, kind, label, value, more, service, seconds)| {
            let record = Record::new(entity).with("type", kind);
            let record = match label {
                Some(label) => record.with("label", label),
                None => record,
            };
            let time = cabled_wire::plist::Date::from(
                std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds.unsigned_abs()),
            );
            match entity {
                entity::STREET_ADDRESS => record.with("street", value).with("country code", more).with("x", 1),
                entity::IM => record.with("user", value).with("service", service),
                entity::DATE => record.with("value", time),
                _ => record.with("value", value),
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_devices_records_come_back_through_either_version(
        fields in prop::collection::btree_map(prop::sample::select(vec![
            "first name", "last name", "middle name", "title", "suffix", "nickname", "first name yomi", "company name",
            "department", "job title", "notes", "display as company", "com.example.odd",
        ]), words(), 0..8),
        parts in prop::collection::vec(part(), 0..6),
        v3 in any::<bool>(),
        image in prop::option::of(prop::collection::vec(any::<u8>(), 1..200)),
    ) {
        let mut record = Record::new(entity::CONTACT);
        for (key, value) in fields {
            record = record.with(key, value);
        }
        if let Some(image) = image {
            record = record.with("image", cabled_wire::plist::Value::Data(image));
        }
        let mut graph = Graph::default();
        graph.insert(id("41"), record).unwrap();
        for (n, part) in parts.into_iter().enumerate() {
            graph.insert(id(&format!("part/{n:03}")), part.with("contact", vec!["41".into()])).unwrap();
        }
        let contact = Contact::read(&graph, &id("41")).unwrap();
        let version = if v3 { Version::V3 } else { Version::V4 };
        let text = vcard::write(&contact, &WriteOptions::default().version(version));
        let again = vcard::read(&text, &Limits::default()).unwrap().contacts.pop().unwrap();
        let shape = |contact: &Contact| {
            let mut graph = Graph::default();
            contact.write(&mut graph).unwrap();
            let mut all: Vec<String> = graph.iter().map(|(_, record)| {
                let mut record = record.clone();
                let defaults = |key: &str, value: &cabled_wire::plist::Value| match key {
                    "type" => value.as_string() == Some("other"),
                    "display as company" => value.as_string() == Some("person"),
                    _ => false,
                };
                record.attributes.retain(|key, value| !key.starts_with("vcard:") && !defaults(key, value));
                record.attributes.sort_keys();
                format!("{:?} {:?}", record.entity, record.attributes)
            }).collect();
            all.sort();
            all
        };
        prop_assert_eq!(shape(&again), shape(&contact), "{}", text);
        // What was read is written the same from then on.
        let options = WriteOptions::default();
        let second = vcard::write(&again, &options);
        let third = vcard::read(&second, &Limits::default()).unwrap().contacts.pop().unwrap();
        prop_assert_eq!(vcard::write(&third, &options), second);
    }

    #[test]
    fn a_card_keeps_every_line(
        lines in prop::collection::vec(("(item[1-3]\\.)?(TEL|EMAIL|URL|ADR|NOTE|ORG|X-A|RELATED|IMPP|BDAY|X-ABDATE|GEO)(;TYPE=(home|WORK|cell|x-y))?(;PREF=[1-9])?", "[a-z0-9:;,\\\\n. é-]{0,20}"), 0..12),
    ) {
        let body: String = lines.iter().map(|(name, value)| format!("{name}:{value}\r\n")).collect();
        let text = format!("BEGIN:VCARD\r\nVERSION:4.0\r\nUID:x\r\nFN:A\r\nN:A;;;;\r\n{body}END:VCARD\r\n");
        let contact = vcard::read(&text, &Limits::default()).unwrap().contacts.pop().unwrap();
        let written = vcard::write(&contact, &WriteOptions::default());
        prop_assert_eq!(sorted(&written), sorted(&text));
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        let _ = vcard::read(&text, &Limits::default());
        let _ = vcard::read(&format!("BEGIN:VCARD\n{text}\nEND:VCARD\n"), &Limits::default());
    }
}
