//! Absolute device paths and AFC paths, and the backup domain and relative path each one is.
//!
//! AFC's `/` is `/var/mobile/Media`. There `DCIM` and `PhotoData` belong to `CameraRollDomain`, the rest to
//! `MediaDomain`, all below `Media/` (spec backup-format 13, afc 8). Apps live in `AppDomain-<bundle id>`.

use std::sync::Arc;

use super::{Entry, Fs, FsError};

/// Photos and videos.
pub const CAMERA_ROLL: &str = "CameraRollDomain";
/// The rest of `/var/mobile/Media`, and attachments of messages.
pub const MEDIA: &str = "MediaDomain";
/// Messages, contacts, settings: most of `/var/mobile`.
pub const HOME: &str = "HomeDomain";

/// Where the sync lock of every backup is taken; no part of a backup.
const SYNC_LOCK: &str = "Media/com.apple.itunes.lock_sync";
/// Where hosts put `RestoreApplications.plist`; no part of a backup.
const RESTORE_FOLDER: &str = "Media/iTunesRestore";
/// Links followed before a path counts as a loop, as on the device.
const MAX_LINKS: usize = 32;

/// Domains with one fixed place. Those that share `/var/mobile` are told apart by [`in_mobile`].
const ROOTS: &[(&str, &str)] = &[
    ("BooksDomain", "/var/mobile/Media/Books"),
    ("HealthDomain", "/var/mobile/Library"),
    (HOME, "/var/mobile"),
    (MEDIA, "/var/mobile"),
    (CAMERA_ROLL, "/var/mobile"),
    ("TonesDomain", "/var/mobile"),
    ("KeyboardDomain", "/var/mobile"),
    ("HomeKitDomain", "/var/mobile"),
    ("KeychainDomain", "/var/Keychains"),
    ("RootDomain", "/var/root"),
    ("SystemPreferencesDomain", "/var/preferences"),
    ("ManagedPreferencesDomain", "/var/Managed Preferences"),
    ("WirelessDomain", "/var/wireless"),
    ("DatabaseDomain", "/var/db"),
    ("MobileDeviceDomain", "/var/MobileDevice"),
    ("InstallDomain", "/var/installd"),
    ("NetworkDomain", "/var/networkd"),
    ("ProtectedDomain", "/var/protected"),
];

/// Where the containers of apps, groups, extensions and system services are.
const CONTAINERS: &[(&str, &str)] = &[
    ("AppDomain-", "/var/mobile/Containers/Data/Application/"),
    ("AppDomainGroup-", "/var/mobile/Containers/Shared/AppGroup/"),
    ("AppDomainPlugin-", "/var/mobile/Containers/Data/PluginKitPlugin/"),
    ("SysContainerDomain-", "/var/containers/Data/System/"),
    ("SysSharedContainerDomain-", "/var/containers/Shared/SystemGroup/"),
];

/// Resolves `.`, `..`, doubled and trailing slashes, as the device does; `..` stops at the root. The result has no
/// leading slash and is empty for the root itself.
///
/// # Errors
/// [`FsError::Invalid`] for NUL.
pub fn normalize(path: &str) -> Result<String, FsError> {
    if path.contains('\0') {
        return Err(FsError::Invalid);
    }
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    Ok(parts.join("/"))
}

/// The domain and path of an AFC path such as `/DCIM/100APPLE/IMG_0001.JPG`. The root is `MediaDomain`, `Media`; its
/// children come from two domains, see [`media_children`].
///
/// # Errors
/// [`FsError::Invalid`] for NUL.
pub fn media_path(path: &str) -> Result<(&'static str, String), FsError> {
    let path = normalize(path)?;
    let domain = match path.split('/').next() {
        Some("DCIM" | "PhotoData") => CAMERA_ROLL,
        _ => MEDIA,
    };
    let relative = if path.is_empty() {
        "Media".to_owned()
    } else {
        format!("Media/{path}")
    };
    Ok((domain, relative))
}

/// The entries of an AFC directory; the root shows the children of both domains, sorted by name.
///
/// # Errors
/// [`FsError::NotFound`], [`FsError::NotADirectory`]; [`FsError::Invalid`] for NUL.
pub fn media_children(fs: &Fs, path: &str) -> Result<Vec<Arc<Entry>>, FsError> {
    let (domain, relative) = media_path(path)?;
    let mut children = match fs.lookup(domain, &relative) {
        Ok(entry) if entry.is_dir() => fs.children(domain, &relative),
        Ok(_) => return Err(FsError::NotADirectory),
        // The root is there on every phone, an empty one as well.
        Err(FsError::NotFound) if relative == "Media" => Vec::new(),
        Err(error) => return Err(error),
    };
    if relative == "Media" {
        let mine = |entry: &Arc<Entry>| matches!(entry.name(), "DCIM" | "PhotoData");
        children.retain(|entry| !mine(entry));
        children.extend(fs.children(CAMERA_ROLL, "Media").into_iter().filter(mine));
        children.sort_by(|a, b| a.name().cmp(b.name()));
    }
    Ok(children)
}

/// The AFC path of an entry below `/var/mobile/Media`; `None` for any other.
#[must_use]
pub fn to_media_path(domain: &str, path: &str) -> Option<String> {
    let rest = path.strip_prefix("Media")?;
    let below = matches!(domain, CAMERA_ROLL | MEDIA) && (rest.is_empty() || rest.starts_with('/'));
    below.then(|| {
        if rest.is_empty() {
            "/".to_owned()
        } else {
            rest.to_owned()
        }
    })
}

