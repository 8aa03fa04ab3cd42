//! Counts what a binary property list unfolds to: containers once each, children by their stored cost, no recursion.

use std::collections::HashMap;

use super::Limits;
use crate::{Reader, WireError};

const TRAILER: usize = 32;

/// What one object unfolds to.
#[derive(Clone, Copy)]
struct Cost {
    nodes: u64,
    payload: u64,
    depth: usize,
}

/// A container whose children are being counted.
struct Open {
    object: u64,
    refs: usize,
    left: u64,
    cost: Cost,
}

enum Object {
    Leaf { payload: u64 },
    Container { refs: usize, children: u64 },
}

struct Table<'a> {
    bytes: &'a [u8],
    offsets: &'a [u8],
    offset_size: usize,
    ref_size: usize,
    objects: u64,
}

/// Checks offsets, references and lengths, refuses cycles, and counts depth, values and payload against `limits`.
pub(super) fn scan(bytes: &[u8], limits: &Limits) -> Result<(), WireError> {
    let (table, top) = Table::read(bytes)?;
    // `None` while a container is open: meeting it again is a cycle.
    let mut known: HashMap<u64, Option<Cost>> = HashMap::new();
    let mut open: Vec<Open> = Vec::new();
    let mut edges = 0_u64;
    let mut next = Some(top);
    loop {
        let done = match next.take() {
            Some(object) => match known.get(&object) {
                Some(None) => return Err(WireError::Cycle),
                Some(Some(cost)) => Some(*cost),
                None => match table.object(object)? {
                    Object::Leaf { payload } => Some(Cost {
                        nodes: 1,
                        payload,
                        depth: 0,
                    }),
                    Object::Container { refs, children } => {
                        known.insert(object, None);
                        open.push(Open {
                            object,
                            refs,
                            left: children,
                            cost: Cost {
                                nodes: 1,
                                payload: 0,
                                depth: 1,
                            },
                        });
                        None
                    }
                },
            },
            None => None,
        };
        if let Some(cost) = done {
            match open.last_mut() {
                Some(parent) => parent.add(cost),
                None => return limits.count(cost.nodes, cost.payload),
            }
        }
        let Some(current) = open.last_mut() else { return Ok(()) };
        limits.count(current.cost.nodes, current.cost.payload)?;
        if current.left == 0 {
            let (object, cost) = (current.object, current.cost);
            open.pop();
            known.insert(object, Some(cost));
            next = Some(object); // counted now: the parent picks its cost up
        } else {
            edges = edges.saturating_add(1);
            limits.count(edges, 0)?;
            next = Some(table.reference(current.refs)?);
            current.refs = current.refs.saturating_add(table.ref_size);
            current.left = current.left.saturating_sub(1);
        }
        let below = next
            .and_then(|object| known.get(&object).copied().flatten())
            .map_or(0, |cost| cost.depth);
        if open.len().saturating_add(below) > limits.depth {
            return Err(WireError::TooDeep { max: limits.depth });
        }
    }
}

impl Open {
    fn add(&mut self, child: Cost) {
        self.cost.nodes = self.cost.nodes.saturating_add(child.nodes);
        self.cost.payload = self.cost.payload.saturating_add(child.payload);
        self.cost.depth = self.cost.depth.max(child.depth.saturating_add(1));
    }
}

impl<'a> Table<'a> {
    fn read(bytes: &'a [u8]) -> Result<(Self, u64), WireError> {
        let truncated = WireError::Truncated {
            field: "trailer",
            need: TRAILER as u64,
            have: bytes.len() as u64,
        };
        let body_len = bytes
            .len()
            .checked_sub(TRAILER)
            .filter(|len| *len >= 8)
            .ok_or(truncated)?;
        let (body, trailer) = bytes.split_at_checked(body_len).unwrap_or((bytes, &[]));
        let mut r = Reader::new(trailer);
        r.take("trailer", 6)?;
        let offset_size = int_size("offset size", r.u8("offset size")?)?;
        let ref_size = int_size("reference size", r.u8("reference size")?)?;
        let objects = r.u64_be("object count")?;
        let top = r.u64_be("top object")?;
        let offset_table = r.u64_be("offset table")?;
        let invalid = |what, value| WireError::Invalid { what, value };
        let start = usize::try_from(offset_table).map_err(|_| invalid("offset table", offset_table))?;
        let len = usize::try_from(objects).ok().and_then(|n| n.checked_mul(offset_size));
        let end = len
            .and_then(|len| start.checked_add(len))
            .ok_or(invalid("object count", objects))?;
        let offsets = body.get(start..end).ok_or(invalid("object count", objects))?;
        Ok((
            Self {
                bytes: body,
                offsets,
                offset_size,
                ref_size,
                objects,
            },
            top,
        ))
    }

