//! What is on the phone: photos, messages, contacts, apps, odd things, all made from a seed.
//!
//! [`fill`] puts it there, [`mutate`] lives a day with it, [`apps`] lists the installed apps. Databases are real SQLite
//! files that agree with each other, photos are JPEG files that every reader opens. Large contents are a function of
//! seed and offset and are made when they are read.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "sizes of generated things, bounded by the recipe, never a peer's"
)]

mod apps;
mod builder;
mod bulk;
mod db;
mod error;
mod movie;
mod mutate;
mod noise;
mod odd;
mod people;
mod picture;
mod png;
mod recipe;
mod seed;
mod sync;
mod system;
#[cfg(test)]
mod tests;

pub use self::apps::{App, apps};
pub use self::error::ContentsError;
pub use self::movie::MIN_MOVIE_LEN;
pub use self::mutate::{Changes, Place, mutate};
pub use self::picture::MIN_JPEG_LEN;
pub use self::recipe::Recipe;
pub use self::sync::fill_sync;
pub(crate) use self::sync::made_up_uuid;

use self::builder::{Builder, SECOND};
use self::seed::Seed;
use crate::fs::Fs;

/// An icon for anything that has none of its own: a PNG, the same for the same seed and name.
pub(crate) fn icon_png(seed: u64, name: &str) -> Vec<u8> {
    png::icon(Seed::new(seed).child("icon of").child(name))
}

/// Fills an empty phone. Takes a few milliseconds for [`Recipe::tiny`], a few seconds for 100,000 files.
///
/// Every domain gets its root and every entry its parent directories, as in Apple's own backups. On a phone that is
/// not empty, files of the same place are replaced.
///
/// # Errors
/// [`ContentsError::Fs`] with [`NoSpace`](crate::fs::FsError::NoSpace) if the recipe is larger than the phone;
/// [`ContentsError::Sqlite`] if a database cannot be made.
pub fn fill(fs: &Fs, recipe: &Recipe) -> Result<(), ContentsError> {
    let mut builder = Builder::new(fs, Seed::new(recipe.seed), recipe.now * SECOND);
    system::fill(&mut builder)?;
    db::fill(&mut builder, recipe)?;
    bulk::apps(&mut builder, &apps(recipe.seed))?;
    if recipe.odd_names {
        odd::names(&mut builder)?;
    }
    odd::sizes(&mut builder)?;
    bulk::fill(&mut builder, recipe)
}
