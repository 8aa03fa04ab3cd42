//! Notes of several iOS versions, sound and hostile.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use rusqlite::{Connection, params};

use super::*;
use crate::archive::FileId;
use crate::archive::records::Problem;

fn book() -> NoteBook {
    NoteBook::empty(Source {
        domain: MODERN.0.into(),
        path: MODERN.1.into(),
        file_id: FileId::of(MODERN.0, MODERN.1),
    })
}

fn modern(db: &Connection, paths: &[&str]) -> NoteBook {
    let mut files = modern::Files::default();
    paths.iter().for_each(|path| files.add(path));
    let mut book = book();
    super::modern::read(db, &files, &mut book).unwrap();
    book
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value > 0x7f {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

fn message(text: &str, runs: &[Vec<u8>]) -> Vec<u8> {
    let runs: Vec<u8> = runs.iter().flat_map(|run| bytes(5, run)).collect();
    [bytes(2, text.as_bytes()), runs].concat()
}

fn packed(text: &str, runs: &[Vec<u8>]) -> Vec<u8> {
    gzip(&bytes(2, &bytes(3, &message(text, runs))))
}

fn units(text: &str) -> u64 {
    text.encode_utf16().count() as u64
}

fn styled(text: &str, style: &[u8]) -> Vec<u8> {
    [number(1, units(text)), bytes(2, style)].concat()
}

#[test]
fn a_published_store_is_read_as_it_is() {
    let path = crate::archive::golden::folder().join("novkostya/notes.1.NoteStore.sqlite");
    let data = std::fs::read(path).unwrap();
    let mut db = Connection::open_in_memory().unwrap();
    db.deserialize_read_exact("main", &*data, data.len(), true).unwrap();
    let media = "Accounts/ACCT-UUID-0001/Media/MEDIA-UUID-0030/1_GEN-0030/photo.jpeg";
    let book = modern(&db, &[media, "Accounts/x/Media/OTHER/y.jpeg", "NoteStore.sqlite"]);
    assert_eq!(book.accounts[0].name.as_deref(), Some("On My iPhone"));
    let titles: Vec<_> = book.notes.iter().map(|note| note.title.as_deref().unwrap()).collect();
    assert_eq!(
        titles,
        [
            "Shopping",
            "Locked",
            "Empty",
            "Corrupt body",
            "Trash note",
            "Corrupt date"
        ]
    );
    let shopping = &book.notes[0];
    assert!(shopping.pinned && !shopping.deleted);
    assert_eq!(book.place(shopping), "On My iPhone / Notes");
    assert_eq!(shopping.created.unwrap().to_string(), "2023-03-08T20:26:40.5Z");
    let Contents::Text { body } = &shopping.contents else {
        panic!("{:?}", shopping.contents)
    };
    assert!(body.text().starts_with("Shopping"), "{:?}", body.text());
    assert_eq!(shopping.attachments.len(), 2);
    assert_eq!(shopping.attachments[0].files[0].path, media);
    assert_eq!(shopping.attachments[0].filename.as_deref(), Some("photo.jpeg"));
    assert_eq!(
        book.notes[1].contents,
        Contents::Locked {
            hint: Some("pet name".into())
        }
    );
    assert_eq!(book.notes[2].contents, Contents::Absent);
    assert!(matches!(&book.notes[3].contents, Contents::Unreadable { .. }));
    assert!(book.notes[4].deleted);
    assert_eq!(book.notes[5].created, None);
    let noted: Vec<_> = book
        .problems
        .kept()
        .iter()
        .map(|note| (note.row, note.column))
        .collect();
    assert_eq!(
        noted,
        [(Some(15), Some("ZCREATIONDATE3")), (Some(113), Some("ZDATA"))],
        "{:?}",
        book.problems
    );
}

#[test]
fn lists_headings_links_and_attachments_are_told_apart() {
    let lines = [
        ("Trip\n", number(1, 0)),
        ("😀 Packing\n", number(1, 1)),
        ("Tent\n", [number(1, 103), bytes(5, &number(2, 1))].concat()),
        ("Stove\n", number(1, 103)),
        ("one\n", number(1, 102)),
        ("two\n", [number(1, 102), number(4, 1)].concat()),
        ("dot\n", number(1, 100)),
    ];
    let mut text: String = lines.iter().map(|(line, _)| *line).collect();
    let mut runs: Vec<Vec<u8>> = lines.iter().map(|(line, style)| styled(line, style)).collect();
    text.push_str("see here \u{fffc}");
    runs.push([number(1, 4), number(5, 3), number(6, 1)].concat());
    runs.push([number(1, 4), bytes(9, b"https://example.org/")].concat());
    runs.push(number(1, 1));
    runs.push(
        [
            number(1, 1),
            bytes(12, &[bytes(1, b"ATT"), bytes(2, b"public.jpeg")].concat()),
        ]
        .concat(),
    );
    let body = NoteBody::unpack(&packed(&text, &runs)).unwrap();
    assert!(!body.formatting_incomplete && !body.text_damaged);
    assert_eq!(body.text(), text);
    let kinds: Vec<_> = body
        .paragraphs
        .iter()
        .map(|paragraph| (paragraph.kind, paragraph.indent))
        .collect();
    assert_eq!(
        kinds,
        [
            (ParagraphKind::Title, 0),
            (ParagraphKind::Heading, 0),
            (ParagraphKind::Checklist { done: true }, 0),
            (ParagraphKind::Checklist { done: false }, 0),
            (ParagraphKind::Numbered, 0),
            (ParagraphKind::Numbered, 1),
            (ParagraphKind::Bulleted, 0),
            (ParagraphKind::Text, 0),
        ]
    );
    let spans = &body.paragraphs[7].spans;
    assert!(spans[0].bold && spans[0].italic && spans[0].underlined);
    assert_eq!(spans[1].link.as_deref(), Some("https://example.org/"));
    assert_eq!(body.attachments().next().unwrap().identifier, "ATT");

    let note = Note {
        id: 1,
        identifier: None,
        title: None,
        snippet: None,
        folder: None,
        account: None,
        created: None,
        modified: None,
        pinned: false,
        deleted: false,
        contents: Contents::Text { body },
        attachments: vec![Attachment {
            identifier: Some("ATT".into()),
            filename: Some("a.jpeg".into()),
            ..Attachment::default()
        }],
    };
    assert_eq!(
        show::text(&note),
        "Trip\n😀 Packing\n[x] Tent\n[ ] Stove\n1. one\n    1. two\n• dot\nsee here <https://example.org/> [a.jpeg, attachment]\n"
    );
}

#[test]
fn formatting_that_does_not_fit_loses_no_text() {
    // Too short, too long, and one that ends within a character of two units.
    for len in [3, 1000, 1] {
        let body = NoteBody::unpack(&packed("😀b\nc", &[number(1, len)])).unwrap();
        assert_eq!(body.text(), "😀b\nc");
        assert!(body.formatting_incomplete);
    }
    let none = NoteBody::unpack(&packed("plain", &[])).unwrap();
    assert_eq!(none.text(), "plain");
}

#[test]
fn a_bomb_is_refused() {
    let bomb = gzip(&vec![0; (MAX_UNPACKED + 1) as usize]);
    assert!(bomb.len() < 100_000);
    assert!(matches!(NoteBody::unpack(&bomb), Err(NoteBodyError::TooLarge { .. })));
}

#[test]
fn cut_and_strange_data_is_told() {
    let whole = packed("text", &[]);
    assert!(matches!(
        NoteBody::unpack(&whole[..whole.len() - 9]),
        Err(NoteBodyError::Gzip(_))
    ));
    assert!(matches!(
        NoteBody::unpack(&gzip(b"\x12\xff")),
        Err(NoteBodyError::Protobuf(ProtobufError::Truncated))
    ));
    assert!(matches!(NoteBody::unpack(&gzip(b"")), Err(NoteBodyError::NoText)));
}

/// A table as the phone lays it out: `cells` are (row, column, text).
fn table(rows: &[u8], columns: &[u8], cells: &[(u8, u8, &str)]) -> Vec<u8> {
    // Members are objects of their own, which name a uuid by its number.
    let mut objects: Vec<Vec<u8>> = Vec::new();
    let reference = |object: usize| number(6, object as u64);
    let member = |objects: &mut Vec<Vec<u8>>, uuid: u8| {
        objects.push(bytes(13, &bytes(3, &bytes(2, &number(2, uuid.into())))));
        objects.len() - 1
    };
    objects.push(Vec::new()); // the table itself, filled below
    let ordered = |objects: &mut Vec<Vec<u8>>, members: &[u8]| {
        let array: Vec<u8> = members
            .iter()
            .flat_map(|uuid| bytes(2, &bytes(2, &[*uuid; 16])))
            .collect();
        objects.push(bytes(16, &bytes(1, &bytes(1, &array))));
        objects.len() - 1
    };
    let rows_at = ordered(&mut objects, rows);
    let columns_at = ordered(&mut objects, columns);
    let mut dictionary = Vec::new();
    for column in columns {
        let mut of_column = Vec::new();
        for (row, _, text) in cells.iter().filter(|(_, of, _)| of == column) {
            let row = member(&mut objects, *row);
            objects.push(bytes(10, &message(text, &[])));
            let element = [bytes(1, &reference(row)), bytes(2, &reference(objects.len() - 1))].concat();
            of_column.extend(bytes(1, &element));
        }
        let column = member(&mut objects, *column);
        objects.push(bytes(6, &of_column));
        dictionary.extend(bytes(
            1,
            &[bytes(1, &reference(column)), bytes(2, &reference(objects.len() - 1))].concat(),
        ));
    }
    objects.push(bytes(6, &dictionary));
    let cells_at = objects.len() - 1;
    let entries = [rows_at, columns_at, cells_at].into_iter().enumerate();
    let map: Vec<u8> = entries
        .flat_map(|(key, at)| bytes(3, &[number(1, key as u64), bytes(2, &reference(at))].concat()))
        .collect();
    objects[0] = bytes(13, &[number(1, 0), map].concat());
    let mut data: Vec<u8> = objects.iter().flat_map(|object| bytes(3, object)).collect();
    for key in ["crRows", "crColumns", "cellColumns"] {
        data.extend(bytes(4, key.as_bytes()));
    }
    data.extend(bytes(5, b"com.apple.notes.ICTable"));
    (0..10).for_each(|uuid| data.extend(bytes(6, &[uuid; 16])));
    gzip(&bytes(2, &bytes(3, &data)))
}

#[test]
fn the_cells_of_a_table_stand_where_they_belong() {
    let read = Table::unpack(&table(&[4, 3], &[1, 2], &[(3, 1, "c"), (4, 1, "a"), (4, 2, "b")])).unwrap();
    assert_eq!(read.rows, [["a", "b"], ["c", ""]]);
    assert_eq!(read.lost_cells, 0);
    let lost = Table::unpack(&table(&[4], &[1], &[(9, 1, "nowhere"), (4, 1, "a")])).unwrap();
    assert_eq!((lost.rows, lost.lost_cells), (vec![vec!["a".to_owned()]], 1));
    assert!(matches!(
        Table::unpack(&packed("x", &[])),
        Err(TableError::NoTable { .. })
    ));
}

const STORE: &str = "CREATE TABLE Z_PRIMARYKEY (Z_ENT INTEGER PRIMARY KEY, Z_NAME VARCHAR);
    INSERT INTO Z_PRIMARYKEY VALUES (4, 'ICNote'), (5, 'ICFolder'), (6, 'ICAccount'), (7, 'ICAttachment'), (8, 'ICMedia');
    CREATE TABLE ZICNOTEDATA (Z_PK INTEGER PRIMARY KEY, ZNOTE INTEGER, ZDATA BLOB, ZCRYPTOTAG BLOB);";

#[test]
fn columns_of_other_versions_are_found() {
    let db = Connection::open_in_memory().unwrap();
    // The numbers of iOS 9 and 10, without accounts on notes.
    db.execute_batch(&format!(
        "{STORE} CREATE TABLE ZICCLOUDSYNCINGOBJECT (Z_PK INTEGER PRIMARY KEY, Z_ENT INTEGER, ZIDENTIFIER, ZTITLE1, ZTITLE2,
            ZFOLDER, ZACCOUNT, ZPARENT, ZCREATIONDATE1, ZMODIFICATIONDATE1, ZNOTEDATA, ZNAME, ZNOTE, ZTYPEUTI, ZMERGEABLEDATA);
         INSERT INTO ZICCLOUDSYNCINGOBJECT (Z_PK, Z_ENT, ZNAME) VALUES (1, 6, 'iCloud');
         INSERT INTO ZICCLOUDSYNCINGOBJECT (Z_PK, Z_ENT, ZTITLE2, ZACCOUNT, ZPARENT) VALUES (2, 5, 'Outer', 1, 3), (3, 5, 'Inner', NULL, 2);
         INSERT INTO ZICCLOUDSYNCINGOBJECT (Z_PK, Z_ENT, ZTITLE1, ZFOLDER, ZCREATIONDATE1, ZNOTEDATA) VALUES (4, 4, 'Old', 3, 5e8, 1);"
    ))
    .unwrap();
    db.execute(
        "INSERT INTO ZICNOTEDATA (Z_PK, ZDATA) VALUES (1, ?1)",
        [packed("Old\ntext", &[])],
    )
    .unwrap();
    db.execute(
        "INSERT INTO ZICCLOUDSYNCINGOBJECT (Z_PK, Z_ENT, ZIDENTIFIER, ZNOTE, ZTYPEUTI, ZMERGEABLEDATA)
         VALUES (5, 7, 'T', 4, 'com.apple.notes.table', ?1)",
        params![table(&[1], &[2], &[(1, 2, "cell")])],
    )
    .unwrap();
    let book = modern(&db, &[]);
    let note = &book.notes[0];
    assert_eq!(note.created.unwrap().to_string(), "2016-11-05T00:53:20Z");
    assert_eq!(note.attachments[0].table.as_ref().unwrap().rows, [["cell"]]);
    assert!(show::text(note).ends_with("\n| cell |\n\n"), "{:?}", show::text(note));
    // Folders that lie in each other end.
    assert!(book.place(note).starts_with("iCloud / "));
    assert!(book.problems.is_empty(), "{:?}", book.problems);
}

#[test]
fn hostile_rows_are_noted_and_hide_no_others() {
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch(&format!(
        "{STORE} CREATE TABLE ZICCLOUDSYNCINGOBJECT (Z_PK INTEGER PRIMARY KEY, Z_ENT, ZIDENTIFIER, ZTITLE1, ZFOLDER, ZPARENT,
            ZCREATIONDATE3, ZNOTEDATA, ZISPASSWORDPROTECTED, ZNOTE, ZTYPEUTI, ZMEDIA, ZMERGEABLEDATA1);
         INSERT INTO ZICCLOUDSYNCINGOBJECT (Z_PK, Z_ENT, ZTITLE1, ZFOLDER, ZCREATIONDATE3, ZNOTEDATA, ZISPASSWORDPROTECTED) VALUES
            (1, 4, x'ff', 99, 1e308, x'00', 'maybe'), (2, 'x', 'no kind', NULL, NULL, 7, NULL), (3, 4, 'locked', NULL, NULL, 8, 0);
         INSERT INTO ZICCLOUDSYNCINGOBJECT (Z_PK, Z_ENT, ZNOTE, ZTYPEUTI, ZMEDIA, ZMERGEABLEDATA1) VALUES
            (4, 7, 1, 'com.apple.notes.table', 77, x'1f8b'), (5, 7, 500, 'public.jpeg', NULL, NULL);
         INSERT INTO ZICNOTEDATA VALUES (7, NULL, 'text', NULL), (8, NULL, x'0102', x'03'), (9, 600, x'04', NULL);"
    ))
    .unwrap();
    let book = modern(&db, &[]);
    assert_eq!(book.notes.len(), 3);
    assert!(matches!(book.notes[1].contents, Contents::Unreadable { .. }));
    assert_eq!(book.notes[2].contents, Contents::Locked { hint: None });
    let dangling = book
        .problems
        .kept()
        .iter()
        .filter(|note| matches!(note.problem, Problem::Dangling { .. }));
    assert_eq!(dangling.count(), 4, "{:?}", book.problems);
}

