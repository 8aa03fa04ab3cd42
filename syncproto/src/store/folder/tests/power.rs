//! A power cut before any change that a store makes, and what a disk may have lost by it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::super::super::disk::Step;

/// What a cut leaves.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut {
    /// The program was killed: everything that was done is there.
    Everything,
    /// Only what was flushed.
    Flushed,
    /// Names, but not what the files hold: they are as long as when they were last flushed.
    Names,
    /// Names, and room for what the files hold, filled with zeros.
    Room,
    /// What files hold, but not their names.
    Contents,
}

pub(super) const LEFT: [Cut; 5] = [Cut::Everything, Cut::Flushed, Cut::Names, Cut::Room, Cut::Contents];

/// Counts the changes, and fails them from one on. Without a plan it does nothing.
#[derive(Clone, Debug, Default)]
pub(in crate::store) struct Power(Arc<Mutex<Plan>>);

#[derive(Debug, Default)]
struct Plan {
    left: Option<u32>,
    once: bool,
    cut: bool,
    torn: bool,
    /// Where what is replaced or removed is held until that is flushed.
    stash: PathBuf,
    names: Vec<(Undo, Vec<PathBuf>)>,
    contents: Vec<(File, u64)>,
}

#[derive(Debug)]
enum Undo {
    Create(PathBuf),
    Rename {
        from: PathBuf,
        to: PathBuf,
        replaced: Option<PathBuf>,
    },
    Remove {
        path: PathBuf,
        held: PathBuf,
    },
}

impl Power {
    pub(super) fn cut_at(&self, step: u32, stash: &Path) {
        let mut plan = self.0.lock().unwrap();
        plan.left = Some(step);
        plan.stash = stash.to_owned();
    }

    pub(super) fn fail_once_at(&self, step: u32, stash: &Path) {
        self.cut_at(step, stash);
        self.0.lock().unwrap().once = true;
    }

    pub(in crate::store) fn is_planned(&self) -> bool {
        !self.0.lock().unwrap().stash.as_os_str().is_empty()
    }

    pub(super) fn was_cut(&self) -> bool {
        self.0.lock().unwrap().cut
    }

    pub(in crate::store) fn step(&self, step: Step<'_>) -> io::Result<()> {
        let mut plan = self.0.lock().unwrap();
        let Some(left) = plan.left else { return Ok(()) };
        if left == 0 {
            plan.cut = true;
            if plan.once {
                plan.left = None;
            }
            return Err(io::Error::other("the power was cut"));
        }
        plan.left = Some(left.saturating_sub(1));
        plan.note(step);
        Ok(())
    }

    /// Writes half of what was to be written when the power was cut.
    pub(in crate::store) fn tear(&self, file: &mut File, bytes: &[u8]) {
        let mut plan = self.0.lock().unwrap();
        if !plan.torn {
            plan.torn = true;
            plan.note(Step::Write(file));
            file.write_all(&bytes[..bytes.len() / 2]).unwrap();
        }
    }

    /// Undoes what the cut lost.
    pub(super) fn lose(&self, left: Cut) {
        let mut plan = self.0.lock().unwrap();
        for (file, len) in std::mem::take(&mut plan.contents) {
            let now = file.metadata().unwrap().len();
            match left {
                Cut::Everything | Cut::Contents => {}
                Cut::Flushed | Cut::Names => file.set_len(len).unwrap(),
                Cut::Room => {
                    file.set_len(len.min(now)).unwrap();
                    file.set_len(now).unwrap();
                }
            }
        }
        if matches!(left, Cut::Everything | Cut::Names | Cut::Room) {
            return;
        }
        for (undo, _) in std::mem::take(&mut plan.names).into_iter().rev() {
            match undo {
                Undo::Create(path) if path.is_dir() => fs::remove_dir(path).unwrap(),
                Undo::Create(path) => fs::remove_file(path).unwrap(),
                Undo::Rename { from, to, replaced } => {
                    fs::rename(&to, from).unwrap();
                    if let Some(held) = replaced {
                        fs::rename(held, to).unwrap();
                    }
                }
                Undo::Remove { path, held } => fs::rename(held, path).unwrap(),
            }
        }
    }
}

impl Plan {
    fn hold(&self, path: &Path) -> Option<PathBuf> {
        static HELD: AtomicU64 = AtomicU64::new(0);
        let number = HELD.fetch_add(1, Ordering::Relaxed);
        let held = self.stash.join(format!("held-{number}"));
        path.exists().then(|| {
            fs::hard_link(path, &held).unwrap();
            held
        })
    }

    fn note(&mut self, step: Step<'_>) {
        let parent = |path: &Path| path.parent().unwrap().to_owned();
        match step {
            Step::Create(path) => self.names.push((Undo::Create(path.to_owned()), vec![parent(path)])),
            Step::Rename(from, to) => {
                let replaced = self.hold(to);
                let (from, to) = (from.to_owned(), to.to_owned());
                let folders = vec![parent(&from), parent(&to)];
                self.names.push((Undo::Rename { from, to, replaced }, folders));
            }
            Step::Remove(path) => {
                let held = self.hold(path).unwrap();
                let path = path.to_owned();
                let folders = vec![parent(&path)];
                self.names.push((Undo::Remove { path, held }, folders));
            }
            Step::FlushFolder(folder) => {
                for (_, folders) in &mut self.names {
                    folders.retain(|waits| waits != folder);
                }
                self.names.retain(|(_, folders)| !folders.is_empty());
            }
            Step::Write(file) => {
                if !self.contents.iter().any(|(known, _)| number(known) == number(file)) {
                    let len = file.metadata().unwrap().len();
                    self.contents.push((file.try_clone().unwrap(), len));
                }
            }
            Step::Flush(file) => self.contents.retain(|(known, _)| number(known) != number(file)),
        }
    }
}

#[cfg(unix)]
fn number(file: &File) -> u64 {
    std::os::unix::fs::MetadataExt::ino(&file.metadata().unwrap())
}

#[cfg(not(unix))]
fn number(_: &File) -> u64 {
    0
}
