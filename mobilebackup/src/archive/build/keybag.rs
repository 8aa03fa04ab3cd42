//! Making a keybag: the layout of spec backup-format, 8.1.

use zeroize::Zeroizing;

use super::BuildError;
use super::secrets::Secrets;
use crate::archive::cipher::CbcEncryptor;
use crate::archive::kdf::{self, Stage};
use crate::archive::layout::Layout;
use crate::archive::observe::Observer;
use crate::archive::wrap::{Key, Unwrapper, WrappedKey};

/// The classes of a bag.
const CLASSES: std::ops::RangeInclusive<u32> = 1..=11;

/// The class of the index's own key.
pub(crate) const INDEX_CLASS: u32 = 4;

/// Class keys of a new backup, and what will wrap them.
pub(crate) struct NewKeybag {
    classes: Vec<NewClass>,
    uuid: [u8; 16],
    salt: [u8; 20],
    first_salt: [u8; 20],
    kind: BagKind,
}

struct NewClass {
    class: u32,
    uuid: [u8; 16],
    /// What the password's key wraps: the class key, or the class key under a device's own key.
    wrapped: Key,
    unwrapper: Unwrapper,
    wrap: u32,
}

/// What differs between bags.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BagKind {
    pub(crate) layout: Layout,
    pub(crate) encrypted: bool,
    /// Rounds of the first stage and of the second.
    pub(crate) rounds: (u32, u32),
}

impl BagKind {
    /// A device's bag has two stages where files are encrypted in the layout of iOS 10.2 and later.
    const fn has_first_stage(self) -> bool {
        self.encrypted && matches!(self.layout, Layout::Current)
    }

    /// As met in bags of either time.
    const fn version(self) -> u32 {
        match self.layout {
            Layout::Flat => 3,
            Layout::Current => 5,
        }
    }

    /// `WRAP` of a class: 2 by the password, 3 by the device besides.
    const fn wrap(self, class: u32) -> u32 {
        match class {
            5 | 9.. => 3,
            6..=8 if !self.encrypted => 3,
            _ => 2,
        }
    }
}

impl NewKeybag {
    pub(crate) fn new(kind: BagKind, secrets: &mut Secrets) -> Result<Self, BuildError> {
        // Stands in for the key burnt into a device; nobody keeps it, so nobody can open what is bound to it.
        let device = secrets.key()?;
        let mut classes = Vec::new();
        for class in CLASSES {
            let key = secrets.key()?;
            let wrap = kind.wrap(class);
            let mut wrapped = Zeroizing::new(*key.expose());
            if wrap == 3 {
                CbcEncryptor::new(&device).encrypt(wrapped.as_mut_slice());
            }
            classes.push(NewClass {
                class,
                uuid: secrets.array()?,
                wrapped: Key::from(wrapped),
                unwrapper: Unwrapper::new(&key),
                wrap,
            });
        }
        Ok(Self {
            classes,
            uuid: secrets.array()?,
            salt: secrets.array()?,
            first_salt: secrets.array()?,
            kind,
        })
    }

    /// A file's key, wrapped by its class key. `None` for a class that is not there.
    pub(crate) fn wrap(&self, key: &Key, class: u32) -> Option<WrappedKey> {
        let by = self.classes.iter().find(|known| known.class == class)?;
        Some(WrappedKey::wrapping(key, class, &by.unwrapper))
    }

    /// Derives the password's key. Takes as long as unlocking does.
    pub(crate) fn derive(&self, password: &[u8], observer: &mut dyn Observer) -> Result<Key, BuildError> {
        let (first, second) = self.kind.rounds;
        let first = self.kind.has_first_stage().then_some(Stage {
            salt: &self.first_salt,
            rounds: first,
        });
        let second = Stage {
            salt: &self.salt,
            rounds: second,
        };
        match kdf::derive(password, first, second, observer) {
            Ok(key) => Ok(Key::from(key)),
            Err(kdf::Cancelled) => Err(BuildError::Cancelled),
        }
    }

    /// The bag as stored, its class keys wrapped by the password's key.
    pub(crate) fn encode(&self, kek: &Key) -> Vec<u8> {
        let mut out = Vec::with_capacity(1388);
        put_number(&mut out, b"VERS", self.kind.version());
        put_number(&mut out, b"TYPE", 1);
        put(&mut out, b"UUID", &self.uuid);
        put(&mut out, b"HMCK", &[0; 40]);
        put_number(&mut out, b"WRAP", 0);
        put(&mut out, b"SALT", &self.salt);
        put_number(&mut out, b"ITER", self.kind.rounds.1);
        if self.kind.has_first_stage() {
            put_number(&mut out, b"DPWT", 1);
            put_number(&mut out, b"DPIC", self.kind.rounds.0);
            put(&mut out, b"DPSL", &self.first_salt);
        }
        let wrapper = Unwrapper::new(kek);
        for class in &self.classes {
            put(&mut out, b"UUID", &class.uuid);
            put_number(&mut out, b"CLAS", class.class);
            put_number(&mut out, b"WRAP", class.wrap);
            put_number(&mut out, b"KTYP", 0);
            put(&mut out, b"WPKY", &wrapper.wrap(&class.wrapped));
        }
        out
    }
}

