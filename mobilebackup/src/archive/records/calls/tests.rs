use rusqlite::Connection;

use super::*;
use crate::archive::golden;

fn all(calls: &mut Calls) -> Vec<Call> {
    let mut found = Vec::new();
    let _ = calls
        .each(&mut |call| {
            found.push(call);
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
    found
}

fn of_sql(sql: &str) -> Calls {
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch(sql).unwrap();
    Calls::of(Store::from_connection(db)).unwrap()
}

#[test]
fn the_golden_calls_come_out_whole() {
    let store = Store::from_file(golden::folder().join("novkostya/calls.1.CallHistory.storedata")).unwrap();
    let mut calls = Calls::of(store).unwrap();
    let found = all(&mut calls);
    assert_eq!(found.len(), 5);
    assert_eq!(found[0].date.unwrap().to_string(), "2023-03-08T20:26:40.5Z");
    assert_eq!((found[0].seconds, found[0].outgoing), (Some(65.5), true));
    assert_eq!(found[0].name.as_deref(), Some("Alex Fixture"));
    assert!(found[1].is_missed());
    assert_eq!(found[1].junk_confidence, Some(2));
    assert_eq!(found[2].kind, CallKind::FacetimeVideo);
    assert_eq!(found[2].participants, ["+1 555 0300", "+1 555 0301"]);
    assert!(
        calls.notes().kept()[0]
            .to_string()
            .ends_with("ZHANDLE 999, which does not exist")
    );
}

#[test]
fn addresses_as_data_and_calls_of_apps_are_understood() {
    let mut calls = of_sql(
        "CREATE TABLE ZCALLRECORD (Z_PK INTEGER PRIMARY KEY, ZANSWERED INTEGER, ZCALLTYPE INTEGER, ZORIGINATED INTEGER,
             ZDATE TIMESTAMP, ZDURATION FLOAT, ZADDRESS BLOB, ZSERVICE_PROVIDER VARCHAR);
         INSERT INTO ZCALLRECORD VALUES (1, 0, 1, 0, 500000000, 0, CAST('+15550100' AS BLOB), NULL),
             (2, 1, 0, 1, 500000001, 3723, 'a@b.c', 'net.whatsapp.WhatsApp'), (3, 1, 16, 1, 'x', -1, NULL, NULL),
             (4, 1, 5, 1, 1e300, 9e200, NULL, 'com.apple.New');",
    );
    let mut directory = Directory::default();
    directory.add("+1 555 0100", "Ana");
    calls.name_people(directory);
    let found = all(&mut calls);
    assert_eq!(
        (found[0].address.as_deref(), found[0].name.as_deref()),
        (Some("+15550100"), Some("Ana"))
    );
    assert_eq!(found[1].kind, CallKind::App);
    assert_eq!(
        (found[2].kind, found[2].date, found[2].seconds),
        (CallKind::FacetimeAudio, None, None)
    );
    assert_eq!(found[3].kind, CallKind::Other(5));
    assert_eq!(calls.notes().count(), 3);
}

#[test]
fn the_store_of_ios_7_is_read() {
    let mut calls = of_sql(
        "CREATE TABLE call (ROWID INTEGER PRIMARY KEY, address TEXT, date INTEGER, duration INTEGER, flags INTEGER,
             id INTEGER, name TEXT, country_code TEXT);
         INSERT INTO call VALUES (1, '+15550100', 1300000000, 61, 5, -1, NULL, '310'), (2, '', 1300000100, 0, 4, -1, '', '310'),
             (3, 'a@b.c', 1300000200, 5, 20, -1, NULL, NULL);",
    );
    let found = all(&mut calls);
    assert_eq!(found[0].date.unwrap().to_string(), "2011-03-13T07:06:40Z");
    assert!(found[0].outgoing && !found[0].is_missed());
    assert!(found[1].is_missed() && found[1].address.is_none());
    assert_eq!(found[2].kind, CallKind::FacetimeVideo);
}

#[test]
fn lengths_are_shown_as_clocks_do() {
    assert_eq!([length(0.0), length(65.5), length(3723.0)], ["0:00", "1:05", "1:02:03"]);
    assert!(!length(1e300).is_empty());
}
