//! What is synced: records as they arrive, and the files they become.

use cabled_syncproto::interchange::{Limits, bookmarks, icalendar, vcard};
use cabled_syncproto::msg::{Message, limits};
use cabled_syncproto::record::RecordId;
use cabled_syncproto::records::{Calendar, Contact, Entry, Event, Graph, Group, MailAccount, Note, Person, View};
use cabled_wire::plist;

fn small() -> Limits {
    Limits::default()
        .with_bytes(1 << 20)
        .with_lines(20_000)
        .with_records(2_000)
}

/// A vCard file: what was read and written reads the same again, and is written the same.
pub fn vcard(data: &[u8]) {
    let Ok(read) = vcard::read(&String::from_utf8_lossy(data), &small()) else {
        return;
    };
    let options = vcard::WriteOptions::default();
    let write = |read: &vcard::Read| -> String {
        let contacts = read.contacts.iter().map(|contact| vcard::write(contact, &options));
        let groups = read
            .groups
            .iter()
            .map(|group| vcard::write_group(&group.id, &group.view, &options));
        contacts.chain(groups).collect()
    };
    let text = write(&read);
    assert!(text.split("\r\n").all(|line| line.len() <= 75));
    if text.is_empty() {
        return;
    }
    let again = vcard::read(&text, &Limits::default()).expect("what was written is read");
    assert_eq!(again.contacts.len(), read.contacts.len());
    assert_eq!(again.groups.len(), read.groups.len());
}

/// An iCalendar file, as [`vcard()`].
pub fn icalendar(data: &[u8]) {
    let Ok(id) = RecordId::new("calendar") else { return };
    let Ok(read) = icalendar::read(&String::from_utf8_lossy(data), &id, &small()) else {
        return;
    };
    let text = icalendar::write(Some(&read.calendar.view), &read.events);
    assert!(text.split("\r\n").all(|line| line.len() <= 75));
    let again = icalendar::read(&text, &id, &Limits::default()).expect("what was written is read");
    assert_eq!(again.events.len(), read.events.len());
    assert_eq!(again.not_syncable.len(), read.not_syncable.len());
}

/// A browser's bookmark file and our JSON: what was written reads as the same records.
pub fn bookmarks_html(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(graph) = bookmarks::read_html(&text, &small()) {
        let html = bookmarks::write_html(&graph).expect("what was read is written");
        let again = bookmarks::read_html(&html, &Limits::default()).expect("what was written is read");
        assert_eq!(again.len(), graph.len());
    }
    if let Ok(graph) = bookmarks::read_json(&text, &small())
        && let Ok(json) = bookmarks::write_json(&graph)
    {
        let again = bookmarks::read_json(&json, &Limits::default()).expect("what was written is read");
        assert_eq!(again.len(), graph.len());
    }
}

/// A change message: every record it carries is read as what it claims to be, comes back unchanged, and becomes a file.
pub fn sync_records(data: &[u8]) {
    let small = limits().with_bytes(1 << 20).with_nodes(50_000);
    if plist::read(data, &small).is_err() {
        return;
    }
    let Ok(Message::ProcessChanges {
        changes: Some(changes), ..
    }) = Message::decode(data, &small)
    else {
        return;
    };
    let (graph, _) = Graph::from_changes(changes);
    for (id, record) in graph.iter() {
        unchanged::<Person>(id, &graph);
        unchanged::<Group>(id, &graph);
        unchanged::<Calendar>(id, &graph);
        unchanged::<Note>(id, &graph);
        drop(MailAccount::read(id, record));
    }
    for contact in Contact::read_all(&graph).0 {
        let text = vcard::write(&contact, &vcard::WriteOptions::default());
        assert_eq!(
            vcard::read(&text, &Limits::default().with_line(64 << 20))
                .expect("a card")
                .contacts
                .len(),
            1
        );
    }
    for event in Event::read_all(&graph).0 {
        let text = icalendar::write(None, [&event]);
        let read = icalendar::read(&text, &event.id, &Limits::default().with_line(64 << 20)).expect("a calendar");
        assert_eq!(read.events.len(), 1);
    }
    drop(bookmarks::write_html(&graph));
    drop(bookmarks::write_json(&graph));
}

fn unchanged<V: View>(id: &RecordId, graph: &Graph) {
    let Some(record) = graph.get(id) else { return };
    let Ok(view) = V::read(id, record) else { return };
    let entry = Entry { id: id.clone(), view };
    // Not-a-number and dates of no calendar are equal to nothing; what is written must be.
    let written = entry.view.write();
    assert_eq!(written.attributes.len(), record.attributes.len());
}
