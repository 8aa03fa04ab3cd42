//! What arrived of a session of which nobody knows whether it was committed, when somebody else has committed since. Spec:
//! mobilesync, section 15.6.

use std::collections::HashSet;
use std::sync::Arc;

use super::canon::fold;
use super::id::{EngineId, Side};
use super::likeness::value_of;
use super::report::{Extent, Report, Reports};
use super::state::{Kind, PairState, Row};
use super::value::{Datum, Fields, Ref};
use crate::schema::EntityKind;

/// Of the records that the session made, so many percent have to be there under the numbers that it was told.
const EVIDENCE: usize = 90;

impl PairState {
    /// Takes over what the session that `doubtful` is about made on the device, as far as it is seen to be there; gives how
    /// many records that is. For the case that its answer was lost and somebody else committed before the next opening:
    /// `doubtful` as a whole then proves nothing, but without these records' identifiers those that were edited since
    /// would be taken for new ones, on both sides.
    ///
    /// Nothing is taken over unless the device tells everything, and at least nine in ten of the new records are on it under
    /// the identifiers that it gave them, with the titles that they were sent with. Of those, each for itself is: one that
    /// is not there was never made, as far as is known, and so its absence is no deletion. Earlier rows stay as they are.
    /// Cost: one look at every row.
    pub fn take_over_arrived(&mut self, doubtful: &Self, reports: &Reports) -> usize {
        let report = reports.get(Side::Device);
        if report.extent != Extent::Everything || !report.complete || self.class != doubtful.class {
            return 0;
        }
        let known: [HashSet<Arc<str>>; 2] = Side::BOTH.map(|side| {
            let rows = self.rows.values().filter(|row| row.native.device.is_some());
            rows.filter_map(|row| row.native.get(side).clone()).collect()
        });
        let free = |row: &Row| {
            let taken = |side: Side, known: &HashSet<Arc<str>>| {
                row.native
                    .get(side)
                    .as_ref()
                    .is_some_and(|native| known.contains(native))
            };
            let [device, computer] = &known;
            let named = kind(row) != Some(EntityKind::Child);
            !(taken(Side::Device, device) || named && taken(Side::Computer, computer))
        };
        let made = doubtful.rows.iter().filter(|(id, row)| {
            let created = row
                .pending(Side::Device)
                .is_some_and(|pending| pending.kind == Kind::Create);
            let here = self.rows.get(*id).is_some_and(|row| row.native.device.is_some());
            created && !here
        });
        let (parts, wholes): (Vec<_>, Vec<_>) = made.partition(|(_, row)| kind(row) == Some(EntityKind::Child));
        let arrived: Vec<_> = wholes
            .iter()
            .filter(|(_, row)| free(row) && is_there(row, report))
            .collect();
        // Without a whole, the parts of earlier ones would have to speak for themselves: too little.
        if arrived.is_empty() || arrived.len().saturating_mul(100) < wholes.len().saturating_mul(EVIDENCE) {
            return 0;
        }
        let mut count = arrived.len();
        let arrived: Vec<(EngineId, Arc<Row>)> = arrived.into_iter().map(|(id, row)| (**id, Arc::clone(row))).collect();
        let parts: Vec<_> = parts.into_iter().filter(|(_, row)| free(row)).collect();
        self.rows.extend(arrived);
        for (id, row) in parts {
            if self.is_part_there(row, report) {
                self.rows.insert(*id, Arc::clone(row));
                count = count.saturating_add(1);
            }
        }
        count
    }

    /// Whether a part is on the device, with its value, and belongs there to what it was made for.
    fn is_part_there(&self, row: &Row, report: &Report) -> bool {
        let Some((sent, told)) = sent_and_told(row, report) else {
            return false;
        };
        let owner = match (sent.owner(), told.owner()) {
            (Some(Ref::Known(sent)), Some(Ref::Unknown(told))) => self.rows.get(sent).zip(Some(told)),
            _ => None,
        };
        let same = owner.is_some_and(|(sent, told)| sent.native.device.as_deref() == Some(&**told));
        same && value_of(sent).is_some_and(|value| value_of(told) == Some(value))
    }
}

fn kind(row: &Row) -> Option<EntityKind> {
    row.seen.device.as_ref().map(|sent| sent.kind())
}

/// What was sent under an identifier, and what the device has there.
fn sent_and_told<'a>(row: &'a Row, report: &'a Report) -> Option<(&'a Fields, &'a Fields)> {
    let sent = row.seen.device.as_deref()?;
    let told = report.records.get(row.native.device.as_ref()?)?.as_deref()?;
    (sent.entity == told.entity).then_some((sent, told))
}

/// Whether a record is on the device under the title that it was sent with.
fn is_there(row: &Row, report: &Report) -> bool {
    let title = |fields: &Fields| -> Vec<String> {
        let keys = fields.shape.map_or(&[][..], |shape| shape.title);
        let text = |key: &&str| fields.get(key).and_then(Datum::text).map(fold).unwrap_or_default();
        keys.iter().map(text).collect()
    };
    sent_and_told(row, report).is_some_and(|(sent, told)| {
        let sent = title(sent);
        sent.iter().any(|text| !text.is_empty()) && sent == title(told)
    })
}
