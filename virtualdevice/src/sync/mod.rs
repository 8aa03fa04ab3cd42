//! The phone's sync agent: `com.apple.mobilesync`, with records, change log, anchors and everything that goes wrong.
//! Spec: mobilesync, sections 5 to 7 and 11.
//!
//! [`SyncState`] is what a phone keeps and what a person does to it; [`SyncOptions`] and [`SyncFault`] say how the agent
//! behaves. Only the messages are shared with the computer's side.
//!
//! ```
//! use cabled_syncproto::{DataClass, entity, record::Record};
//! use cabled_virtualdevice::Phone;
//!
//! let phone = Phone::builder().seed(7).build()?;
//! let before = phone.sync().records(&DataClass::Contacts).len();
//! let ann = Record::new(entity::CONTACT).with("first name", "Ann").with("display as company", "person");
//! let id = phone.sync().add(&DataClass::Contacts, ann).expect("a contact has an identifier");
//! assert_eq!(phone.sync().records(&DataClass::Contacts).len(), before + 1);
//! assert!(phone.sync().delete(&DataClass::Contacts, &id));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod agent;
mod options;
mod pull;
mod session;
mod store;
mod table;

use std::io;
use std::time::Duration;

use cabled_devicelink::msg::Message as LinkMessage;
use cabled_syncproto::msg::{self, Message};
use cabled_wire::WireError;
use cabled_wire::io::BoxStream;
use cabled_wire::plist::Limits;
use tokio::time::sleep;

pub use options::{SyncFault, SyncOptions};
pub use store::SyncState;

use crate::phone::Phone;
use crate::service::{IDLE, ServeError, read_frame_up_to, write_frame};
use agent::{Agent, Step};

/// The service's name.
pub const NAME: &str = "com.apple.mobilesync";

/// The largest message from a computer, in bytes.
const MAX_FRAME: usize = 64 << 20;
/// How long the agent waits for a migration before it gives the computer up.
const READY_WITHIN: Duration = Duration::from_secs(60);

fn limits() -> Limits {
    msg::limits().with_bytes(MAX_FRAME)
}

/// Serves one connection: the link's handshake, then class after class.
pub(crate) async fn serve(phone: Phone, mut stream: BoxStream) -> Result<(), ServeError> {
    let options = phone.sync().options();
    let (major, minor) = options.link_version;
    link(&mut stream, &LinkMessage::VersionExchange { major, minor }).await?;
    match heard(&read_frame_up_to(&mut stream, IDLE, MAX_FRAME).await?)? {
        // The number is not looked at: old computers leave it out.
        Heard::Link(LinkMessage::VersionsOk { .. } | LinkMessage::VersionExchange { .. }) => {}
        Heard::Link(LinkMessage::Disconnect { .. }) => return Ok(()),
        _ => return goodbye(&mut stream, "a version was expected").await,
    }
    sleep(options.busy.min(READY_WITHIN)).await;
    if options.busy >= READY_WITHIN {
        return goodbye(&mut stream, "another sync, backup or restore is running").await;
    }
    link(&mut stream, &LinkMessage::DeviceReady).await?;
    let mut agent = Agent::new(phone.clone());
    let served = converse(&phone, &mut agent, &mut stream).await;
    agent.handle_end();
    served
}

async fn converse(phone: &Phone, agent: &mut Agent, stream: &mut BoxStream) -> Result<(), ServeError> {
    loop {
        let body = read_frame_up_to(stream, IDLE, MAX_FRAME).await?;
        if body.is_empty() {
            continue;
        }
        let message = match heard(&body)? {
            Heard::Sync(message) => message,
            Heard::Link(LinkMessage::Ping(text)) => {
                phone.log().record(NAME, "DLMessagePing", text);
                continue;
            }
            Heard::Link(LinkMessage::Disconnect { .. }) => return Ok(()),
            Heard::Link(other) => return goodbye(stream, &format!("{} was not expected", other.name())).await,
        };
        let class = message.class().map(|class| class.id().to_owned()).unwrap_or_default();
        phone.log().record(NAME, message.name(), class);
        let on_receipt =
            |fault: &SyncFault| matches!(fault, SyncFault::CloseOnReceipt { request } if *request == message.name());
        if phone.sync().take_fault(on_receipt).is_some() {
            return Ok(());
        }
        for step in agent.handle(message) {
            match step {
                Step::Wait(wait) => sleep(wait).await,
                Step::Notify(name) => phone.notify(&name),
                Step::Disconnect(reason) => return goodbye(stream, &reason).await,
                Step::Say(answer) => {
                    if !say(phone, stream, &answer).await? {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// Writes an answer; says whether the link goes on.
async fn say(phone: &Phone, stream: &mut BoxStream, message: &Message) -> Result<bool, ServeError> {
    let struck = phone.sync().take_fault(|fault| {
        let answer = match fault {
            SyncFault::CloseBefore { answer }
            | SyncFault::CloseAfter { answer }
            | SyncFault::Disconnect { answer, .. }
            | SyncFault::Delay { answer, .. } => answer,
            _ => return false,
        };
        answer == message.name()
    });
    let mut goes_on = true;
    match struck {
        Some(SyncFault::CloseBefore { .. }) => return Ok(false),
        Some(SyncFault::Disconnect { reason, .. }) => return goodbye(stream, &reason).await.map(|()| false),
        Some(SyncFault::Delay { lasting, .. }) => sleep(lasting).await,
        Some(SyncFault::CloseAfter { .. }) => goes_on = false,
        _ => {}
    }
    write_frame(stream, &message.encode()).await?;
    Ok(goes_on)
}

enum Heard {
    Link(LinkMessage),
    Sync(Message),
}

fn heard(body: &[u8]) -> Result<Heard, WireError> {
    match Message::decode(body, &limits()) {
        Ok(message) => Ok(Heard::Sync(message)),
        Err(WireError::Unexpected { .. }) => old_version(LinkMessage::decode(body, &limits())).map(Heard::Link),
        Err(error) => Err(error),
    }
}

/// Computers of 2009 answer the version without its number.
fn old_version(message: Result<LinkMessage, WireError>) -> Result<LinkMessage, WireError> {
    match message {
        Err(WireError::Missing { key }) if key == "version" => Ok(LinkMessage::VersionsOk { major: 100 }),
        other => other,
    }
}

async fn link(stream: &mut BoxStream, message: &LinkMessage) -> Result<(), ServeError> {
    Ok(write_frame(stream, &message.encode()).await?)
}

async fn goodbye(stream: &mut BoxStream, reason: &str) -> Result<(), ServeError> {
    let reason = Some(reason.to_owned());
    match link(stream, &LinkMessage::Disconnect { reason }).await {
        Err(ServeError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
