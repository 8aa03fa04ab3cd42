//! The guest's files, as the archive that the kernel unpacks (cpio, "newc").

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::Failure;

/// What is at a path.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    Folder,
    File { mode: u32, bytes: Vec<u8> },
    Link(String),
}

/// A tree of files, by absolute path.
#[derive(Clone, Debug, Default)]
pub struct Archive {
    nodes: BTreeMap<PathBuf, Node>,
}

impl Archive {
    /// Adds a folder and those above it.
    pub fn folder(&mut self, path: &str) {
        for part in Path::new(path).ancestors().filter(|part| part.parent().is_some()) {
            self.nodes.entry(part.to_owned()).or_insert(Node::Folder);
        }
    }

    /// Adds a file with the folders above it, in place of what was there.
    pub fn file(&mut self, path: &str, mode: u32, bytes: Vec<u8>) {
        self.node(path, Node::File { mode, bytes });
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) {
        self.node(path, Node::Link(target.to_owned()));
    }

    fn node(&mut self, path: &str, node: Node) {
        if let Some(above) = Path::new(path).parent().and_then(Path::to_str) {
            self.folder(above);
        }
        self.nodes.insert(PathBuf::from(path), node);
    }

    /// Copies a file of this computer to the same path.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn copy(&mut self, from: &Path, to: &str) -> Result<(), Failure> {
        let bytes = fs::read(from).map_err(|error| format!("{}: {error}", from.display()))?;
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(from)?.permissions());
        self.file(to, mode & 0o777, bytes);
        Ok(())
    }

    /// Whether there is something at a path.
    pub fn has(&self, path: &str) -> bool {
        self.nodes.contains_key(Path::new(path))
    }

    /// Writes the archive. Not compressed: unpacking costs emulated time.
    ///
    /// # Errors
    /// The disk's.
    pub fn write(&self, to: &Path) -> Result<(), Failure> {
        let mut out = Writer {
            out: BufWriter::new(File::create(to)?),
            number: 0,
        };
        for (path, node) in &self.nodes {
            let name = path.to_string_lossy();
            let name = name.trim_start_matches('/');
            match node {
                Node::Folder => out.entry(name, 0o040_755, &[])?,
                Node::File { mode, bytes } => out.entry(name, 0o100_000 | mode, bytes)?,
                Node::Link(target) => out.entry(name, 0o120_777, target.as_bytes())?,
            }
        }
        out.entry("TRAILER!!!", 0, &[])?;
        out.out.flush()?;
        Ok(())
    }
}

struct Writer<W> {
    out: W,
    number: u32,
}

impl<W: Write> Writer<W> {
    fn entry(&mut self, name: &str, mode: u32, data: &[u8]) -> Result<(), Failure> {
        self.number += 1;
        let size = u32::try_from(data.len())?;
        let name_size = u32::try_from(name.len() + 1)?;
        let links = 1;
        // inode, mode, uid, gid, links, time, size, device and special device (major, minor), length of the name, sum
        let fields = [self.number, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0];
        let mut head = String::from("070701");
        for field in fields {
            head.push_str(&format!("{field:08x}"));
        }
        self.out.write_all(head.as_bytes())?;
        self.out.write_all(name.as_bytes())?;
        self.out.write_all(&[0])?;
        self.pad(head.len() + name.len() + 1)?;
        self.out.write_all(data)?;
        self.pad(data.len())
    }

    fn pad(&mut self, written: usize) -> Result<(), Failure> {
        let missing = written.next_multiple_of(4) - written;
        self.out.write_all(&[0; 3][..missing])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_before_what_is_in_them_and_all_is_aligned() {
        let mut archive = Archive::default();
        archive.file("/usr/bin/program", 0o755, b"12345".to_vec());
        archive.link("/var/run", "../run");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("archive");
        archive.write(&path).unwrap();
        let bytes = fs::read(path).unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        let order = [
            "usr\0",
            "usr/bin\0",
            "usr/bin/program\0",
            "12345",
            "var\0",
            "var/run\0",
            "../run",
            "TRAILER!!!\0",
        ];
        let places: Vec<usize> = order.iter().map(|part| text.find(part).unwrap()).collect();
        assert!(places.is_sorted(), "{places:?}");
        assert_eq!(text.matches("070701").count(), 6);
    }
}
