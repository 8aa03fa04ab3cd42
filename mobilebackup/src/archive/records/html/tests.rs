use proptest::prelude::*;

use super::*;

fn page(write: impl FnOnce(&mut Page<Vec<u8>>) -> io::Result<()>) -> String {
    let mut page = Page::begin(Vec::new(), "T").unwrap();
    write(&mut page).unwrap();
    String::from_utf8(page.finish().unwrap()).unwrap()
}

/// The names of all tags, in order: what a parser would make elements of.
fn tags(html: &str) -> Vec<String> {
    let mut tags = Vec::new();
    for piece in html.split('<').skip(1) {
        let name = piece.split(|c: char| c == '>' || c.is_whitespace()).next();
        tags.push(name.unwrap_or_default().to_owned());
    }
    tags
}

#[test]
fn tables_and_conversations_are_closed_before_something_else_begins() {
    let html = page(|page| {
        page.row(&[Cell::Text("a")])?;
        page.divider("today")?;
        page.bubble(&Bubble::new(Side::Own).author("Me").piece(Piece::Text("b")))?;
        page.heading("c")
    });
    let opened = |name: &str| tags(&html).iter().filter(|tag| *tag == name).count();
    for name in ["table", "tbody", "div", "tr", "td", "html", "body"] {
        assert_eq!(opened(name), opened(&format!("/{name}")), "{name} in {html}");
    }
    assert!(html.find("</table>") < html.find("today"));
}

#[test]
fn the_policy_names_the_style_and_forbids_scripts() {
    let html = page(|_| Ok(()));
    let style = html.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
    let checksum = base64::encode(&Sha256::digest(style.as_bytes()));
    assert!(html.contains(&format!("style-src 'sha256-{checksum}'")));
    assert!(html.contains("default-src 'none'") && !html.contains("unsafe"));
    assert!(!style.contains("url(") && !style.contains("@import"));
}

#[test]
fn only_safe_links_become_links() {
    let shown = |href: &str| page(|page| page.row(&[Cell::Link { href, text: "x" }]));
    for safe in [
        "https://example.org/?a=1&b=\"2\"",
        "mailto:a@b.c",
        "TEL:+15550100",
        "./attachments/a%20b.jpg",
    ] {
        assert!(shown(safe).contains("<a href="), "{safe}");
    }
    for odd in [
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        " https://a",
        "https:",
        "java\nscript:alert(1)",
        "data:text/html,x",
        "//example.org/x",
        "/etc/passwd",
        "../up",
        "./../up",
        "./a//b",
        "file:///etc/passwd",
        "",
    ] {
        assert!(!shown(odd).contains("<a "), "{odd}");
    }
    let image = page(|page| {
        page.row(&[Cell::Image {
            href: "https://tracker.example/a.png",
            text: "x",
        }])
    });
    assert!(!image.contains("<img"));
}

#[test]
fn paths_become_links_that_stay_below_the_page() {
    assert_eq!(
        relative_href("attachments/a b\"ü.jpg").unwrap(),
        "./attachments/a%20b%22%C3%BC.jpg"
    );
    assert_eq!(relative_href("javascript:x").unwrap(), "./javascript%3Ax");
    for outside in ["", "/a", "a//b", "../a", "a/..", "."] {
        assert_eq!(relative_href(outside), None, "{outside}");
    }
}

proptest! {
    #[test]
    fn no_text_becomes_markup(text in "\\PC*|[<>&\"'a-z /=\\x00-\\x1f]{0,60}") {
        let neutral = page(|page| fill(page, "neutral"));
        let hostile = page(|page| fill(page, &text));
        prop_assert_eq!(tags(&neutral), tags(&hostile));
        prop_assert_eq!(neutral.matches('"').count(), hostile.matches('"').count());
    }
}

/// One of everything, with the same text everywhere.
fn fill(page: &mut Page<Vec<u8>>, text: &str) -> io::Result<()> {
    page.heading(text)?;
    page.paragraph(text)?;
    page.table(&[text])?;
    page.row(&[
        Cell::Text(text),
        Cell::Link {
            href: "https://a.example",
            text,
        },
        Cell::Image { href: "./a", text },
    ])?;
    page.divider(text)?;
    let bubble = Bubble::new(Side::Other)
        .author(text)
        .piece(Piece::Text(text))
        .piece(Piece::Quote(text));
    let bubble = bubble
        .piece(Piece::Image { href: "./a", text })
        .piece(Piece::Media { href: "./a", text });
    page.bubble(&bubble.piece(Piece::File { href: None, text }).piece(Piece::Small(text)))
}
