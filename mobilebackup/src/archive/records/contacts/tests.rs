use rusqlite::Connection;

use super::*;
use crate::archive::golden;

pub(in crate::archive::records) fn golden_contacts() -> Contacts {
    let store = Store::from_file(golden::folder().join("novkostya/contacts.1.AddressBook.sqlitedb"));
    Contacts::of(store.unwrap(), None).unwrap()
}

fn of_sql(sql: &str, pictures: Option<&str>) -> Contacts {
    let store = |sql: &str| {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(sql).unwrap();
        Store::from_connection(db)
    };
    Contacts::of(store(sql), pictures.map(store)).unwrap()
}

const OLD: &str = "
    CREATE TABLE ABPerson (ROWID INTEGER PRIMARY KEY, First TEXT, Last TEXT, Organization TEXT, Note TEXT, Kind INTEGER,
        Birthday TEXT);
    CREATE TABLE ABMultiValue (UID INTEGER PRIMARY KEY, record_id INTEGER, property INTEGER, identifier INTEGER,
        label INTEGER, value TEXT);
    CREATE TABLE ABMultiValueEntry (parent_id INTEGER, key INTEGER, value TEXT, UNIQUE(parent_id, key));
    CREATE TABLE ABMultiValueEntryKey (value TEXT, UNIQUE(value));
    CREATE TABLE ABMultiValueLabel (value TEXT, UNIQUE(value));
    CREATE TABLE ABStore (ROWID INTEGER PRIMARY KEY, Name TEXT);
    CREATE TABLE ABGroup (ROWID INTEGER PRIMARY KEY, Name TEXT);
    INSERT INTO ABMultiValueLabel VALUES ('_$!<Anniversary>!$_'), ('iPhone');
    INSERT INTO ABPerson VALUES (5, 'Ana', 'Müller', NULL, 'line 1' || char(10) || 'line 2', 0, '-283953600.0');";

#[test]
fn the_golden_contacts_come_out_whole() {
    let contacts = golden_contacts();
    let titles: Vec<_> = contacts.people().iter().map(Contact::title).collect();
    assert_eq!(
        titles,
        ["Dr. Alex Quinn Fixture Jr.", "Broken Label", "Acme Synthetics", "Solo"]
    );
    let alex = &contacts.people()[0];
    assert_eq!(alex.birthday.unwrap().to_string(), "1990-04-01");
    let phones: Vec<_> = alex
        .values(Property::Phone)
        .map(|value| (value.shown_label(), value.shown()))
        .collect();
    assert_eq!(phones[0], (Some("Home"), "+1 555 0100".into()));
    assert_eq!(phones[2], (None, "+1 555 0102".into()));
    let address = alex.values(Property::Address).next().unwrap();
    assert_eq!(address.shown(), "1 Synthetic Way\nFaketown\nFX\n00001\nFixtureland");
    assert_eq!(alex.groups, ["Fixture Friends"]);
    assert_eq!(alex.account.as_deref(), Some("Fixture Store"));
    assert!(contacts.people()[2].company);
    // The label that does not exist costs the label only, and is told.
    assert_eq!(contacts.people()[1].values.len(), 1);
    let told = contacts.notes().kept()[0].to_string();
    assert_eq!(
        told,
        "ABMultiValue row 201, label: it points to ABMultiValueLabel 999, which does not exist"
    );
    assert_eq!(
        contacts.directory().name("5550142"),
        None,
        "seven digits may be anybody's"
    );
    assert_eq!(contacts.directory().name("+1 (555) 0142"), Some("Acme Synthetics"));
}

#[test]
fn an_old_address_book_is_read_with_what_it_has() {
    let contacts = of_sql(
        &format!(
            "{OLD} INSERT INTO ABMultiValue VALUES (1, 5, 12, 0, 1, '410227200.0'), (2, 5, 12, 0, NULL, 'junk'),
                 (3, 5, 77, 0, 2, 'unknown'), (4, 99, 3, 0, NULL, '1'), (5, 5, 46, 0, NULL, NULL);
             INSERT INTO ABMultiValueEntryKey VALUES ('username'), ('service');
             INSERT INTO ABMultiValueEntry VALUES (5, 1, 'ana'), (5, 2, 'mastodon'), (5, 9, 'x'), (66, 1, 'nobody');"
        ),
        None,
    );
    let ana = &contacts.people()[0];
    assert_eq!(ana.birthday.unwrap().to_string(), "1992-01-02");
    assert_eq!(ana.values[0].day.unwrap().to_string(), "2014-01-01");
    assert_eq!(
        ana.values[1].value.as_deref(),
        Some("junk"),
        "a date that is none stays as text"
    );
    assert_eq!(ana.values[2].property, Property::Other(77));
    let fields: Vec<_> = ana.values[3]
        .fields
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(fields, ["key 9=x", "service=mastodon", "username=ana"]);
    let told: Vec<_> = contacts.notes().kept().iter().map(ToString::to_string).collect();
    for expected in ["ABPerson 99", "ABMultiValue 66", "junk is no time"] {
        assert!(
            told.iter().any(|note| note.contains(expected)),
            "{expected} in {told:#?}"
        );
    }
}

#[test]
fn years_that_are_not_known_are_left_out() {
    let text = |text| Day::parse(text).map(|day| day.to_string());
    assert_eq!(text("-12497630400").as_deref(), Some("--12-19"), "in 1604");
    assert_eq!(text("1604-02-29T12:00:00").as_deref(), Some("--02-29"));
    for junk in ["", "1990-13-01", "19-", "soon enough", "é-é-é-é-é", "1e300", "NaN"] {
        assert_eq!(text(junk), None, "{junk}");
    }
}

#[test]
fn the_largest_picture_of_a_known_type_is_found() {
    let pictures = "
        CREATE TABLE ABFullSizeImage (record_id INTEGER PRIMARY KEY, data BLOB);
        CREATE TABLE ABThumbnailImage (record_id INTEGER, format INTEGER, data BLOB);
        INSERT INTO ABThumbnailImage VALUES (5, 0, x'ffd8ff00'), (5, 2, x'89504e470000'), (5, 1, x'0000000000000000000000');";
    let contacts = of_sql(OLD, Some(pictures));
    let picture = contacts.picture(&contacts.people()[0]).unwrap().unwrap();
    assert_eq!((picture.media_type, picture.bytes.len()), ("image/png", 6));
    assert_eq!(contacts.notes().count(), 1, "bare pixels are told");
}
