//! App containers, and the many files that make the phone as large as it should be.

use cabled_wire::dict;

use super::apps::App;
use super::builder::Builder;
use super::db;
use super::error::ContentsError;
use super::movie::MIN_MOVIE_LEN;
use super::picture::MIN_JPEG_LEN;
use super::recipe::Recipe;
use super::seed::Seed;
use crate::fs::{Content, Meta, map};

/// What every app has: the folders of its containers and its settings.
pub(super) fn apps(builder: &mut Builder<'_>, apps: &[App]) -> Result<(), ContentsError> {
    for app in apps {
        let domain = app.domain();
        for folder in ["Documents", "Library/Preferences"] {
            builder.directory(&domain, folder)?;
        }
        let launches = builder.seed.child(&app.bundle_id).word(0) % 1000;
        let settings = dict! { "LaunchCount" => launches, "Version" => app.short_version.as_str() };
        builder.plist(
            &domain,
            &format!("Library/Preferences/{}.plist", app.bundle_id),
            settings,
        )?;
        if app.file_sharing {
            let text = Content::text(builder.seed.child(&app.bundle_id).value(), 700 + launches);
            builder.file(&domain, "Documents/Read Me.txt", text)?;
        }
        for shared in app.domains().iter().skip(1) {
            builder.directory(shared, "Library/Preferences")?;
        }
    }
    Ok(())
}

/// One file of the bulk.
#[derive(Clone, Copy)]
enum Bulk {
    Photo(u64),
    Video(u64),
    Document(u64),
    Chat(u64),
    Thumbnail(u64),
    Record(u64),
}

/// A photo of the camera roll, and whether it is a video.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shot {
    pub number: u64,
    pub video: bool,
}

impl Shot {
    /// The folder below `Media`, 1,000 shots each, as the camera numbers them.
    pub(super) fn folder(self) -> String {
        format!("DCIM/{}APPLE", 100 + self.number / 1000)
    }

    pub(super) fn name(self) -> String {
        format!(
            "IMG_{:04}.{}",
            self.number % 10_000,
            if self.video { "MOV" } else { "JPG" }
        )
    }

    pub(super) fn path(self) -> String {
        format!("Media/{}/{}", self.folder(), self.name())
    }
}

/// How the extra files are shared out: of every 20, eight photos, one of them a video, and so on.
#[derive(Clone, Copy)]
struct Plan {
    large: u64,
    extra: u64,
}

impl Plan {
    fn len(self) -> u64 {
        self.large + self.extra
    }

    /// The n-th extra file; those at the end are what takes any length.
    fn file(self, n: u64) -> Bulk {
        let Some(n) = n.checked_sub(self.large) else {
            return Bulk::Video(n);
        };
        let round = n / 20;
        match n % 20 {
            0 => Bulk::Video(self.large + round * 8),
            k @ 1..=7 => Bulk::Photo(self.large + round * 8 + k),
            k @ 8..=10 => Bulk::Thumbnail(round * 3 + k - 8),
            k @ 11..=12 => Bulk::Chat(round * 2 + k - 11),
            k @ 13..=15 => Bulk::Document(round * 3 + k - 13),
            k => Bulk::Record(round * 4 + k - 16),
        }
    }

    fn weight(self, n: u64, seed: Seed) -> u64 {
        let spread = 50 + seed.nth(n).word(1) % 100;
        spread
            * match self.file(n) {
                Bulk::Video(_) if n < self.large => 1_000_000,
                Bulk::Video(_) => 400,
                Bulk::Photo(_) => 60,
                Bulk::Chat(_) => 20,
                Bulk::Document(_) => 10,
                Bulk::Thumbnail(_) => 4,
                Bulk::Record(_) => 1,
            }
    }

    fn shots(self) -> impl Iterator<Item = Shot> {
        (0..self.len()).filter_map(move |n| match self.file(n) {
            Bulk::Photo(number) => Some(Shot {
                number: number + 1,
                video: false,
            }),
            Bulk::Video(number) => Some(Shot {
                number: number + 1,
                video: true,
            }),
            _ => None,
        })
    }
}

