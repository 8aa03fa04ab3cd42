//! Keys, salts and identifiers of a new backup.

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::archive::wrap::Key;

/// Where random bytes come from.
pub(crate) enum Secrets {
    System,
    /// SHA-256 of a seed and a counter: the same every time, for tests.
    Seeded {
        seed: u64,
        counter: u64,
    },
}

impl Secrets {
    pub(crate) const fn new(seed: Option<u64>) -> Self {
        match seed {
            None => Self::System,
            Some(seed) => Self::Seeded { seed, counter: 0 },
        }
    }

    pub(crate) fn key(&mut self) -> Result<Key, getrandom::Error> {
        let mut bytes = Zeroizing::new([0; Key::LEN]);
        self.fill(bytes.as_mut_slice())?;
        Ok(Key::from(bytes))
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], getrandom::Error> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, out: &mut [u8]) -> Result<(), getrandom::Error> {
        match self {
            Self::System => getrandom::fill(out),
            Self::Seeded { seed, counter } => {
                for out in out.chunks_mut(32) {
                    let hash = Sha256::new()
                        .chain_update(b"cabled synthetic backup")
                        .chain_update(seed.to_be_bytes())
                        .chain_update(counter.to_be_bytes());
                    *counter = counter.wrapping_add(1);
                    out.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
                }
                Ok(())
            }
        }
    }
}