/// The backup domain of an app's data container.
#[must_use]
pub fn app_domain(bundle_id: &str) -> String {
    format!("AppDomain-{bundle_id}")
}

/// The domain and path of a path inside an app's container, as house_arrest shows it.
///
/// # Errors
/// [`FsError::Invalid`] for NUL, or a bundle id with a slash.
pub fn container_path(bundle_id: &str, path: &str) -> Result<(String, String), FsError> {
    if bundle_id.is_empty() || bundle_id.contains(['/', '\0']) {
        return Err(FsError::Invalid);
    }
    Ok((app_domain(bundle_id), normalize(path)?))
}

/// The absolute device path of an entry; `None` for a domain this version does not know.
#[must_use]
pub fn device_path(domain: &str, path: &str) -> Option<String> {
    let root = match ROOTS.iter().find(|(name, _)| *name == domain) {
        Some((_, root)) => (*root).to_owned(),
        None => container_root(domain)?,
    };
    Some(if path.is_empty() {
        root
    } else {
        format!("{root}/{path}")
    })
}

fn container_root(domain: &str) -> Option<String> {
    let (_, folder) = CONTAINERS.iter().find(|(kind, _)| domain.starts_with(kind))?;
    Some(format!("{folder}{}", container_uuid(domain)))
}

/// The UUID that names the folder of a container on the device. Made from the domain's name, so that a phone has the
/// same one whenever it is built.
#[must_use]
pub fn container_uuid(domain: &str) -> uuid::Uuid {
    use sha2::Digest as _;
    let hash = sha2::Sha256::digest(domain.as_bytes());
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(hash) {
        *to = from;
    }
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

/// The domain and path of an absolute device path, `/private/var/…` as well as `/var/…`; `None` if no domain of this
/// phone holds it. Costs a look at every domain for a path inside a container.
#[must_use]
pub fn from_device_path(fs: &Fs, path: &str) -> Option<(Arc<str>, String)> {
    let path = format!("/{}", normalize(path).ok()?);
    let path = path
        .strip_prefix("/private")
        .filter(|rest| rest.starts_with("/var/"))
        .unwrap_or(&path);
    if path.contains("/Containers/") || path.starts_with("/var/containers/") {
        return fs.domains().into_iter().find_map(|domain| {
            let rest = below(path, &container_root(&domain)?)?.to_owned();
            Some((domain, rest))
        });
    }
    if let Some(rest) = below(path, "/var/mobile") {
        let (domain, rest) = in_mobile(fs, rest);
        return Some((domain.into(), rest.to_owned()));
    }
    let (domain, rest) = ROOTS
        .iter()
        .find_map(|(domain, root)| Some((*domain, below(path, root)?)))?;
    Some((domain.into(), rest.to_owned()))
}

fn below<'a>(path: &'a str, root: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(root)?;
    if rest.is_empty() {
        Some(rest)
    } else {
        rest.strip_prefix('/')
    }
}

/// Which of the domains at and below `/var/mobile` holds a path, and the path in it. Books are files of AFC here, so
/// they stay in `MediaDomain`.
fn in_mobile<'a>(fs: &Fs, path: &'a str) -> (&'static str, &'a str) {
    let starts = |root| below(path, root).is_some();
    if starts("Media/DCIM") || starts("Media/PhotoData") {
        return (CAMERA_ROLL, path);
    }
    if starts("Media") || starts("Library/SMS/Attachments") {
        return (MEDIA, path);
    }
    if starts("Library/Health") {
        return ("HealthDomain", below(path, "Library").unwrap_or_default());
    }
    let others = ["KeyboardDomain", "HomeKitDomain", "TonesDomain"];
    let holder = others
        .into_iter()
        .find(|domain| fs.get(domain, path).is_some_and(|entry| !entry.is_dir()));
    (holder.unwrap_or(HOME), path)
}

/// Follows symbolic links, in every component and at the end, and gives the place that is meant, whether or not
/// anything is there.
///
/// # Errors
/// [`FsError::Invalid`] for a loop (more than 32 links) or a target outside every domain of this phone.
pub fn resolve(fs: &Fs, domain: &str, path: &str) -> Result<(Arc<str>, String), FsError> {
    let (mut domain, mut path): (Arc<str>, String) = (domain.into(), normalize(path)?);
    for _ in 0..MAX_LINKS {
        let Some((at, target, rest)) = first_link(fs, &domain, &path) else {
            return Ok((domain, path));
        };
        let absolute = if target.starts_with('/') {
            format!("{target}/{rest}")
        } else {
            let parent = at.rsplit_once('/').map_or("", |(parent, _)| parent);
            let parent = device_path(&domain, parent).ok_or(FsError::Invalid)?;
            format!("{parent}/{target}/{rest}")
        };
        (domain, path) = from_device_path(fs, &absolute).ok_or(FsError::Invalid)?;
    }
    Err(FsError::Invalid)
}

/// The first component of a path that is a link: where, its target, and what follows.
fn first_link(fs: &Fs, domain: &str, path: &str) -> Option<(String, String, String)> {
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    for end in ends {
        let (at, rest) = path.split_at_checked(end)?;
        let entry = fs.get(domain, at)?;
        if let Some(target) = entry.link_target() {
            let rest = rest.trim_start_matches('/');
            return Some((at.to_owned(), target.to_owned(), rest.to_owned()));
        }
    }
    None
}

/// Whether an entry belongs into a backup: everything but what hosts put there around one (the sync lock and the list
/// of applications to restore).
#[must_use]
pub fn in_backup(domain: &str, path: &str) -> bool {
    let host = domain == MEDIA && (path == SYNC_LOCK || below(path, RESTORE_FOLDER).is_some());
    !host
}