pub(crate) fn put(out: &mut Vec<u8>, tag: &[u8; 4], value: &[u8]) {
    out.extend_from_slice(tag);
    out.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(value);
}

pub(crate) fn put_number(out: &mut Vec<u8>, tag: &[u8; 4], value: u32) {
    put(out, tag, &value.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::golden::{self, bytes};
    use crate::archive::keybag::Keybag;
    use crate::archive::observe::Silent;

    /// Tags and lengths of a bag, with the values that are not random.
    fn shape(bag: &[u8]) -> Vec<(String, usize, Option<u32>)> {
        let mut shape = Vec::new();
        let mut rest = bag;
        while let Some((tag, after)) = rest.split_first_chunk::<4>() {
            let (len, after) = after.split_first_chunk::<4>().unwrap();
            let len = u32::from_be_bytes(*len) as usize;
            let value = <[u8; 4]>::try_from(&after[..len]).ok().map(u32::from_be_bytes);
            shape.push((String::from_utf8_lossy(tag).into_owned(), len, value));
            rest = &after[len..];
        }
        shape
    }

    fn bag(kind: BagKind, password: &[u8]) -> (NewKeybag, Vec<u8>) {
        let bag = NewKeybag::new(kind, &mut Secrets::new(Some(1))).unwrap();
        let kek = bag.derive(password, &mut Silent).unwrap();
        let bytes = bag.encode(&kek);
        (bag, bytes)
    }

    #[test]
    fn a_bag_has_the_tags_of_known_bags_in_their_order() {
        for case in golden::vectors()["keybag"].as_array().unwrap() {
            let known = bytes(&case["blob"]);
            let parsed = Keybag::parse(&known).unwrap();
            let (first, second) = parsed.rounds();
            let encrypted = parsed.classes().iter().any(|class| class.class == 6 && class.wrap == 2);
            let layout = if first.is_some() { Layout::Current } else { Layout::Flat };
            let kind = BagKind {
                layout,
                encrypted,
                rounds: (first.unwrap_or(1), second),
            };
            if encrypted != first.is_some() && first.is_some() {
                continue;
            }
            let (_, made) = bag(kind, b"x");
            let without_version = |bag: &[u8]| shape(bag).into_iter().skip(1).collect::<Vec<_>>();
            assert_eq!(without_version(&made), without_version(&known), "{}", case["name"]);
        }
    }

    #[test]
    fn the_bag_of_an_unencrypted_backup_looks_like_one_of_a_device() {
        let real = bytes(&golden::vectors()["real_keybag"]["blob"]);
        let kind = BagKind {
            layout: Layout::Current,
            encrypted: false,
            rounds: (1, 10_000),
        };
        let (_, made) = bag(kind, b"");
        let sorted = |bag: &[u8]| {
            let mut shape = shape(bag);
            shape.sort();
            shape
        };
        assert_eq!((made.len(), sorted(&made)), (1336, sorted(&real)));
        let keys = Keybag::parse(&made).unwrap();
        let kek = keys.derive(b"", Default::default(), &mut Silent).unwrap();
        let keys = keys.unwrap(&kek).unwrap();
        assert_eq!(keys.usable().collect::<Vec<_>>(), [1, 2, 3, 4]);
    }

    #[test]
    fn file_keys_come_out_with_the_password_and_not_with_another() {
        let kind = BagKind {
            layout: Layout::Current,
            encrypted: true,
            rounds: (7, 3),
        };
        let (made, stored) = bag(kind, b"secret");
        assert_eq!(stored.len(), 1388);
        let parsed = Keybag::parse(&stored).unwrap();
        assert_eq!(parsed.rounds(), (Some(7), 3));
        let kek = parsed.derive(b"secret", Default::default(), &mut Silent).unwrap();
        let keys = parsed.unwrap(&kek).unwrap();
        assert!(keys.damaged().is_empty());
        assert_eq!(keys.usable().collect::<Vec<_>>(), [1, 2, 3, 4, 6, 7, 8]);
        let key = Key::from([9; 32]);
        for class in 1..=4 {
            assert_eq!(keys.unwrap(&made.wrap(&key, class).unwrap(), None), Ok(key.clone()));
        }
        let wrong = parsed.derive(b"secrets", Default::default(), &mut Silent).unwrap();
        assert!(parsed.unwrap(&wrong).is_err());
    }
}
