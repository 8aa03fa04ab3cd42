//! Directories that cannot be left: every open stays below a root and goes through no symbolic link (spec 8, rule 4).
//!
//! The two implementations have one shape. Unix resolves from directory handles, so that nobody can swap a component
//! between check and use; elsewhere each component is looked at before it is used, the best the standard library can.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(crate) use unix::Dir;

#[cfg(any(not(unix), test))]
mod portable;
#[cfg(not(unix))]
pub(crate) use portable::Dir;

use std::time::SystemTime;

use super::EntryKind;

/// Name of a copy until it is whole.
const UNFINISHED: &str = ".cabled-copy";
/// How deep a tree may be that is removed or copied.
const MAX_DEPTH: usize = 128;

/// What a name is, the link itself where it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) kind: EntryKind,
    pub(crate) size: u64,
    pub(crate) modified: SystemTime,
}

/// What all implementations can do with the few calls that differ.
macro_rules! tree_operations {
    () => {
        /// The directory that holds `path`, and its last component.
        pub(crate) fn parent_of<'p>(&self, path: &'p RelativePath) -> io::Result<(Self, &'p str)> {
            let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
            Ok((self.dir(&path.parent().unwrap_or_default())?, name))
        }

        /// As [`Self::parent_of`], making directories that are missing.
        pub(crate) fn make_parent_of<'p>(&self, path: &'p RelativePath) -> io::Result<(Self, &'p str)> {
            match self.parent_of(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
                    Ok((self.make_dirs(&path.parent().unwrap_or_default())?, name))
                }
                other => other,
            }
        }

        /// Opens a directory, making it and its parents where they are missing.
        pub(crate) fn make_dirs(&self, path: &RelativePath) -> io::Result<Self> {
            match self.dir(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // What is in the way is a file: say so, not that it is no directory.
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                    return Err(io::ErrorKind::AlreadyExists.into())
                }
                other => return other,
            }
            let mut dir = self.dir(&RelativePath::default())?;
            for name in path.components() {
                match dir.make_dir(name) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                    _ => dir = dir.open_dir(name)?,
                }
            }
            Ok(dir)
        }

        /// Removes a file, a link or a whole tree. Missing is an error here.
        pub(crate) fn remove_tree(&self, name: &str) -> io::Result<()> {
            self.remove_below(name, super::MAX_DEPTH)
        }

        fn remove_below(&self, name: &str, depth: usize) -> io::Result<()> {
            if self.stat(name)?.kind != EntryKind::Directory {
                return self.unlink(name);
            }
            let depth = depth
                .checked_sub(1)
                .ok_or_else(|| io::Error::other("the tree is too deep"))?;
            let dir = self.open_dir(name)?;
            dir.for_each_name(&mut |child| dir.remove_below(child, depth))?;
            self.remove_dir(name)
        }

        /// Copies a file with its times, or a tree, into `to` under `to_name`; merges into what is there. Links and
        /// other odd things are left out.
        pub(crate) fn copy_tree(&self, name: &str, to: &Self, to_name: &str) -> io::Result<()> {
            self.copy_below(name, to, to_name, super::MAX_DEPTH)
        }

        fn copy_below(&self, name: &str, to: &Self, to_name: &str, depth: usize) -> io::Result<()> {
            let stat = self.stat(name)?;
            match stat.kind {
                EntryKind::Other => Ok(()),
                EntryKind::File => {
                    let mut source = self.open_file(name)?;
                    let unfinished = super::UNFINISHED;
                    match to.unlink(unfinished) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                        _ => {}
                    }
                    let mut copy = to.create_file(unfinished)?;
                    let copied = io::copy(&mut source, &mut copy).and_then(|_| copy.set_modified(stat.modified));
                    drop(copy);
                    let placed = copied.and_then(|()| to.rename(unfinished, to, to_name));
                    if placed.is_err() {
                        let _ = to.unlink(unfinished);
                    }
                    placed
                }
                EntryKind::Directory => {
                    let depth = depth
                        .checked_sub(1)
                        .ok_or_else(|| io::Error::other("the tree is too deep"))?;
                    let from = self.open_dir(name)?;
                    match to.make_dir(to_name) {
                        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                        _ => {}
                    }
                    let to = to.open_dir(to_name)?;
                    from.for_each_name(&mut |child| from.copy_below(child, &to, child, depth))
                }
            }
        }
    };
}
pub(crate) use tree_operations;

