//! The little DER that keychain items use.
//!
//! A walker of our own, not a crate: the general decoders insist on the order of a SET OF, which no source promises
//! here, and a password is not to be lost over it. Nothing recurses or allocates; lengths are checked against what is
//! left.

/// Tags, as one byte each.
pub(super) mod tag {
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const UTF8_STRING: u8 = 0x0c;
    pub(crate) const GENERALIZED_TIME: u8 = 0x18;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;
}

/// One element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    /// With tag and length.
    pub(super) whole: &'a [u8],
}

/// The first element and what follows it; `None` if it is cut off, has a tag of several bytes or no definite length.
pub(super) fn split(bytes: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    (tag & 0x1f != 0x1f).then_some(())?;
    let (first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        // Up to four bytes of length; 0x80 is the indefinite form.
        0x81..=0x84 => {
            let (len, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let len = len.iter().fold(0_u32, |len, byte| (len << 8) | u32::from(*byte));
            (usize::try_from(len).ok()?, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(len)?;
    let whole = bytes.get(..bytes.len().saturating_sub(rest.len()))?;
    Some((
        Element {
            tag: *tag,
            content,
            whole,
        },
        rest,
    ))
}

/// An element of this tag that fills `bytes`: its content.
pub(super) fn only(wanted: u8, bytes: &[u8]) -> Option<&[u8]> {
    let (element, rest) = split(bytes)?;
    (element.tag == wanted && rest.is_empty()).then_some(element.content)
}

/// A two's complement number of any length that fits.
pub(super) fn integer(content: &[u8]) -> Option<i64> {
    let negative = *content.first()? >= 0x80;
    let filler = if negative { 0xff } else { 0 };
    let (extra, last) = match content.len().checked_sub(8) {
        Some(extra) => content.split_at_checked(extra)?,
        None => (&[][..], content),
    };
    extra.iter().all(|byte| *byte == filler).then_some(())?;
    let mut bytes = [filler; 8];
    bytes
        .iter_mut()
        .rev()
        .zip(last.iter().rev())
        .for_each(|(to, from)| *to = *from);
    let number = i64::from_be_bytes(bytes);
    // The sign may have been in the part that was cut.
    ((number < 0) == negative).then_some(number)
}