    fn object(&self, object: u64) -> Result<Object, WireError> {
        if object >= self.objects {
            return Err(WireError::Invalid {
                what: "object reference",
                value: object,
            });
        }
        let at = usize::try_from(object)
            .unwrap_or(usize::MAX)
            .saturating_mul(self.offset_size);
        let offset = self.int(self.offsets, at, self.offset_size, "object offset")?;
        let start = usize::try_from(offset).map_err(|_| WireError::Invalid {
            what: "object offset",
            value: offset,
        })?;
        let tail = self.bytes.get(start..).filter(|tail| !tail.is_empty());
        let mut r = Reader::new(tail.ok_or(WireError::Invalid {
            what: "object offset",
            value: offset,
        })?);
        let marker = r.u8("marker")?;
        let low = marker & 0x0f;
        let leaf = |payload: u64| Ok(Object::Leaf { payload });
        match marker >> 4 {
            0x0 => leaf(0),
            0x3 => {
                check_date(r.u64_be("date")?)?;
                leaf(0)
            }
            0x1 | 0x2 if low <= 4 => leaf(0),
            0x8 if low < 8 => leaf(0),
            0x4 | 0x5 => {
                let len = length(&mut r, low)?;
                r.bounded("text or data", len, self.bytes.len())?;
                leaf(len)
            }
            0x6 => {
                let len = length(&mut r, low)?.saturating_mul(2);
                r.bounded("text", len, self.bytes.len())?;
                leaf(len)
            }
            kind @ (0xa | 0xd) => {
                let pairs = length(&mut r, low)?;
                let children = if kind == 0xd { pairs.saturating_mul(2) } else { pairs };
                let refs = start.saturating_add(r.position());
                r.bounded(
                    "references",
                    children.saturating_mul(self.ref_size as u64),
                    self.bytes.len(),
                )?;
                Ok(Object::Container { refs, children })
            }
            _ => Err(WireError::Invalid {
                what: "object marker",
                value: marker.into(),
            }),
        }
    }

    fn reference(&self, at: usize) -> Result<u64, WireError> {
        self.int(self.bytes, at, self.ref_size, "object reference")
    }

    fn int(&self, bytes: &[u8], at: usize, size: usize, field: &'static str) -> Result<u64, WireError> {
        let have = bytes.len() as u64;
        let raw = bytes.get(at..at.saturating_add(size)).ok_or(WireError::Truncated {
            field,
            need: size as u64,
            have,
        })?;
        Ok(raw.iter().fold(0, |acc, byte| (acc << 8) | u64::from(*byte)))
    }
}

/// Refuses times before the year 0 and after 9999: the parser takes them and panics when they are written or shown.
fn check_date(bits: u64) -> Result<(), WireError> {
    const YEARS: std::ops::RangeInclusive<f64> = -63_145_699_200.0..=252_423_993_599.0;
    if YEARS.contains(&f64::from_bits(bits)) {
        Ok(())
    } else {
        Err(WireError::Invalid {
            what: "date",
            value: bits,
        })
    }
}

fn int_size(what: &'static str, size: u8) -> Result<usize, WireError> {
    match size {
        1..=8 => Ok(size.into()),
        _ => Err(WireError::Invalid {
            what,
            value: size.into(),
        }),
    }
}

/// A count: in the marker's low half, or, if that is full, in an integer object behind it.
fn length(r: &mut Reader<'_>, low: u8) -> Result<u64, WireError> {
    if low != 0x0f {
        return Ok(low.into());
    }
    match r.u8("count marker")? {
        0x10 => r.u8("count").map(u64::from),
        0x11 => r.u16_be("count").map(u64::from),
        0x12 => r.u32_be("count").map(u64::from),
        0x13 => r.u64_be("count"),
        marker => Err(WireError::Invalid {
            what: "count marker",
            value: marker.into(),
        }),
    }
}
