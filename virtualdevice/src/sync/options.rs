//! How the phone's sync agent behaves where devices differ, and what goes wrong on purpose.

use std::collections::BTreeMap;
use std::time::Duration;

use cabled_syncproto::DataClass;
use cabled_syncproto::msg::SyncType;

/// How the sync agent behaves; the defaults are those of a current phone. Spec: mobilesync, section 11.2.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SyncOptions {
    /// Link version that is announced: 300.100 suits all clients since 2013, iOS 14 and later say 400.100.
    pub link_version: (u64, u64),
    /// How long another sync, backup or migration holds the device back. From 60 s on the link is ended instead.
    pub busy: Duration,
    /// How long something else holds the lock of a class that wants one. From 30 s on the class is refused.
    pub lock_held: Duration,
    /// The phone is shared by several users and refuses everything.
    pub shared_device: bool,
    /// Versions of classes where they are not the usual ones.
    pub versions: BTreeMap<DataClass, i64>,
    /// Classes that have no store. Default: notes, as from iOS 11 on.
    pub no_store: Vec<DataClass>,
    /// A class that was refused is served nevertheless, as one user of iOS 14.6 saw it.
    pub serves_after_refusal: bool,
    /// Bytes of pictures after which a batch of contacts is cut.
    pub image_batch: usize,
    /// The largest picture that is kept, in bytes; larger ones are ignored.
    pub image_limit: usize,
    /// Records of one message are applied children first: for hosts that count on an order.
    pub children_first: bool,
    /// What a computer wrote is reported back as a change in the next fast session.
    pub echoes_writes: bool,
    /// Rows of deleted records are given out again.
    pub reuses_rows: bool,
    /// A batch with nothing in it is told as an empty dictionary, not as an absent parameter.
    pub empty_dictionaries: bool,
    /// Updates and deletions that are dropped without a word before one is taken; `u32::MAX` drops all.
    pub drops: u32,
    /// Texts that are rewritten on the way in: upper case, as an unknown rewriting of the device would be.
    pub shouts: bool,
}

impl Default for SyncOptions {
    fn default() -> Self {
        Self {
            link_version: (300, 100),
            busy: Duration::ZERO,
            lock_held: Duration::ZERO,
            shared_device: false,
            versions: BTreeMap::new(),
            no_store: vec![DataClass::Notes],
            serves_after_refusal: false,
            image_batch: 4_000_000,
            image_limit: 768_000,
            children_first: false,
            echoes_writes: false,
            reuses_rows: false,
            empty_dictionaries: false,
            drops: 0,
            shouts: false,
        }
    }
}

impl SyncOptions {
    /// The phone's version of a class.
    pub(super) fn version(&self, class: &DataClass) -> i64 {
        self.versions.get(class).copied().unwrap_or_else(|| class.version())
    }

    /// The oldest version of a computer that the class accepts.
    pub(super) fn floor(class: &DataClass) -> i64 {
        match class {
            DataClass::Contacts | DataClass::Calendars => 103,
            _ => 102,
        }
    }
}

/// Something that goes wrong once, at a message. Spec: mobilesync, section 11.3.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyncFault {
    /// The link breaks when this request has come, before anything is done about it.
    CloseOnReceipt {
        /// Name of the computer's message, such as `SDMessageFinishSessionOnDevice`.
        request: String,
    },
    /// The link breaks in place of this answer; what was asked for is done.
    CloseBefore {
        /// Name of the phone's message, such as `SDMessageDeviceFinishedSession`.
        answer: String,
    },
    /// The link breaks after this answer.
    CloseAfter {
        /// Name of the phone's message.
        answer: String,
    },
    /// The phone says goodbye in place of this answer.
    Disconnect {
        /// Name of the phone's message.
        answer: String,
        /// What it says.
        reason: String,
    },
    /// The phone gives the session up when this request has come.
    Cancel {
        /// Name of the computer's message.
        request: String,
        /// What it says.
        reason: String,
    },
    /// The phone takes its time.
    Delay {
        /// Name of the phone's message.
        answer: String,
        /// How long.
        lasting: Duration,
    },
    /// The next identifiers are told without the first one.
    OmitRemap,
    /// The next identifiers are not told at all.
    NoRemap,
    /// The next identifiers have one for a record that nobody sent.
    StrayRemap,
    /// The last batch of the next pull says that more will come.
    PromiseMore,
    /// The next opening says a sync type that is not the right one.
    SayType {
        /// What it says.
        sync_type: SyncType,
    },
}
