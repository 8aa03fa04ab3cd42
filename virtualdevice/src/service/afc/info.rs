//! Information lists: about a path, about the file system.

use cabled_afc::msg::InfoList;

use super::root::Place;
use super::{AfcQuirks, Root};
use crate::fs::{Entry, Kind};
use crate::phone::Phone;

/// The block size of the phone's file system, in bytes.
const BLOCK: u64 = 4096;
/// Of which `st_blocks` counts so many bytes each.
const STAT_BLOCK: u64 = 512;

/// The six keys every path has, and where a link leads. In the order of a real device (afc 7).
pub(super) fn of_entry(phone: &Phone, root: &Root, place: &Place, entry: &Entry, quirks: &AfcQuirks) -> InfoList {
    let mut info = InfoList::default();
    let (size, blocks, links, kind) = match &entry.kind {
        Kind::File(content) => {
            let blocks = content.len().div_ceil(BLOCK).saturating_mul(BLOCK / STAT_BLOCK);
            (content.len(), blocks, phone.fs().link_count(entry) as u64, "S_IFREG")
        }
        Kind::Directory => {
            // APFS: 32 bytes and a link for each name, `.` and `..` among them; an empty folder has 64 and 2.
            let names = root
                .names(phone.fs(), place)
                .map_or(0, |names| names.len() as u64)
                .saturating_add(2);
            (names.saturating_mul(32), 0, names, "S_IFDIR")
        }
        Kind::Symlink(target) => (target.len() as u64, 0, phone.fs().link_count(entry) as u64, "S_IFLNK"),
    };
    info.push("st_size", &size.to_string());
    info.push("st_blocks", &blocks.to_string());
    info.push("st_nlink", &links.to_string());
    info.push("st_ifmt", kind);
    if let Some(target) = entry.link_target() {
        info.push(&quirks.link_target_key, target);
    }
    info.push("st_mtime", &entry.meta.mtime.to_string());
    if quirks.birthtime {
        info.push("st_birthtime", &entry.meta.btime.to_string());
    }
    info
}

/// The four keys about the file system.
pub(super) fn of_device(phone: &Phone) -> InfoList {
    let mut info = InfoList::default();
    info.push("Model", &phone.profile().model.product_type);
    info.push("FSTotalBytes", &phone.fs().total_bytes().to_string());
    info.push("FSFreeBytes", &phone.fs().free_bytes().to_string());
    info.push("FSBlockSize", &BLOCK.to_string());
    info
}
