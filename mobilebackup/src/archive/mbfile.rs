//! The `file` column of `Manifest.db`: a keyed archive of one `MBFile` (spec backup-format, 5.3).

use std::borrow::Cow;

use super::bplist::{Bplist, Malformed, Object, Refs};
use super::wrap::WrappedKey;

/// What `Manifest.db` records about one file, borrowed from the row where possible.
///
/// Devices write every key that is not an `Option`; other programs leave some out, which then read as zero.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MbFile<'a> {
    /// `RelativePath`.
    pub relative_path: Cow<'a, str>,
    /// `Size` in bytes. Often stale for databases: never cut or extend by it (spec 6.3).
    pub size: u64,
    /// `Mode`: the full `st_mode`, type bits included.
    pub mode: u32,
    /// `Flags`: 0 or 128, meaning unknown. Not the column `flags`.
    pub flags: i64,
    /// `UserID`; -2 is common.
    pub user_id: i64,
    /// `GroupID`.
    pub group_id: i64,
    /// `InodeNumber` on the device.
    pub inode: u64,
    /// `LastModified`, Unix seconds.
    pub last_modified: Option<i64>,
    /// `LastStatusChange`, Unix seconds.
    pub last_status_change: Option<i64>,
    /// `Birth`, Unix seconds.
    pub birth: Option<i64>,
    /// `ProtectionClass`: 1 to 4 on files, 0 on most directories and links.
    pub protection_class: u32,
    /// `Target` of a symbolic link: an absolute path on the device.
    pub target: Option<Cow<'a, str>>,
    /// `EncryptionKey` as stored, normally [`WrappedKey::LEN`] bytes.
    pub encryption_key: Option<&'a [u8]>,
    /// `Digest` as stored, normally 20 bytes: SHA-1 of the payload as stored.
    pub digest: Option<&'a [u8]>,
    /// `ExtendedAttributes`: a property list of its own.
    pub extended_attributes: Option<&'a [u8]>,
}

/// A record that is not a keyed archive of an `MBFile`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MbFileError {
    /// Not a binary property list, cut off, or pointing outside itself.
    #[error("the record is not a valid binary property list")]
    Malformed,
    /// The record is longer than [`MbFile::MAX_LEN`].
    #[error("the record is {len} bytes long; the limit is {}", MbFile::MAX_LEN)]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// A key without which there is no record is missing.
    #[error("the record lacks `{key}`")]
    Missing {
        /// The key.
        key: &'static str,
    },
    /// A key holds another type than it should.
    #[error("the record's `{key}` has an unexpected type")]
    Type {
        /// The key.
        key: &'static str,
    },
    /// A number is outside what the key can mean.
    #[error("the record's `{key}` is out of range")]
    Range {
        /// The key.
        key: &'static str,
    },
    /// Text is not valid Unicode.
    #[error("the record's `{key}` is not valid text")]
    Text {
        /// The key.
        key: &'static str,
    },
}

impl From<Malformed> for MbFileError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// Steps from a key to its value: an archive needs one, programs that wrap `NS.data` again need two.
const MAX_STEPS: usize = 4;

/// Seconds from 1970 to 2001, where dates of property lists start.
const EPOCH_2001: f64 = 978_307_200.0;

impl<'a> MbFile<'a> {
    /// The longest record that is read, in bytes. Real ones have 400 to 2,000, plus extended attributes.
    pub const MAX_LEN: usize = 64 << 20;

    /// Decodes one record without building a tree; below a microsecond for records of the usual size.
    ///
    /// References are followed from `$top.root`, never by position. Any key but `RelativePath` and `Size` may be
    /// missing, unknown keys are skipped, integers may have any width, times may be dates.
    ///
    /// # Errors
    /// [`MbFileError`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, MbFileError> {
        if bytes.len() > Self::MAX_LEN {
            return Err(MbFileError::TooLong { len: bytes.len() });
        }
        let archive = Archive::open(bytes)?;
        let (keys, values) = archive.root()?;
        let mut file = Partial::default();
        for (key, value) in keys.iter().zip(values.iter()) {
            let Some(key) = archive.list.ascii(key)? else {
                continue;
            };
            file.set(&archive, key, value)?;
        }
        let mut record = file.record;
        record.relative_path = file.path.ok_or(MbFileError::Missing { key: "RelativePath" })?;
        record.size = file.size.ok_or(MbFileError::Missing { key: "Size" })?;
        Ok(record)
    }

    /// [`encryption_key`](MbFile::encryption_key) in its two parts; `None` if there is none or its length is wrong.
    #[must_use]
    pub fn wrapped_key(&self) -> Option<WrappedKey> {
        WrappedKey::parse(self.encryption_key?)
    }
}

