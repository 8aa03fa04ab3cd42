//! Extracts every file of an encrypted backup with crabapple: `crabapple-extract BACKUP PASSWORD OUT`.

use std::collections::HashSet;
use std::fs::{File, create_dir_all};
use std::io::copy;
use std::path::Path;

use crabapple::{Authentication, Backup};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, password, out] = &arguments[..] else {
        return Err("usage: crabapple-extract BACKUP PASSWORD OUT".into());
    };
    let backup = Backup::open(folder, &Authentication::Password(password.clone()))?;
    let mut known = HashSet::new();
    let mut files = 0;
    for entry in backup.entries()? {
        if entry.flags != 1 {
            continue;
        }
        let path = Path::new(out).join(&entry.domain).join(&entry.relative_path);
        let parent = path.parent().ok_or("no parent")?;
        if known.insert(parent.to_owned()) {
            create_dir_all(parent)?;
        }
        copy(&mut backup.decrypt_entry_stream(&entry)?, &mut File::create(&path)?)?;
        files += 1;
    }
    println!("{{\"files\": {files}}}");
    Ok(())
}
