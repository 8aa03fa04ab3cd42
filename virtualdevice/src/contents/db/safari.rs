//! Safari's `History.db` and `Bookmarks.db`.

use rusqlite::params;

use super::Result;
use crate::contents::builder::Builder;
use crate::contents::noise::sentence;
use crate::fs::Content;

pub(super) fn history(builder: &Builder<'_>, visits: u64) -> Result<Content> {
    let seed = builder.seed.child("history");
    super::build(|db| {
        db.execute_batch(
            "CREATE TABLE history_items (id INTEGER PRIMARY KEY AUTOINCREMENT, url TEXT NOT NULL UNIQUE,
                 visit_count INTEGER NOT NULL, domain_expansion TEXT, visit_count_score INTEGER NOT NULL DEFAULT 0);
             CREATE TABLE history_visits (id INTEGER PRIMARY KEY AUTOINCREMENT, history_item INTEGER NOT NULL,
                 visit_time REAL NOT NULL, title TEXT, redirect_source INTEGER, redirect_destination INTEGER,
                 origin INTEGER NOT NULL DEFAULT 0, load_successful BOOLEAN NOT NULL DEFAULT 1);
             CREATE INDEX history_visits__item ON history_visits (history_item);",
        )?;
        // Every page is seen four times on average.
        let pages = visits.div_ceil(4);
        let mut page = db.prepare("INSERT INTO history_items (url, visit_count) VALUES (?1, 0)")?;
        for n in 0..pages {
            let word = sentence(seed.nth(n), 1).to_lowercase();
            page.execute([format!(
                "https://www.example.com/{word}/{n}?q={:x}",
                seed.word(n) % 0xffff
            )])?;
        }
        let mut visit =
            db.prepare("INSERT INTO history_visits (history_item, visit_time, title) VALUES (?1, ?2, ?3)")?;
        let mut count = db.prepare("UPDATE history_items SET visit_count = visit_count + 1 WHERE id = ?1")?;
        for n in 0..visits {
            let seed = seed.child("visit").nth(n);
            let mut draws = seed.draws();
            // The first visits see each page once.
            let item = 1 + if n < pages { n } else { draws.below(pages) };
            let back = i64::try_from(visits - n).unwrap_or_default().saturating_mul(900);
            visit.execute(params![item, builder.apple_time(0, back), sentence(seed, 5)])?;
            count.execute([item])?;
        }
        Ok(())
    })
}

pub(super) fn bookmarks(builder: &Builder<'_>) -> Result<Content> {
    let seed = builder.seed.child("bookmarks");
    super::build(|db| {
        db.execute_batch(
            "CREATE TABLE bookmarks (id INTEGER PRIMARY KEY AUTOINCREMENT, special_id INTEGER DEFAULT 0, parent INTEGER,
                 type INTEGER, title TEXT, url TEXT COLLATE NOCASE, num_children INTEGER DEFAULT 0,
                 hidden INTEGER DEFAULT 0, order_index INTEGER NOT NULL, external_uuid TEXT UNIQUE,
                 read INTEGER DEFAULT NULL, last_modified REAL DEFAULT NULL, added INTEGER DEFAULT 1,
                 deleted INTEGER DEFAULT 0, extra_attributes BLOB DEFAULT NULL, fetched_icon BOOL DEFAULT 0,
                 dav_generation INTEGER DEFAULT 0);
             CREATE TABLE folder_ancestors (id INTEGER PRIMARY KEY AUTOINCREMENT, folder_id INTEGER NOT NULL,
                 ancestor_id INTEGER NOT NULL);
             INSERT INTO bookmarks (id, special_id, parent, type, title, num_children, order_index, external_uuid) VALUES
                 (0, 0, NULL, 1, 'Root', 2, 0, 'Root'),
                 (1, 1, 0, 1, 'BookmarksBar', 10, 0, 'Favorites Bar'),
                 (2, 3, 0, 1, 'com.apple.ReadingList', 0, 1, 'com.apple.ReadingList');
             INSERT INTO folder_ancestors (folder_id, ancestor_id) VALUES (1, 0), (2, 0);",
        )?;
        for n in 0..10 {
            let seed = seed.nth(n);
            let url = format!(
                "https://{}.example.org/",
                sentence(seed, 1).to_lowercase().replace('.', "")
            );
            db.execute(
                "INSERT INTO bookmarks (parent, type, title, url, order_index, external_uuid) VALUES (1, 0, ?1, ?2, ?3, ?4)",
                params![sentence(seed, 2), url, n, seed.guid()],
            )?;
        }
        Ok(())
    })
}
