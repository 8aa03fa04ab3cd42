//! The backup keybag: class keys wrapped by a key that derives from the password (spec backup-format, 8).

use std::fmt;
use std::ops::RangeInclusive;

use super::kdf::{self, Stage};
use super::observe::Observer;
use super::wrap::{Key, Unwrapper, WrappedKey};

/// A keybag as stored in `Manifest.plist`, under `BackupKeyBag`. Holds no secret in the clear.
///
/// Every tag is kept in its order, known or not, so that [`encode`](Keybag::encode) gives back the bytes that were
/// parsed.
#[derive(Clone, PartialEq, Eq)]
pub struct Keybag {
    items: Vec<Item>,
    version: Option<u32>,
    kind: Option<u32>,
    salt: Vec<u8>,
    iterations: u32,
    first_stage: Option<FirstStage>,
    classes: Vec<WrappedClass>,
}

/// One tag and its value.
#[derive(Clone, PartialEq, Eq)]
struct Item {
    tag: [u8; 4],
    value: Box<[u8]>,
}

/// The stage that iOS 10.2 put before the older one.
#[derive(Clone, PartialEq, Eq)]
struct FirstStage {
    salt: Vec<u8>,
    iterations: u32,
}

/// One class key of a keybag, still wrapped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WrappedClass {
    /// The class: the low four bits of `CLAS`. 1 to 5 protect files, 6 to 11 keychain items.
    pub class: u32,
    /// `WRAP`: bit 0 says wrapped by a key of the device, bit 1 by the password's key.
    pub wrap: u32,
    /// `KTYP`: 0 is AES, the only kind in backups.
    pub key_type: Option<u32>,
    /// `WPKY`, normally 40 bytes.
    pub wrapped_key: Option<Box<[u8]>>,
}

impl WrappedClass {
    const BY_DEVICE: u32 = 1;
    const BY_PASSWORD: u32 = 2;

    /// Whether the key stays wrapped by the device's own key after the password opened it.
    #[must_use]
    pub const fn is_device_bound(&self) -> bool {
        self.wrap & Self::BY_DEVICE != 0
    }
}

/// The bytes are no keybag, or ask for something that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeybagError {
    /// The bag is longer than [`Keybag::MAX_LEN`].
    #[error("the keybag is {len} bytes long; the limit is {}", Keybag::MAX_LEN)]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// A tag or its value ends after the bag does.
    #[error("the keybag is cut off at byte {offset}")]
    Truncated {
        /// Where the damaged tag starts.
        offset: usize,
    },
    /// A number has a length other than 4.
    #[error("the keybag's `{tag}` is {len} bytes long instead of 4")]
    Length {
        /// The tag.
        tag: &'static str,
        /// Its length in bytes.
        len: usize,
    },
    /// A tag that the derivation needs is not there.
    #[error("the keybag lacks `{tag}`")]
    Missing {
        /// The tag.
        tag: &'static str,
    },
    /// A class group says no class.
    #[error("class group {index} of the keybag has no `CLAS`")]
    GroupWithoutClass {
        /// Which group, from 0.
        index: usize,
    },
    /// Two groups are of one class.
    #[error("class {class} occurs twice in the keybag")]
    DuplicateClass {
        /// The class.
        class: u32,
    },
    /// `ITER` or `DPIC` is zero, or above the limit: a hostile bag could ask for hours.
    #[error("the keybag asks for {rounds} rounds of `{tag}`; between 1 and {max} are accepted")]
    Rounds {
        /// `ITER` or `DPIC`.
        tag: &'static str,
        /// What the bag asks for.
        rounds: u32,
        /// The limit in force, see [`RoundLimits`].
        max: u32,
    },
    /// No class key can be opened by a password.
    #[error("the keybag holds no key that a password could open")]
    NothingToUnwrap,
}

/// Why the class keys did not come out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnlockError {
    /// No class key unwraps: the password is not the one of this backup.
    #[error("wrong password")]
    WrongPassword,
    /// The bag itself is at fault.
    #[error("the keybag is damaged: {0}")]
    Keybag(#[from] KeybagError),
    /// The observer stopped the derivation.
    #[error("unlocking was cancelled")]
    Cancelled,
}

/// The most rounds that a derivation may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundLimits {
    first: u32,
    second: u32,
}

impl Default for RoundLimits {
    /// 100 million rounds for either stage, ten times what devices ask for.
    fn default() -> Self {
        Self {
            first: 100_000_000,
            second: 100_000_000,
        }
    }
}

impl RoundLimits {
    /// The most rounds of the first stage (`DPIC`; devices write 10,000,000). Default: 100,000,000.
    #[must_use]
    pub const fn first(mut self, rounds: u32) -> Self {
        self.first = rounds;
        self
    }

