//! What people and programs do to a folder of cards.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A folder of cards, edited by hand.
pub(crate) struct Cards {
    folder: PathBuf,
    /// The clock of the edits, in seconds: long ago, so that no edit falls into the same moment as a sync.
    clock: u64,
}

impl Cards {
    pub(crate) fn new(folder: PathBuf) -> Self {
        fs::create_dir(&folder).unwrap();
        Self {
            folder,
            clock: 1_000_000_000,
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// All files that are no hidden ones, by name.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.folder).unwrap().map(|entry| entry.unwrap().path());
        let visible = |path: &PathBuf| !path.file_name().unwrap().to_str().unwrap().starts_with('.');
        let mut files: Vec<PathBuf> = entries.filter(visible).collect();
        files.sort();
        files
    }

    pub(crate) fn add(&self, name: &str) {
        let card =
            format!("BEGIN:VCARD\r\nVERSION:4.0\r\nUID:uid-{name}\r\nFN:{name}\r\nN:;{name};;;\r\nEND:VCARD\r\n");
        fs::write(self.folder.join(format!("{name}.vcf")), card).unwrap();
    }

    /// The name on a card.
    pub(crate) fn name(file: &Path) -> String {
        let text = fs::read_to_string(file).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("FN:"));
        line.unwrap_or_else(|| panic!("a card without a name: {text}"))
            .to_owned()
    }

    /// Adds a line to a card, in the place of those that begin alike where there is to be one only.
    pub(crate) fn put(file: &Path, line: &str, one: bool) {
        let text = fs::read_to_string(file).unwrap();
        let (key, _) = line.split_once([':', ';']).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        lines.retain(|other| !(one && other.split([':', ';']).next() == Some(key)));
        lines.insert(lines.len() - 1, line);
        fs::write(file, lines.join("\r\n") + "\r\n").unwrap();
    }

    /// The same card under another name, as some programs do when the name of a person changes.
    pub(crate) fn rename(&self, file: &Path, name: &str) {
        fs::rename(file, self.folder.join(format!("{name}.vcf"))).unwrap();
    }

    /// Time goes by: every file that was written lately was written long ago, each at another moment.
    pub(crate) fn age(&mut self) {
        let lately = SystemTime::now() - Duration::from_secs(3600);
        for file in self.files() {
            if fs::metadata(&file).unwrap().modified().unwrap() > lately {
                self.clock += 1;
                let then = SystemTime::UNIX_EPOCH + Duration::from_secs(self.clock);
                File::options()
                    .write(true)
                    .open(&file)
                    .unwrap()
                    .set_modified(then)
                    .unwrap();
            }
        }
    }
}
