//! What comes last: links, and the folders' own permissions and times.

use super::Links;
use super::manifest::{ExtractNote, ManifestLine, Status};
use super::run::time_of;
use super::target::Place;
use crate::archive::Kind;
use crate::archive::names::{MappedPath, Names};

/// Folders and links until everything else is written.
#[derive(Debug, Default)]
pub(super) struct Later {
    folders: Vec<Folder>,
    links: Vec<ManifestLine>,
}

#[derive(Debug)]
struct Folder {
    mapped: MappedPath,
    mode: u32,
    modified: Option<i64>,
}

/// Where the domains lie on the device, for those that have one place (spec 13).
const ROOTS: [(&str, &str); 9] = [
    ("HomeDomain", "/var/mobile"),
    ("CameraRollDomain", "/var/mobile"),
    ("MediaDomain", "/var/mobile"),
    ("KeyboardDomain", "/var/mobile"),
    ("RootDomain", "/var/root"),
    ("SystemPreferencesDomain", "/var/preferences"),
    ("WirelessDomain", "/var/wireless"),
    ("DatabaseDomain", "/var/db"),
    ("MobileDeviceDomain", "/var/MobileDevice"),
];

impl Later {
    /// Remembers what must wait.
    pub(super) fn see(&mut self, line: &ManifestLine, links: Links) {
        let Some(mapped) = &line.extracted else { return };
        match (line.kind, line.status) {
            (Kind::Directory, Status::Extracted) => self.folders.push(Folder {
                mapped: mapped.clone(),
                mode: line.mode,
                modified: line.modified,
            }),
            (Kind::Symlink, Status::Recorded) if links == Links::Contained => self.links.push(line.clone()),
            _ => {}
        }
    }
}

impl Later {
    /// Makes the links that stay in their domain; the lines that say so.
    pub(super) fn make_links(&mut self, place: &mut Place<'_>, names: &Names) -> Vec<ManifestLine> {
        let mut lines = std::mem::take(&mut self.links);
        for line in &mut lines {
            let made = make_link(place, line, names);
            match made {
                Ok(()) => line.status = Status::Extracted,
                Err(why) => line.note(ExtractNote::LinkNotMade { why }),
            }
        }
        lines
    }

    /// Gives folders their permissions and times, the deepest first: what happens inside changes the time.
    pub(super) fn restore_folders(&mut self, place: &mut Place<'_>) {
        self.folders.sort_unstable_by(|a, b| b.mapped.cmp(&a.mapped));
        for folder in self.folders.drain(..) {
            let mode = (folder.mode != 0).then_some((folder.mode & 0o777) | 0o700);
            let set = place
                .folder(folder.mapped.as_str())
                .and_then(|dir| dir.set_mode_and_time(mode, folder.modified.and_then(time_of)));
            if let Err(e) = set {
                tracing::debug!(folder = %folder.mapped, error = %e, "permissions or time of a folder not set");
            }
        }
    }
}

fn make_link(place: &mut Place<'_>, line: &ManifestLine, names: &Names) -> Result<(), &'static str> {
    let path = way(line, names)?;
    let (parent, name) = line.extracted.as_ref().map(MappedPath::split).unwrap_or_default();
    let folder = place.folder(parent).map_err(|_| "its folder cannot be made")?;
    match folder.symlink(&path, name) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Err("a file of that name exists"),
        Err(_) => Err("the system makes no links here"),
    }
}

/// The way from a link to what it leads to, in the tree; why there is none otherwise.
pub(super) fn way(line: &ManifestLine, names: &Names) -> Result<String, &'static str> {
    let mapped = line.extracted.as_ref().ok_or("it has no name")?;
    let target = line.link_target.as_deref().ok_or("it has no target")?;
    let inside = contained(&line.domain, &line.path, target).ok_or("it leads out of its domain")?;
    let inside = names.path_of(&line.domain, &inside);
    relative(mapped.split().0, inside.as_str()).ok_or("it leads out of its domain")
}

/// Where in its own domain a link leads, by its text alone; `None` if it leads anywhere else.
fn contained(domain: &str, path: &str, target: &str) -> Option<String> {
    let mut at: Vec<&str> = Vec::new();
    let rest = if target.starts_with('/') {
        let target = target.strip_prefix("/private").unwrap_or(target);
        let root = ROOTS.iter().find(|(name, _)| *name == domain)?.1;
        target.strip_prefix(root)?.strip_prefix('/')?
    } else {
        at.extend(
            path.rsplit_once('/')
                .map(|(parent, _)| parent.split('/'))
                .into_iter()
                .flatten(),
        );
        target
    };
    for part in rest.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(at.pop()?),
            part => at.push(part),
        }
    }
    (!at.is_empty()).then(|| at.join("/"))
}

/// The way from one mapped folder to a mapped path of the same domain.
fn relative(from: &str, to: &str) -> Option<String> {
    let (from, to): (Vec<_>, Vec<_>) = (from.split('/').collect(), to.split('/').collect());
    let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    // The domain at least: no link passes the root of the tree.
    if common == 0 {
        return None;
    }
    let up = from.len().saturating_sub(common);
    let parts = std::iter::repeat_n("..", up).chain(to.into_iter().skip(common));
    Some(parts.collect::<Vec<_>>().join("/"))
}

#[cfg(test)]
mod tests {
    use super::{contained, relative};

    #[test]
    fn only_links_that_stay_in_their_domain_are_contained() {
        let inside = |domain, path, target: &str| contained(domain, path, target);
        assert_eq!(inside("D", "a/b/link", "../c/d").as_deref(), Some("a/c/d"));
        assert_eq!(inside("D", "a/link", "../../etc/passwd"), None);
        assert_eq!(inside("D", "link", "/etc/passwd"), None);
        assert_eq!(
            inside("HomeDomain", "link", "/var/mobile/Library/x").as_deref(),
            Some("Library/x")
        );
        assert_eq!(
            inside("HomeDomain", "link", "/private/var/mobile/x").as_deref(),
            Some("x")
        );
        assert_eq!(inside("HomeDomain", "link", "/var/mobile/../../etc"), None);
        assert_eq!(inside("HomeDomain", "link", "/var/mobilex/a"), None);
        assert_eq!(inside("D", "link", ""), None);
    }

    #[test]
    fn relative_ways_never_pass_the_root() {
        assert_eq!(relative("D/a/b", "D/a/c").as_deref(), Some("../c"));
        assert_eq!(relative("D", "D/x/y").as_deref(), Some("x/y"));
        assert_eq!(relative("D/a", "E/x"), None);
        assert_eq!(relative("D/a", "D").as_deref(), Some(".."));
    }
}
