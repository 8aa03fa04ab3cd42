//! Everything either side says once a sync connection stands, one enum, encoded and decoded in one place.
//!
//! A message is a property list whose top level is an array: element 0 is a name that starts with `SD`, element 1 the
//! class. It goes bare into a DeviceLink frame. The placeholder text stands for an absent parameter at any position; what
//! is missing at the end of an array is absent as well. Spec: mobilesync, sections 3 and 4.

use std::collections::BTreeMap;

use cabled_wire::WireError;
use cabled_wire::plist::{self, Dictionary, Limits, Value};

use crate::DataClass;
use crate::record::{Changes, RecordId};

/// The literal that stands where a parameter is absent.
pub const PLACEHOLDER: &str = "___EmptyParameterString___";
/// The literal that stands for "no anchor", in both directions.
pub const NO_ANCHOR: &str = "---";

/// What sync messages may look like at most: 256 MiB, 16 levels, eight million expanded values.
#[must_use]
pub fn limits() -> Limits {
    Limits::default()
        .with_bytes(256 << 20)
        .with_depth(16)
        .with_nodes(8_000_000)
}

/// What the device can tell since the last session. Spec: mobilesync, section 5.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SyncType {
    /// It knows what changed.
    Fast,
    /// It knows this computer, but not what changed: everything has to be compared.
    Slow,
    /// It never met this computer, or was erased: absence proves nothing.
    Reset,
}

impl SyncType {
    /// The text on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "SDSyncTypeFast",
            Self::Slow => "SDSyncTypeSlow",
            Self::Reset => "SDSyncTypeReset",
        }
    }
}

/// What a computer says about the records of one of its change messages. Spec: mobilesync, section 4.3.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushInfo {
    /// The entities in this message; `None` where the key is left out.
    pub entities: Option<Vec<String>>,
    /// Whether this is the last message with these entities; `None` where the key is left out.
    pub all_sent: Option<bool>,
}

impl PushInfo {
    /// A batch of some entities; `all_sent` on the last one.
    #[must_use]
    pub fn new<'a>(entities: impl IntoIterator<Item = &'a str>, all_sent: bool) -> Self {
        Self {
            entities: Some(entities.into_iter().map(str::to_owned).collect()),
            all_sent: Some(all_sent),
        }
    }

    /// Whether no more records of these entities follow: new contacts get their identifiers then, once a session. What
    /// does not say otherwise is complete.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.all_sent.unwrap_or(true)
    }
}

/// Everything a sync peer can say.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Message {
    /// Computer: opens a class.
    Start {
        /// The class.
        class: DataClass,
        /// The device's anchor of the last committed session; `None` when none is known.
        device_anchor: Option<String>,
        /// The computer's anchor for this session.
        computer_anchor: String,
        /// The computer's version of the class.
        version: i64,
        /// What a desktop tells about itself; statistics only.
        info: Option<Dictionary>,
    },
    /// Device: the class is open.
    Started {
        /// The class.
        class: DataClass,
        /// The computer's anchor that the device committed last, whoever sent it.
        computer_anchor: Option<String>,
        /// The device's anchor for the next session.
        device_anchor: Option<String>,
        /// What the device can tell.
        sync_type: SyncType,
        /// The device's version of the class; `None` where it leaves it out.
        version: Option<i64>,
    },
    /// Device: the class stays closed.
    Refused {
        /// The class.
        class: DataClass,
        /// Why, in the device's words.
        reason: String,
    },
    /// Computer: what changed since the last session?
    GetChanges {
        /// The class.
        class: DataClass,
    },
    /// Computer: everything, please.
    GetAllRecords {
        /// The class.
        class: DataClass,
    },
    /// Computer: the batch arrived.
    Acknowledge {
        /// The class.
        class: DataClass,
    },
    /// Both: a batch of records.
    ProcessChanges {
        /// The class.
        class: DataClass,
        /// The records; `None` for the placeholder, which says the same as an empty dictionary.
        changes: Option<Changes>,
        /// Whether more batches follow.
        more: bool,
        /// From the computer: what the batch holds.
        info: Option<PushInfo>,
    },
    /// Device: it has told everything and takes changes now.
    Ready {
        /// The class.
        class: DataClass,
    },
    /// Computer: forget all records of the class.
    Clear {
        /// The class.
        class: DataClass,
    },
    /// Device: it will, at the end of the session.
    WillClear {
        /// The class.
        class: DataClass,
    },
    /// Device: answers each batch with its own identifiers for the new records in it.
    Remap {
        /// The class.
        class: DataClass,
        /// The computer's identifier and the device's own; `None` for the placeholder.
        ids: Option<BTreeMap<RecordId, RecordId>>,
    },
    /// Computer: commit.
    Finish {
        /// The class.
        class: DataClass,
    },
    /// Device: it has.
    Finished {
        /// The class.
        class: DataClass,
    },
    /// Both: the session is given up and nothing committed. Nobody answers it.
    Cancel {
        /// The class.
        class: DataClass,
        /// Why.
        reason: String,
    },
    /// An `SD…` message this version does not know, kept whole.
    Unknown {
        /// Element 0.
        name: String,
        /// The elements after the name.
        elements: Vec<Value>,
    },
}