#[test]
fn the_older_store_is_read_too() {
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch(
        "CREATE TABLE ZNOTE (Z_PK INTEGER PRIMARY KEY, ZTITLE, ZCREATIONDATE, ZMODIFICATIONDATE, ZBODY, ZSTORE, ZDELETEDFLAG);
         CREATE TABLE ZNOTEBODY (Z_PK INTEGER PRIMARY KEY, ZCONTENT, ZOWNER);
         CREATE TABLE ZSTORE (Z_PK INTEGER PRIMARY KEY, ZNAME, ZACCOUNT);
         CREATE TABLE ZACCOUNT (Z_PK INTEGER PRIMARY KEY, ZNAME);
         INSERT INTO ZACCOUNT VALUES (1, 'Local'); INSERT INTO ZSTORE VALUES (1, 'LocalNotes', 1);
         INSERT INTO ZNOTE VALUES (1, 'Milk', 300000000, 300000001, 1, 1, 0), (2, 'None', NULL, NULL, 9, 1, 1);
         INSERT INTO ZNOTEBODY VALUES (1, 'Milk<div>Bread &amp; <b>butter</b></div>', 1);",
    )
    .unwrap();
    let mut book = book();
    older::read(&db, &mut book).unwrap();
    assert_eq!(show::text(&book.notes[0]), "Milk\nBread & butter\n");
    assert_eq!(book.place(&book.notes[0]), "Local / LocalNotes");
    assert_eq!(
        (book.notes[1].contents.clone(), book.notes[1].deleted),
        (Contents::Absent, true)
    );
}

proptest! {
    #[test]
    fn any_text_and_any_runs_keep_the_text(text in "[a\u{1f600}\nü]{0,30}", lens in prop::collection::vec(0_u64..12, 0..8)) {
        let runs: Vec<_> = lens.iter().map(|len| [number(1, *len), bytes(2, &number(1, 100 + len % 5))].concat()).collect();
        let body = NoteBody::unpack(&packed(&text, &runs)).unwrap();
        let read = body.text();
        prop_assert_eq!(read.trim_end_matches('\n'), text.trim_end_matches('\n'));
    }

    #[test]
    fn unpacking_never_panics(data in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = NoteBody::unpack(&gzip(&data));
        let _ = Table::unpack(&gzip(&bytes(2, &bytes(3, &data))));
    }
}