#[cfg(test)]
mod tests {
    macro_rules! on {
        ($name:ident, $dir:path) => {
            mod $name {
                use std::fs;
                use std::io::{Read, Write};

                use cabled_wire::path::RelativePath;

                use $dir as Dir;

                use crate::folder::EntryKind;

                fn path(text: &str) -> RelativePath {
                    RelativePath::parse(text).unwrap()
                }

                #[test]
                fn trees_are_made_listed_copied_renamed_and_removed() {
                    let temp = tempfile::tempdir().unwrap();
                    let root = Dir::open_root(temp.path()).unwrap();
                    let wanted = path("a/b/c/f");
                    let (deep, _) = root.make_parent_of(&wanted).unwrap();
                    deep.create_file("f").unwrap().write_all(b"data").unwrap();
                    assert!(deep.create_file("f").is_err(), "a file is created once");
                    assert_eq!(deep.stat("f").unwrap().size, 4);
                    deep.sync().unwrap();
                    let inner = path("a/b");
                    let (a, name) = root.parent_of(&inner).unwrap();
                    a.copy_tree(name, &root, "copy").unwrap();
                    a.copy_tree(name, &root, "copy").unwrap();
                    let mut text = String::new();
                    root.dir(&path("copy/c"))
                        .unwrap()
                        .open_file("f")
                        .unwrap()
                        .read_to_string(&mut text)
                        .unwrap();
                    assert_eq!(text, "data");
                    root.rename("copy", &a, "moved").unwrap();
                    let mut names = Vec::new();
                    a.for_each_name(&mut |name| {
                        names.push(name.to_owned());
                        Ok(())
                    })
                    .unwrap();
                    names.sort();
                    assert_eq!(names, ["b", "moved"]);
                    root.remove_tree("a").unwrap();
                    assert!(root.stat("a").is_err());
                    root.lock_file("lock").unwrap().try_lock().unwrap();
                    root.sync_volume().unwrap();
                    assert!(root.free_space().unwrap() > 0);
                }

                #[test]
                fn a_file_in_the_way_of_a_directory_exists() {
                    let temp = tempfile::tempdir().unwrap();
                    let root = Dir::open_root(temp.path()).unwrap();
                    root.create_file("f").unwrap();
                    assert_eq!(
                        root.make_dirs(&path("f")).unwrap_err().kind(),
                        std::io::ErrorKind::AlreadyExists
                    );
                    assert_eq!(
                        root.dir(&path("f")).unwrap_err().kind(),
                        std::io::ErrorKind::NotADirectory
                    );
                }

                #[cfg(feature = "archive")]
                #[test]
                fn a_new_name_is_only_taken_where_there_is_none() {
                    let temp = tempfile::tempdir().unwrap();
                    let root = Dir::open_root(temp.path()).unwrap();
                    root.make_dir("to").unwrap();
                    let to = root.open_dir("to").unwrap();
                    root.create_file_as("a", 0o600)
                        .unwrap()
                        .write_all(b"first")
                        .unwrap();
                    root.create_file_as("b", 0o600)
                        .unwrap()
                        .write_all(b"second")
                        .unwrap();
                    root.rename_new("a", &to, "name").unwrap();
                    let taken = root.rename_new("b", &to, "name").unwrap_err();
                    assert_eq!(taken.kind(), std::io::ErrorKind::AlreadyExists);
                    assert_eq!(fs::read(temp.path().join("to/name")).unwrap(), b"first");
                    assert!(root.stat("a").is_err() && root.stat("b").is_ok());
                    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
                    to.set_mode_and_time(Some(0o700), Some(time)).unwrap();
                    assert_eq!(
                        fs::metadata(temp.path().join("to")).unwrap().modified().unwrap(),
                        time
                    );
                    // Links are for systems that have them.
                    let _ = root.symlink("to/name", "link");
                    let _ = root.exchange("b", &to, "name").unwrap();
                }

                #[cfg(unix)]
                #[test]
                fn no_link_is_followed() {
                    let temp = tempfile::tempdir().unwrap();
                    fs::create_dir_all(temp.path().join("outside/inner")).unwrap();
                    fs::write(temp.path().join("outside/file"), "x").unwrap();
                    fs::create_dir(temp.path().join("root")).unwrap();
                    let root = Dir::open_root(&temp.path().join("root")).unwrap();
                    std::os::unix::fs::symlink("../outside", temp.path().join("root/link")).unwrap();
                    std::os::unix::fs::symlink("../outside/file", temp.path().join("root/file")).unwrap();
                    assert_eq!(root.stat("link").unwrap().kind, EntryKind::Other);
                    for attempt in ["link", "link/inner"] {
                        let error = root.dir(&path(attempt)).unwrap_err();
                        assert_eq!(
                            error.raw_os_error(),
                            Some(rustix::io::Errno::LOOP.raw_os_error()),
                            "{attempt}: {error}"
                        );
                    }
                    assert!(root.open_file("file").is_err());
                    root.make_dirs(&path("copy")).unwrap();
                    root.copy_tree("link", &root, "copied").unwrap();
                    assert!(root.stat("copied").is_err(), "a link is left out of a copy");
                    root.remove_tree("link").unwrap();
                    assert!(temp.path().join("outside/file").exists());
                }
            }
        };
    }

    #[cfg(unix)]
    on!(unix, crate::folder::beneath::unix::Dir);
    on!(portable, crate::folder::beneath::portable::Dir);
}
