//! A test bed: virtual phones behind a daemon of ours, and programs with a home of their own that use them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cabled::usbmux::{Daemon, DaemonAddr};
use cabled::virtualdevice::contents::Recipe;
use cabled::virtualdevice::front::{Front, FrontHandle};
use cabled::virtualdevice::fs::{self, Digest};
use cabled::virtualdevice::{Phone, Profile};
use tokio::runtime::Runtime;

use crate::program::{self, Ran};
use crate::text;

/// Phones, the daemon that offers them, and a folder for everything that programs write.
pub struct Bed {
    /// Drives the phones and the daemon; programs run beside it.
    pub runtime: Runtime,
    front: Front,
    handle: FrontHandle,
    folder: tempfile::TempDir,
}

impl Bed {
    /// A daemon with no phone yet.
    pub fn new() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(text)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(text)?;
        let front = Front::new(folder.path().join("pair-records"));
        let handle = {
            let _guard = runtime.enter();
            front.serve_tcp(([127, 0, 0, 1], 0).into()).map_err(text)?
        };
        std::fs::create_dir(folder.path().join("home")).map_err(text)?;
        Ok(Self {
            runtime,
            front,
            handle,
            folder,
        })
    }

    /// A bed with one phone that holds what [`Recipe::tiny`] makes.
    pub fn with_phone(profile: Profile) -> Result<(Self, Phone), String> {
        let bed = Self::new()?;
        let phone = phone(profile, 1, Some(&Recipe::tiny()))?;
        bed.plug(&phone)?;
        Ok((bed, phone))
    }

    /// Plugs a phone in.
    pub fn plug(&self, phone: &Phone) -> Result<(), String> {
        let device: Arc<dyn cabled::wire::io::Connect> = Arc::new(phone.clone());
        self.runtime.block_on(self.front.add(device)).map(|_| ()).map_err(text)
    }

    /// `127.0.0.1:PORT`, the form of a daemon's address that every client understands.
    pub fn address(&self) -> String {
        self.handle.addr().map(|addr| addr.to_string()).unwrap_or_default()
    }

    /// Our own client of the daemon.
    pub fn daemon(&self) -> Result<Daemon, String> {
        Ok(Daemon::new(self.address().parse::<DaemonAddr>().map_err(text)?))
    }

    /// A folder in the bed, made when it is not there.
    pub fn folder(&self, name: &str) -> Result<PathBuf, String> {
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder).map_err(text)?;
        Ok(folder)
    }

    /// Runs a program against the phones for at most two minutes.
    pub fn run<S: AsRef<OsStr>>(&self, program: &str, args: &[S]) -> Result<Ran, String> {
        self.run_for(program, args, Duration::from_secs(120))
    }

    /// Runs a program against the phones and stops it after `limit`.
    pub fn run_for<S: AsRef<OsStr>>(&self, program: &str, args: &[S], limit: Duration) -> Result<Ran, String> {
        let address = self.address();
        let home = self.folder.path().join("home");
        let env: [(&str, &OsStr); 5] = [
            ("USBMUXD_SOCKET_ADDRESS", address.as_ref()),
            ("HOME", home.as_ref()),
            ("XDG_CONFIG_HOME", home.as_ref()),
            ("NO_COLOR", "1".as_ref()),
            ("COLUMNS", "300".as_ref()),
        ];
        program::run(program, args, &env, self.folder.path(), limit)
    }
}

/// A phone made for tests: quick keys, a seed, and the recipe's contents; fresh from the box without one.
pub fn phone(profile: Profile, seed: u64, recipe: Option<&Recipe>) -> Result<Phone, String> {
    let builder = Phone::builder().profile(profile).seed(seed);
    let builder = match recipe {
        Some(recipe) => builder.recipe(recipe.clone()),
        None => builder.empty(),
    };
    builder.build().map_err(text)
}

/// What the phone holds, hashed.
pub fn digest(phone: &Phone) -> Result<Vec<Digest>, String> {
    fs::tree_digest(phone.fs()).map_err(text)
}

/// Whether two phones hold the same.
pub fn same(first: &[Digest], second: &[Digest]) -> Result<(), String> {
    let difference = fs::diff(first, second);
    if difference.is_empty() {
        Ok(())
    } else {
        Err(format!("the phones differ: {difference}"))
    }
}

/// The text of a path, for command lines.
pub fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
