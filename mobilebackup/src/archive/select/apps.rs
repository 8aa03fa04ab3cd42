//! Which app a domain belongs to.

use std::collections::BTreeSet;

use crate::archive::{Archive, ArchiveError};

/// The apps of a backup, to tell whose extensions and groups are whose.
///
/// A backup names the domains of an app's extensions and groups, not the app they belong to. By Apple's rules an
/// extension's id starts with that of its app, and a group's mostly does after `group.` or the maker's team id; of
/// several apps whose id fits, the longest is meant. Groups with names of their own stay on their own.
///
/// ```
/// use cabled_mobilebackup::archive::select::Apps;
///
/// let apps = Apps::new(["net.whatsapp.WhatsApp", "net.whatsapp"]);
/// let owner = apps.owner("AppDomainGroup-group.net.whatsapp.WhatsApp.shared");
/// assert_eq!(owner, Some("net.whatsapp.WhatsApp"));
/// assert_eq!(apps.owner("HomeDomain"), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Apps {
    known: BTreeSet<Box<str>>,
}

impl Apps {
    /// The apps with these bundle ids.
    pub fn new<'a>(bundle_ids: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            known: bundle_ids.into_iter().map(Box::from).collect(),
        }
    }

    /// The apps that `Manifest.plist` and `Info.plist` list, and those that have a domain in the index if that is open.
    ///
    /// # Errors
    /// As [`Archive::domains`], which costs a pass over the index the first time.
    pub fn of(archive: &Archive) -> Result<Self, ArchiveError> {
        let listed = archive.manifest().applications().filter(|(_, app)| {
            let class = app.get("ContainerContentClass").and_then(|class| class.as_string());
            // Backups of iOS 6 do not say; there were no extensions then.
            class.is_none_or(|class| class == "Data/Application")
        });
        let installed = archive
            .info()
            .into_iter()
            .flat_map(|info| info.installed_applications());
        let mut apps = Self::new(listed.map(|(id, _)| id).chain(installed));
        if archive.can_list() {
            let domains = archive.domains()?;
            let own = domains.keys().filter_map(|domain| domain.strip_prefix("AppDomain-"));
            apps.known.extend(own.map(Box::from));
        }
        Ok(apps)
    }

    /// These apps and others.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.known.extend(others.known);
        self
    }

    /// The bundle ids, sorted.
    pub fn bundle_ids(&self) -> impl Iterator<Item = &str> {
        self.known.iter().map(|id| &**id)
    }

    /// Whether there is an app with this bundle id.
    #[must_use]
    pub fn knows(&self, bundle_id: &str) -> bool {
        self.known.contains(bundle_id)
    }

    /// The bundle id of the app that a domain belongs to; the domain's own identifier if no known app fits. `None` for
    /// domains that are no app's.
    #[must_use]
    pub fn owner<'d>(&self, domain: &'d str) -> Option<&'d str> {
        let identifier = identifier_of(domain)?;
        if domain.starts_with("AppDomain-") {
            return Some(identifier);
        }
        let name = without_group(identifier);
        let mut end = name.len();
        loop {
            let start = name.get(..end)?;
            if self.known.contains(start) {
                return Some(start);
            }
            match start.rfind('.') {
                Some(dot) => end = dot,
                None => return Some(identifier),
            }
        }
    }
}

/// Whether a domain is that of an app, of one of its extensions or of one of its groups, going by names alone.
pub(super) fn belongs(domain: &str, bundle_id: &str) -> bool {
    let Some(identifier) = identifier_of(domain) else {
        return false;
    };
    if domain.starts_with("AppDomain-") {
        return identifier == bundle_id;
    }
    let rest = without_group(identifier).strip_prefix(bundle_id);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// What follows the kind of an app's domain.
fn identifier_of(domain: &str) -> Option<&str> {
    let (kind, identifier) = domain.split_once('-')?;
    matches!(kind, "AppDomain" | "AppDomainGroup" | "AppDomainPlugin").then_some(identifier)
}

/// A group's name without `group.` or the maker's team id.
fn without_group(identifier: &str) -> &str {
    if let Some(rest) = identifier.strip_prefix("group.") {
        return rest;
    }
    match identifier.split_once('.') {
        Some((team, rest)) if is_team(team) => rest,
        _ => identifier,
    }
}

/// Ten capitals and digits.
fn is_team(text: &str) -> bool {
    text.len() == 10 && text.bytes().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_and_groups_belong_to_the_app_with_the_longest_id() {
        let apps = Apps::new(["com.example.app", "com.example.app.pro", "org.other"]);
        let owner = |domain| apps.owner(domain);
        assert_eq!(owner("AppDomain-com.unknown"), Some("com.unknown"));
        assert_eq!(
            owner("AppDomainPlugin-com.example.app.pro.widget"),
            Some("com.example.app.pro")
        );
        assert_eq!(
            owner("AppDomainPlugin-com.example.application"),
            Some("com.example.application")
        );
        assert_eq!(owner("AppDomainGroup-group.com.example.app"), Some("com.example.app"));
        assert_eq!(owner("AppDomainGroup-ABCDE12345.org.other.shared"), Some("org.other"));
        assert_eq!(
            owner("AppDomainGroup-group.with.its.own.name"),
            Some("group.with.its.own.name")
        );
        assert_eq!(owner("SysContainerDomain-com.example.app"), None);
        assert_eq!(owner("AppDomain"), None);
    }

    #[test]
    fn by_name_alone_an_app_has_what_starts_with_its_id() {
        for (domain, expected) in [
            ("AppDomain-com.example.app", true),
            ("AppDomain-com.example.app.pro", false),
            ("AppDomainPlugin-com.example.app.widget", true),
            ("AppDomainPlugin-com.example.application", false),
            ("AppDomainGroup-group.com.example.app.shared", true),
            ("HomeDomain", false),
        ] {
            assert_eq!(belongs(domain, "com.example.app"), expected, "{domain}");
        }
    }
}
