//! Assets: `ZGENERICASSET` until iOS 13, `ZASSET` since, with their second half in `ZADDITIONALASSETATTRIBUTES`.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use rusqlite::Connection;

use super::{Asset, AssetKind, AssetSort, Original};
use crate::archive::records::RecordError;
use crate::archive::records::note::{Notes, Problem, RecordNote};
use crate::archive::records::schema::{Fields, Schema};

/// What the library knows of where an original is, by the row of the asset.
#[derive(Debug, Default)]
pub(super) struct Clouds {
    /// iCloud has it.
    pub(super) remote: HashSet<i64>,
    /// It belongs to a shared album.
    pub(super) shared: HashSet<i64>,
}

/// The second half of an asset.
#[derive(Default)]
struct More {
    original_filename: Option<String>,
    time_zone: Option<String>,
    utc_offset: Option<i64>,
    title: Option<String>,
}

/// Of an asset's table, those that have had one name all along.
const COLUMNS: [&str; 23] = [
    "ZUUID",
    "ZKIND",
    "ZKINDSUBTYPE",
    "ZDIRECTORY",
    "ZFILENAME",
    "ZUNIFORMTYPEIDENTIFIER",
    "ZDATECREATED",
    "ZADDEDDATE",
    "ZMODIFICATIONDATE",
    "ZLATITUDE",
    "ZLONGITUDE",
    "ZWIDTH",
    "ZHEIGHT",
    "ZDURATION",
    "ZFAVORITE",
    "ZHIDDEN",
    "ZTRASHEDSTATE",
    "ZTRASHEDDATE",
    "ZAVALANCHEUUID",
    "ZCLOUDLOCALSTATE",
    "ZADDITIONALATTRIBUTES",
    "ZPLAYBACKSTYLE",
    "ZISDETECTEDSCREENSHOT",
];

pub(super) fn read(
    db: &Connection,
    schema: &Schema,
    assets: &mut Vec<Asset>,
    clouds: &mut Clouds,
    problems: &mut Notes,
) -> Result<(), RecordError> {
    let Some(table) = schema
        .first_of(&["ZASSET", "ZGENERICASSET"])
        .map(|table| table.name().to_owned())
    else {
        return Err(RecordError::Schema {
            records: "photos",
            table: "ZASSET",
        });
    };
    let mut more = halves(db, schema, problems)?;
    let Some(select) = schema.select(&table, &COLUMNS) else {
        return Ok(());
    };
    let select = select
        .or(
            "shared",
            &["ZCOLLECTIONSHARE", "ZCLOUDALBUMGUID", "ZCLOUDOWNERHASHEDPERSONID"],
        )
        .or("edited", &["ZADJUSTMENTSSTATE", "ZHASADJUSTMENTS"])
        .expect(&["ZDIRECTORY", "ZFILENAME", "ZDATECREATED", "ZTRASHEDSTATE"], problems);
    let _ = select.each(db, problems, |row| {
        let Some(id) = row.id() else {
            return Ok(ControlFlow::Continue(()));
        };
        if row.integer("ZCLOUDLOCALSTATE") == Some(1) {
            clouds.remote.insert(id);
        }
        if row.some_text("shared").is_some_and(|share| share != "0") {
            clouds.shared.insert(id);
        }
        let by_reference = row.integer("ZADDITIONALATTRIBUTES");
        let more = more.by_asset.remove(&id).or_else(|| more.by_row.remove(&by_reference?));
        assets.push(asset(row, id, more.unwrap_or_default()));
        Ok(ControlFlow::Continue(()))
    })?;
    for id in more.by_asset.into_keys() {
        let problem = Problem::Dangling { to: "asset", id };
        problems.push(RecordNote::table("ZADDITIONALASSETATTRIBUTES", problem));
    }
    remote_resources(db, schema, clouds, problems)
}

struct Halves {
    by_asset: HashMap<i64, More>,
    by_row: HashMap<i64, More>,
}

