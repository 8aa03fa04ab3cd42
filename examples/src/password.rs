//! Passwords, asked for without showing them.

use std::io;

use zeroize::Zeroizing;

/// The password that `CABLED_PASSWORD` holds; without it, one typed at the terminal and not shown.
///
/// An environment variable is seen by other programs of the same user: good for tests, less so for a real password.
pub fn ask(prompt: &str) -> io::Result<Zeroizing<String>> {
    match std::env::var("CABLED_PASSWORD") {
        Ok(password) => Ok(Zeroizing::new(password)),
        Err(std::env::VarError::NotPresent) => rpassword::prompt_password(prompt).map(Zeroizing::new),
        Err(e) => Err(io::Error::new(io::ErrorKind::InvalidInput, e)),
    }
}
