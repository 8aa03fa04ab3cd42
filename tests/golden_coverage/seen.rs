//! What the vectors decode to, and what there is to decode to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::path::Path;

use cabled::lockdown::msg::Message;
use cabled_golden::{LIBIMOBILEDEVICE, Line, PYMOBILEDEVICE3, Side, files, lines};

/// Whose bytes they are, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A program that none of us wrote sent them.
    ThirdParty,
    /// A stand-in sent them and a third-party client was content.
    Accepted,
    /// Made by hand from the specification.
    Built,
}

/// Names of variants with the sources of the vectors that showed them.
#[derive(Debug, Default)]
pub struct Seen(BTreeMap<String, BTreeSet<Source>>);

impl Seen {
    /// Notes the variant that `message` is.
    pub fn note(&mut self, message: &impl Debug, source: Source) {
        let shown = format!("{message:?}");
        let name = shown.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        self.name(name, source);
    }

    /// Notes a name.
    pub fn name(&mut self, name: &str, source: Source) {
        self.0.entry(name.to_owned()).or_default().insert(source);
    }

    /// The best source of a variant.
    pub fn best(&self, name: &str) -> Option<Source> {
        self.0.get(name)?.first().copied()
    }

    /// Decodes every line that `of` picks and notes what `view` finds in it.
    pub fn plists<M: Message, V: Debug>(of: impl Fn(&Line) -> bool, view: impl Fn(&M) -> &V) -> Self {
        let mut seen = Self::default();
        for (line, source) in recorded().into_iter().filter(|(line, _)| of(line)) {
            match M::decode(&line.body()) {
                Ok(message) => seen.note(view(&message), source),
                Err(error) => panic!("{}: {error}", line.place()),
            }
        }
        seen
    }
}

/// Every line of the client captures and of the built lockdown, service and AFC messages, but the malformed ones.
pub fn recorded() -> Vec<(Line, Source)> {
    let mut all = Vec::new();
    for folder in [LIBIMOBILEDEVICE, PYMOBILEDEVICE3] {
        for line in files(folder, "jsonl").iter().flat_map(|file| lines(file)) {
            let source = match line.from {
                Side::Host => Source::ThirdParty,
                Side::Device => Source::Accepted,
            };
            all.push((line, source));
        }
    }
    for file in files(cabled_golden::BUILT, "jsonl") {
        let lines = lines(&file).into_iter().filter(|line| !line.is_malformed());
        all.extend(lines.map(|line| (line, Source::Built)));
    }
    all
}

/// The variants of an enum, or the name of a struct, as its source has them; `Unknown` is no message.
///
/// # Panics
/// If the file has no such type.
pub fn variants(file: &str, name: &str) -> BTreeSet<String> {
    let text = source(file);
    if text.contains(&format!("pub struct {name}")) {
        return [name.to_owned()].into();
    }
    let start = format!("pub enum {name} {{\n");
    let Some((_, rest)) = text.split_once(&start) else {
        panic!("{file}: no enum {name}")
    };
    let body = rest.split_once("\n}\n").map_or(rest, |(body, _)| body);
    let names = body.lines().filter_map(|line| {
        let line = line.strip_prefix("    ")?;
        line.starts_with(char::is_uppercase).then(|| {
            line.split(|c: char| !c.is_alphanumeric())
                .next()
                .unwrap_or_default()
                .to_owned()
        })
    });
    names.filter(|name| name != "Unknown").collect()
}

/// The text of a source file of the repository.
pub fn source(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"))
}
