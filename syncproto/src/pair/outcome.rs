//! What came of a sync.

use std::fmt;

use super::request::Approval;
use crate::engine::{EngineId, Outcome, Plan, Side, Verb};

/// What came of a sync.
#[derive(Debug)]
#[non_exhaustive]
pub enum Synced {
    /// The plan was carried out.
    Done(Report),
    /// The plan has a [`Stop`](crate::engine::Stop): nothing was written. Approve it, answer its questions, or change the
    /// policy.
    Stopped(Preview),
    /// Only a preview was wanted.
    Preview(Preview),
}

/// A plan that was not carried out.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Preview {
    /// The plan.
    pub plan: Plan,
    /// With this it is carried out, if it is still the same then.
    pub approval: Approval,
}

/// A plan that was carried out.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The plan, with conflicts and notes.
    pub plan: Plan,
    /// Writes that were not done; each is planned again next time.
    pub failures: Vec<Failure>,
    /// Whether the device was read again to see what it made of the writes.
    pub verification: Verification,
    /// Writes whose effect was not seen yet.
    pub pending: usize,
    /// Records that are known now, parts included.
    pub records: usize,
}

/// A write that was not done.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// The side.
    pub side: Side,
    /// The record.
    pub id: EngineId,
    /// What was to be done.
    pub verb: Verb,
    /// Its entity.
    pub entity: String,
    /// What a person knows it by.
    pub title: String,
    /// It goes with what it belongs to.
    pub part: bool,
    /// Why, for people.
    pub reason: String,
}

/// Names no title: records are people's data.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {:?} {} {}: {}",
            self.side, self.verb, self.entity, self.id, self.reason
        )
    }
}

/// Whether the device was read again after the writes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verification {
    /// The policy did not ask for it, or there was nothing to look for.
    NotWanted,
    /// It was: so many writes turned out to have been skipped without a word, and are planned again.
    Done {
        /// How many.
        skipped: usize,
    },
    /// It was tried; what was written is looked up in a later sync.
    Failed {
        /// Why.
        reason: String,
    },
}

impl Failure {
    /// The writes of a plan that were not done.
    pub(super) fn all(plan: &Plan, side: Side, outcomes: &[(EngineId, Outcome)]) -> Vec<Self> {
        let failed = outcomes.iter().filter_map(|(id, outcome)| {
            let reason = match outcome {
                Outcome::Done { .. } => return None,
                Outcome::NotAccepted => format!("the {side} did not accept it"),
                Outcome::Failed { reason } => reason.clone(),
            };
            let action = plan.actions.get(side).iter().find(|action| action.id == *id)?;
            Some(Self {
                side,
                id: *id,
                verb: action.verb,
                entity: action.entity().to_owned(),
                title: action.title(),
                part: action.part,
                reason,
            })
        });
        failed.collect()
    }
}

impl Report {
    /// How many writes of each kind were done on a side, parts not counted.
    #[must_use]
    pub fn count(&self, side: Side, verb: Verb) -> usize {
        let failed = self.failures.iter();
        let failed = failed
            .filter(|one| one.side == side && one.verb == verb && !one.part)
            .count();
        self.plan.count(side, verb).saturating_sub(failed)
    }
}

/// For people: what was done, then what was not.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for side in Side::BOTH {
            let count = |verb| self.count(side, verb);
            let (new, changed, gone) = (count(Verb::Create), count(Verb::Update), count(Verb::Delete));
            writeln!(
                f,
                "{:<9} {new} new, {changed} changed, {gone} deleted",
                side.to_string()
            )?;
        }
        for failure in &self.failures {
            let title: String = failure.title.chars().filter(|c| !c.is_control()).take(60).collect();
            writeln!(f, "not done on the {}: {title}: {}", failure.side, failure.reason)?;
        }
        self.plan.notes().try_for_each(|note| writeln!(f, "note: {note}"))?;
        match &self.verification {
            Verification::NotWanted => Ok(()),
            Verification::Done { skipped: 0 } => writeln!(f, "verified: the device has what was written"),
            Verification::Done { skipped } => {
                writeln!(
                    f,
                    "verified: the device skipped {skipped} writes; they are tried again next time"
                )
            }
            Verification::Failed { reason } => writeln!(f, "not verified: {reason}"),
        }
    }
}

impl fmt::Display for Preview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.plan)
    }
}