/// A record under construction.
struct Partial<'a> {
    record: MbFile<'a>,
    path: Option<Cow<'a, str>>,
    size: Option<u64>,
}

impl Default for Partial<'_> {
    fn default() -> Self {
        let record = MbFile {
            relative_path: Cow::Borrowed(""),
            size: 0,
            mode: 0,
            flags: 0,
            user_id: 0,
            group_id: 0,
            inode: 0,
            last_modified: None,
            last_status_change: None,
            birth: None,
            protection_class: 0,
            target: None,
            encryption_key: None,
            digest: None,
            extended_attributes: None,
        };
        Self {
            record,
            path: None,
            size: None,
        }
    }
}

impl<'a> Partial<'a> {
    #[inline]
    fn set(&mut self, archive: &Archive<'a>, key: &[u8], value: u64) -> Result<(), MbFileError> {
        let record = &mut self.record;
        match key {
            b"RelativePath" => self.path = archive.text(value, "RelativePath")?,
            b"Size" => self.size = Some(archive.number(value, "Size")?),
            b"Mode" => record.mode = archive.number(value, "Mode")?,
            b"Flags" => record.flags = archive.number(value, "Flags")?,
            b"UserID" => record.user_id = archive.number(value, "UserID")?,
            b"GroupID" => record.group_id = archive.number(value, "GroupID")?,
            b"InodeNumber" => record.inode = archive.number(value, "InodeNumber")?,
            b"LastModified" => record.last_modified = Some(archive.time(value, "LastModified")?),
            b"LastStatusChange" => record.last_status_change = Some(archive.time(value, "LastStatusChange")?),
            b"Birth" => record.birth = Some(archive.time(value, "Birth")?),
            b"ProtectionClass" => record.protection_class = archive.number(value, "ProtectionClass")?,
            b"Target" => record.target = archive.text(value, "Target")?,
            b"EncryptionKey" => record.encryption_key = archive.data(value, "EncryptionKey")?,
            b"Digest" => record.digest = archive.data(value, "Digest")?,
            b"ExtendedAttributes" => record.extended_attributes = archive.data(value, "ExtendedAttributes")?,
            _ => {}
        }
        Ok(())
    }
}

/// The parts of a keyed archive that lead to values.
struct Archive<'a> {
    list: Bplist<'a>,
    /// `$objects`.
    objects: Refs<'a>,
    root: u64,
}

