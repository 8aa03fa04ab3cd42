//! Writing the `file` column of `Manifest.db` as devices write it (spec backup-format, 5.3).

use std::borrow::Cow;

use crate::archive::mbfile::MbFile;

impl MbFile<'_> {
    /// The record as a keyed archive, byte for byte as a device writes it: the order of the objects and of the keys,
    /// shared numbers and class objects included.
    ///
    /// Times that are `None` are left out; a device writes all three.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut list = List::default();
        let top = list.reserve();
        let keys = ["$version", "$archiver", "$top", "$objects"].map(|key| list.ascii(key));
        let version = list.integer(Width::Version, 100_000);
        let archiver = list.ascii("NSKeyedArchiver");
        let root = list.reserve();
        let root_key = list.ascii("root");
        let root_uid = list.push(Object::Uid(1));
        list.set(root, Object::Dict(vec![root_key], vec![root_uid]));
        let objects = list.reserve();
        let values = self.objects(&mut list);
        list.set(objects, Object::Array(values));
        list.set(top, Object::Dict(keys.into(), vec![version, archiver, root, objects]));
        list.write()
    }

    /// Everything in `$objects`.
    fn objects<'a>(&'a self, list: &mut List<'a>) -> Vec<usize> {
        let mut objects = vec![list.ascii("$null")];
        let (fields, uids) = self.fields();
        let file = list.reserve();
        objects.push(file);
        let keys: Vec<usize> = fields.iter().map(|(key, _)| list.ascii(key)).collect();
        let class_key = fields.iter().zip(&keys).find(|((key, _), _)| *key == "$class");
        let class_key = class_key.map_or(0, |(_, index)| *index);
        let values = fields.iter().map(|(_, value)| match value {
            Field::Short(number) => list.integer(Width::Short, *number),
            Field::Long(number) => list.integer(Width::Long, *number),
            Field::Uid(uid) => list.push(Object::Uid(*uid)),
        });
        let values = values.collect();
        list.set(file, Object::Dict(keys, values));

        objects.push(list.text(&self.relative_path));
        objects.extend(self.digest.map(|digest| list.push(Object::Data(digest))));
        objects.extend(self.target.as_ref().map(|target| list.text(target)));
        let mut class = None;
        if let Some(key) = self.encryption_key {
            let holder = list.reserve();
            let data_key = list.ascii("NS.data");
            let data = list.push(Object::Data(key));
            let uid = list.push(Object::Uid(uids.data_class));
            list.set(holder, Object::Dict(vec![data_key, class_key], vec![data, uid]));
            objects.push(holder);

            let about = list.reserve();
            let keys = ["$classname", "$classes"].map(|key| list.ascii(key));
            let name = list.ascii("NSMutableData");
            let classes = list.reserve();
            let parents = ["NSMutableData", "NSData", "NSObject"].map(|name| list.ascii(name));
            let [.., base] = parents;
            list.set(classes, Object::Array(parents.into()));
            list.set(about, Object::Dict(keys.into(), vec![name, classes]));
            objects.push(about);
            class = Some((keys, base));
        }
        objects.extend(self.extended_attributes.map(|data| list.push(Object::Data(data))));

        let about = list.reserve();
        let keys = class.map_or_else(
            || ["$classname", "$classes"].map(|key| list.ascii(key)),
            |(keys, _)| keys,
        );
        let name = list.ascii("MBFile");
        let classes = list.reserve();
        let base = class.map_or_else(|| list.ascii("NSObject"), |(_, base)| base);
        list.set(classes, Object::Array(vec![name, base]));
        list.set(about, Object::Dict(keys.into(), vec![name, classes]));
        objects.push(about);
        objects
    }

    /// The keys of the record and their values, in the order in which devices write them: that of a hash table, so it
    /// depends on which of the optional keys there are.
    fn fields(&self) -> (Vec<(&'static str, Field)>, Uids) {
        let uids = self.uids();
        let short = |number: i64| Field::Short(number.into());
        let long = |number: i64| Field::Long(number.into());
        let (digest, key) = (self.digest.is_some(), self.encryption_key.is_some());
        let class = ("ProtectionClass", Field::Short(self.protection_class.into()));
        let inode = ("InodeNumber", Field::Long(self.inode.into()));
        let attributes = uids.attributes.map(|uid| ("ExtendedAttributes", Field::Uid(uid)));
        let mut fields = Vec::with_capacity(16);
        fields.extend(self.last_modified.map(|time| ("LastModified", long(time))));
        fields.extend(digest.then_some(class));
        fields.push(("Flags", short(self.flags)));
        fields.extend(attributes.filter(|_| !digest));
        fields.push(("GroupID", short(self.group_id)));
        fields.extend(attributes.filter(|_| digest));
        fields.extend(uids.target.map(|uid| ("Target", Field::Uid(uid))));
        fields.push(("$class", Field::Uid(uids.class)));
        fields.extend(self.last_status_change.map(|time| ("LastStatusChange", long(time))));
        fields.push(("RelativePath", Field::Uid(2)));
        fields.extend(self.birth.map(|time| ("Birth", long(time))));
        fields.extend(uids.key.map(|uid| ("EncryptionKey", Field::Uid(uid))));
        fields.push(("Size", Field::Long(self.size.into())));
        fields.extend((!key).then_some(inode));
        fields.push(("Mode", Field::Short(self.mode.into())));
        fields.push(("UserID", short(self.user_id)));
        fields.extend(uids.digest.map(|uid| ("Digest", Field::Uid(uid))));
        fields.extend(key.then_some(inode));
        fields.extend((!digest).then_some(class));
        (fields, uids)
    }

    /// Places in `$objects`, in Apple's order: each class object after what uses it first.
    fn uids(&self) -> Uids {
        // 0 is `$null`, 1 the record, 2 its path.
        let mut next = 3_u8;
        let mut take = |is_there: bool| {
            let uid = next;
            next = next.saturating_add(u8::from(is_there));
            is_there.then_some(uid)
        };
        let digest = take(self.digest.is_some());
        let target = take(self.target.is_some());
        let key = take(self.encryption_key.is_some());
        let data_class = take(key.is_some()).unwrap_or_default();
        let attributes = take(self.extended_attributes.is_some());
        Uids {
            digest,
            target,
            key,
            data_class,
            attributes,
            class: next,
        }
    }
}