const ENTITY_NAMES_KEY: &str = "SyncDeviceLinkEntityNamesKey";
const ALL_SENT_KEY: &str = "SyncDeviceLinkAllRecordsOfPulledEntityTypeSentKey";

impl Message {
    /// A binary body for [`cabled_wire::frame`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        plist::to_binary(&Value::Array(self.elements()))
    }

    /// Reads a frame body, binary or XML.
    ///
    /// # Errors
    /// Whatever `plist::read` refuses under `limits`; [`WireError::Unexpected`] for a name that is not a sync message's;
    /// [`WireError::Type`] and [`WireError::Missing`] with the position of the element.
    pub fn decode(body: &[u8], limits: &Limits) -> Result<Self, WireError> {
        let Value::Array(elements) = plist::read(body, limits)? else {
            return Err(wrong("sync message", "an array"));
        };
        let mut elements = elements.into_iter();
        match elements.next() {
            Some(Value::String(name)) if name.starts_with("SD") => Elements(elements.collect()).into_message(name),
            Some(Value::String(name)) => Err(WireError::Unexpected {
                what: "sync message",
                name: WireError::excerpt(&name),
            }),
            Some(_) => Err(wrong("element 0 (the name)", "text")),
            None => Err(missing("element 0 (the name)")),
        }
    }

    /// Element 0.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Start { .. } => "SDMessageSyncDataClassWithDevice",
            Self::Started { .. } => "SDMessageSyncDataClassWithComputer",
            Self::Refused { .. } => "SDMessageRefuseToSyncDataClassWithComputer",
            Self::GetChanges { .. } => "SDMessageGetChangesFromDevice",
            Self::GetAllRecords { .. } => "SDMessageGetAllRecordsFromDevice",
            Self::Acknowledge { .. } => "SDMessageAcknowledgeChangesFromDevice",
            Self::ProcessChanges { .. } => "SDMessageProcessChanges",
            Self::Ready { .. } => "SDMessageDeviceReadyToReceiveChanges",
            Self::Clear { .. } => "SDMessageClearAllRecordsOnDevice",
            Self::WillClear { .. } => "SDMessageDeviceWillClearAllRecords",
            Self::Remap { .. } => "SDMessageRemapRecordIdentifiers",
            Self::Finish { .. } => "SDMessageFinishSessionOnDevice",
            Self::Finished { .. } => "SDMessageDeviceFinishedSession",
            Self::Cancel { .. } => "SDMessageCancelSession",
            Self::Unknown { name, .. } => name,
        }
    }

    /// The class the message is about; `None` for one this version does not know.
    #[must_use]
    pub fn class(&self) -> Option<&DataClass> {
        match self {
            Self::Start { class, .. }
            | Self::Started { class, .. }
            | Self::Refused { class, .. }
            | Self::GetChanges { class }
            | Self::GetAllRecords { class }
            | Self::Acknowledge { class }
            | Self::ProcessChanges { class, .. }
            | Self::Ready { class }
            | Self::Clear { class }
            | Self::WillClear { class }
            | Self::Remap { class, .. }
            | Self::Finish { class }
            | Self::Finished { class }
            | Self::Cancel { class, .. } => Some(class),
            Self::Unknown { .. } => None,
        }
    }

    /// The message as the array that goes on the wire, in the layouts of spec sections 4.1 and 4.2.
    fn elements(&self) -> Vec<Value> {
        let mut out = vec![Value::from(self.name())];
        out.extend(self.class().map(|class| Value::from(class.id())));
        match self {
            Self::GetChanges { .. }
            | Self::GetAllRecords { .. }
            | Self::Acknowledge { .. }
            | Self::Ready { .. }
            | Self::WillClear { .. }
            | Self::Finish { .. }
            | Self::Finished { .. } => {}
            Self::Start {
                device_anchor,
                computer_anchor,
                version,
                info,
                ..
            } => out.extend([
                device_anchor.as_deref().unwrap_or(NO_ANCHOR).into(),
                computer_anchor.as_str().into(),
                (*version).into(),
                or_placeholder(info.clone()),
            ]),
            Self::Started {
                computer_anchor,
                device_anchor,
                sync_type,
                version,
                ..
            } => out.extend([
                or_placeholder(computer_anchor.clone()),
                or_placeholder(device_anchor.clone()),
                sync_type.as_str().into(),
                or_placeholder(*version),
                PLACEHOLDER.into(),
            ]),
            Self::Refused { reason, .. } | Self::Cancel { reason, .. } => out.push(reason.as_str().into()),
            Self::ProcessChanges {
                changes, more, info, ..
            } => out.extend([
                or_placeholder(changes.as_ref().map(Changes::to_dictionary)),
                (*more).into(),
                or_placeholder(info.as_ref().map(PushInfo::to_dictionary)),
            ]),
            Self::Clear { .. } => out.push(PLACEHOLDER.into()),
            Self::Remap { ids, .. } => {
                let pair =
                    |(computer, device): (&RecordId, &RecordId)| (computer.to_string(), Value::from(device.as_str()));
                out.push(or_placeholder(
                    ids.as_ref().map(|ids| ids.iter().map(pair).collect::<Dictionary>()),
                ));
            }
            Self::Unknown { elements, .. } => out.extend(elements.iter().cloned()),
        }
        out
    }
}