impl<'a> Archive<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, MbFileError> {
        let list = Bplist::parse(bytes)?;
        let Object::Dict { keys, values } = list.top()? else {
            return Err(MbFileError::Malformed);
        };
        let (mut objects, mut root) = (None, None);
        for (key, value) in keys.iter().zip(values.iter()) {
            match list.object(key)? {
                Object::Ascii(b"$objects") => match list.object(value)? {
                    Object::Array(refs) => objects = Some(refs),
                    _ => return Err(MbFileError::Type { key: "$objects" }),
                },
                Object::Ascii(b"$top") => match list.object(value)? {
                    Object::Dict { keys, values } => root = entry(&list, keys, values, b"root")?,
                    _ => return Err(MbFileError::Type { key: "$top" }),
                },
                _ => {}
            }
        }
        Ok(Self {
            list,
            objects: objects.ok_or(MbFileError::Missing { key: "$objects" })?,
            root: root.ok_or(MbFileError::Missing { key: "root" })?,
        })
    }

    fn root(&self) -> Result<(Refs<'a>, Refs<'a>), MbFileError> {
        match self.resolve(self.root)? {
            Some(Object::Dict { keys, values }) => Ok((keys, values)),
            _ => Err(MbFileError::Type { key: "root" }),
        }
    }

    /// The object behind a reference, through the UIDs of the archive; `None` for its `$null`.
    #[inline]
    fn resolve(&self, reference: u64) -> Result<Option<Object<'a>>, MbFileError> {
        let mut object = self.list.object(reference)?;
        for _ in 0..MAX_STEPS {
            let Object::Uid(uid) = object else {
                return Ok(Some(object));
            };
            object = self.list.object(self.objects.get(uid).ok_or(Malformed)?)?;
            if uid == 0 && object == Object::Ascii(b"$null") {
                return Ok(None);
            }
        }
        Err(MbFileError::Malformed)
    }

    #[inline]
    fn number<T: TryFrom<i128>>(&self, value: u64, key: &'static str) -> Result<T, MbFileError> {
        // In place in what devices write, so looked at without the way through UIDs.
        let object = match self.list.object(value)? {
            Object::Uid(_) => self.resolve(value)?,
            object => Some(object),
        };
        match object {
            Some(Object::Integer(number)) => T::try_from(number).map_err(|_| MbFileError::Range { key }),
            _ => Err(MbFileError::Type { key }),
        }
    }

    #[inline]
    fn time(&self, value: u64, key: &'static str) -> Result<i64, MbFileError> {
        match self.resolve(value)? {
            Some(Object::Integer(number)) => i64::try_from(number).map_err(|_| MbFileError::Range { key }),
            Some(Object::Date(seconds)) => whole_seconds(seconds + EPOCH_2001).ok_or(MbFileError::Range { key }),
            Some(Object::Real(seconds)) => whole_seconds(seconds).ok_or(MbFileError::Range { key }),
            _ => Err(MbFileError::Type { key }),
        }
    }

    #[inline]
    fn text(&self, value: u64, key: &'static str) -> Result<Option<Cow<'a, str>>, MbFileError> {
        let wrong = MbFileError::Text { key };
        match self.resolve(value)? {
            Some(Object::Ascii(bytes)) => Ok(Some(Cow::Borrowed(str::from_utf8(bytes).map_err(|_| wrong)?))),
            Some(Object::Utf16(bytes)) => {
                let (units, _) = bytes.as_chunks::<2>();
                let units = units.iter().map(|unit| u16::from_be_bytes(*unit));
                let text: Result<String, _> = char::decode_utf16(units).collect();
                Ok(Some(Cow::Owned(text.map_err(|_| wrong)?)))
            }
            Some(_) => Err(MbFileError::Type { key }),
            None => Ok(None),
        }
    }

    /// Data as it is, or inside an object with `NS.data`.
    fn data(&self, value: u64, key: &'static str) -> Result<Option<&'a [u8]>, MbFileError> {
        let mut object = self.resolve(value)?;
        for _ in 0..MAX_STEPS {
            match object {
                Some(Object::Data(bytes)) => return Ok(Some(bytes)),
                Some(Object::Dict { keys, values }) => {
                    let inner = entry(&self.list, keys, values, b"NS.data")?;
                    object = self.resolve(inner.ok_or(MbFileError::Type { key })?)?;
                }
                Some(_) => break,
                None => return Ok(None),
            }
        }
        Err(MbFileError::Type { key })
    }
}

/// The value reference of a key in a dictionary.
fn entry(list: &Bplist<'_>, keys: Refs<'_>, values: Refs<'_>, wanted: &[u8]) -> Result<Option<u64>, Malformed> {
    for (key, value) in keys.iter().zip(values.iter()) {
        if list.ascii(key)? == Some(wanted) {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// Rounded down; `None` outside some 290 thousand million years, where no whole second is meant any more.
fn whole_seconds(seconds: f64) -> Option<i64> {
    let whole = seconds.floor();
    #[expect(clippy::cast_possible_truncation, reason = "whole and far inside i64")]
    (whole.abs() < 9e15).then_some(whole as i64)
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "test code")]
mod tests;