struct Uids {
    digest: Option<u8>,
    target: Option<u8>,
    key: Option<u8>,
    data_class: u8,
    attributes: Option<u8>,
    class: u8,
}

#[derive(Clone, Copy)]
enum Field {
    Short(i128),
    Long(i128),
    Uid(u8),
}

/// Which width a device's program holds a number in. It does not show in the bytes, but equal numbers are one object
/// only within a width.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Width {
    Version,
    Short,
    Long,
}

enum Object<'a> {
    /// A container whose children come first.
    Reserved,
    Integer(Width, i128),
    Uid(u8),
    Ascii(Cow<'a, str>),
    Utf16(&'a str),
    Data(&'a [u8]),
    Dict(Vec<usize>, Vec<usize>),
    Array(Vec<usize>),
}

/// A binary property list under construction. Equal numbers of a width are one object, as on a device; a record has fewer than
/// 128 objects, so that a reference is one byte.
#[derive(Default)]
struct List<'a> {
    objects: Vec<Object<'a>>,
}

impl<'a> List<'a> {
    fn push(&mut self, object: Object<'a>) -> usize {
        let index = self.objects.len();
        self.objects.push(object);
        index
    }

    fn reserve(&mut self) -> usize {
        self.push(Object::Reserved)
    }

    fn set(&mut self, index: usize, object: Object<'a>) {
        if let Some(place) = self.objects.get_mut(index) {
            *place = object;
        }
    }

    fn ascii(&mut self, text: &'static str) -> usize {
        self.push(Object::Ascii(Cow::Borrowed(text)))
    }

    fn text(&mut self, text: &'a str) -> usize {
        let object = if text.is_ascii() {
            Object::Ascii(Cow::Borrowed(text))
        } else {
            Object::Utf16(text)
        };
        self.push(object)
    }

    fn integer(&mut self, width: Width, number: i128) -> usize {
        let same = |object: &Object<'_>| matches!(object, Object::Integer(w, n) if (*w, *n) == (width, number));
        match self.objects.iter().position(same) {
            Some(index) => index,
            None => self.push(Object::Integer(width, number)),
        }
    }

    fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        out.extend_from_slice(b"bplist00");
        let mut offsets = Vec::with_capacity(self.objects.len());
        for object in &self.objects {
            offsets.push(out.len());
            write_object(&mut out, object);
        }
        let table = out.len();
        let width = match table {
            0..=0xff => 1,
            0x100..=0xffff => 2,
            0x1_0000..=0xffff_ffff => 4,
            _ => 8_usize,
        };
        for offset in &offsets {
            let bytes = (*offset as u64).to_be_bytes();
            out.extend(bytes.iter().skip(8_usize.saturating_sub(width)));
        }
        // Five bytes unused, a sort version, the two widths, three counts.
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(&[u8::try_from(width).unwrap_or(8), 1]);
        out.extend_from_slice(&(offsets.len() as u64).to_be_bytes());
        out.extend_from_slice(&0_u64.to_be_bytes());
        out.extend_from_slice(&(table as u64).to_be_bytes());
        out
    }
}

