use proptest::prelude::*;

use super::*;

/// An attachment and a text, as a phone writes them: two runs with attributes of their own.
fn with_attachment() -> Vec<u8> {
    let mut body = b"\x04\x0bstreamtyped\x81\xe8\x03\x84\x01@\x84\x84\x84\x19NSMutableAttributedString\0\
        \x84\x84\x12NSAttributedString\0\x84\x84\x08NSObject\0\x85\x92\x84\x84\x84\x0fNSMutableString\x01\
        \x84\x84\x08NSString\x01\x95\x84\x01+\x06\xef\xbf\xbcHi!\x86"
        .to_vec();
    body.extend(b"\x84\x02iI\x01\x01\x92\x84\x84\x84\x0cNSDictionary\0\x95\x84\x01i\x02");
    body.extend(b"\x92\x84\x98\x98\x22__kIMFileTransferGUIDAttributeName\x86\x92\x84\x98\x98\x05AT-01\x86");
    body.extend(b"\x92\x84\x98\x98\x1d__kIMMessagePartAttributeName\x86");
    body.extend(b"\x92\x84\x84\x84\x08NSNumber\0\x84\x84\x07NSValue\0\x95\x84\x01*\x84\x99\x99\x00\x86\x86");
    body
}

#[test]
fn a_stream_by_the_rules_gives_text_and_runs() {
    let body = b"\x04\x0bstreamtyped\x81\xe8\x03\x84\x01@\x84\x84\x84\x12NSAttributedString\0\x84\x84\x08NSObject\0\x85\
        \x92\x84\x84\x84\x08NSString\x01\x94\x84\x01+\x07Hi \xf0\x9f\x98\x80\x86\x84\x02iI\x01\x05\x92\x84\x84\x84\x0cNSDictionary\0\
        \x94\x84\x01i\x01\x92\x84\x96\x96\x0a__kIMsome1\x86\x92\x84\x96\x96\x03abc\x86\x86\x86";
    let text = AttributedText::decode(body).unwrap();
    assert_eq!(text.text, "Hi 😀");
    assert!(text.complete);
    assert_eq!(text.runs.len(), 1);
    assert_eq!(text.runs[0].length, 5);
    let attribute = text.runs[0].attributes.get("__kIMsome1");
    assert_eq!(attribute, Some(&Attribute::Text("abc".into())));
}

#[test]
fn an_inexact_stream_still_gives_its_string() {
    for body in [with_attachment(), with_attachment()[..150].to_vec()] {
        assert_eq!(AttributedText::decode(&body).unwrap().text, "\u{fffc}Hi!");
    }
    let short =
        b"\x04\x0bstreamtyped\x81\xe8\x03\x84\x01@\x84\x84\x84\x12NSAttributedString\0\x84\x84\x08NSObject\0\x85\
        \x92\x84\x84\x84\x08NSString\0\x96+\x81\x05\0right\x86\x86";
    assert_eq!(AttributedText::decode(short).unwrap().text, "right");
}

#[test]
fn what_is_no_stream_or_has_no_string_is_told_apart() {
    assert_eq!(AttributedText::decode(b"bplist00"), Err(TypedStreamError::NotTyped));
    let cut = b"\x04\x0bstreamtyped\x81\xe8\x03\x84\x01@\x84";
    assert_eq!(AttributedText::decode(cut), Err(TypedStreamError::NoString));
    let deep = [MAGIC, b"\x81\xe8\x03\x84\x01@", &[NEW; 100_000]].concat();
    assert_eq!(AttributedText::decode(&deep), Err(TypedStreamError::NoString));
}

proptest! {
    #[test]
    fn decode_never_panics_and_gives_no_more_than_there_is(tail in proptest::collection::vec(any::<u8>(), 0..300)) {
        for body in [tail.clone(), [MAGIC, b"\x81\xe8\x03", &tail].concat()] {
            if let Ok(text) = AttributedText::decode(&body) {
                prop_assert!(text.text.len() <= body.len() * 3);
            }
        }
    }

    #[test]
    fn a_stream_changed_anywhere_never_panics(at in 0_usize..300, byte in any::<u8>()) {
        let mut body = with_attachment();
        let at = at % body.len();
        body[at] = byte;
        let _ = AttributedText::decode(&body);
    }

    #[test]
    fn any_text_comes_out_as_it_went_in(text in "\\PC{1,400}") {
        let mut body = b"\x04\x0bstreamtyped\x81\xe8\x03\x84\x01@\x84\x84\x84\x12NSAttributedString\0\x84\x84\x08NSObject\0\x85\
            \x92\x84\x84\x84\x08NSString\x01\x94\x84\x01+".to_vec();
        body.push(INTEGER_4);
        body.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
        body.extend(text.as_bytes());
        body.extend(b"\x86\x86");
        prop_assert_eq!(AttributedText::decode(&body).unwrap().text, text);
    }
}