    /// The most rounds of the second stage (`ITER`; devices write 10,000). Default: 100,000,000.
    #[must_use]
    pub const fn second(mut self, rounds: u32) -> Self {
        self.second = rounds;
        self
    }
}

impl Keybag {
    /// The longest bag that is read, in bytes. Real ones have 1,336 or 1,388.
    pub const MAX_LEN: usize = 1 << 20;

    /// Reads a keybag.
    ///
    /// # Errors
    /// Any [`KeybagError`] but [`NothingToUnwrap`](KeybagError::NothingToUnwrap). Counts of rounds are judged when
    /// they are used; zero is refused here.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeybagError> {
        let items = split(bytes)?;
        let first_class = class_groups_start(&items);
        let (header, groups) = items.split_at_checked(first_class).unwrap_or((&items, &[]));

        let salt = find(header, b"SALT")
            .ok_or(KeybagError::Missing { tag: "SALT" })?
            .to_vec();
        let iterations = number(header, b"ITER", "ITER")?.ok_or(KeybagError::Missing { tag: "ITER" })?;
        refuse_zero("ITER", iterations)?;
        let first_stage = match (find(header, b"DPSL"), number(header, b"DPIC", "DPIC")?) {
            (Some(salt), Some(iterations)) => {
                refuse_zero("DPIC", iterations)?;
                Some(FirstStage {
                    salt: salt.to_vec(),
                    iterations,
                })
            }
            // Half of the first stage could be either scheme; a guess would show as a wrong password.
            (Some(_), None) => return Err(KeybagError::Missing { tag: "DPIC" }),
            (None, Some(_)) => return Err(KeybagError::Missing { tag: "DPSL" }),
            (None, None) => None,
        };
        let classes = read_classes(groups)?;
        let (version, kind) = (number(header, b"VERS", "VERS")?, number(header, b"TYPE", "TYPE")?);
        Ok(Self {
            version,
            kind,
            salt,
            iterations,
            first_stage,
            classes,
            items,
        })
    }

    /// The bytes of the bag, with every tag in the order in which it was read.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for item in &self.items {
            out.extend_from_slice(&item.tag);
            // `parse` took the length from a u32.
            out.extend_from_slice(&u32::try_from(item.value.len()).unwrap_or(u32::MAX).to_be_bytes());
            out.extend_from_slice(&item.value);
        }
        out
    }

    /// Every tag and its value, in the bag's order.
    pub(crate) fn tags(&self) -> impl Iterator<Item = (&[u8; 4], &[u8])> {
        self.items.iter().map(|item| (&item.tag, &*item.value))
    }

    /// `VERS`: 3 around iOS 9, 5 in recent bags.
    #[must_use]
    pub const fn version(&self) -> Option<u32> {
        self.version
    }

    /// `TYPE` without its flag bits: 1 is a backup keybag.
    #[must_use]
    pub fn kind(&self) -> Option<u32> {
        self.kind.map(|kind| kind & 0x3fff_ffff)
    }

    /// Whether the derivation has the two stages of iOS 10.2 and later.
    #[must_use]
    pub const fn has_first_stage(&self) -> bool {
        self.first_stage.is_some()
    }

    /// How many rounds a derivation takes: first stage (`DPIC`), second stage (`ITER`).
    #[must_use]
    pub fn rounds(&self) -> (Option<u32>, u32) {
        (self.first_stage.as_ref().map(|stage| stage.iterations), self.iterations)
    }

    /// The class keys, wrapped, in the bag's order.
    #[must_use]
    pub fn classes(&self) -> &[WrappedClass] {
        &self.classes
    }

    /// Derives the key that wraps the class keys. Takes seconds of one core: devices ask for ten million rounds.
    ///
    /// The password is taken as bytes; every tool uses UTF-8. An unencrypted backup's bag opens with the empty
    /// password. The result opens the same bag again at no cost through [`unwrap`](Keybag::unwrap) and is as sensitive
    /// as the password.
    ///
    /// # Errors
    /// [`UnlockError::Keybag`] with [`KeybagError::Rounds`] if a count is above its limit; [`UnlockError::Cancelled`].
    pub fn derive(
        &self,
        password: &[u8],
        limits: RoundLimits,
        observer: &mut dyn Observer,
    ) -> Result<Key, UnlockError> {
        let first = match &self.first_stage {
            Some(stage) => {
                refuse_above("DPIC", stage.iterations, limits.first)?;
                Some(Stage {
                    salt: &stage.salt,
                    rounds: stage.iterations,
                })
            }
            None => None,
        };
        refuse_above("ITER", self.iterations, limits.second)?;
        let second = Stage {
            salt: &self.salt,
            rounds: self.iterations,
        };
        match kdf::derive(password, first, second, observer) {
            Ok(key) => Ok(Key::from(key)),
            Err(kdf::Cancelled) => Err(UnlockError::Cancelled),
        }
    }

    /// Opens the class keys with a derived key.
    ///
    /// Some keys may stay closed under the right password when the bag is damaged; they are named by
    /// [`ClassKeys::damaged`] and the others work.
    ///
    /// # Errors
    /// [`UnlockError::WrongPassword`] if no key opens; [`KeybagError::NothingToUnwrap`] if there is none to open.
    pub fn unwrap(&self, key: &Key) -> Result<ClassKeys, UnlockError> {
        let unwrapper = Unwrapper::new(key);
        let mut keys = ClassKeys {
            opened: Vec::new(),
            damaged: Vec::new(),
        };
        let mut tried = false;
        for class in self
            .classes
            .iter()
            .filter(|class| class.wrap & WrappedClass::BY_PASSWORD != 0)
        {
            let Some(wrapped) = &class.wrapped_key else { continue };
            tried |= wrapped.len() == WRAPPED_LEN;
            match unwrapper.unwrap(wrapped) {
                Some(key) => keys.opened.push(ClassKey {
                    class: class.class,
                    device_bound: class.is_device_bound(),
                    unwrapper: Unwrapper::new(&key),
                    key,
                }),
                None => keys.damaged.push(class.class),
            }
        }
        match (tried, keys.opened.is_empty()) {
            (_, false) => Ok(keys),
            (true, true) => Err(UnlockError::WrongPassword),
            (false, true) => Err(KeybagError::NothingToUnwrap.into()),
        }
    }
}

