//! What the user wants, as data. Spec: mobilesync, section 15.5.

use std::collections::BTreeMap;

use super::id::{EngineId, Side};
#[cfg(feature = "pair")]
use super::state::PairState;
use crate::DataClass;

/// Sessions for which a device's software is new.
#[cfg(feature = "pair")]
const NEW: u32 = 3;

/// What happens the first time, or when nothing that is known can be trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FirstSync {
    /// Nothing is written; the caller gets the plan of a merge and decides.
    #[default]
    Refuse,
    /// Both sides end with everything.
    Merge,
    /// The device ends with what the computer has.
    ReplaceDevice,
    /// The computer ends with what the device has.
    ReplaceComputer,
}

/// Who may be written to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Both.
    #[default]
    TwoWay,
    /// The device only.
    ToDevice,
    /// The computer only.
    ToComputer,
    /// The computer only; a device is not even asked to commit.
    Export,
}

/// What happens when both sides edited the same thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnConflict {
    /// Both keep their own value, and the conflict is kept for review.
    #[default]
    Defer,
    /// The computer's value is taken.
    Computer,
    /// The device's value is taken.
    Device,
    /// The later one is taken; only where records carry a time on both sides: notes.
    Newest,
    /// The computer's value is taken, and the device's becomes a second record; only where records have no parts.
    KeepBoth,
    /// Each is asked about, see [`Choices`].
    Ask,
}

/// What happens when one side deleted what the other one edited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnDeleteEdit {
    /// The record comes back.
    #[default]
    EditWins,
    /// The record goes.
    DeleteWins,
    /// Both sides stay as they are.
    Defer,
}

/// When it is looked up what the device made of a push. Spec: mobilesync, section 15.3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Verify {
    /// After a push for the first three sessions with a device build and after rejects, else with the next full pull.
    #[default]
    WhileNew,
    /// At once, with a second session on the same connection.
    AfterPush,
    /// With the next full pull.
    NextFull,
    /// Whenever it happens to be reported.
    Never,
}

/// What becomes of records whose collection leaves the selection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnDeselect {
    /// They stay on the device and are no longer looked at.
    #[default]
    Leave,
    /// They are removed from the device, as far as the computer has all of it: what was never synced, or was edited on the
    /// device since, stays there with what it is in, and is in the plan's notes.
    Remove,
}

/// Which collections take part: a calendar, a folder, by the title that people see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Selection {
    /// All.
    #[default]
    All,
    /// Those with one of these titles, and what is in them.
    Only(Vec<String>),
    /// All but those with one of these titles.
    AllBut(Vec<String>),
}

/// What stops a session that would write too much. Spec: mobilesync, section 15.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Brakes {
    /// So many deletions on one side stop. 25.
    pub deletions: usize,
    /// From five deletions on, this share of the side's records stops. 20 percent.
    pub deletions_percent: usize,
    /// This share of changed records stops, from 25 on. 50 percent.
    pub changes_percent: usize,
}

impl Default for Brakes {
    fn default() -> Self {
        Self {
            deletions: 25,
            deletions_percent: 20,
            changes_percent: 50,
        }
    }
}

/// Who wins a conflict that is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Choice {
    /// This side's value is taken; of a deletion and an edit, what this side did.
    Take(Side),
    /// Both keep their own.
    Defer,
}

/// Answers to conflicts, by record and group of keys; the group of a deletion against an edit is `*`.
pub type Choices = BTreeMap<(EngineId, String), Choice>;

/// What the user wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    pub(crate) first_sync: FirstSync,
    pub(crate) direction: Direction,
    pub(crate) on_conflict: OnConflict,
    pub(crate) on_delete_edit: OnDeleteEdit,
    pub(crate) brakes: Brakes,
    pub(crate) verify: Verify,
    pub(crate) selection: Selection,
    pub(crate) on_deselect: OnDeselect,
    pub(crate) insist: bool,
    pub(crate) snapshots: Option<usize>,
}

