//! What the sync agent answers to each message. No I/O: a driver reads, writes and waits.

use std::collections::BTreeMap;
use std::time::Duration;

use cabled_syncproto::DataClass;
use cabled_syncproto::msg::{Message, NO_ANCHOR, SyncType};
use cabled_syncproto::record::{Changes, RecordId};
use cabled_wire::plist::Value;

use super::options::{SyncFault, SyncOptions};
use super::pull::Pull;
use super::session::Session;
use super::store::{ClassStore, SyncState};
use crate::phone::Phone;

/// A computer's anchor that stands for a class that was cleared; never told back.
const CLEARED: &str = "---DATACLASS_CLEARED---";
/// How long the agent tries to get a class's lock.
const LOCK_TRIES: Duration = Duration::from_secs(30);

/// What the driver has to do.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    Say(Message),
    Wait(Duration),
    /// Post a notification on the phone.
    Notify(String),
    /// Say goodbye with a reason, and end.
    Disconnect(String),
}

/// One connection's end of the exchange.
#[derive(Debug)]
pub(super) struct Agent {
    phone: Phone,
    state: SyncState,
    open: Option<Session>,
}

impl Agent {
    pub(super) fn new(phone: Phone) -> Self {
        let state = phone.sync().clone();
        Self {
            phone,
            state,
            open: None,
        }
    }

    /// The link ended: nothing of an open class is kept.
    pub(super) fn handle_end(&mut self) {
        self.open = None;
    }

    /// Answers a message.
    pub(super) fn handle(&mut self, message: Message) -> Vec<Step> {
        let Some(class) = message.class().cloned() else {
            self.open = None;
            return vec![Step::Disconnect(format!("unknown message {}", message.name()))];
        };
        let name = message.name().to_owned();
        let cancels = |fault: &SyncFault| matches!(fault, SyncFault::Cancel { request, .. } if *request == name);
        if let Some(SyncFault::Cancel { reason, .. }) = self.state.take_fault(cancels) {
            self.open = None;
            return vec![Step::Say(Message::Cancel { class, reason })];
        }
        match message {
            Message::Start {
                device_anchor,
                computer_anchor,
                version,
                ..
            } => self.start(class, device_anchor, computer_anchor, version),
            Message::Cancel { .. } => {
                self.open = None;
                Vec::new()
            }
            // A finish of a class that is not open is answered as usual: some clients send one.
            Message::Finish { .. } => vec![Step::Say(self.finish(class))],
            message => {
                if self.open.as_ref().is_none_or(|open| open.class != class) && !self.reopened(&class) {
                    let reason = "no such class is open".to_owned();
                    return vec![Step::Say(Message::Cancel { class, reason })];
                }
                self.within(class, message)
            }
        }
    }

    fn start(
        &mut self,
        class: DataClass,
        device_anchor: Option<String>,
        computer_anchor: String,
        version: i64,
    ) -> Vec<Step> {
        // A second start closes the class before with nothing kept.
        self.open = None;
        let options = self.state.options();
        if let Some(reason) = self.refusal(&class, version, &options) {
            return vec![Step::Say(Message::Refused { class, reason })];
        }
        let mut steps = Vec::new();
        if matches!(class, DataClass::Bookmarks | DataClass::MailAccounts) && !options.lock_held.is_zero() {
            steps.push(Step::Notify(format!("{}.LockRequest", class.id())));
            steps.push(Step::Wait(options.lock_held.min(LOCK_TRIES)));
            if options.lock_held >= LOCK_TRIES {
                let reason = "Timed out while locking the data class".to_owned();
                steps.push(Step::Say(Message::Refused { class, reason }));
                return steps;
            }
        }
        steps.push(Step::Say(self.open(
            class,
            device_anchor,
            computer_anchor,
            version,
            &options,
        )));
        steps
    }