impl fmt::Debug for Keybag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keybag")
            .field("version", &self.version)
            .field("kind", &self.kind())
            .field("rounds", &self.rounds())
            .field(
                "classes",
                &self.classes.iter().map(|class| class.class).collect::<Vec<_>>(),
            )
            .finish_non_exhaustive()
    }
}

/// Length of a wrapped class key in bytes.
const WRAPPED_LEN: usize = 40;

/// The class keys of an unlocked backup. Wiped when dropped; `Debug` names classes only.
#[derive(Clone)]
pub struct ClassKeys {
    opened: Vec<ClassKey>,
    damaged: Vec<u32>,
}

#[derive(Clone)]
struct ClassKey {
    class: u32,
    device_bound: bool,
    key: Key,
    unwrapper: Unwrapper,
}

/// Why a file's key does not come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileKeyError {
    /// The keybag has no usable key of that class.
    #[error("the keybag has no usable key of class {class}")]
    NoSuchClass {
        /// The class.
        class: u32,
    },
    /// The class key is there and does not open the file key.
    #[error("the file's key does not open with the key of class {class}; the record is damaged")]
    Damaged {
        /// The class.
        class: u32,
    },
}

impl ClassKeys {
    /// Only these bits of a class number name the class; the ones above are flags.
    const CLASS_BITS: u32 = 0xf;

    /// Unwraps the key of a file or of `Manifest.db`. The class prefix counts; if it leads nowhere and
    /// `protection_class` names another class, that one is tried.
    ///
    /// # Errors
    /// [`FileKeyError`], about the class of the prefix.
    pub fn unwrap(&self, wrapped: &WrappedKey, protection_class: Option<u32>) -> Result<Key, FileKeyError> {
        let class = wrapped.class() & Self::CLASS_BITS;
        let refusal = match self.find(class) {
            Some(found) => match found.unwrapper.unwrap(wrapped.wrapped()) {
                Some(key) => return Ok(key),
                None => FileKeyError::Damaged { class },
            },
            None => FileKeyError::NoSuchClass { class },
        };
        protection_class
            .map(|other| other & Self::CLASS_BITS)
            .filter(|other| *other != class)
            .and_then(|other| self.find(other)?.unwrapper.unwrap(wrapped.wrapped()))
            .ok_or(refusal)
    }

    /// The key of a class, if the password opened it and no device key is needed besides.
    #[must_use]
    pub fn key(&self, class: u32) -> Option<&Key> {
        self.find(class).map(|found| &found.key)
    }

