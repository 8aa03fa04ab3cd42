//! Which entries of a backup are meant.

use super::apps::{self, Apps};
use super::category::Category;
use super::companions::main_of;
use super::glob::{Glob, GlobError};
use crate::archive::{FileEntry, FileId, Kind};

/// Which entries of a backup are meant. The default is all of them.
///
/// Each rule that names something adds it: an entry is meant if any of them fits, or if there are none. Rules that
/// begin with `without` take away, whatever was added; kinds narrow down what is left. What is said of a database holds
/// for its `-wal`, `-shm` and `-journal` too, since each alone is worthless or wrong.
///
/// ```
/// use cabled_mobilebackup::archive::Kind;
/// use cabled_mobilebackup::archive::select::{Category, Selection};
///
/// let pictures = Selection::default()
///     .category(Category::Photos)
///     .glob("MediaDomain/Library/SMS/Attachments/**/*.{jpeg,heic}")?
///     .without_glob("*/Media/PhotoData/Thumbnails/**")?
///     .kind(Kind::File);
/// assert!(pictures.admits("CameraRollDomain", "Media/DCIM/100APPLE/IMG_0001.JPG"));
/// assert!(!pictures.admits("CameraRollDomain", "Media/PhotoData/Thumbnails/V2/5003.JPG"));
/// # Ok::<(), cabled_mobilebackup::archive::select::GlobError>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Selection {
    with: Vec<Rule>,
    without: Vec<Rule>,
    kinds: Vec<Kind>,
    apps: Apps,
}

/// One way to name entries.
#[derive(Clone, Debug)]
enum Rule {
    Category(Category),
    /// Over the domain.
    Domain(Glob),
    /// Over `domain/path`.
    Name(Glob),
    Id(FileId),
    App(Box<str>),
    File {
        domain: Box<str>,
        path: Box<str>,
    },
    /// A folder and everything in it.
    Folder {
        domain: Box<str>,
        path: Box<str>,
    },
}

impl Selection {
    /// Adds a category, in all the places it was ever seen in.
    pub fn category(self, category: Category) -> Self {
        self.and_with(Rule::Category(category))
    }

    /// Adds every domain that matches, such as `HomeDomain` or `AppDomain*-com.example.*`.
    ///
    /// # Errors
    /// Any [`GlobError`].
    pub fn domain(self, pattern: &str) -> Result<Self, GlobError> {
        Ok(self.and_with(Rule::Domain(Glob::new(pattern)?)))
    }

    /// Adds every entry whose `domain/path` matches; that of a domain's root is the domain alone.
    ///
    /// # Errors
    /// Any [`GlobError`].
    pub fn glob(self, pattern: &str) -> Result<Self, GlobError> {
        Ok(self.matching(Glob::new(pattern)?))
    }

    /// As [`glob`](Selection::glob), with a compiled pattern.
    pub fn matching(self, glob: Glob) -> Self {
        self.and_with(Rule::Name(glob))
    }

    /// Adds the entry with this id.
    pub fn id(self, id: FileId) -> Self {
        self.and_with(Rule::Id(id))
    }

    /// Adds an app: its own domain, its extensions and its groups, as far as their names tell
    /// ([`known_apps`](Selection::known_apps) makes that exact).
    pub fn app(self, bundle_id: &str) -> Self {
        self.and_with(Rule::App(bundle_id.into()))
    }

    /// Adds one file, link or folder, byte for byte as the index writes it.
    pub fn file(self, domain: &str, path: &str) -> Self {
        self.and_with(Rule::File {
            domain: domain.into(),
            path: path.into(),
        })
    }

    /// Adds a folder and everything in it; all of the domain if the path is empty.
    pub fn folder(self, domain: &str, path: &str) -> Self {
        self.and_with(Rule::Folder {
            domain: domain.into(),
            path: path.into(),
        })
    }