pub(super) fn fill(builder: &mut Builder<'_>, recipe: &Recipe) -> Result<(), ContentsError> {
    // One more file is to come: the index of the photos, which depends on how many there are.
    let extra = recipe.files.saturating_sub(builder.files() + 1 + recipe.large_files);
    // Somebody must take the bytes that are left.
    let extra = if recipe.large_files == 0 { extra.max(1) } else { extra };
    let plan = Plan {
        large: recipe.large_files,
        extra,
    };
    let index = db::photos(builder, plan.shots())?;
    builder.file(map::CAMERA_ROLL, "Media/PhotoData/Photos.sqlite", index)?;
    let seed = builder.seed.child("bulk");
    let mut weights: u128 = (0..plan.len()).map(|n| u128::from(plan.weight(n, seed))).sum();
    let mut bytes = recipe.bytes.saturating_sub(builder.bytes());
    for n in 0..plan.len() {
        let weight = u128::from(plan.weight(n, seed));
        let share = (u128::from(bytes) * weight).checked_div(weights).unwrap_or_default();
        let len = put(
            builder,
            plan.file(n),
            seed.nth(n),
            u64::try_from(share).unwrap_or(bytes),
        )?;
        bytes = bytes.saturating_sub(len);
        weights -= weight;
    }
    Ok(())
}

/// Puts one file of about `share` bytes and says how long it became.
fn put(builder: &mut Builder<'_>, file: Bulk, seed: Seed, share: u64) -> Result<u64, ContentsError> {
    let value = seed.value();
    let guid = || seed.guid();
    let (domain, path, content) = match file {
        Bulk::Photo(number) | Bulk::Video(number) => {
            let video = matches!(file, Bulk::Video(_));
            return shot(
                builder,
                Shot {
                    number: number + 1,
                    video,
                },
                value,
                share,
            );
        }
        Bulk::Thumbnail(n) => {
            let path = format!("Media/PhotoData/Thumbnails/V2/{}/{}.THM", n / 1000, guid());
            (map::CAMERA_ROLL, path, picture_or_noise(value, share))
        }
        Bulk::Chat(n) => {
            let path = format!(
                "Message/Media/1555{:07}@s.whatsapp.net/{:x}/{}.jpg",
                n % 40,
                n / 500,
                guid()
            );
            (
                "AppDomainGroup-group.net.whatsapp.WhatsApp.shared",
                path,
                picture_or_noise(value, share),
            )
        }
        Bulk::Document(n) => {
            let path = format!("Documents/Library {}/{}.epub", n / 200, guid());
            ("AppDomain-com.example.reader", path, Content::noise(value, share))
        }
        Bulk::Record(n) => {
            let path = format!("Documents/Log/{:04}/{}.json", n / 500, guid());
            ("AppDomain-com.example.fitness", path, Content::text(value, share))
        }
    };
    let len = content.len();
    builder.file(domain, &path, content)?;
    Ok(len)
}

/// A picture, where there is room for one.
fn picture_or_noise(seed: u64, len: u64) -> Content {
    if len < MIN_JPEG_LEN {
        Content::noise(seed, len)
    } else {
        Content::jpeg(seed, len)
    }
}

fn shot(builder: &mut Builder<'_>, shot: Shot, seed: u64, share: u64) -> Result<u64, ContentsError> {
    let content = if shot.video {
        Content::movie(seed, share.max(MIN_MOVIE_LEN))
    } else {
        Content::jpeg(seed, share.max(MIN_JPEG_LEN))
    };
    let (len, path) = (content.len(), shot.path());
    let mut meta = Meta::file().with_times(builder.time(map::CAMERA_ROLL, &path));
    if shot.number % 16 == 3 {
        meta = meta.with_xattr("com.apple.assetsd.favorite", vec![1]);
        meta = meta.with_xattr("com.apple.assetsd.originalFilename", shot.name().into_bytes());
    }
    builder.file_with(map::CAMERA_ROLL, &path, content, meta)?;
    Ok(len)
}