    /// Classes whose key is usable here, in the bag's order.
    pub fn usable(&self) -> impl Iterator<Item = u32> + '_ {
        self.opened.iter().filter(|key| !key.device_bound).map(|key| key.class)
    }

    /// A class key that the password opened and that is still wrapped by the device's own key; of no use elsewhere.
    #[must_use]
    pub fn device_bound_key(&self, class: u32) -> Option<&Key> {
        self.opened
            .iter()
            .find(|key| key.class == class && key.device_bound)
            .map(|found| &found.key)
    }

    /// What the password's key unwrapped for a class, as `CLAS` names it: the class key, or one that is still wrapped
    /// by the device's own.
    pub(crate) fn password_key(&self, class: u32) -> Option<&Key> {
        let class = class & Self::CLASS_BITS;
        self.opened
            .iter()
            .find(|key| key.class == class)
            .map(|found| &found.key)
    }

    /// A file's key, wrapped by the key of a class; `None` if there is no usable key of that class.
    pub(crate) fn wrap(&self, key: &Key, class: u32) -> Option<WrappedKey> {
        let by = self.find(class)?;
        Some(WrappedKey::wrapping(key, class, &by.unwrapper))
    }

    /// Classes whose key did not open though others did: the keybag is damaged there.
    #[must_use]
    pub fn damaged(&self) -> &[u32] {
        &self.damaged
    }

    fn find(&self, class: u32) -> Option<&ClassKey> {
        self.opened.iter().find(|key| key.class == class && !key.device_bound)
    }
}

impl fmt::Debug for ClassKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClassKeys")
            .field("usable", &self.usable().collect::<Vec<_>>())
            .field("damaged", &self.damaged)
            .finish_non_exhaustive()
    }
}

/// Splits the bag into tags and values.
fn split(bytes: &[u8]) -> Result<Vec<Item>, KeybagError> {
    if bytes.len() > Keybag::MAX_LEN {
        return Err(KeybagError::TooLong { len: bytes.len() });
    }
    let mut items = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let item = split_item(rest).ok_or(KeybagError::Truncated {
            offset: bytes.len().saturating_sub(rest.len()),
        })?;
        let (tag, value, after) = item;
        items.push(Item {
            tag,
            value: value.into(),
        });
        rest = after;
    }
    Ok(items)
}

fn split_item(bytes: &[u8]) -> Option<([u8; 4], &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first_chunk::<4>()?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    let (value, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)?;
    Some((*tag, value, rest))
}

/// Where the class groups start: at the second `UUID`, the first being the bag's own.
fn class_groups_start(items: &[Item]) -> usize {
    let second = items.iter().enumerate().filter(|(_, item)| item.tag == *b"UUID").nth(1);
    second.map_or(items.len(), |(index, _)| index)
}

fn read_classes(groups: &[Item]) -> Result<Vec<WrappedClass>, KeybagError> {
    const CLASSES: RangeInclusive<u32> = 1..=11;
    let mut classes: Vec<WrappedClass> = Vec::new();
    // Every group starts with its `UUID`, so splitting there leaves an empty piece in front.
    for (index, group) in groups.split(|item| item.tag == *b"UUID").skip(1).enumerate() {
        let class = number(group, b"CLAS", "CLAS")?.ok_or(KeybagError::GroupWithoutClass { index })?;
        let class = class & ClassKeys::CLASS_BITS;
        if classes.iter().any(|known| known.class == class) {
            return Err(KeybagError::DuplicateClass { class });
        }
        if !CLASSES.contains(&class) {
            tracing::debug!(class, "keybag with an unknown class");
        }
        classes.push(WrappedClass {
            class,
            wrap: number(group, b"WRAP", "WRAP")?.unwrap_or(0),
            key_type: number(group, b"KTYP", "KTYP")?,
            wrapped_key: find(group, b"WPKY").map(Into::into),
        });
    }
    Ok(classes)
}

fn find<'a>(items: &'a [Item], tag: &[u8; 4]) -> Option<&'a [u8]> {
    items.iter().find(|item| item.tag == *tag).map(|item| &*item.value)
}

fn number(items: &[Item], tag: &[u8; 4], name: &'static str) -> Result<Option<u32>, KeybagError> {
    let Some(value) = find(items, tag) else { return Ok(None) };
    match <[u8; 4]>::try_from(value) {
        Ok(value) => Ok(Some(u32::from_be_bytes(value))),
        Err(_) => Err(KeybagError::Length {
            tag: name,
            len: value.len(),
        }),
    }
}

fn refuse_zero(tag: &'static str, rounds: u32) -> Result<(), KeybagError> {
    match rounds {
        0 => Err(KeybagError::Rounds {
            tag,
            rounds,
            max: u32::MAX,
        }),
        _ => Ok(()),
    }
}

fn refuse_above(tag: &'static str, rounds: u32, max: u32) -> Result<(), KeybagError> {
    if rounds > max {
        Err(KeybagError::Rounds { tag, rounds, max })
    } else {
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "test code")]
mod tests;
