//! Lines that no text can break.

use proptest::prelude::*;

use super::*;

fn one(write: impl FnOnce(&mut Lines<Vec<u8>>)) -> reading::Component {
    let mut lines = Lines::new(Vec::new());
    lines.raw("BEGIN:X").unwrap();
    write(&mut lines);
    lines.raw("END:X").unwrap();
    reading::read(&lines.finish().unwrap())
}

#[test]
fn long_lines_fold_at_75_bytes_and_never_within_a_character() {
    for start in 0..4 {
        let text = format!("{}{}", "a".repeat(start), "ü€😀".repeat(60));
        let read = one(|lines| lines.text("SUMMARY", &text).unwrap());
        assert_eq!(read.text("SUMMARY").unwrap(), text);
    }
}

#[test]
fn names_with_quotes_and_colons_stay_in_their_parameter() {
    let name = "A \"B\": C; D^n\nE";
    let read = one(|lines| lines.uri("ATTENDEE", &[("CN", name)], "mailto:a b\"\r\nX:y@z").unwrap());
    let property = read.property("ATTENDEE").unwrap();
    assert_eq!(property.value, "mailto:a%20b%22%0D%0AX:y@z");
    assert!(property.parameter("CN").unwrap().starts_with("A \"B\": C; D"));
}

proptest! {
    #[test]
    fn any_text_survives_but_for_control_characters(text in any::<String>()) {
        let read = one(|lines| lines.text("SUMMARY", &text).unwrap());
        let mut kept = text.replace("\r\n", "\n").replace(['\r', '\u{2028}', '\u{2029}'], "\n");
        kept.retain(|c| !c.is_control() || matches!(c, '\n' | '\t'));
        prop_assert_eq!(read.text("SUMMARY").unwrap(), kept);
    }
}
