//! What a sync message of the device makes of the state. Spec: mobilesync, sections 4 and 6.

use std::collections::{BTreeMap, BTreeSet};

use cabled_wire::WireError;

use super::{Event, Opening, Session, State, bounded, phase_of};
use crate::DataClass;
use crate::msg::Message;
use crate::record::RecordId;
use crate::session::error::{Cancellation, Refusal, SessionError};

/// All transitions that a sync message of the device makes.
pub(super) fn answered(state: State, message: Message) -> Result<(State, Event), SessionError> {
    let phase = phase_of(&state);
    let name = WireError::excerpt(message.name());
    let unexpected = || SessionError::Unexpected {
        message: name.clone(),
        phase,
    };
    if message.class() != Some(awaiting(&state).ok_or_else(unexpected)?) {
        return Err(unexpected());
    }
    match (state, message) {
        (_, Message::Cancel { reason, .. }) => {
            let event = Event::Cancelled(Cancellation::new(bounded(reason), phase));
            Ok((State::Linked, event))
        }
        (State::Opening(_), Message::Refused { reason, .. }) => {
            Ok((State::Linked, Event::Refused(Refusal::new(bounded(reason)))))
        }
        (
            State::Opening(session),
            Message::Started {
                computer_anchor,
                device_anchor,
                sync_type,
                version,
                ..
            },
        ) => {
            let opening = Opening {
                computer_anchor_last: computer_anchor,
                device_anchor_next: device_anchor,
                sync_type,
                version,
            };
            Ok((State::Open(session), Event::Opened(opening)))
        }
        (State::Pulling(mut session), Message::ProcessChanges { changes, more, .. }) => {
            if session.more == Some(false) {
                tracing::warn!("a batch of records after the last one");
            }
            session.more = Some(more);
            Ok((State::PullPending(session), Event::Batch(changes.unwrap_or_default())))
        }
        // The first answer to a request for records is always a batch.
        (State::Pulling(session), Message::Ready { .. }) if session.more.is_some() => {
            let complete = session.more == Some(false);
            Ok((State::Pushable(session), Event::Pushable { complete }))
        }
        (State::Clearing { session, pushable }, Message::WillClear { .. }) => {
            let next = if pushable {
                State::Pushable(session)
            } else {
                State::Open(session)
            };
            Ok((next, Event::WillClear))
        }
        (State::Pushing(mut session), Message::Remap { ids, .. }) => {
            let ids = remapped(&mut session, ids.unwrap_or_default())?;
            Ok((State::Pushable(session), Event::Remapped(ids)))
        }
        (State::Finishing(session), Message::Finished { .. }) => {
            let not_accepted = not_accepted(session);
            Ok((State::Linked, Event::Finished { not_accepted }))
        }
        _ => Err(unexpected()),
    }
}

/// The class whose session waits for an answer; `None` while no answer is due.
const fn awaiting(state: &State) -> Option<&DataClass> {
    match state {
        State::Opening(session)
        | State::Pulling(session)
        | State::Clearing { session, .. }
        | State::Pushing(session)
        | State::Finishing(session) => Some(&session.class),
        _ => None,
    }
}

/// The records that were sent and that the device gave no identifier.
fn not_accepted(session: Session) -> BTreeSet<RecordId> {
    match session.class {
        // These keep the computer's identifiers and report none.
        DataClass::Bookmarks | DataClass::MailAccounts => BTreeSet::new(),
        _ => session.unmapped,
    }
}

/// Keeps what was asked for, and says no to one identifier for two records.
fn remapped(
    session: &mut Session,
    ids: BTreeMap<RecordId, RecordId>,
) -> Result<BTreeMap<RecordId, RecordId>, SessionError> {
    let mut kept = BTreeMap::new();
    for (computer, device) in ids {
        // An update of a record that was gone is a new one, and reported under the identifier it was sent with.
        let known = session.unmapped.remove(&computer) || session.updated.contains(&computer);
        if !known {
            tracing::warn!("the device gave an identifier to a record that was not sent; ignored");
            continue;
        }
        if !session.given.insert(device.clone()) {
            return Err(SessionError::AmbiguousRemap {
                id: WireError::excerpt(device.as_str()),
            });
        }
        kept.insert(computer, device);
    }
    Ok(kept)
}
