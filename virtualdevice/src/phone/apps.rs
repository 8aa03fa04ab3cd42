//! The apps of the user.

use std::sync::{Arc, PoisonError};

use super::Phone;
use crate::contents::App;

impl Phone {
    /// The apps of the user.
    #[must_use]
    pub fn apps(&self) -> Arc<[App]> {
        Arc::clone(&self.inner.apps.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Installs an app, or replaces one of the same bundle id; its containers are made empty where they are missing.
    ///
    /// Posts `com.apple.mobile.application_installed`.
    pub fn install(&self, app: App) {
        for domain in app.domains() {
            // A container that is there already keeps its data.
            if self.inner.fs.get(&domain, "").is_none() {
                let _ = self.inner.fs.create_dir_all(&domain, "");
            }
        }
        self.change_apps(|apps| {
            apps.retain(|other| other.bundle_id != app.bundle_id);
            apps.push(app);
        });
        self.notify("com.apple.mobile.application_installed");
    }

    /// Removes an app and its containers; false if there is none.
    ///
    /// Posts `com.apple.mobile.application_uninstalled`.
    pub fn uninstall(&self, bundle_id: &str) -> bool {
        let mut gone = None;
        self.change_apps(|apps| {
            let at = apps.iter().position(|app| app.bundle_id == bundle_id);
            gone = at.map(|at| apps.remove(at));
        });
        let Some(app) = gone else { return false };
        for domain in app.domains() {
            // A group's container may be shared and gone already.
            let _ = self.inner.fs.remove_all(&domain, "");
        }
        self.notify("com.apple.mobile.application_uninstalled");
        true
    }

    fn change_apps(&self, change: impl FnOnce(&mut Vec<App>)) {
        let mut apps = self.inner.apps.write().unwrap_or_else(PoisonError::into_inner);
        let mut list = apps.to_vec();
        change(&mut list);
        *apps = list.into();
    }
}