    /// Why the class is not opened, in the order of the agent's checks.
    fn refusal(&self, class: &DataClass, version: i64, options: &SyncOptions) -> Option<String> {
        if options.shared_device {
            return Some("Syncing is disabled on this shared device".to_owned());
        }
        let value = |domain: &str| self.phone.value(Some(domain), class.data_type());
        let sources = |value: &Value| {
            let sources = value.as_dictionary()?.get("Sources")?.as_array()?;
            (!sources.is_empty()).then_some(())
        };
        if *class == DataClass::Bookmarks && value("com.apple.mobile.data_sync").as_ref().and_then(sources).is_some() {
            return Some("Data class is disabled for tethered syncing on the device".to_owned());
        }
        let disabled = |value: &Value| {
            let flag = value.as_dictionary()?.get("DisableTethered")?;
            Some(
                flag.as_boolean()
                    .unwrap_or_else(|| flag.as_unsigned_integer() == Some(1)),
            )
        };
        if value("com.apple.mobile.tethered_sync").as_ref().and_then(disabled) == Some(true) {
            return Some("Data class is disabled for tethered syncing on the device".to_owned());
        }
        if matches!(class, DataClass::Other(_)) || options.no_store.contains(class) {
            return Some("No Data Store available for data class".to_owned());
        }
        let accepted = version == -1 || version >= options.version(class) || version >= SyncOptions::floor(class);
        (!accepted).then(|| "Your computer's software is out of date. Please update and try again!".to_owned())
    }

    fn open(
        &mut self,
        class: DataClass,
        device_anchor: Option<String>,
        computer_anchor: String,
        version: i64,
        options: &SyncOptions,
    ) -> Message {
        let said = self
            .state
            .take_fault(|fault| matches!(fault, SyncFault::SayType { .. }));
        let mut inner = self.state.lock();
        inner.anchors = inner.anchors.saturating_add(1);
        let next = next_anchor(&class, inner.anchors);
        let store = inner.classes.entry(class.clone()).or_default();
        let sync_type = match said {
            Some(SyncFault::SayType { sync_type }) => sync_type,
            _ => sync_type(&class, store, device_anchor.as_deref(), options),
        };
        let last = store
            .computer_anchor
            .clone()
            .filter(|anchor| anchor != CLEARED && anchor != NO_ANCHOR);
        let last = match class {
            DataClass::Bookmarks => last.or_else(|| Some("Unknown-Bookmarks-Anchor".to_owned())),
            _ => last,
        };
        let session = Session::new(class.clone(), store, computer_anchor, next.clone(), version);
        self.open = Some(session);
        Message::Started {
            version: Some(options.version(&class)),
            class,
            computer_anchor: last,
            device_anchor: Some(next),
            sync_type,
        }
    }

    /// Whether the class is served although it was refused, as one device was seen to do.
    fn reopened(&mut self, class: &DataClass) -> bool {
        let options = self.state.options();
        if options.serves_after_refusal {
            self.open(class.clone(), None, String::new(), class.version(), &options);
        }
        options.serves_after_refusal
    }

    /// A message for the open class.
    fn within(&mut self, class: DataClass, message: Message) -> Vec<Step> {
        let mut inner = self.state.lock();
        let Some(open) = &mut self.open else { return Vec::new() };
        let store = inner.classes.entry(class.clone()).or_default();
        match message {
            Message::GetAllRecords { .. } | Message::GetChanges { .. } => {
                let all = matches!(message, Message::GetAllRecords { .. });
                let image_batch = inner.options.image_batch;
                let store = inner.classes.entry(class.clone()).or_default();
                open.pull = Some(match all {
                    true => Pull::all(&class, &open.records, open.version, image_batch),
                    false => Pull::changes(&class, &open.records, store, open.version, image_batch),
                });
                drop(inner);
                self.batch(class)
            }
            Message::Acknowledge { .. } => {
                drop(inner);
                self.batch(class)
            }
            Message::Clear { .. } => {
                open.clear();
                if class == DataClass::Contacts {
                    store.device_anchor = Some(open.device_anchor.clone());
                }
                vec![Step::Say(Message::WillClear { class })]
            }
            Message::ProcessChanges { changes, info, .. } => {
                let given = open.apply(changes.unwrap_or_default(), info.as_ref(), &mut inner.options);
                drop(inner);
                let ids = self.told(given);
                vec![Step::Say(Message::Remap { class, ids })]
            }
            // What only the phone says.
            other => {
                drop(inner);
                self.open = None;
                vec![Step::Disconnect(format!("{} is not for computers", other.name()))]
            }
        }
    }