fn halves(db: &Connection, schema: &Schema, problems: &mut Notes) -> Result<Halves, RecordError> {
    let mut halves = Halves {
        by_asset: HashMap::new(),
        by_row: HashMap::new(),
    };
    let columns = [
        "ZASSET",
        "ZORIGINALFILENAME",
        "ZTIMEZONENAME",
        "ZTIMEZONEOFFSET",
        "ZTITLE",
    ];
    let Some(select) = schema.select_noted("ZADDITIONALASSETATTRIBUTES", &columns, problems) else {
        return Ok(halves);
    };
    let _ = select.each(db, problems, |row| {
        let offset = row.integer("ZTIMEZONEOFFSET");
        // No zone is further away than a day; anything else is a mark for none.
        let utc_offset = offset.filter(|seconds| (-86_400..=86_400).contains(seconds));
        let half = More {
            original_filename: row.some_text("ZORIGINALFILENAME"),
            time_zone: row.some_text("ZTIMEZONENAME"),
            utc_offset,
            title: row.some_text("ZTITLE"),
        };
        match (row.integer("ZASSET"), row.id()) {
            (Some(asset), _) => drop(halves.by_asset.insert(asset, half)),
            (None, Some(id)) => drop(halves.by_row.insert(id, half)),
            (None, None) => {}
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(halves)
}

/// Since iOS 11 every file of an asset has a row that says where it is to be had.
fn remote_resources(
    db: &Connection,
    schema: &Schema,
    clouds: &mut Clouds,
    problems: &mut Notes,
) -> Result<(), RecordError> {
    let columns = ["ZASSET", "ZREMOTEAVAILABILITY", "ZVERSION", "ZRESOURCETYPE"];
    let Some(select) = schema.select("ZINTERNALRESOURCE", &columns) else {
        return Ok(());
    };
    let _ = select.each(db, problems, |row| {
        // Version 0 is the original, types 0 and 1 are the photo and the video themselves.
        let original =
            row.integer("ZVERSION").unwrap_or(0) == 0 && matches!(row.integer("ZRESOURCETYPE"), None | Some(0 | 1));
        if let Some(asset) = row.integer("ZASSET").filter(|_| original)
            && row.integer("ZREMOTEAVAILABILITY") == Some(1)
        {
            clouds.remote.insert(asset);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(())
}

fn asset(row: &mut Fields<'_>, id: i64, more: More) -> Asset {
    let filename = row.some_text("ZFILENAME");
    let directory = row.some_text("ZDIRECTORY");
    let path = directory
        .zip(filename.as_deref())
        .map(|(directory, name)| format!("Media/{directory}/{name}"));
    let kind = row.integer("ZKIND").map(|number| match number {
        0 => AssetKind::Photo,
        1 => AssetKind::Video,
        2 => AssetKind::Audio,
        number => AssetKind::Other { number },
    });
    let size = row.integer("ZWIDTH").zip(row.integer("ZHEIGHT"));
    Asset {
        id,
        uuid: row.some_text("ZUUID"),
        kind,
        sort: sort(row),
        path,
        filename,
        original_filename: more.original_filename,
        uti: row.some_text("ZUNIFORMTYPEIDENTIFIER"),
        taken: row.core_data_time("ZDATECREATED"),
        time_zone: more.time_zone,
        utc_offset: more.utc_offset,
        added: row.core_data_time("ZADDEDDATE"),
        modified: row.core_data_time("ZMODIFICATIONDATE"),
        coordinates: coordinates(row),
        dimensions: size.filter(|(width, height)| *width > 0 && *height > 0),
        duration: row.real("ZDURATION").filter(|seconds| *seconds > 0.0),
        title: more.title,
        favorite: row.flag("ZFAVORITE"),
        hidden: row.flag("ZHIDDEN"),
        trashed: row.flag("ZTRASHEDSTATE"),
        trashed_at: row.core_data_time("ZTRASHEDDATE"),
        edited: row.flag("edited"),
        burst: row.some_text("ZAVALANCHEUUID"),
        original: Original::Unknown,
        size: None,
        companions: Vec::new(),
    }
}

fn sort(row: &mut Fields<'_>) -> Option<AssetSort> {
    match row.integer("ZKINDSUBTYPE") {
        Some(1) => Some(AssetSort::Panorama),
        Some(2) => Some(AssetSort::LivePhoto),
        Some(10) => Some(AssetSort::Screenshot),
        Some(101) => Some(AssetSort::SlowMotion),
        Some(102) => Some(AssetSort::Timelapse),
        Some(103) => Some(AssetSort::ScreenRecording),
        // The style of playing says it too.
        None | Some(0) if row.integer("ZPLAYBACKSTYLE") == Some(3) => Some(AssetSort::LivePhoto),
        None | Some(0) if row.flag("ZISDETECTEDSCREENSHOT") => Some(AssetSort::Screenshot),
        None | Some(0) => None,
        Some(number) => Some(AssetSort::Other { number }),
    }
}

/// Where it was taken, in degrees north and east.
fn coordinates(row: &mut Fields<'_>) -> Option<(f64, f64)> {
    // -180 in both stands for no place.
    let degrees = row.real("ZLATITUDE").zip(row.real("ZLONGITUDE"));
    let coordinates = degrees.filter(|(north, east)| north.abs() <= 90.0 && east.abs() <= 180.0);
    if let Some((north, east)) = degrees
        && coordinates.is_none()
        && (north, east) != (-180.0, -180.0)
    {
        let reason = format!("{north}, {east}");
        row.note(
            "ZLATITUDE",
            Problem::Undecodable {
                what: "the place",
                reason,
            },
        );
    }
    coordinates
}
