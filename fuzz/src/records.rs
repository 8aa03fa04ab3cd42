//! Records that are decoded without a database.

use cabled_mobilebackup::archive::records::notes::{MAX_CELLS, NoteBody, Table, text_of_html};

/// A note's text, a table within a note, and the HTML of old notes. The first byte chooses.
pub fn note_body(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else {
        return;
    };
    match choice % 4 {
        0 => drop(NoteBody::unpack(data)),
        1 => {
            let Ok(body) = NoteBody::of_document(data) else { return };
            // Text that is not UTF-8 grows to three bytes for one.
            assert!(body.text().len() <= data.len().saturating_mul(3));
            let spans = || body.paragraphs.iter().flat_map(|paragraph| &paragraph.spans);
            assert!(spans().all(|span| !span.text.is_empty() && !span.text.contains('\n')));
            assert_eq!(
                spans().filter(|span| span.attachment.is_some()).count(),
                body.attachments().count()
            );
        }
        2 => {
            let Ok(table) = Table::of_document(data) else { return };
            let width = table.rows.first().map_or(0, Vec::len);
            assert!(table.rows.iter().all(|row| row.len() == width));
            assert!(table.rows.len().saturating_mul(width) <= MAX_CELLS);
        }
        _ => {
            let html = String::from_utf8_lossy(data);
            assert!(text_of_html(&html).len() <= html.len().saturating_mul(3).saturating_add(8));
        }
    }
}