    /// The next batch, or the word that changes are taken.
    fn batch(&mut self, class: DataClass) -> Vec<Step> {
        let Some(open) = &mut self.open else { return Vec::new() };
        let last = open.pull.as_ref().is_some_and(Pull::is_last);
        let next = open.pull.as_mut().and_then(|pull| pull.next(&open.records));
        let Some((changes, more)) = next else {
            return vec![Step::Say(Message::Ready { class })];
        };
        if last && matches!(class, DataClass::Contacts | DataClass::Calendars | DataClass::Notes) {
            // Before the batch is written, and whatever becomes of the session.
            let mut inner = self.state.lock();
            let store = inner.classes.entry(class.clone()).or_default();
            store.device_anchor = Some(open.device_anchor.clone());
            store.log.clear();
            store.log_lost = false;
        }
        let promise = last
            && self
                .state
                .take_fault(|fault| *fault == SyncFault::PromiseMore)
                .is_some();
        let empty = || self.state.options().empty_dictionaries.then(Changes::new);
        vec![Step::Say(Message::ProcessChanges {
            class,
            changes: changes.or_else(empty),
            more: more || promise,
            info: None,
        })]
    }

    /// The identifiers as they are told, which a fault may change.
    fn told(&self, mut given: BTreeMap<RecordId, RecordId>) -> Option<BTreeMap<RecordId, RecordId>> {
        let fits =
            |fault: &SyncFault| matches!(fault, SyncFault::OmitRemap | SyncFault::NoRemap | SyncFault::StrayRemap);
        if given.is_empty() {
            return None;
        }
        match self.state.take_fault(fits) {
            Some(SyncFault::OmitRemap) => drop(given.pop_first()),
            Some(SyncFault::NoRemap) => return None,
            Some(SyncFault::StrayRemap) => {
                let stray = [RecordId::new("nobody-s-record"), RecordId::new("4711")];
                if let [Ok(computers), Ok(ours)] = stray {
                    given.insert(computers, ours);
                }
            }
            _ => {}
        }
        Some(given)
    }

    fn finish(&mut self, class: DataClass) -> Message {
        let mut inner = self.state.lock();
        if let Some(open) = self.open.take_if(|open| open.class == class) {
            let options = inner.options.clone();
            let store = inner.classes.entry(class.clone()).or_default();
            open.commit(store, &options);
        }
        Message::Finished { class }
    }
}

/// How the phone picks the sync type. Spec: mobilesync, section 5.2.
fn sync_type(class: &DataClass, store: &ClassStore, sent: Option<&str>, options: &SyncOptions) -> SyncType {
    let by_anchor = || {
        if store.device_anchor.as_deref() != sent || store.log_lost {
            SyncType::Slow
        } else {
            SyncType::Fast
        }
    };
    match class {
        DataClass::Bookmarks => match &store.computer_anchor {
            None => SyncType::Reset,
            Some(_) if store.generation != store.committed_generation => SyncType::Slow,
            Some(_) => SyncType::Fast,
        },
        DataClass::MailAccounts if store.records.is_empty() => SyncType::Reset,
        DataClass::MailAccounts => SyncType::Fast,
        _ if store.device_anchor.is_none() => SyncType::Reset,
        DataClass::Calendars if store.committed_version != Some(options.version(class)) => SyncType::Reset,
        _ => by_anchor(),
    }
}

/// A new anchor in the form that each class has: a time, or a constant. No clock is read: each is a minute later.
fn next_anchor(class: &DataClass, count: u64) -> String {
    match class {
        DataClass::Contacts | DataClass::Calendars => {
            let minutes = count % (28 * 24 * 60);
            let (day, hour, minute) = (minutes / 1440, minutes / 60 % 24, minutes % 60);
            let year = 2026_u64.saturating_add(count / (28 * 24 * 60));
            format!("Nov {:02} {year} {hour:02}:{minute:02}:01 +0100", day.saturating_add(1))
        }
        DataClass::Bookmarks => "Bookmarks-Device-Anchor".to_owned(),
        DataClass::MailAccounts => "MailAccounts-Device-Anchor".to_owned(),
        other => format!("{}-Device-Anchor", other.data_type()),
    }
}