impl PushInfo {
    fn to_dictionary(&self) -> Dictionary {
        let texts = |names: &Vec<String>| Value::Array(names.iter().map(|name| name.as_str().into()).collect());
        let entities = self
            .entities
            .as_ref()
            .map(|names| (ENTITY_NAMES_KEY.to_owned(), texts(names)));
        let all_sent = self.all_sent.map(|all| (ALL_SENT_KEY.to_owned(), Value::Boolean(all)));
        entities.into_iter().chain(all_sent).collect()
    }

    /// Unknown keys and values of another type are left out: nothing depends on them but the order of new contacts.
    fn from_dictionary(dictionary: &Dictionary) -> Self {
        let texts = |names: &Vec<Value>| {
            names
                .iter()
                .filter_map(|name| Some(name.as_string()?.to_owned()))
                .collect()
        };
        Self {
            entities: dictionary.get(ENTITY_NAMES_KEY).and_then(Value::as_array).map(texts),
            all_sent: dictionary.get(ALL_SENT_KEY).and_then(Value::as_boolean),
        }
    }
}

/// The elements after the name; index 1 of the spec's tables is the first.
struct Elements(Vec<Value>);

impl Elements {
    fn into_message(mut self, name: String) -> Result<Message, WireError> {
        let class = match name.as_str() {
            name if !KNOWN.contains(&name) => DataClass::Other(String::new()),
            _ => DataClass::from_id(&self.text(1)?.ok_or_else(|| missing("element 1 (the class)"))?),
        };
        let message = match name.as_str() {
            "SDMessageSyncDataClassWithDevice" => Message::Start {
                class,
                device_anchor: self.text(2)?.filter(|anchor| anchor != NO_ANCHOR),
                computer_anchor: self.text(3)?.unwrap_or_default(),
                version: self.integer(4)?.ok_or_else(|| missing("element 4"))?,
                info: self.dictionary(5)?,
            },
            "SDMessageSyncDataClassWithComputer" => Message::Started {
                class,
                computer_anchor: self.text(2)?.filter(|anchor| anchor != NO_ANCHOR),
                device_anchor: self.text(3)?.filter(|anchor| anchor != NO_ANCHOR),
                sync_type: self.sync_type(4)?,
                version: self.integer(5)?,
            },
            "SDMessageRefuseToSyncDataClassWithComputer" => Message::Refused {
                class,
                reason: self.text(2)?.unwrap_or_default(),
            },
            "SDMessageCancelSession" => Message::Cancel {
                class,
                reason: self.text(2)?.unwrap_or_default(),
            },
            "SDMessageGetChangesFromDevice" => Message::GetChanges { class },
            "SDMessageGetAllRecordsFromDevice" => Message::GetAllRecords { class },
            "SDMessageAcknowledgeChangesFromDevice" => Message::Acknowledge { class },
            "SDMessageDeviceReadyToReceiveChanges" => Message::Ready { class },
            "SDMessageClearAllRecordsOnDevice" => Message::Clear { class },
            "SDMessageDeviceWillClearAllRecords" => Message::WillClear { class },
            "SDMessageFinishSessionOnDevice" => Message::Finish { class },
            "SDMessageDeviceFinishedSession" => Message::Finished { class },
            "SDMessageProcessChanges" => Message::ProcessChanges {
                class,
                changes: self.dictionary(2)?.map(Changes::from_dictionary).transpose()?,
                more: self.boolean(3)?.unwrap_or(false),
                info: self.dictionary(4)?.as_ref().map(PushInfo::from_dictionary),
            },
            "SDMessageRemapRecordIdentifiers" => Message::Remap {
                class,
                ids: self.dictionary(2)?.map(remaps).transpose()?,
            },
            _ => {
                return Ok(Message::Unknown { name, elements: self.0 });
            }
        };
        self.log_extra(&message);
        Ok(message)
    }

