//! Restored files on their way into the phone's tree.

use std::collections::HashSet;
use std::sync::Arc;

use super::super::{KeychainItem, scope};
use crate::fs::{Entry, Fs, FsError, Kind, Meta};

/// One restored entry.
#[derive(Debug)]
pub(in crate::backup) struct StagedEntry {
    pub(in crate::backup) domain: Arc<str>,
    pub(in crate::backup) path: String,
    pub(in crate::backup) kind: Kind,
    pub(in crate::backup) meta: Meta,
}

/// Everything a restore brought, out of sight until it is put in place.
#[derive(Debug, Default)]
pub(in crate::backup) struct Staged {
    pub(in crate::backup) entries: Vec<StagedEntry>,
    /// Delete what the backup lacks; true also for system files if those were restored.
    pub(in crate::backup) remove_others: Option<RemoveOthers>,
    /// The backup's keychain items, where it had any that open.
    pub(in crate::backup) keychain: Option<Vec<KeychainItem>>,
}

/// What `RemoveItemsNotRestored` reaches.
#[derive(Clone, Copy, Debug)]
pub(in crate::backup) struct RemoveOthers {
    pub(in crate::backup) system_files: bool,
    pub(in crate::backup) settings: bool,
}

/// A row that no tree can hold: its parent is a file or a link, or it occurs twice.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::backup) struct Conflict {
    pub(in crate::backup) domain: String,
    pub(in crate::backup) path: String,
}

impl Staged {
    /// Sorts parents before children and checks that the entries are a tree.
    pub(in crate::backup) fn arrange(&mut self) -> Result<(), Conflict> {
        self.entries
            .sort_by(|a, b| (&a.domain, &a.path).cmp(&(&b.domain, &b.path)));
        let mut leaves: HashSet<(&str, &str)> = HashSet::new();
        for entry in &self.entries {
            let conflict = || Conflict {
                domain: entry.domain.to_string(),
                path: entry.path.clone(),
            };
            let mut parents = entry.path.match_indices('/').filter_map(|(at, _)| entry.path.get(..at));
            let directory = matches!(entry.kind, Kind::Directory);
            if parents.any(|parent| leaves.contains(&(entry.domain.as_ref(), parent)))
                || (entry.path.is_empty() && !directory)
                || (!directory && !leaves.insert((entry.domain.as_ref(), entry.path.as_str())))
            {
                return Err(conflict());
            }
        }
        Ok(())
    }

    /// Entries of the phone that `RemoveItemsNotRestored` will take away.
    pub(in crate::backup) fn others(&self, fs: &Fs) -> Vec<Arc<Entry>> {
        let Some(reach) = self.remove_others else {
            return Vec::new();
        };
        let restored: HashSet<(&str, &str)> = self
            .entries
            .iter()
            .map(|entry| (entry.domain.as_ref(), entry.path.as_str()))
            .collect();
        // A directory above something restored stays even where the backup has no row for it.
        let parents: HashSet<(&str, &str)> = self
            .entries
            .iter()
            .flat_map(|entry| {
                let above = entry.path.match_indices('/').filter_map(|(at, _)| entry.path.get(..at));
                above.chain([""]).map(|path| (entry.domain.as_ref(), path))
            })
            .collect();
        let in_reach = |entry: &Entry| {
            scope::in_backup(entry)
                && (reach.system_files || !scope::is_system(&entry.domain))
                && (reach.settings || !scope::is_setting(&entry.domain, &entry.path))
        };
        fs.snapshot()
            .into_iter()
            .filter(|entry| in_reach(entry))
            .filter(|entry| {
                let at = (entry.domain.as_ref(), entry.path.as_ref());
                !restored.contains(&at) && !parents.contains(&at)
            })
            .collect()
    }

    /// Moves everything into the phone's tree. What cannot be placed (no room, a root that is gone) is logged and left.
    pub(in crate::backup) fn put_in_place(self, fs: &Fs) {
        for entry in self.others(fs).iter().rev() {
            match fs.remove(&entry.domain, &entry.path) {
                Ok(()) | Err(FsError::NotFound | FsError::NotEmpty) => {}
                Err(error) => tracing::warn!(domain = %entry.domain, %error, "an item not restored stays"),
            }
        }
        for entry in self.entries {
            let StagedEntry {
                domain,
                path,
                kind,
                meta,
            } = entry;
            if let Err(error) = put(fs, &domain, &path, kind, meta) {
                tracing::warn!(%domain, path, %error, "a restored entry has no place");
            }
        }
    }
}

fn put(fs: &Fs, domain: &str, path: &str, kind: Kind, meta: Meta) -> Result<(), FsError> {
    if let Some((parent, _)) = path.rsplit_once('/') {
        fs.create_dir_all(domain, parent)?;
    } else if !path.is_empty() {
        fs.create_dir_all(domain, "")?;
    }
    // Something of another kind in its place goes first.
    if let Some(there) = fs.get(domain, path)
        && (there.is_dir() != matches!(kind, Kind::Directory))
    {
        fs.remove_all(domain, path)?;
    }
    fs.put(domain, path, kind, meta).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Content;

    fn entry(path: &str, kind: Kind) -> StagedEntry {
        StagedEntry {
            domain: "HomeDomain".into(),
            path: path.into(),
            kind,
            meta: Meta::file(),
        }
    }

    fn file(path: &str) -> StagedEntry {
        entry(path, Kind::File(Content::bytes(path.as_bytes().to_vec())))
    }

    #[test]
    fn a_file_below_a_link_or_a_file_is_no_tree() {
        for kind in [Kind::Symlink("/etc".into()), Kind::File(Content::empty())] {
            let mut staged = Staged {
                entries: vec![file("a/b"), entry("a", kind)],
                remove_others: None,
                keychain: None,
            };
            assert_eq!(
                staged.arrange(),
                Err(Conflict {
                    domain: "HomeDomain".into(),
                    path: "a/b".into()
                })
            );
        }
        let mut twice = Staged {
            entries: vec![file("a"), file("a")],
            remove_others: None,
            keychain: None,
        };
        assert!(twice.arrange().is_err());
        let mut fine = Staged {
            entries: vec![file("a/b"), entry("a", Kind::Directory)],
            remove_others: None,
            keychain: None,
        };
        assert_eq!(fine.arrange(), Ok(()));
    }

    #[test]
    fn restored_entries_replace_other_kinds_and_others_go_when_asked() {
        let fs = Fs::new(1 << 30);
        fs.create_dir_all("HomeDomain", "Library/x").unwrap();
        fs.create_file("HomeDomain", "Library/x/deep").unwrap();
        fs.create_file("HomeDomain", "Library/gone").unwrap();
        fs.create_dir_all("RootDomain", "").unwrap();
        fs.create_file("RootDomain", "system").unwrap();
        let mut staged = Staged {
            entries: vec![file("Library/x"), file("New/deep/file")],
            remove_others: Some(RemoveOthers {
                system_files: false,
                settings: true,
            }),
            keychain: None,
        };
        staged.arrange().unwrap();
        staged.put_in_place(&fs);
        assert!(fs.get("HomeDomain", "Library/x").unwrap().is_file());
        assert!(fs.get("HomeDomain", "New/deep/file").unwrap().is_file());
        assert!(fs.get("HomeDomain", "Library/gone").is_none());
        assert!(fs.get("RootDomain", "system").is_some());
    }
}
