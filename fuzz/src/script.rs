//! Turns a fuzzer's bytes into decisions.

/// Reads decisions off the front of some bytes; when they are used up, every decision is 0.
#[derive(Clone, Debug)]
pub struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    /// A script of these bytes.
    #[must_use]
    pub fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    /// Whether decisions are left.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        !self.0.is_empty()
    }

    /// A number of 8 bits.
    pub fn byte(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    /// A number of 16 bits.
    pub fn word(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    /// A number of 32 bits.
    pub fn long(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    /// Up to `len` raw bytes.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        self.take(usize::MAX)
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        for (to, from) in out.iter_mut().zip(self.take(N)) {
            *to = *from;
        }
        out
    }
}

/// Splits `data` into pieces whose lengths `cuts` gives, over and over; every piece has at least one byte.
pub fn pieces<'a>(data: &'a [u8], cuts: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = data;
    let mut cuts = cuts.iter().cycle();
    std::iter::from_fn(move || {
        let len = cuts.next().map_or(rest.len(), |cut| usize::from(*cut)).max(1);
        let (piece, tail) = rest.split_at(len.min(rest.len()));
        rest = tail;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Takes a few cuts off the front of `data`: a count up to 7, then the cuts.
#[must_use]
pub fn with_cuts(data: &[u8]) -> (&[u8], &[u8]) {
    let Some((count, rest)) = data.split_first() else {
        return (data, data);
    };
    let (cuts, rest) = rest.split_at(usize::from(count % 8).min(rest.len()));
    (rest, cuts)
}