    /// Says how many elements came that the message has no place for.
    fn log_extra(&self, message: &Message) {
        let extra = self.0.len().saturating_sub(message.elements().len());
        if extra > 0 {
            tracing::debug!(
                message = message.name(),
                extra,
                "elements that this version does not know"
            );
        }
    }

    /// The element, unless it is missing or the placeholder.
    fn take(&mut self, index: usize) -> Option<Value> {
        let value = self.0.get_mut(index.checked_sub(1)?)?;
        let value = std::mem::replace(value, Value::Boolean(false));
        (value.as_string() != Some(PLACEHOLDER)).then_some(value)
    }

    fn text(&mut self, index: usize) -> Result<Option<String>, WireError> {
        let value = self.take(index);
        value
            .map(|value| value.into_string().ok_or_else(|| wrong_at(index, "text")))
            .transpose()
    }

    fn integer(&mut self, index: usize) -> Result<Option<i64>, WireError> {
        let value = self.take(index);
        value
            .map(|value| plist::as_integer(&value).ok_or_else(|| wrong_at(index, "an integer")))
            .transpose()
    }

    /// A boolean; the integers 0 and 1 pass, as it is open whether devices write them.
    fn boolean(&mut self, index: usize) -> Result<Option<bool>, WireError> {
        let read = |value: Value| match (&value, plist::as_integer(&value)) {
            (Value::Boolean(boolean), _) => Ok(*boolean),
            (_, Some(0)) => Ok(false),
            (_, Some(1)) => Ok(true),
            _ => Err(wrong_at(index, "a boolean")),
        };
        self.take(index).map(read).transpose()
    }

    fn dictionary(&mut self, index: usize) -> Result<Option<Dictionary>, WireError> {
        let value = self.take(index);
        value
            .map(|value| value.into_dictionary().ok_or_else(|| wrong_at(index, "a dictionary")))
            .transpose()
    }

    fn sync_type(&mut self, index: usize) -> Result<SyncType, WireError> {
        let name = self.text(index)?.ok_or_else(|| missing("element 4 (the sync type)"))?;
        let types = [SyncType::Fast, SyncType::Slow, SyncType::Reset];
        types
            .into_iter()
            .find(|known| known.as_str() == name)
            .ok_or_else(|| WireError::Unexpected {
                what: "sync type",
                name: WireError::excerpt(&name),
            })
    }
}

const KNOWN: [&str; 14] = [
    "SDMessageSyncDataClassWithDevice",
    "SDMessageSyncDataClassWithComputer",
    "SDMessageRefuseToSyncDataClassWithComputer",
    "SDMessageGetChangesFromDevice",
    "SDMessageGetAllRecordsFromDevice",
    "SDMessageAcknowledgeChangesFromDevice",
    "SDMessageProcessChanges",
    "SDMessageDeviceReadyToReceiveChanges",
    "SDMessageClearAllRecordsOnDevice",
    "SDMessageDeviceWillClearAllRecords",
    "SDMessageRemapRecordIdentifiers",
    "SDMessageFinishSessionOnDevice",
    "SDMessageDeviceFinishedSession",
    "SDMessageCancelSession",
];

fn remaps(ids: Dictionary) -> Result<BTreeMap<RecordId, RecordId>, WireError> {
    if ids.len() > Changes::MAX {
        return Err(WireError::TooLong {
            field: "remapped identifiers",
            declared: ids.len() as u64,
            max: Changes::MAX as u64,
        });
    }
    let pair = |(computer, device): (String, Value)| {
        let device = device
            .into_string()
            .ok_or_else(|| wrong("remapped identifier", "text"))?;
        Ok((RecordId::new(computer)?, RecordId::new(device)?))
    };
    ids.into_iter().map(pair).collect()
}

fn or_placeholder(value: Option<impl Into<Value>>) -> Value {
    value.map_or_else(|| PLACEHOLDER.into(), Into::into)
}

fn missing(what: &str) -> WireError {
    WireError::Missing { key: what.to_owned() }
}

fn wrong(what: &str, expected: &'static str) -> WireError {
    WireError::Type {
        key: what.to_owned(),
        expected,
    }
}

fn wrong_at(index: usize, expected: &'static str) -> WireError {
    WireError::Type {
        key: format!("element {index}"),
        expected,
    }
}