    /// Keeps entries of this kind only; of any of them, if called more than once.
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kinds.push(kind);
        self
    }

    /// The apps there are, so that extensions and groups of `com.example.app.pro` are not taken for those of
    /// `com.example.app`. Default: none.
    pub fn known_apps(mut self, apps: Apps) -> Self {
        self.apps = apps;
        self
    }

    /// Takes a category away.
    pub fn without_category(self, category: Category) -> Self {
        self.and_without(Rule::Category(category))
    }

    /// Takes away every domain that matches.
    ///
    /// # Errors
    /// Any [`GlobError`].
    pub fn without_domain(self, pattern: &str) -> Result<Self, GlobError> {
        Ok(self.and_without(Rule::Domain(Glob::new(pattern)?)))
    }

    /// Takes away every entry whose `domain/path` matches.
    ///
    /// # Errors
    /// Any [`GlobError`].
    pub fn without_glob(self, pattern: &str) -> Result<Self, GlobError> {
        Ok(self.without_matching(Glob::new(pattern)?))
    }

    /// As [`without_glob`](Selection::without_glob), with a compiled pattern.
    pub fn without_matching(self, glob: Glob) -> Self {
        self.and_without(Rule::Name(glob))
    }

    /// Takes away the entry with this id.
    pub fn without_id(self, id: FileId) -> Self {
        self.and_without(Rule::Id(id))
    }

    /// Takes an app away, with its extensions and groups.
    pub fn without_app(self, bundle_id: &str) -> Self {
        self.and_without(Rule::App(bundle_id.into()))
    }

    /// Takes away a folder and everything in it.
    pub fn without_folder(self, domain: &str, path: &str) -> Self {
        self.and_without(Rule::Folder {
            domain: domain.into(),
            path: path.into(),
        })
    }

    fn and_with(mut self, rule: Rule) -> Self {
        self.with.push(rule);
        self
    }

    fn and_without(mut self, rule: Rule) -> Self {
        self.without.push(rule);
        self
    }

    /// Whether everything is meant.
    #[must_use]
    pub const fn is_everything(&self) -> bool {
        self.with.is_empty() && self.without.is_empty() && self.kinds.is_empty()
    }

    /// Whether an entry is meant.
    #[must_use]
    pub fn matches(&self, entry: &FileEntry) -> bool {
        self.admits_kind(entry.kind) && self.admits_row(&entry.domain, &entry.path, Some(entry.file_id))
    }

    /// Whether an entry with this domain and path is meant, whatever its kind.
    #[must_use]
    pub fn admits(&self, domain: &str, path: &str) -> bool {
        self.admits_row(domain, path, None)
    }

    pub(super) fn admits_kind(&self, kind: Kind) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }

    /// `id` is the stored one; without it the one that domain and path give is meant.
    pub(super) fn admits_row(&self, domain: &str, path: &str, id: Option<FileId>) -> bool {
        let fits = |rules: &[Rule]| {
            let own = || rules.iter().any(|rule| self.fits(rule, domain, path, id));
            let main = || {
                rules
                    .iter()
                    .any(|rule| main_of(path).is_some_and(|main| self.fits(rule, domain, main, None)))
            };
            own() || main()
        };
        (self.with.is_empty() || fits(&self.with)) && !fits(&self.without)
    }

    fn fits(&self, rule: &Rule, domain: &str, path: &str, id: Option<FileId>) -> bool {
        match rule {
            Rule::Category(category) => category.contains(domain, path),
            Rule::Domain(glob) => glob.is_match(domain),
            Rule::Name(glob) => glob.is_match_at(domain, path),
            Rule::Id(wanted) => id.unwrap_or_else(|| FileId::of(domain, path)) == *wanted,
            Rule::App(bundle_id) => match self.apps.owner(domain) {
                Some(owner) if owner == &**bundle_id => true,
                Some(owner) if self.apps.knows(owner) => false,
                _ => apps::belongs(domain, bundle_id),
            },
            Rule::File {
                domain: own,
                path: file,
            } => **own == *domain && **file == *path,
            Rule::Folder {
                domain: own,
                path: folder,
            } => {
                let rest = (**own == *domain).then(|| path.strip_prefix(&**folder)).flatten();
                rest.is_some_and(|rest| folder.is_empty() || rest.is_empty() || rest.starts_with('/'))
            }
        }
    }

    /// The domains that everything meant lies in, each once; `None` if the rules do not say.
    pub(super) fn literal_domains(&self) -> Option<Vec<&str>> {
        if self.with.is_empty() {
            return None;
        }
        let mut domains = Vec::new();
        for rule in &self.with {
            match rule {
                Rule::Category(category) => {
                    for place in category.places() {
                        domains.push(place.only_domain()?);
                    }
                }
                Rule::Domain(glob) => domains.push(glob.literal()?),
                Rule::Name(glob) => domains.push(glob.literal_domain()?),
                Rule::File { domain, .. } | Rule::Folder { domain, .. } => domains.push(domain),
                Rule::Id(_) | Rule::App(_) => return None,
            }
        }
        domains.sort_unstable();
        domains.dedup();
        Some(domains)
    }
}
