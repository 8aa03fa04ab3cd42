//! The few shapes of binary property lists that file records are made of.
//!
//! A manifest holds up to millions of these little archives, so records have their own writer and their own
//! bounded reader; every other property list of a backup goes through `cabled_wire::plist`.

use std::borrow::Cow;

use super::FormatError;

/// One object of the list to be written.
#[derive(Debug)]
pub(super) enum Node<'a> {
    /// An integer, stored once however often it occurs.
    Int(i64),
    /// An integer with a place of its own even where an equal one exists, as Apple stores `Size`.
    OwnInt(i64),
    Uid(u8),
    Text(&'a str),
    /// A text with a place of its own; see [`Node::OwnInt`].
    OwnText(&'a str),
    Data(&'a [u8]),
    Array(Vec<Node<'a>>),
    Dict(Vec<(&'a str, Node<'a>)>),
}

enum Flat<'a> {
    Int(i64),
    /// Never found by another integer that would share its place.
    OwnInt(i64),
    Uid(u8),
    Text(&'a str),
    Data(&'a [u8]),
    Array(Vec<usize>),
    Dict(Vec<usize>, Vec<usize>),
}

/// Numbers the objects as Core Foundation does: a container, then its keys, then its values, each with all its children.
struct Flattener<'a> {
    objects: Vec<Flat<'a>>,
}

impl<'a> Flattener<'a> {
    fn push(&mut self, flat: Flat<'a>) -> usize {
        self.objects.push(flat);
        self.objects.len().saturating_sub(1)
    }

    fn shared(&mut self, flat: Flat<'a>) -> usize {
        let same = |other: &Flat<'a>| match (&flat, other) {
            (Flat::Int(a), Flat::Int(b)) => a == b,
            (Flat::Text(a), Flat::Text(b)) => a == b,
            _ => false,
        };
        match self.objects.iter().position(same) {
            Some(found) => found,
            None => self.push(flat),
        }
    }

    fn add(&mut self, node: &Node<'a>) -> usize {
        match node {
            Node::Int(value) => self.shared(Flat::Int(*value)),
            Node::OwnInt(value) => self.push(Flat::OwnInt(*value)),
            Node::Uid(value) => self.push(Flat::Uid(*value)),
            Node::Text(text) => self.shared(Flat::Text(text)),
            Node::OwnText(text) => self.push(Flat::Text(text)),
            Node::Data(data) => self.push(Flat::Data(data)),
            Node::Array(items) => {
                let at = self.push(Flat::Array(Vec::new()));
                let refs = items.iter().map(|item| self.add(item)).collect();
                self.replace(at, Flat::Array(refs));
                at
            }
            Node::Dict(pairs) => {
                let at = self.push(Flat::Dict(Vec::new(), Vec::new()));
                let keys = pairs.iter().map(|(key, _)| self.shared(Flat::Text(key))).collect();
                let values = pairs.iter().map(|(_, value)| self.add(value)).collect();
                self.replace(at, Flat::Dict(keys, values));
                at
            }
        }
    }

    fn replace(&mut self, at: usize, flat: Flat<'a>) {
        if let Some(slot) = self.objects.get_mut(at) {
            *slot = flat;
        }
    }
}

fn put_be(out: &mut Vec<u8>, value: u64, width: usize) {
    let bytes = value.to_be_bytes();
    out.extend(bytes.iter().skip(8_usize.saturating_sub(width)));
}

fn width_of(value: u64) -> usize {
    match value {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xffff_ffff => 4,
        _ => 8,
    }
}

fn put_int(out: &mut Vec<u8>, value: i64) {
    let (marker, width) = match u64::try_from(value).map(width_of) {
        Ok(1) => (0x10, 1),
        Ok(2) => (0x11, 2),
        Ok(4) => (0x12, 4),
        _ => (0x13, 8), // also every negative number
    };
    out.push(marker);
    put_be(out, value.cast_unsigned(), width);
}

fn put_header(out: &mut Vec<u8>, kind: u8, count: usize) {
    match u8::try_from(count) {
        Ok(small @ 0..=14) => out.push(kind | small),
        _ => {
            out.push(kind | 0x0f);
            put_int(out, i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

/// Encodes `root` as a binary property list.
pub(super) fn write(root: &Node<'_>) -> Vec<u8> {
    let mut flattener = Flattener {
        objects: Vec::with_capacity(64),
    };
    let top = flattener.add(root);
    let objects = flattener.objects;
    let ref_width = width_of(objects.len() as u64);
    let put_refs = |out: &mut Vec<u8>, refs: &[usize]| refs.iter().for_each(|r| put_be(out, *r as u64, ref_width));
    let mut out = b"bplist00".to_vec();
    let mut offsets = Vec::with_capacity(objects.len());
    for object in &objects {
        offsets.push(out.len() as u64);
        match object {
            Flat::Int(value) | Flat::OwnInt(value) => put_int(&mut out, *value),
            Flat::Uid(value) => out.extend([0x80, *value]),
            Flat::Text(text) if text.is_ascii() => {
                put_header(&mut out, 0x50, text.len());
                out.extend(text.as_bytes());
            }
            Flat::Text(text) => {
                put_header(&mut out, 0x60, text.encode_utf16().count());
                text.encode_utf16().for_each(|unit| out.extend(unit.to_be_bytes()));
            }
            Flat::Data(data) => {
                put_header(&mut out, 0x40, data.len());
                out.extend(*data);
            }
            Flat::Array(refs) => {
                put_header(&mut out, 0xa0, refs.len());
                put_refs(&mut out, refs);
            }
            Flat::Dict(keys, values) => {
                put_header(&mut out, 0xd0, keys.len());
                put_refs(&mut out, keys);
                put_refs(&mut out, values);
            }
        }
    }
    let table = out.len() as u64;
    let offset_width = width_of(table);
    offsets
        .iter()
        .for_each(|offset| put_be(&mut out, *offset, offset_width));
    out.extend([0; 6]);
    out.extend([
        u8::try_from(offset_width).unwrap_or(8),
        u8::try_from(ref_width).unwrap_or(8),
    ]);
    for value in [objects.len() as u64, top as u64, table] {
        out.extend(value.to_be_bytes());
    }
    out
}

/// One object as found in a list.
#[derive(Clone, Debug)]
pub(super) enum Object<'a> {
    Int(i64),
    /// Seconds since 2001, as dates are stored.
    Date(f64),
    Uid(u64),
    Text(Cow<'a, str>),
    Data(&'a [u8]),
    Array(&'a [u8]),
    Dict {
        keys: &'a [u8],
        values: &'a [u8],
    },
    /// Null, booleans, reals: nothing that a record needs.
    Other,
}

/// A binary property list, read object by object; nothing is followed unless asked for.
#[derive(Debug)]
pub(super) struct Document<'a> {
    body: &'a [u8],
    offsets: &'a [u8],
    offset_width: usize,
    ref_width: usize,
    /// Number of the root object.
    pub(super) top: u64,
}

const MALFORMED: FormatError = FormatError::Record("not a binary property list");

fn be(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0_u64, |value, byte| (value << 8) | u64::from(*byte))
}

impl<'a> Document<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let (head, trailer) = bytes.split_last_chunk::<32>().ok_or(MALFORMED)?;
        if !head.starts_with(b"bplist00") {
            return Err(MALFORMED);
        }
        let field = |at: usize| trailer.get(at..at.saturating_add(8)).map_or(u64::MAX, be);
        let width = |at: usize| trailer.get(at).map_or(0, |w| usize::from(*w));
        let (offset_width, ref_width) = (width(6), width(7));
        let (count, top, table) = (field(8), field(16), field(24));
        if !(1..=8).contains(&offset_width) || !(1..=8).contains(&ref_width) {
            return Err(MALFORMED);
        }
        let table = usize::try_from(table).map_err(|_| MALFORMED)?;
        let length = usize::try_from(count)
            .ok()
            .and_then(|c| c.checked_mul(offset_width))
            .ok_or(MALFORMED)?;
        let offsets = head.get(table..).and_then(|rest| rest.get(..length)).ok_or(MALFORMED)?;
        Ok(Self {
            body: head,
            offsets,
            offset_width,
            ref_width,
            top,
        })
    }

    /// The object with this number.
    pub(super) fn object(&self, number: u64) -> Result<Object<'a>, FormatError> {
        let at = usize::try_from(number)
            .ok()
            .and_then(|n| n.checked_mul(self.offset_width))
            .ok_or(MALFORMED)?;
        let offset = self
            .offsets
            .get(at..at.saturating_add(self.offset_width))
            .ok_or(MALFORMED)?;
        let offset = usize::try_from(be(offset)).map_err(|_| MALFORMED)?;
        let (marker, rest) = self.body.get(offset..).and_then(<[u8]>::split_first).ok_or(MALFORMED)?;
        let (kind, low) = (marker & 0xf0, marker & 0x0f);
        match kind {
            0x10 => integer(rest, low),
            0x30 => {
                let bits: [u8; 8] = rest.first_chunk().copied().ok_or(MALFORMED)?;
                Ok(Object::Date(f64::from_be_bytes(bits)))
            }
            0x80 => {
                let bytes = rest.get(..usize::from(low).saturating_add(1)).ok_or(MALFORMED)?;
                if bytes.len() > 8 {
                    return Err(MALFORMED);
                }
                Ok(Object::Uid(be(bytes)))
            }
            0x40 | 0x50 | 0x60 | 0xa0 | 0xd0 => self.sized(kind, low, rest),
            _ => Ok(Object::Other),
        }
    }

    fn sized(&self, kind: u8, low: u8, rest: &'a [u8]) -> Result<Object<'a>, FormatError> {
        let (count, rest) = length(rest, low)?;
        let scale = match kind {
            0x60 => 2,
            0xa0 => self.ref_width,
            0xd0 => self.ref_width.saturating_mul(2),
            _ => 1,
        };
        let bytes = count.checked_mul(scale).and_then(|n| rest.get(..n)).ok_or(MALFORMED)?;
        Ok(match kind {
            0x40 => Object::Data(bytes),
            0x50 if bytes.is_ascii() => Object::Text(Cow::Borrowed(std::str::from_utf8(bytes).map_err(|_| MALFORMED)?)),
            0x60 => {
                let units: Vec<u16> = bytes
                    .as_chunks()
                    .0
                    .iter()
                    .map(|unit| u16::from_be_bytes(*unit))
                    .collect();
                Object::Text(Cow::Owned(String::from_utf16(&units).map_err(|_| MALFORMED)?))
            }
            0xa0 => Object::Array(bytes),
            0xd0 => {
                let (keys, values) = bytes.split_at_checked(bytes.len() / 2).ok_or(MALFORMED)?;
                Object::Dict { keys, values }
            }
            _ => return Err(MALFORMED),
        })
    }

    /// The object numbers inside an array, or inside one half of a dictionary.
    pub(super) fn refs(&self, refs: &'a [u8]) -> impl Iterator<Item = u64> + use<'a> {
        refs.chunks_exact(self.ref_width).map(be)
    }

    /// The entries of a dictionary with text keys.
    pub(super) fn entries(&self, dict: &Object<'a>) -> Result<Vec<(Cow<'a, str>, u64)>, FormatError> {
        let Object::Dict { keys, values } = dict else {
            return Err(FormatError::Record("a dictionary is missing"));
        };
        let mut out = Vec::with_capacity(16);
        for (key, value) in self.refs(keys).zip(self.refs(values)) {
            if let Object::Text(text) = self.object(key)? {
                out.push((text, value));
            }
        }
        Ok(out)
    }
}

fn integer<'a>(rest: &'a [u8], low: u8) -> Result<Object<'a>, FormatError> {
    let width = 1_usize
        .checked_shl(u32::from(low))
        .filter(|w| *w <= 16)
        .ok_or(MALFORMED)?;
    let bytes = rest.get(..width).ok_or(MALFORMED)?;
    // Sixteen bytes carry a number above i63; its low half is the value (spec mobilebackup2 1.4).
    let low_half = bytes.get(width.saturating_sub(8)..).unwrap_or(bytes);
    Ok(Object::Int(be(low_half).cast_signed()))
}

fn length(rest: &[u8], low: u8) -> Result<(usize, &[u8]), FormatError> {
    if low != 0x0f {
        return Ok((usize::from(low), rest));
    }
    let (marker, rest) = rest.split_first().ok_or(MALFORMED)?;
    if marker & 0xf0 != 0x10 {
        return Err(MALFORMED);
    }
    let width = 1_usize
        .checked_shl(u32::from(marker & 0x0f))
        .filter(|w| *w <= 8)
        .ok_or(MALFORMED)?;
    let (bytes, rest) = rest.split_at_checked(width).ok_or(MALFORMED)?;
    Ok((usize::try_from(be(bytes)).map_err(|_| MALFORMED)?, rest))
}
