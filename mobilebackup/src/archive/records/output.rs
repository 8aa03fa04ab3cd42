//! The folder that an export fills: safe names, and no half-written file under its final name.

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use unicode_normalization::UnicodeNormalization;

use super::RecordError;

/// Longest name that is made from a stranger's text, in bytes, without extension and number.
const MAX_STEM: usize = 80;

/// A folder that files are added to under names of their own.
///
/// Names are made from whatever text there is: letters, digits and a few signs stay, the rest becomes `-`; names that
/// Windows reserves get `_` in front; names that differ only by case or Unicode form get a number.
#[derive(Debug)]
pub struct Output {
    folder: PathBuf,
    /// How often each name was asked for, folded.
    used: HashMap<String, u64>,
}

impl Output {
    /// A new folder, or one that is there and empty. Its parents are made.
    ///
    /// # Errors
    /// [`RecordError::NotEmpty`]; [`RecordError::Io`].
    pub fn create(folder: impl AsRef<Path>) -> Result<Self, RecordError> {
        let folder = folder.as_ref().to_owned();
        fs::create_dir_all(&folder)?;
        if fs::read_dir(&folder)?.next().is_some() {
            return Err(RecordError::NotEmpty { folder });
        }
        Ok(Self {
            folder,
            used: HashMap::new(),
        })
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// A folder in it, named after `name`; with the name it got.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn subfolder(&mut self, name: &str) -> Result<(String, Self), RecordError> {
        let name = self.unique(name, "");
        let folder = self.folder.join(&name);
        fs::create_dir(&folder)?;
        let used = HashMap::new();
        Ok((name, Self { folder, used }))
    }

    /// A file in it, named after `stem` and `extension` (without dot; may be empty). It appears when it is finished.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn file(&mut self, stem: &str, extension: &str) -> Result<OutputFile, RecordError> {
        let name = self.unique(stem, extension);
        let file = tempfile::Builder::new().prefix(".partial-").tempfile_in(&self.folder)?;
        Ok(OutputFile {
            path: self.folder.join(&name),
            name,
            out: BufWriter::with_capacity(64 << 10, file),
        })
    }

    fn unique(&mut self, stem: &str, extension: &str) -> String {
        let stem = safe_name(stem);
        let extension: String = extension.chars().filter(char::is_ascii_alphanumeric).take(10).collect();
        let dot = if extension.is_empty() { "" } else { "." };
        let mut name = format!("{stem}{dot}{extension}");
        loop {
            let asked = self.used.entry(folded(&name)).or_default();
            *asked = asked.saturating_add(1);
            if *asked == 1 {
                return name;
            }
            let number = *asked;
            name = format!("{stem}-{number}{dot}{extension}");
        }
    }
}

/// A file that is being written under a temporary name, for this user only.
#[derive(Debug)]
pub struct OutputFile {
    name: String,
    path: PathBuf,
    out: BufWriter<NamedTempFile>,
}

impl OutputFile {
    /// The name it will have.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Flushes to the disk and gives the file its name, which is returned.
    ///
    /// # Errors
    /// [`RecordError::Io`], also if something else has come to lie there.
    pub fn finish(self) -> Result<String, RecordError> {
        let file = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.as_file().sync_data()?;
        file.persist_noclobber(&self.path).map_err(|error| error.error)?;
        Ok(self.name)
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// What of a stranger's text is good as a file name on every system.
fn safe_name(text: &str) -> String {
    let mut name = String::new();
    for c in text.nfc().take(MAX_STEM) {
        let keep = c.is_alphanumeric() || matches!(c, '.' | '_' | '+' | '@');
        match keep {
            true if name.len().saturating_add(c.len_utf8()) > MAX_STEM => break,
            true => name.push(c),
            false if !name.is_empty() && !name.ends_with('-') => name.push('-'),
            false => {}
        }
    }
    let name = name.trim_matches(['-', '.']);
    let stem = name.split('.').next().unwrap_or_default().to_ascii_uppercase();
    let numbered = |kind: &str| stem.strip_prefix(kind).is_some_and(|rest| rest.chars().count() == 1);
    let reserved = matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL") || numbered("COM") || numbered("LPT");
    match name {
        "" => "unnamed".to_owned(),
        name if reserved => format!("_{name}"),
        name => name.to_owned(),
    }
}

/// What file systems that ignore case and Unicode form take for the same name.
fn folded(name: &str) -> String {
    name.nfkd().flat_map(char::to_lowercase).nfkd().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn strange_names_become_safe_and_stay_apart() {
        let folder = tempfile::tempdir().unwrap();
        let mut output = Output::create(folder.path().join("new")).unwrap();
        let mut name = |stem: &str, extension: &str| output.file(stem, extension).unwrap().finish().unwrap();
        assert_eq!(name("../../etc/passwd", "jpg"), "etc-passwd.jpg");
        assert_eq!(name("+1 (555) 0100", "html"), "+1-555-0100.html");
        assert_eq!(name("con", ""), "_con");
        assert_eq!(name("Com1.txt", "x"), "_Com1.txt.x");
        assert_eq!(name("", "a/b"), "unnamed.ab");
        assert_eq!(name("Café", "html"), "Café.html");
        assert_eq!(name("CAFE\u{301}", "html"), "CAFÉ-2.html");
        assert_eq!(name("café", "html"), "café-3.html");
        assert_eq!(name("café-3", "html"), "café-3-2.html");
        let error = Output::create(folder.path().join("new")).unwrap_err();
        assert!(matches!(error, RecordError::NotEmpty { .. }));
    }

    #[test]
    fn an_unfinished_file_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut output = Output::create(folder.path()).unwrap();
        output.file("page", "html").unwrap().write_all(b"half").unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    proptest! {
        #[test]
        fn any_text_gives_one_plain_component(text in "\\PC*|[./\\\\:\\x00 a]{0,20}") {
            let name = safe_name(&text);
            prop_assert!(!name.is_empty() && name.len() <= MAX_STEM + 1);
            prop_assert!(!name.contains(['/', '\\', '\0', ':']) && !name.starts_with('.') && !name.ends_with('.'));
        }
    }
}
