//! The apps a host lists over AFC before a restore (spec mobilebackup2 3.3).

use bytes::Bytes;
use cabled_wire::plist::{self, DictExt, Dictionary, Limits};

use super::super::format::plists::MAX_PLIST;
use crate::Phone;
use crate::contents::App;
use crate::fs::map;

/// Installs what `/iTunesRestore/RestoreApplications.plist` lists and the phone lacks; returns the bundle ids listed.
pub(super) fn install(phone: &Phone) -> Vec<String> {
    let Ok((domain, path)) = map::media_path("/iTunesRestore/RestoreApplications.plist") else {
        return Vec::new();
    };
    let Some(entry) = phone.fs().get(domain, &path) else {
        return Vec::new();
    };
    let bytes = entry
        .content()
        .and_then(|content| content.to_bytes(MAX_PLIST as u64).ok());
    let list = bytes.and_then(|bytes| plist::read_dict(&bytes, &Limits::default()).ok());
    let list = list.unwrap_or_default();
    let installed = phone.apps();
    for (bundle_id, value) in &list {
        let known = installed.iter().any(|app| app.bundle_id == *bundle_id);
        if !known && let Some(entry) = value.as_dictionary() {
            phone.install(app_from(bundle_id, entry));
        }
    }
    let mut names: Vec<String> = list.into_iter().map(|(name, _)| name).collect();
    names.sort();
    names
}

/// The app that a backup's Info.plist tells of; its groups and extensions are not in there.
fn app_from(bundle_id: &str, entry: &Dictionary) -> App {
    let data = |key: &str| {
        entry
            .opt_data(key)
            .ok()
            .flatten()
            .map(Bytes::copy_from_slice)
            .unwrap_or_default()
    };
    let metadata = data("iTunesMetadata");
    let facts = plist::read_dict(&metadata, &Limits::default().with_bytes(4 << 20)).unwrap_or_default();
    let text = |key: &str| facts.opt_text(key).ok().flatten().map(str::to_owned);
    let last = bundle_id.rsplit('.').next().unwrap_or(bundle_id);
    let name = text("itemName").unwrap_or_else(|| last.to_owned());
    let version = text("bundleVersion").unwrap_or_else(|| "1".to_owned());
    let domain = map::app_domain(bundle_id);
    let uuid = map::container_uuid(&format!("bundle of {bundle_id}"))
        .to_string()
        .to_uppercase();
    App {
        bundle_id: bundle_id.to_owned(),
        bundle_path: format!("/private/var/containers/Bundle/Application/{uuid}/{name}.app"),
        container_path: map::device_path(&domain, "").unwrap_or_default(),
        short_version: text("bundleShortVersionString").unwrap_or_else(|| version.clone()),
        name,
        version,
        sinf: data("ApplicationSINF"),
        metadata,
        icon_png: data("PlaceholderIcon"),
        groups: Vec::new(),
        plugins: Vec::new(),
        file_sharing: false,
    }
}
