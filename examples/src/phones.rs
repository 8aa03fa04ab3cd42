//! Virtual phones for the examples.

use std::sync::Arc;

use cabled::usbmux::{Daemon, DaemonAddr};
use cabled::virtualdevice::contents::Recipe;
use cabled::virtualdevice::front::{Front, FrontHandle};
use cabled::virtualdevice::profile::KdfRounds;
use cabled::virtualdevice::{Phone, Profile};
use cabled::wire::io::Connect;

use crate::Failure;

/// How a virtual phone is made.
#[derive(Clone, Debug, clap::Args)]
pub struct PhoneArgs {
    /// Bytes of contents on the virtual phone, such as 200MB or 50GB; they cost no disk.
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub size: Option<u64>,
    /// Files on the virtual phone.
    #[arg(long)]
    pub files: Option<u64>,
    /// The number that everything on the virtual phone is made from.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

impl PhoneArgs {
    /// What the phone will hold.
    pub fn recipe(&self) -> Recipe {
        let mut recipe = Recipe::demo().seed(self.seed);
        if let Some(files) = self.files {
            recipe = recipe.files(files);
        }
        if let Some(bytes) = self.size {
            recipe = recipe.bytes(bytes);
        }
        recipe
    }
}

/// A phone of this generation with the recipe's contents; fresh from the box without one. Its backup keys cost what real
/// ones cost.
pub fn phone(profile: Profile, seed: u64, recipe: Option<&Recipe>) -> Result<Phone, Failure> {
    let profile = profile.with_kdf_rounds(KdfRounds::REAL);
    let builder = Phone::builder().profile(profile).seed(seed).capacity(1 << 40);
    let builder = match recipe {
        Some(recipe) => builder.recipe(recipe.clone()),
        None => builder.empty(),
    };
    Ok(builder.build()?)
}

/// Phones behind a daemon of ours on a loopback port, as any other program sees them.
pub struct Desk {
    front: Front,
    handle: FrontHandle,
    _records: tempfile::TempDir,
}

impl Desk {
    /// A daemon without phones, at a port that the system chooses.
    pub fn new() -> Result<Self, Failure> {
        let records = tempfile::tempdir()?;
        let front = Front::new(records.path());
        let handle = front.serve_tcp(([127, 0, 0, 1], 0).into())?;
        Ok(Self {
            front,
            handle,
            _records: records,
        })
    }

    /// Plugs a phone in.
    pub async fn plug(&self, phone: &Phone) -> Result<(), Failure> {
        let device: Arc<dyn Connect> = Arc::new(phone.clone());
        self.front.add(device).await?;
        Ok(())
    }

    /// The daemon, for our own client.
    pub fn daemon(&self) -> Result<Daemon, Failure> {
        let address = self.handle.addr().ok_or("the daemon has no TCP address")?;
        Ok(Daemon::new(address.to_string().parse::<DaemonAddr>()?))
    }
}

/// The profile of a name such as `17.7`, or an error that lists them.
pub fn profile(name: &str) -> Result<Profile, Failure> {
    Profile::by_name(name).ok_or_else(|| {
        let names: Vec<_> = Profile::all().into_iter().map(|profile| profile.name).collect();
        format!("there is no profile `{name}`; there are {}", names.join(", ")).into()
    })
}

/// Reads `200MB`, `50 GB`, `4GiB` or plain bytes.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| format!("`{text}` is no number of bytes"))?;
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        other => return Err(format!("`{other}` is no unit of bytes")),
    };
    Ok((number * factor) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, bytes) in [
            ("0", 0),
            ("200MB", 200_000_000),
            ("1.5 GB", 1_500_000_000),
            ("4GiB", 4 << 30),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        assert!(parse_bytes("many").is_err() && parse_bytes("5 parsecs").is_err());
    }
}
