//! A second reader of iCalendar, for the tests: it shares nothing with the writer.

/// A component with its properties and parts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::archive::records) struct Component {
    pub(in crate::archive::records) name: String,
    pub(in crate::archive::records) properties: Vec<Property>,
    pub(in crate::archive::records) parts: Vec<Component>,
}

/// A property as it is on its line, unfolded.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::archive::records) struct Property {
    pub(in crate::archive::records) name: String,
    pub(in crate::archive::records) parameters: Vec<(String, String)>,
    pub(in crate::archive::records) value: String,
}

impl Component {
    pub(in crate::archive::records) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Component> {
        self.parts.iter().filter(move |part| part.name == name)
    }

    pub(in crate::archive::records) fn property(&self, name: &str) -> Option<&Property> {
        self.properties.iter().find(|property| property.name == name)
    }

    /// The raw value of the only property of that name.
    pub(in crate::archive::records) fn value(&self, name: &str) -> Option<&str> {
        let mut found = self.properties.iter().filter(|property| property.name == name);
        let first = found.next().map(|property| property.value.as_str());
        assert!(found.next().is_none(), "{name} is there twice");
        first
    }

    /// The text of the only property of that name.
    pub(in crate::archive::records) fn text(&self, name: &str) -> Option<String> {
        let mut out = String::new();
        let mut chars = self.value(name)?.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' => match chars.next().expect("an escape has two characters") {
                    'n' | 'N' => out.push('\n'),
                    c @ ('\\' | ';' | ',') => out.push(c),
                    c => panic!("{c:?} is no escape"),
                },
                ',' | ';' => panic!("not escaped"),
                c => out.push(c),
            }
        }
        Some(out)
    }
}

impl Property {
    pub(in crate::archive::records) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Reads one object; panics at whatever breaks the rules.
pub(in crate::archive::records) fn read(bytes: &[u8]) -> Component {
    let mut open = vec![Component::default()];
    for line in unfold(bytes) {
        let property = property(&line);
        match property.name.as_str() {
            "BEGIN" => open.push(Component {
                name: property.value,
                ..Component::default()
            }),
            "END" => {
                let done = open.pop().unwrap();
                assert_eq!(done.name, property.value);
                open.last_mut().unwrap().parts.push(done);
            }
            _ => open.last_mut().unwrap().properties.push(property),
        }
    }
    assert_eq!(open.len(), 1, "every BEGIN has an END");
    let mut all = open.remove(0);
    assert!(all.properties.is_empty());
    assert_eq!(all.parts.len(), 1);
    all.parts.remove(0)
}

fn unfold(bytes: &[u8]) -> Vec<String> {
    let text = str::from_utf8(bytes).expect("UTF-8");
    let mut lines: Vec<String> = Vec::new();
    for line in text.strip_suffix("\r\n").expect("a line end at the end").split("\r\n") {
        assert!(line.len() <= 75, "{} bytes: {line}", line.len());
        assert!(!line.contains(['\r', '\n']), "a lone line end");
        match line.strip_prefix(' ') {
            Some(more) => lines.last_mut().unwrap().push_str(more),
            None => lines.push(line.to_owned()),
        }
    }
    lines
}

fn property(line: &str) -> Property {
    let (mut quoted, mut colon) = (false, None);
    for (at, c) in line.char_indices() {
        match c {
            '"' => quoted = !quoted,
            ':' if !quoted => {
                colon = Some(at);
                break;
            }
            _ => {}
        }
    }
    let (head, value) = line.split_at(colon.unwrap_or_else(|| panic!("no colon: {line}")));
    let (mut parts, mut current, mut quoted) = (Vec::new(), String::new(), false);
    for c in head.chars() {
        match c {
            '"' => quoted = !quoted,
            ';' if !quoted => parts.push(std::mem::take(&mut current)),
            c => current.push(c),
        }
    }
    parts.push(current);
    let mut parts = parts.into_iter();
    let name = parts.next().unwrap();
    assert!(
        name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'),
        "{name:?} is no name"
    );
    let parameters = parts.map(|part| {
        let (name, value) = part.split_once('=').unwrap();
        (
            name.to_owned(),
            value.replace("^'", "\"").replace("^n", "\n").replace("^^", "^"),
        )
    });
    Property {
        name,
        parameters: parameters.collect(),
        value: value[1..].to_owned(),
    }
}