/// A policy cannot be carried out for a class.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// `Newest` needs a time on both sides.
    #[error("records of {} carry no time of change, so the newest cannot be told; use `Defer`", class.data_type())]
    NoTimes {
        /// The class.
        class: DataClass,
    },
    /// `KeepBoth` needs records without parts.
    #[error("records of {} have parts that cannot be kept twice; use `Defer`", class.data_type())]
    Parts {
        /// The class.
        class: DataClass,
    },
}

impl Policy {
    /// What happens the first time. [`FirstSync::Refuse`].
    #[must_use]
    pub fn first_sync(self, first_sync: FirstSync) -> Self {
        Self { first_sync, ..self }
    }

    /// Who may be written to. [`Direction::TwoWay`].
    #[must_use]
    pub fn direction(self, direction: Direction) -> Self {
        Self { direction, ..self }
    }

    /// What happens when both sides edited the same thing. [`OnConflict::Defer`].
    #[must_use]
    pub fn on_conflict(self, on_conflict: OnConflict) -> Self {
        Self { on_conflict, ..self }
    }

    /// What happens when one side deleted what the other one edited. [`OnDeleteEdit::EditWins`].
    #[must_use]
    pub fn on_delete_edit(self, on_delete_edit: OnDeleteEdit) -> Self {
        Self { on_delete_edit, ..self }
    }

    /// What stops a session that would write too much.
    #[must_use]
    pub fn brakes(self, brakes: Brakes) -> Self {
        Self { brakes, ..self }
    }

    /// When it is looked up what the device made of a push. [`Verify::WhileNew`].
    #[must_use]
    pub fn verify(self, verify: Verify) -> Self {
        Self { verify, ..self }
    }

    /// Which collections take part. All.
    #[must_use]
    pub fn selection(self, selection: Selection) -> Self {
        Self { selection, ..self }
    }

    /// What becomes of collections that leave the selection. [`OnDeselect::Leave`].
    #[must_use]
    pub fn on_deselect(self, on_deselect: OnDeselect) -> Self {
        Self { on_deselect, ..self }
    }

    /// Write although more than 5 percent of the last session's records were not accepted. No.
    #[must_use]
    pub fn insist(self, insist: bool) -> Self {
        Self { insist, ..self }
    }

    /// How many pulled states are kept for undo. 10.
    #[must_use]
    pub fn snapshots(self, keep: usize) -> Self {
        Self {
            snapshots: Some(keep),
            ..self
        }
    }

    /// How many pulled states are kept for undo.
    #[must_use]
    pub fn kept_snapshots(&self) -> usize {
        self.snapshots.unwrap_or(10)
    }

    /// Whether a session ends with a commit of the device.
    #[cfg(feature = "pair")]
    pub(crate) fn asks_the_device_to_commit(&self) -> bool {
        self.direction != Direction::Export
    }

    /// Whether the device is read again after a push. `state` is what is known after it.
    #[cfg(feature = "pair")]
    pub(crate) fn verifies(&self, state: &PairState) -> bool {
        match self.verify {
            Verify::WhileNew => state.build_sessions <= NEW || state.not_accepted_percent > 0,
            Verify::AfterPush => true,
            Verify::NextFull | Verify::Never => false,
        }
    }

    pub(crate) fn writes(&self, side: Side) -> bool {
        match self.direction {
            Direction::TwoWay => true,
            Direction::ToDevice => side == Side::Device,
            Direction::ToComputer | Direction::Export => side == Side::Computer,
        }
    }

    /// Whether it can be carried out for a class.
    ///
    /// # Errors
    /// [`PolicyError`], with what to use in its place.
    pub fn check(&self, class: &DataClass) -> Result<(), PolicyError> {
        let class = class.clone();
        match (self.on_conflict, &class) {
            (OnConflict::Newest, DataClass::Notes)
            | (OnConflict::KeepBoth, DataClass::Notes | DataClass::Bookmarks) => Ok(()),
            (OnConflict::Newest, _) => Err(PolicyError::NoTimes { class }),
            (OnConflict::KeepBoth, _) => Err(PolicyError::Parts { class }),
            _ => Ok(()),
        }
    }
}
