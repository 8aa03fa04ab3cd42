//! Albums, and which assets are in them: a table whose name and columns have numbers that change with every version,
//! such as `Z_26ASSETS` with `Z_26ALBUMS`, `Z_3ASSETS` and `Z_FOK_3ASSETS`.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use rusqlite::Connection;

use super::{Album, Asset};
use crate::archive::records::RecordError;
use crate::archive::records::note::{Notes, Problem, RecordNote};
use crate::archive::records::schema::{Schema, Table};

pub(super) fn read(
    db: &Connection,
    schema: &Schema,
    albums: &mut Vec<Album>,
    assets: &[Asset],
    problems: &mut Notes,
) -> Result<(), RecordError> {
    let columns = ["ZTITLE", "ZKIND", "ZPARENTFOLDER", "ZTRASHEDSTATE"];
    let Some(select) = schema.select_noted("ZGENERICALBUM", &columns, problems) else {
        return Ok(());
    };
    let _ = select.each(db, problems, |row| {
        if let Some(id) = row.id() {
            albums.push(Album {
                id,
                title: row.some_text("ZTITLE"),
                kind: row.integer("ZKIND"),
                parent: row.integer("ZPARENTFOLDER").filter(|parent| *parent != id),
                assets: Vec::new(),
                trashed: row.flag("ZTRASHEDSTATE"),
            });
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let mut joins = schema.tables().filter_map(Join::of);
    let Some(join) = joins.next() else {
        problems.push(RecordNote::table("Z_nASSETS", Problem::NoTable));
        return Ok(());
    };
    let mut members = join.members(db, schema, problems)?;
    for join in joins {
        members.extend(join.members(db, schema, problems)?);
    }
    let places: HashMap<i64, usize> = albums.iter().enumerate().map(|(at, album)| (album.id, at)).collect();
    let known: HashSet<i64> = assets.iter().map(|asset| asset.id).collect();
    // By album, then by the order in it, then by asset: the same every time.
    members.sort_unstable();
    members.dedup();
    for Member { album, asset, .. } in members {
        let table = "ZGENERICALBUM";
        let Some(found) = places.get(&album).and_then(|at| albums.get_mut(*at)) else {
            problems.push(RecordNote::table(table, Problem::Dangling { to: "album", id: album }));
            continue;
        };
        if !known.contains(&asset) {
            problems.push(RecordNote::row(
                table,
                Some(album),
                None,
                Problem::Dangling { to: "asset", id: asset },
            ));
            continue;
        }
        found.assets.push(asset);
    }
    Ok(())
}

/// An asset in an album.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Member {
    album: i64,
    order: i64,
    asset: i64,
}

/// The table that joins both, with its columns.
struct Join {
    table: String,
    album: String,
    asset: String,
    order: Option<String>,
}

impl Join {
    /// A table `Z_nASSETS` with the columns `Z_nALBUMS` (the same number) and `Z_mASSETS`.
    fn of(table: &Table) -> Option<Self> {
        let number = numbered(table.name(), "Z_", "ASSETS")?;
        let columns = table.columns();
        let album = table.first_of(&[&format!("Z_{number}ALBUMS")])?.to_owned();
        let asset = columns
            .iter()
            .find(|column| numbered(column, "Z_", "ASSETS").is_some())?
            .clone();
        let order = columns
            .iter()
            .find(|column| numbered(column, "Z_FOK_", "ASSETS").is_some())
            .cloned();
        let table = table.name().to_owned();
        Some(Self {
            table,
            album,
            asset,
            order,
        })
    }

    fn members(&self, db: &Connection, schema: &Schema, problems: &mut Notes) -> Result<Vec<Member>, RecordError> {
        let mut members = Vec::new();
        let Some(select) = schema.select(&self.table, &[]) else {
            return Ok(members);
        };
        let order: Vec<&str> = self.order.iter().map(String::as_str).collect();
        let select = select
            .or("album", &[&self.album])
            .or("asset", &[&self.asset])
            .or("order", &order);
        let _ = select.each(db, problems, |row| {
            if let (Some(album), Some(asset)) = (row.integer("album"), row.integer("asset")) {
                let order = row.integer("order").unwrap_or(i64::MAX);
                members.push(Member { album, order, asset });
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(members)
    }
}

/// The digits between two words.
fn numbered<'a>(name: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let digits = name.strip_prefix(start)?.strip_suffix(end)?;
    (!digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit())).then_some(digits)
}
