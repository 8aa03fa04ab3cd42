use std::time::Duration;

/// What this phone's AFC does in its own way, or is told to do to test a host.
///
/// The defaults are those of a well-behaved current device. Made with [`AfcQuirks::default`] and changed field by field.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AfcQuirks {
    /// The most bytes one read gives, however many are asked for; `None`, the default, gives what is asked.
    pub max_read: Option<u64>,
    /// Reads and writes above this many bytes are refused with code 13; `None`, the default, takes any.
    pub max_request: Option<u64>,
    /// The order of answers to requests that came together.
    pub reply_order: ReplyOrder,
    /// How long each answer is held back. Default zero.
    pub delay: Duration,
    /// Done is said by an empty DATA packet instead of a STATUS. Default false.
    pub data_for_status: bool,
    /// Listings begin with `.` and `..`. Default true.
    pub dots_in_listing: bool,
    /// Whether information has `st_birthtime`. Default true; absent before iOS 7.
    pub birthtime: bool,
    /// The key of a link's target. Default `LinkTarget`; two clients look for `st_link_target` and `st_linktarget`.
    pub link_target_key: String,
    /// Whether a tree can be removed in one operation. Default true; absent before iOS 6.
    pub removes_contents: bool,
    /// Files that may be open on one connection; the next is refused with code 3. The real number is not known;
    /// default 128.
    pub max_open_files: usize,
    /// Whether a rename replaces an existing file, which no device test covers. Default true; otherwise code 16.
    pub rename_replaces: bool,
}

/// The order of answers to requests that came together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplyOrder {
    /// As the requests came: what every device was seen to do.
    InOrder,
    /// Up to this many answers are held back, and sent last one first as soon as there are that many, or nothing has
    /// been asked for 20 ms.
    Reversed(usize),
}

impl Default for AfcQuirks {
    fn default() -> Self {
        Self {
            max_read: None,
            max_request: None,
            reply_order: ReplyOrder::InOrder,
            delay: Duration::ZERO,
            data_for_status: false,
            dots_in_listing: true,
            birthtime: true,
            link_target_key: "LinkTarget".to_owned(),
            removes_contents: true,
            max_open_files: 128,
            rename_replaces: true,
        }
    }
}
