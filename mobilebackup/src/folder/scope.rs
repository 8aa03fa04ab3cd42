use std::collections::BTreeSet;

use cabled_wire::WireError;
use cabled_wire::path::RelativePath;

use super::FolderError;

/// The folder beside the devices' own into which `Unback` and `Extract` write.
const UNBACK: &str = "_unback_";

/// Why a folder is open: it decides what the device may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// The device writes its backup.
    Backup,
    /// The device reads a backup; it may also ask for a copy of it beside the original.
    Restore,
    /// Information, passwords, extraction.
    Other,
}

/// What a request wants to do at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// Read a file or list a directory.
    Read,
    /// Create a directory, which may be the device's own.
    CreateDir,
    /// Write a file or rename onto it.
    Write,
    /// Remove it, or rename it away.
    Remove,
    /// Copy something to it: for a restore that may be a new folder beside the source.
    CopyTo,
}

/// Which paths one exchange may touch (spec 8): the target's folder, the source's, `_unback_`, and the copy that a
/// restore makes. Everything else in the backup root, other devices' backups first of all, is out of reach.
#[derive(Clone, Debug)]
pub struct Scope {
    target: String,
    source: String,
    purpose: Purpose,
    copies: BTreeSet<String>,
}

/// A path that [`Scope::admit`] let through: relative, below an allowed folder, never climbing out.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScopedPath(RelativePath);

impl ScopedPath {
    /// The cleaned path relative to the backup root.
    #[must_use]
    pub fn as_path(&self) -> &RelativePath {
        &self.0
    }

    /// The cleaned path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl std::fmt::Display for ScopedPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Scope {
    /// A scope for `target`, reading from `source` (the same name in most runs).
    ///
    /// # Errors
    /// [`FolderError::Refused`] when either is not one safe component: these names go to the device, which puts them in
    /// front of every path.
    pub fn new(target: &str, source: &str, purpose: Purpose) -> Result<Self, FolderError> {
        for name in [target, source] {
            let single =
                RelativePath::parse(name).is_ok_and(|path| path.as_str() == name && path.components().count() == 1);
            if !single || name.starts_with('.') || name == UNBACK {
                return Err(refused(name, "it is no name of a device's folder"));
            }
        }
        Ok(Self {
            target: target.to_owned(),
            source: source.to_owned(),
            purpose,
            copies: BTreeSet::new(),
        })
    }

    /// The folder of the connected device.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The folder whose backup is read.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Why the folder is open.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Checks a path that the device named.
    ///
    /// A leading `/` means nothing: such paths arrive from devices. Rules, in order: no `..`, NUL or what the system
    /// cannot hold; something must be left; the first component must be allowed; a folder of a device cannot itself be
    /// written over, renamed or removed.
    ///
    /// # Errors
    /// [`FolderError::Refused`].
    pub fn admit(&self, path: &str, access: Access) -> Result<ScopedPath, FolderError> {
        let clean = RelativePath::parse(path).map_err(|error| match error {
            WireError::Path { path, why } => FolderError::Refused { path, why },
            _ => refused(path, "it is malformed"),
        })?;
        let Some(first) = clean.first() else {
            return Err(refused(path, "it names the backup root itself"));
        };
        let top = clean.components().nth(1).is_none();
        let own_copy = self.copies.contains(first);
        let allowed = match access {
            Access::Read => own_copy || first == self.target || first == self.source || first == UNBACK,
            Access::CopyTo if top && self.is_copy_name(first) => return Ok(ScopedPath(clean)),
            Access::CreateDir => own_copy || first == UNBACK || first == self.target || self.may_write(first),
            _ => own_copy || first == UNBACK || self.may_write(first),
        };
        if !allowed {
            return Err(refused(path, "it lies outside this device's folder"));
        }
        let device_folder = top && (first == self.target || first == self.source);
        if device_folder && matches!(access, Access::Write | Access::Remove) {
            return Err(refused(path, "it is the device's folder itself"));
        }
        if top && access == Access::Write && (own_copy || first == UNBACK) {
            return Err(refused(path, "a folder of this name is in use"));
        }
        Ok(ScopedPath(clean))
    }

    /// A path of our own inside a device's folder.
    pub(crate) fn own(&self, device: &str, tail: &str) -> Result<ScopedPath, FolderError> {
        self.admit(&format!("{device}/{tail}"), Access::Read)
    }

    /// Is this the copy of the source that a restore may ask for? It counts as the run's own once [`Self::adopt`]ed,
    /// and the caller must have seen that nothing of the name existed: archived backups have such names too.
    #[must_use]
    pub fn is_new_copy(&self, path: &ScopedPath) -> bool {
        path.0
            .first()
            .is_some_and(|first| self.is_copy_name(first) && !self.copies.contains(first))
    }

    /// Lets the run read and write the copy it just made.
    pub fn adopt(&mut self, path: &ScopedPath) {
        if let Some(first) = path.0.first().filter(|first| self.is_copy_name(first)) {
            self.copies.insert(first.to_owned());
        }
    }

    fn is_copy_name(&self, name: &str) -> bool {
        self.purpose == Purpose::Restore
            && name.strip_prefix(&self.source).is_some_and(|tail| !tail.is_empty())
            && name != self.target
    }

