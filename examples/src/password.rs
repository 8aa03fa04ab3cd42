//! A backup's password, from wherever it is best had.

use std::io::IsTerminal;
use std::path::Path;

use cabled::mobilebackup::archive::Archive;

use crate::Failure;

/// The variable that a password is taken from, if it is set.
pub const VARIABLE: &str = "CABLED_PASSWORD";

/// The password: `CABLED_PASSWORD` if that is set, else typed at the terminal, where it does not show.
pub fn ask(question: &str) -> Result<String, Failure> {
    if let Some(password) = std::env::var_os(VARIABLE) {
        return password
            .into_string()
            .map_err(|_| format!("{VARIABLE} is not UTF-8").into());
    }
    if !std::io::stdin().is_terminal() {
        return Err(
            format!("the backup is encrypted: set {VARIABLE} to its password, or run this in a terminal").into(),
        );
    }
    Ok(rpassword::prompt_password(format!("{question}: "))?)
}

/// Opens a backup, and asks for its password if it is encrypted.
pub fn open(folder: &Path) -> Result<Archive, Failure> {
    crate::open::archive(folder)
}
