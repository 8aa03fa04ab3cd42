//! Components: lines between a `BEGIN` and its `END`, and components within them.

use cabled_wire::plist::Value;

use crate::interchange::lines::{self, Line};
use crate::interchange::{InterchangeError, Limits};

/// A component with its lines and those within it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Component {
    pub(super) name: String,
    pub(super) lines: Vec<Line>,
    pub(super) children: Vec<Component>,
}

impl Component {
    pub(super) fn line(&self, name: &str) -> Option<&Line> {
        self.lines.iter().find(|line| line.name == name)
    }

    /// As it came. The depth is bounded by the reader.
    pub(super) fn raw(&self) -> Vec<String> {
        let mut raw = vec![format!("BEGIN:{}", self.name)];
        raw.extend(self.lines.iter().map(|line| line.raw.clone()));
        raw.extend(self.children.iter().flat_map(Self::raw));
        raw.push(format!("END:{}", self.name));
        raw
    }

    pub(super) fn value(&self) -> Value {
        self.raw().join("\n").into()
    }
}

/// Lines of components that are kept as texts; each text is taken only if it is one whole component.
pub(super) fn kept_components(value: &Value) -> Vec<Vec<String>> {
    let texts = value.as_array().into_iter().flatten().filter_map(Value::as_string);
    let whole = |text: &str| match parse(text, &Limits::default()) {
        Ok(found) if found.len() == 1 => found.first().map(Component::raw),
        _ => None,
    };
    texts.filter_map(whole).collect()
}

pub(super) fn parse(text: &str, limits: &Limits) -> Result<Vec<Component>, InterchangeError> {
    let (mut done, mut open) = (Vec::new(), Vec::<Component>::new());
    let depth = limits.depth.min(64);
    let mut components = 0_usize;
    for (index, raw) in lines::unfold(text, limits)?.into_iter().enumerate() {
        let line = Line::new(&raw);
        let name = line.value.trim().to_ascii_uppercase();
        let unbalanced = |component: String| InterchangeError::Unbalanced {
            line: index.saturating_add(1),
            component,
        };
        match (&*line.name, open.last_mut()) {
            ("BEGIN", _) => {
                components = components.saturating_add(1);
                Limits::check("a number of components", components, limits.records.saturating_mul(4))?;
                Limits::check("a depth", open.len().saturating_add(1), depth)?;
                let (lines, children) = (Vec::new(), Vec::new());
                open.push(Component { name, lines, children });
            }
            ("END", _) => {
                let component = open
                    .pop()
                    .filter(|open| open.name == name)
                    .ok_or_else(|| unbalanced(name))?;
                match open.last_mut() {
                    Some(parent) => parent.children.push(component),
                    None => done.push(component),
                }
            }
            (_, Some(component)) => component.lines.push(line),
            _ => {}
        }
    }
    match open.pop() {
        Some(open) => Err(InterchangeError::Unbalanced {
            line: 0,
            component: open.name,
        }),
        None => Ok(done),
    }
}