fn write_object(out: &mut Vec<u8>, object: &Object<'_>) {
    let refs = |out: &mut Vec<u8>, refs: &[usize]| out.extend(refs.iter().map(|r| u8::try_from(*r).unwrap_or(u8::MAX)));
    match object {
        Object::Reserved => out.push(0),
        Object::Integer(_, number) => write_integer(out, *number),
        Object::Uid(uid) => out.extend_from_slice(&[0x80, *uid]),
        Object::Ascii(text) => {
            write_marker(out, 0x50, text.len());
            out.extend_from_slice(text.as_bytes());
        }
        Object::Utf16(text) => {
            write_marker(out, 0x60, text.encode_utf16().count());
            text.encode_utf16().for_each(|unit| out.extend(unit.to_be_bytes()));
        }
        Object::Data(data) => {
            write_marker(out, 0x40, data.len());
            out.extend_from_slice(data);
        }
        Object::Dict(keys, values) => {
            write_marker(out, 0xd0, keys.len());
            refs(out, keys);
            refs(out, values);
        }
        Object::Array(items) => {
            write_marker(out, 0xa0, items.len());
            refs(out, items);
        }
    }
}

fn write_marker(out: &mut Vec<u8>, kind: u8, len: usize) {
    match u8::try_from(len) {
        Ok(len @ 0..=14) => out.push(kind | len),
        _ => {
            out.push(kind | 0xf);
            write_integer(out, len as i128);
        }
    }
}

/// Unsigned in 1, 2 or 4 bytes; negative and larger numbers signed in 8, and in 16 above those.
fn write_integer(out: &mut Vec<u8>, number: i128) {
    if let Ok(number) = u8::try_from(number) {
        out.extend_from_slice(&[0x10, number]);
    } else if let Ok(number) = u16::try_from(number) {
        out.push(0x11);
        out.extend_from_slice(&number.to_be_bytes());
    } else if let Ok(number) = u32::try_from(number) {
        out.push(0x12);
        out.extend_from_slice(&number.to_be_bytes());
    } else if let Ok(number) = i64::try_from(number) {
        out.push(0x13);
        out.extend_from_slice(&number.to_be_bytes());
    } else {
        out.push(0x14);
        out.extend_from_slice(&number.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::archive::golden::{self, bytes};

    fn assert_same(stored: &[u8], what: &str) {
        let record = MbFile::decode(stored).unwrap();
        let written = record.encode();
        assert_eq!(hex::encode(&written), hex::encode(stored), "{what}");
    }

    #[test]
    fn records_written_by_a_device_are_written_again_byte_for_byte() {
        let path = golden::folder().join("greatvovan/Manifest.db");
        let uri = format!("file:{}?mode=ro&immutable=1", path.display());
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_URI;
        let db = rusqlite::Connection::open_with_flags(uri, flags).unwrap();
        let mut query = db.prepare("SELECT relativePath, file FROM Files").unwrap();
        let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?)));
        let rows: Vec<_> = rows.unwrap().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 6);
        for (path, record) in rows {
            assert_same(&record, &path);
        }
    }

    /// Every shape of record: digest, attributes, links, keys. Not in this repository for its licence.
    #[test]
    fn every_shape_of_record_is_written_again_byte_for_byte_where_the_rows_are_at_hand() {
        for row in golden::rows_of_a_real_device().into_iter().flatten() {
            assert_same(&bytes(&row["file"]), row["relativePath"].as_str().unwrap());
        }
    }

    #[test]
    fn known_records_say_the_same_after_they_are_written_again() {
        for case in golden::vectors()["mbfile"].as_array().unwrap() {
            let stored = bytes(&case["blob"]);
            let record = MbFile::decode(&stored).unwrap();
            let written = record.encode();
            assert_eq!(MbFile::decode(&written).unwrap(), record, "{}", case["name"]);
        }
    }

    fn records() -> impl Strategy<Value = MbFile<'static>> {
        let data = |len| proptest::option::of(proptest::collection::vec(any::<u8>(), len));
        let numbers = (
            any::<u64>(),
            any::<u32>(),
            any::<i64>(),
            any::<i64>(),
            any::<i64>(),
            any::<u64>(),
        );
        let times = (any::<Option<i64>>(), any::<Option<i64>>(), any::<Option<i64>>());
        let rest = (
            any::<u32>(),
            any::<Option<String>>(),
            data(0..70),
            data(0..30),
            data(0..300),
        );
        (".{0,40}", numbers, times, rest).prop_map(|(path, numbers, times, rest)| MbFile {
            relative_path: path.into(),
            size: numbers.0,
            mode: numbers.1,
            flags: numbers.2,
            user_id: numbers.3,
            group_id: numbers.4,
            inode: numbers.5,
            last_modified: times.0,
            last_status_change: times.1,
            birth: times.2,
            protection_class: rest.0,
            target: rest.1.map(Into::into),
            encryption_key: rest.2.map(leak),
            digest: rest.3.map(leak),
            extended_attributes: rest.4.map(leak),
        })
    }

    fn leak(bytes: Vec<u8>) -> &'static [u8] {
        Box::leak(bytes.into_boxed_slice())
    }

    proptest! {
        #[test]
        fn any_record_survives_a_round_trip(record in records()) {
            let written = record.encode();
            prop_assert_eq!(MbFile::decode(&written), Ok(record));
        }
    }
}
