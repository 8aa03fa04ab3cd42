//! `Bookmarks.db`: a tree of folders, with the favourites and the reading list as folders of their own.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::ops::ControlFlow;

use cabled_wire::plist::{self, Dictionary, Limits, Value};
use rusqlite::Connection;
use serde::Serialize;

use crate::archive::Archive;
use crate::archive::records::html::escape;
use crate::archive::records::note::{Notes, Problem};
use crate::archive::records::schema::{Fields, Schema};
use crate::archive::records::store::read_into;
use crate::archive::records::time::Timestamp;
use crate::archive::records::{RecordError, Source};

/// Most bytes of the property list beside a bookmark.
const MAX_EXTRA: usize = 1 << 20;

/// Deepest folder within folders that is written; what is deeper comes at its end.
const MAX_DEPTH: usize = 64;

/// The bookmarks of one store.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Bookmarks {
    /// The store.
    pub source: Source,
    /// Bookmarks and folders, in the order of their rows.
    pub entries: Vec<Bookmark>,
    /// What could not be read.
    pub problems: Notes,
    /// Why nothing or not all of the store could be read; told among the problems, too.
    #[serde(skip)]
    pub failure: Option<RecordError>,
}

/// What a row of bookmarks is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BookmarkKind {
    /// The root of the tree.
    Root,
    /// A folder.
    Folder,
    /// The folder of favourites.
    Favorites,
    /// The reading list.
    ReadingList,
    /// A page.
    Page,
}

/// A bookmark or a folder of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Bookmark {
    /// Its row.
    pub id: i64,
    /// What it is.
    pub kind: BookmarkKind,
    /// The row of the folder it lies in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<i64>,
    /// Its place in the folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<i64>,
    /// Its title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Its identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// When it was changed last; Unix seconds in the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modified: Option<Timestamp>,
    /// When it was put into the reading list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub added: Option<Timestamp>,
    /// The beginning of the page, of the reading list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview: Option<String>,
    /// Whether it was read, of the reading list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read: Option<bool>,
    /// Not shown.
    pub hidden: bool,
    /// Marked as deleted.
    pub deleted: bool,
}

impl Bookmark {
    const fn is_folder(&self) -> bool {
        !matches!(self.kind, BookmarkKind::Page)
    }
}

impl Bookmarks {
    /// Reads the bookmarks of a backup: one for each store that is there (spec 14). A store that cannot be read is
    /// empty and says so.
    ///
    /// Looks at every row of the index.
    ///
    /// # Errors
    /// [`RecordError::Archive`] if the backup is locked or its index damaged; [`RecordError::TooManyStores`].
    pub fn read_all(archive: &Archive) -> Result<Vec<Self>, RecordError> {
        let mut all = Vec::new();
        for entry in super::stores(archive, &["Bookmarks.db"])? {
            let (mut entries, mut problems) = (Vec::new(), Notes::default());
            let failure = read_into(
                archive,
                &entry,
                &mut problems,
                |notes| notes,
                |db, notes| read(db, &mut entries, notes),
            );
            all.push(Self {
                source: (&entry).into(),
                entries,
                problems,
                failure,
            });
        }
        Ok(all)
    }

    /// Every bookmark with the depth it has in the tree, folders before what is in them, each exactly once. What hangs
    /// on no folder, or on itself, comes at the end with depth 0. Deleted ones are left out.
    #[must_use]
    pub fn tree<'a>(&'a self) -> Vec<(usize, &'a Bookmark)> {
        let mut children: HashMap<i64, Vec<&Bookmark>> = HashMap::new();
        let mut roots = Vec::new();
        let known: HashSet<i64> = self.entries.iter().map(|entry| entry.id).collect();
        for entry in self.entries.iter().filter(|entry| !entry.deleted) {
            match entry
                .parent
                .filter(|parent| *parent != entry.id && known.contains(parent))
            {
                Some(parent) if entry.kind != BookmarkKind::Root => children.entry(parent).or_default().push(entry),
                _ => roots.push(entry),
            }
        }
        let in_order =
            |list: &mut Vec<&Bookmark>| list.sort_by_key(|entry| (entry.order.unwrap_or(i64::MAX), entry.id));
        children.values_mut().for_each(in_order);
        in_order(&mut roots);
        let (mut out, mut seen) = (Vec::new(), HashSet::new());
        let mut walk = |roots: Vec<&'a Bookmark>| {
            let mut open: Vec<(usize, &Bookmark)> = Vec::new();
            open.extend(roots.into_iter().rev().map(|entry| (0, entry)));
            while let Some((depth, entry)) = open.pop() {
                if !seen.insert(entry.id) {
                    continue;
                }
                out.push((depth, entry));
                if depth < MAX_DEPTH {
                    let inside = children.get(&entry.id).into_iter().flatten().rev();
                    open.extend(inside.map(|child| (depth.saturating_add(1), *child)));
                }
            }
        };
        walk(roots);
        // Circles, what lies deeper than anybody files things, and what lies in a deleted folder.
        let mut left: Vec<&Bookmark> = self.entries.iter().filter(|entry| !entry.deleted).collect();
        in_order(&mut left);
        walk(left);
        out
    }

    /// Writes them as a Netscape bookmark file, which every browser imports. Addresses that are scripts are kept as
    /// the bookmarklets they are; nothing in a title or address can end its place.
    ///
    /// # Errors
    /// Whatever `out` gives.
    pub fn write_netscape<W: Write>(&self, out: &mut W) -> io::Result<()> {
        out.write_all(
            b"<!DOCTYPE NETSCAPE-Bookmark-file-1>\n<META HTTP-EQUIV=\"Content-Type\" CONTENT=\"text/html; charset=UTF-8\">\n\
              <TITLE>Bookmarks</TITLE>\n<H1>Bookmarks</H1>\n<DL><p>\n",
        )?;
        let mut depth = 0_usize;
        for (at, entry) in self.tree() {
            while depth > at {
                depth = depth.saturating_sub(1);
                out.write_all(b"</DL><p>\n")?;
            }
            let title = entry.title.as_deref().or(entry.url.as_deref()).unwrap_or("");
            let modified = entry
                .added
                .or(entry.modified)
                .map(|at| format!(" ADD_DATE=\"{}\"", at.unix_seconds()));
            let modified = modified.unwrap_or_default();
            if entry.is_folder() {
                let kind = match entry.kind {
                    BookmarkKind::Favorites => " PERSONAL_TOOLBAR_FOLDER=\"true\"",
                    _ => "",
                };
                writeln!(out, "<DT><H3{modified}{kind}>{}</H3>\n<DL><p>", escape(title))?;
                depth = depth.saturating_add(1);
            } else {
                let url = entry.url.as_deref().unwrap_or("");
                writeln!(out, "<DT><A HREF=\"{}\"{modified}>{}</A>", escape(url), escape(title))?;
                if let Some(preview) = &entry.preview {
                    writeln!(out, "<DD>{}", escape(preview))?;
                }
            }
        }
        for _ in 0..depth {
            out.write_all(b"</DL><p>\n")?;
        }
        out.write_all(b"</DL><p>\n")?;
        out.flush()
    }
}

