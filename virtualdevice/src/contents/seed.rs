//! Counter-based random numbers: any number of a sequence without the ones before it.

/// A source of random numbers without state: [`word`](Self::word)`(n)` is the n-th, in any order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed(u64);

/// The constants of SplitMix64.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Seed {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(mix(seed.wrapping_add(STEP)))
    }

    pub(crate) const fn word(self, counter: u64) -> u64 {
        mix(self.0.wrapping_add(counter.wrapping_mul(STEP)))
    }

    /// A seed of its own for a named purpose.
    pub(crate) fn child(self, label: &str) -> Self {
        Self(
            label
                .bytes()
                .fold(mix(self.0 ^ STEP), |hash, byte| mix(hash ^ u64::from(byte))),
        )
    }

    /// A seed of its own for the n-th thing of a kind.
    pub(crate) const fn nth(self, n: u64) -> Self {
        Self(mix(self.word(n) ^ STEP))
    }

    /// The number behind the seed, to hand on to a generator.
    pub(crate) const fn value(self) -> u64 {
        self.0
    }

    /// The numbers in order.
    pub(crate) const fn draws(self) -> Draws {
        Draws { seed: self, counter: 0 }
    }

    /// The bytes of the sequence from `offset` on.
    pub(crate) fn fill(self, offset: u64, out: &mut [u8]) {
        let (mut counter, skip) = (offset / 8, usize::try_from(offset % 8).unwrap_or_default());
        let head_len = out.len().min(8_usize.wrapping_sub(skip) % 8);
        let (head, body) = out.split_at_mut(head_len);
        if !head.is_empty() {
            head.copy_from_slice(
                self.word(counter)
                    .to_le_bytes()
                    .get(skip..skip + head.len())
                    .unwrap_or_default(),
            );
            counter = counter.wrapping_add(1);
        }
        let mut words = body.chunks_exact_mut(8);
        for chunk in &mut words {
            chunk.copy_from_slice(&self.word(counter).to_le_bytes());
            counter = counter.wrapping_add(1);
        }
        let tail = words.into_remainder();
        let last = self.word(counter).to_le_bytes();
        tail.iter_mut().zip(last).for_each(|(to, from)| *to = from);
    }

    /// A version 4 UUID.
    pub(crate) fn uuid(self) -> uuid::Uuid {
        let mut bytes = [0; 16];
        self.fill(0, &mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }

    /// A UUID in upper case, as the phone writes them.
    pub(crate) fn guid(self) -> String {
        self.uuid().to_string().to_uppercase()
    }
}

/// Random numbers one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Draws {
    seed: Seed,
    counter: u64,
}

impl Draws {
    pub(crate) fn word(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(1);
        self.seed.word(self.counter)
    }

    /// A number below `n`; 0 if `n` is 0.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.word().checked_rem(n).unwrap_or_default()
    }

    /// A number below `n` for SQLite and times.
    pub(crate) fn below_i64(&mut self, n: i64) -> i64 {
        i64::try_from(self.below(u64::try_from(n).unwrap_or_default())).unwrap_or_default()
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> Option<&'a T> {
        let at = usize::try_from(self.below(u64::try_from(from.len()).unwrap_or_default())).ok()?;
        from.get(at).copied()
    }
}
