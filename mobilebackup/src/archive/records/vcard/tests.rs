use proptest::prelude::*;
use rusqlite::Connection;

use super::*;
use crate::archive::records::Store;
use crate::archive::records::contacts::Contacts;

fn card(contact: &Contact, picture: Option<&Picture>, version: VcardVersion) -> String {
    let mut out = Vec::new();
    write(&mut out, contact, picture, version).unwrap();
    String::from_utf8(out).unwrap()
}

/// A contact with one of everything, whose texts are `text`.
fn full(text: &str) -> Contact {
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch(
        "CREATE TABLE ABPerson (ROWID INTEGER PRIMARY KEY, First TEXT, Last TEXT, Organization TEXT, Department TEXT,
             Note TEXT, Nickname TEXT, LastPhonetic TEXT, Kind INTEGER, Birthday TEXT, guid TEXT, ModificationDate REAL);
         CREATE TABLE ABMultiValue (UID INTEGER PRIMARY KEY, record_id INTEGER, property INTEGER, label INTEGER, value TEXT);
         CREATE TABLE ABMultiValueEntry (parent_id INTEGER, key INTEGER, value TEXT);
         CREATE TABLE ABMultiValueEntryKey (value TEXT); CREATE TABLE ABMultiValueLabel (value TEXT);
         CREATE TABLE ABStore (ROWID INTEGER PRIMARY KEY, Name TEXT); CREATE TABLE ABGroup (ROWID INTEGER PRIMARY KEY, Name TEXT);
         CREATE TABLE ABGroupMembers (group_id INTEGER, member_id INTEGER, member_type INTEGER);
         INSERT INTO ABMultiValueEntryKey VALUES ('Street'), ('CountryCode'), ('SubLocality'), ('service'), ('username');
         INSERT INTO ABMultiValueLabel VALUES ('_$!<HomeFAX>!$_'), ('_$!<Main>!$_'), ('_$!<Anniversary>!$_');
         INSERT INTO ABMultiValueEntry VALUES (2, 2, 'de'), (4, 4, 'Jabber'), (5, 4, 'twitter');",
    )
    .unwrap();
    let add = |sql: &str| db.execute(sql, [text]).map(drop).unwrap();
    add("INSERT INTO ABPerson VALUES (1, ?1, 'Last', ?1, ?1, ?1, ?1, ?1, 0, '-12497630400', 'guid-1', 700000000.5)");
    add("INSERT INTO ABMultiValueLabel VALUES (?1)");
    add("INSERT INTO ABMultiValue VALUES (1, 1, 3, 1, ?1), (2, 1, 5, 4, NULL), (3, 1, 4, 2, ?1), (4, 1, 13, 4, NULL),
        (5, 1, 46, NULL, NULL), (6, 1, 23, 4, ?1), (7, 1, 12, 3, '410227200'), (8, 1, 12, 3, '410313600'), (9, 1, 99, NULL, ?1),
        (10, 1, 22, 4, 'https://example.org/a;b,c')");
    add("INSERT INTO ABMultiValueEntry VALUES (2, 1, ?1), (2, 3, ?1), (4, 5, ?1), (5, 5, ?1)");
    add("INSERT INTO ABGroup VALUES (1, ?1)");
    db.execute("INSERT INTO ABGroupMembers VALUES (1, 1, 0)", []).unwrap();
    let contacts = Contacts::of(Store::from_connection(db), None).unwrap();
    assert!(contacts.notes().is_empty(), "{:?}", contacts.notes());
    contacts.people()[0].clone()
}

fn unfolded(card: &str) -> Vec<String> {
    card.replace("\r\n ", "")
        .split_terminator("\r\n")
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_full_card_has_everything_in_its_place() {
    let contact = full("Ä; \"b\", c\\\nd");
    let lines = unfolded(&card(&contact, None, VcardVersion::V4));
    let escaped = "Ä\\; \"b\"\\, c\\\\\\nd";
    for expected in [
        "KIND:individual".to_owned(),
        "REV:20230308T202640Z".to_owned(),
        format!("N:Last;{escaped};;;"),
        format!("ORG:{escaped};{escaped}"),
        format!("NOTE:{escaped}"),
        format!("X-PHONETIC-LAST-NAME:{escaped}"),
        "BDAY:--1219".to_owned(),
        format!("CATEGORIES:{escaped}"),
        format!("TEL;TYPE=HOME;TYPE=FAX:{escaped}"),
        format!("item2.ADR:;;{escaped};;;;"),
        format!("item2.X-ABLabel:{escaped}"),
        "item2.X-ABADR:de".to_owned(),
        format!("item2.X-AB-FIELD;X-NAME=sublocality:{escaped}"),
        "item3.X-ABLabel:_$!<Main>!$_".to_owned(),
        "item4.IMPP;X-SERVICE-TYPE=Jabber:xmpp:%C3%84%3B%20%22b%22%2C%20c%5C%0Ad".to_owned(),
        format!("item6.RELATED;VALUE=text:{escaped}"),
        "ANNIVERSARY:20140101".to_owned(),
        "item7.X-ABDATE:20140102".to_owned(),
        format!("X-AB-PROPERTY-99:{escaped}"),
        "item9.URL:https://example.org/a;b,c".to_owned(),
    ] {
        assert!(lines.contains(&expected), "{expected} in {lines:#?}");
    }
    let old = unfolded(&card(&contact, None, VcardVersion::V3));
    for expected in [
        "VERSION:3.0",
        "BDAY;X-APPLE-OMIT-YEAR=1604:1604-12-19",
        "REV:2023-03-08T20:26:40Z",
    ] {
        assert!(old.contains(&expected.to_owned()), "{expected} in {old:#?}");
    }
    assert!(
        !old.iter()
            .any(|line| line.starts_with("KIND") || line.starts_with("ANNIVERSARY"))
    );
}

#[test]
fn pictures_are_written_as_each_version_wants_them() {
    let picture = Picture {
        media_type: "image/jpeg",
        bytes: vec![0xff; 300],
    };
    let new = unfolded(&card(&Contact::default(), Some(&picture), VcardVersion::V4));
    assert!(
        new.iter()
            .any(|line| line.starts_with("PHOTO:data:image/jpeg;base64,//////"))
    );
    let old = unfolded(&card(&Contact::default(), Some(&picture), VcardVersion::V3));
    assert!(
        old.iter()
            .any(|line| line.starts_with("PHOTO;ENCODING=b;TYPE=JPEG://////"))
    );
}

/// The value of a text property as another program takes it apart.
fn unescaped(text: &str) -> String {
    let (mut out, mut chars) = (String::new(), text.chars());
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => out.push(match chars.next().unwrap() {
                'n' | 'N' => '\n',
                c => c,
            }),
            (c, false) => out.push(c),
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn lines_are_short_and_texts_come_back(text in "[\\PC\\n;,\\\\:\"^]{1,200}", v4 in any::<bool>()) {
        let version = if v4 { VcardVersion::V4 } else { VcardVersion::V3 };
        let card = card(&full(&text), None, version);
        for line in card.split_terminator("\r\n") {
            prop_assert!(line.len() <= 75 && !line.contains(['\r', '\n']), "{:?}", line);
        }
        let lines = unfolded(&card);
        let note = lines.iter().find_map(|line| line.strip_prefix("NOTE:")).unwrap();
        prop_assert_eq!(unescaped(note), text);
        prop_assert_eq!(lines.iter().filter(|line| *line == "END:VCARD").count(), 1);
    }
}
