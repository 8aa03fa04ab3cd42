//! Where Apple's programs put backups (spec backup-format, 18.1).

use std::env;
use std::path::{Path, PathBuf};

/// A system, as far as it decides where backups are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum System {
    /// macOS: Finder and iTunes.
    MacOs,
    /// Windows: iTunes and Apple Devices.
    Windows,
    /// Any other: no program of Apple's makes backups there, and others are told where to.
    Other,
}

impl System {
    /// The one this program runs on.
    #[must_use]
    pub const fn of_this_process() -> Self {
        if cfg!(target_os = "macos") {
            Self::MacOs
        } else if cfg!(windows) {
            Self::Windows
        } else {
            Self::Other
        }
    }
}

/// The folders of a user that lead to the backups.
///
/// ```
/// use std::path::Path;
///
/// use cabled_mobilebackup::archive::find::{Environment, System};
///
/// let ann = Environment::new(System::MacOs).home("/Users/ann");
/// assert_eq!(ann.roots(), [Path::new("/Users/ann/Library/Application Support/MobileSync/Backup")]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Environment {
    system: System,
    home: Option<PathBuf>,
    app_data: Option<PathBuf>,
}

impl Environment {
    /// A system with no folders known.
    pub const fn new(system: System) -> Self {
        Self {
            system,
            home: None,
            app_data: None,
        }
    }

    /// What the variables of this process say: `HOME`, or `USERPROFILE` and `APPDATA`.
    pub fn of_this_process() -> Self {
        let system = System::of_this_process();
        let folder = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self {
            system,
            home: env::home_dir().filter(|home| !home.as_os_str().is_empty()),
            app_data: folder("APPDATA").filter(|_| system == System::Windows),
        }
    }

    /// The user's own folder: `HOME`, or `USERPROFILE` on Windows.
    pub fn home(mut self, folder: impl Into<PathBuf>) -> Self {
        self.home = Some(folder.into());
        self
    }

    /// `APPDATA` of Windows. Default: `AppData\Roaming` in the user's own folder.
    pub fn app_data(mut self, folder: impl Into<PathBuf>) -> Self {
        self.app_data = Some(folder.into());
        self
    }

    /// The system.
    #[must_use]
    pub const fn system(&self) -> System {
        self.system
    }

    /// Every place where backups may be, whether it exists or not; the likeliest first.
    #[must_use]
    pub fn roots(&self) -> Vec<PathBuf> {
        let under = |folder: &Path, parts: &[&str]| {
            let mut path = folder.to_owned();
            path.extend(parts);
            path.extend(["MobileSync", "Backup"]);
            path
        };
        match (self.system, &self.home) {
            (System::MacOs, Some(home)) => vec![under(home, &["Library", "Application Support"])],
            (System::Windows, home) => {
                let roaming = || home.as_ref().map(|home| home.join("AppData").join("Roaming"));
                let app_data = self.app_data.clone().or_else(roaming);
                let mut roots = Vec::new();
                if let Some(app_data) = &app_data {
                    roots.push(under(app_data, &["Apple Computer"]));
                }
                if let Some(home) = home {
                    roots.push(under(home, &["Apple"]));
                }
                if let Some(app_data) = &app_data {
                    roots.push(under(app_data, &["Apple"]));
                }
                if let Some(home) = home {
                    roots.push(under(home, &["Application Data", "Apple Computer"]));
                }
                roots
            }
            _ => Vec::new(),
        }
    }
}