pub(super) fn read(db: &Connection, entries: &mut Vec<Bookmark>, problems: &mut Notes) -> Result<(), RecordError> {
    let columns = [
        "special_id",
        "parent",
        "type",
        "title",
        "url",
        "hidden",
        "order_index",
        "external_uuid",
        "read",
        "last_modified",
        "deleted",
        "extra_attributes",
    ];
    let schema = Schema::of(db)?;
    let Some(select) = schema.select("bookmarks", &columns) else {
        return Err(RecordError::Schema {
            records: "bookmarks",
            table: "bookmarks",
        });
    };
    let _ = select
        .expect(&["parent", "title", "url"], problems)
        .each(db, problems, |row| {
            if let Some(id) = row.id() {
                entries.push(bookmark(row, id));
            }
            Ok(ControlFlow::Continue(()))
        })?;
    let known: HashSet<i64> = entries.iter().map(|entry| entry.id).collect();
    for entry in entries.iter().filter(|entry| entry.kind != BookmarkKind::Root) {
        if let Some(parent) = entry.parent.filter(|parent| !known.contains(parent)) {
            let problem = Problem::Dangling {
                to: "folder",
                id: parent,
            };
            problems.push(crate::archive::records::RecordNote::row(
                "bookmarks",
                Some(entry.id),
                Some("parent"),
                problem,
            ));
        }
    }
    Ok(())
}

fn bookmark(row: &mut Fields<'_>, id: i64) -> Bookmark {
    let title = row.some_text("title");
    let special = row.integer("special_id");
    let url = row.some_text("url");
    let is_page = row.integer("type").map_or(url.is_some(), |kind| kind == 0);
    let kind = match (is_page, special, title.as_deref()) {
        (true, ..) => BookmarkKind::Page,
        (false, _, Some("com.apple.ReadingList")) | (false, Some(3), _) => BookmarkKind::ReadingList,
        (false, _, Some("BookmarksBar")) | (false, Some(1), _) => BookmarkKind::Favorites,
        (false, ..) if id == 0 => BookmarkKind::Root,
        (false, ..) => BookmarkKind::Folder,
    };
    let (preview, added) = extra(row);
    Bookmark {
        id,
        kind,
        parent: row.integer("parent"),
        order: row.integer("order_index"),
        title,
        url,
        uuid: row.some_text("external_uuid"),
        modified: row.unix_time("last_modified"),
        added,
        preview,
        read: row.integer("read").map(|read| read != 0),
        hidden: row.flag("hidden"),
        deleted: row.flag("deleted"),
    }
}

/// The preview and the date of the reading list, from the property list beside a bookmark.
fn extra(row: &mut Fields<'_>) -> (Option<String>, Option<Timestamp>) {
    let Some(bytes) = row
        .data_up_to("extra_attributes", MAX_EXTRA)
        .filter(|bytes| !bytes.is_empty())
    else {
        return (None, None);
    };
    let read = plist::read_dict(bytes, &Limits::default().with_depth(16));
    let dictionary = match read {
        Ok(dictionary) => dictionary,
        Err(error) => {
            let reason = error.to_string();
            row.note(
                "extra_attributes",
                Problem::Undecodable {
                    what: "the property list",
                    reason,
                },
            );
            return (None, None);
        }
    };
    let list = dictionary
        .get("com.apple.ReadingList")
        .and_then(Value::as_dictionary)
        .unwrap_or(&dictionary);
    let text = |key: &str| {
        list.get(key)
            .and_then(Value::as_string)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    (text("PreviewText"), date(list, "DateAdded"))
}

fn date(list: &Dictionary, key: &str) -> Option<Timestamp> {
    let at: std::time::SystemTime = list.get(key)?.as_date()?.into();
    let seconds = match at.duration_since(std::time::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).ok()?,
        Err(before) => i64::try_from(before.duration().as_secs()).ok()?.checked_neg()?,
    };
    Timestamp::from_unix(seconds, 0)
}