    /// May the backup in this folder be changed? A restore reads one and changes none, the device's own included;
    /// another device's backup is written only by a backup run that continues it.
    fn may_write(&self, folder: &str) -> bool {
        match self.purpose {
            Purpose::Restore => false,
            Purpose::Backup => folder == self.target || folder == self.source,
            Purpose::Other => folder == self.target,
        }
    }
}

fn refused(path: &str, why: &'static str) -> FolderError {
    FolderError::Refused {
        path: WireError::excerpt(path),
        why,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const U: &str = "00008030-001A2B3C4D5E6F70";
    const OTHER: &str = "0123456789abcdef0123456789abcdef01234567";

    fn scope(purpose: Purpose) -> Scope {
        Scope::new(U, U, purpose).unwrap()
    }

    #[test]
    fn hostile_paths_are_refused_for_every_access() {
        let scope = scope(Purpose::Backup);
        let parent = format!("{U}/..");
        let through = format!("{U}/../{OTHER}/Status.plist");
        let nul = format!("{U}/a\0b");
        let long = format!("{U}/{}", "x".repeat(5000));
        let lower = format!("{}/x", U.to_lowercase());
        for path in [
            "",
            "/",
            "..",
            "./.",
            ".cabled/x",
            OTHER,
            "etc/passwd",
            "/etc/passwd",
            &parent,
            &through,
            &nul,
            &long,
            &lower,
        ] {
            for access in [
                Access::Read,
                Access::CreateDir,
                Access::Write,
                Access::Remove,
                Access::CopyTo,
            ] {
                assert!(scope.admit(path, access).is_err(), "{path:?} {access:?}");
            }
        }
    }

    #[test]
    fn leading_slashes_mean_nothing() {
        let path = scope(Purpose::Backup)
            .admit(&format!("//{U}//Snapshot/./x"), Access::Write)
            .unwrap();
        assert_eq!(path.as_str(), format!("{U}/Snapshot/x"));
    }

    #[test]
    fn a_devices_folder_is_created_and_listed_but_never_replaced_or_removed() {
        let scope = scope(Purpose::Backup);
        assert!(scope.admit(U, Access::Read).is_ok());
        assert!(scope.admit(U, Access::CreateDir).is_ok());
        assert!(scope.admit(U, Access::Write).is_err());
        assert!(scope.admit(U, Access::Remove).is_err());
        assert!(scope.admit(&format!("{U}/Snapshot"), Access::Remove).is_ok());
    }

    #[test]
    fn a_restore_reads_another_devices_backup_and_writes_only_its_copy() {
        let mut scope = Scope::new(U, OTHER, Purpose::Restore).unwrap();
        assert!(scope.admit(&format!("{OTHER}/Manifest.db"), Access::Read).is_ok());
        assert!(scope.admit(&format!("{OTHER}/Manifest.db"), Access::Write).is_err());
        let name = format!("{OTHER}-copy");
        assert!(
            scope.admit(&format!("{name}/x"), Access::Write).is_err(),
            "not before it was made"
        );
        let copy = scope.admit(&name, Access::CopyTo).unwrap();
        assert!(scope.is_new_copy(&copy));
        scope.adopt(&copy);
        assert!(!scope.is_new_copy(&copy));
        assert!(scope.admit(&format!("{name}/x"), Access::Write).is_ok());
        assert!(scope.admit(&name, Access::Remove).is_ok());
    }

    #[test]
    fn a_restore_changes_nothing_in_the_backup_it_reads() {
        for scope in [scope(Purpose::Restore), Scope::new(U, OTHER, Purpose::Restore).unwrap()] {
            for device in [U, OTHER] {
                for access in [Access::Write, Access::Remove, Access::CopyTo] {
                    for tail in ["", "/Manifest.db", "/ab/x", "/Snapshot"] {
                        let path = format!("{device}{tail}");
                        assert!(scope.admit(&path, access).is_err(), "{path} {access:?}");
                    }
                }
            }
            assert!(scope.admit(&format!("{}/ab", scope.source()), Access::Read).is_ok());
        }
    }

    #[test]
    fn a_backup_makes_no_copies() {
        assert!(
            scope(Purpose::Backup)
                .admit(&format!("{U}-20260101"), Access::CopyTo)
                .is_err()
        );
    }

    #[test]
    fn names_that_are_no_single_component_make_no_scope() {
        for bad in ["", "..", ".cabled", "a/b", "/a", "a/", "_unback_", "a\0"] {
            assert!(Scope::new(bad, U, Purpose::Backup).is_err(), "{bad:?}");
            assert!(Scope::new(U, bad, Purpose::Backup).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_admitted_lies_below_an_allowed_folder(path in "(00008030-001A2B3C4D5E6F70|\\.\\.|\\.|/|_unback_|a|\0){0,9}") {
            for access in [Access::Read, Access::CreateDir, Access::Write, Access::Remove, Access::CopyTo] {
                if let Ok(admitted) = scope(Purpose::Backup).admit(&path, access) {
                    let first = admitted.as_path().first().unwrap();
                    prop_assert!(first == U || first == "_unback_");
                    prop_assert!(admitted.as_path().components().all(|part| part != ".."));
                }
            }
        }
    }
}
