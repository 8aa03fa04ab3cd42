//! What is in a folder.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use super::Kind;
use crate::replica::ReplicaError;
use crate::replica::file::{is_temporary, print, remove_leftover, unavailable};

/// The hidden files that are ours.
const OWN: &[&str] = &[".cabled-groups", ".cabled-calendar", "displayname", "color"];

/// The folders in a folder that are calendars, by name, and what cannot be one.
pub(super) fn folders(
    root: &Path,
    max: usize,
    problems: &mut Vec<(String, &'static str)>,
) -> Result<Vec<String>, ReplicaError> {
    let failed = |error: std::io::Error| unavailable(root, &error);
    let mut names = Vec::new();
    for entry in fs::read_dir(root).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let lossy = name.to_string_lossy().into_owned();
        let kind = entry.file_type().map_err(failed)?;
        if is_temporary(&lossy) && kind.is_file() {
            remove_leftover(&entry.path());
        } else if lossy.starts_with('.') || lossy.ends_with(".tmp") {
        } else if kind.is_symlink() && entry.path().is_dir() {
            problems.push((lossy, "it is a link; put the folder itself there"));
        } else if kind.is_dir() && name.to_str().is_none() {
            problems.push((lossy, "its name is not in UTF-8"));
        } else if kind.is_dir() {
            names.push(lossy);
        }
        if names.len() > max {
            return Err(too_many(root, max));
        }
    }
    names.sort();
    Ok(names)
}

fn too_many(folder: &Path, max: usize) -> ReplicaError {
    ReplicaError::Unavailable {
        what: folder.display().to_string(),
        reason: format!("it has more than {max} files; raise the limit if that is right"),
    }
}

/// What was found in a folder.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Files that are items or ours, by name, hidden ones first; with what they are known by, where that was wanted.
    pub(super) sheets: Vec<(String, Option<u64>)>,
    /// What cannot be read.
    pub(super) problems: Vec<(String, &'static str)>,
}

/// The items of a folder. What they are known by is found out for those that were not written to since `settled`.
pub(super) fn items(
    folder: &Path,
    prefix: &str,
    what: Kind,
    max: usize,
    settled: Option<SystemTime>,
) -> Result<Found, ReplicaError> {
    let failed = |error: std::io::Error| unavailable(folder, &error);
    let mut items = Found::default();
    let mut seen = 0_usize;
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        seen = seen.saturating_add(1);
        if seen > max {
            return Err(too_many(folder, max));
        }
        let name = entry.file_name();
        let lossy = name.to_string_lossy();
        if is_temporary(&lossy) {
            remove_leftover(&entry.path());
            continue;
        }
        let own = match what {
            Kind::Contacts => OWN.first() == Some(&&*lossy),
            Kind::Calendar | Kind::Calendars => OWN.contains(&&*lossy),
        };
        if !own && (lossy.starts_with('.') || lossy.ends_with(".tmp")) {
            continue;
        }
        let found = Path::new(&*lossy).extension();
        if !own && !found.is_some_and(|found| found.eq_ignore_ascii_case(what.extension())) {
            continue;
        }
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            continue;
        }
        let sheet = format!("{prefix}{lossy}");
        if name.to_str().is_none() {
            items.problems.push((sheet, "its name is not in UTF-8"));
        } else if kind.is_symlink() {
            items.problems.push((sheet, "it is a link; put the file itself there"));
        } else if !kind.is_file() {
            items.problems.push((sheet, "it is no file"));
        } else {
            let print = settled.and_then(|settled| print(&entry.metadata().ok()?, settled));
            items.sheets.push((sheet, print));
        }
    }
    items
        .sheets
        .sort_unstable_by(|(a, _), (b, _)| (!a.starts_with('.'), a).cmp(&(!b.starts_with('.'), b)));
    Ok(items)
}
