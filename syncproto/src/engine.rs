//! Brings a device and what is on the computer together: three-way merge by field, as a plan first.
//!
//! # Example
//! The first sync of a device that knows Ann and a folder that knows Bo, with neither of them at hand:
//! ```
//! use cabled_syncproto::engine::{
//!     Execution, Extent, FirstSync, Inputs, Outcome, PairState, Policy, Report, Reports, SessionId, Side, Standing, Verb, plan,
//! };
//! use cabled_syncproto::record::{Change, Changes, Record, RecordId};
//! use cabled_syncproto::{DataClass, entity};
//!
//! let one = |id: &str, name: &str| -> Result<Changes, cabled_wire::WireError> {
//!     let person = Record::new(entity::CONTACT).with("first name", name);
//!     Ok(Changes::from_iter([(RecordId::new(id)?, Change::Upsert(person))]))
//! };
//! let told = Report::new(Extent::Everything, Standing::Own);
//! let mut reports = Reports::new(told.clone(), told);
//! reports.add(Side::Device, one("720", "Ann")?);
//! reports.add(Side::Computer, one("bo.vcf", "Bo")?);
//!
//! let mut inputs = Inputs::new(SessionId([7; 16])); // 16 bytes drawn for this session
//! inputs.policy = Policy::default().first_sync(FirstSync::Merge);
//! let planned = plan(PairState::new(DataClass::Contacts), reports, &inputs);
//! println!("{}", planned.plan()); // device create Contact Bo, computer create Contact Ann
//! assert_eq!(planned.plan().count(Side::Device, Verb::Create), 1);
//! assert!(planned.plan().stops.is_empty());
//!
//! let mut execution = Execution::new(planned);
//! while let Some(batch) = execution.next_batch(Side::Device) {
//!     let done = |id| Ok(Outcome::Done { native: Some(RecordId::new(id)?) });
//!     let outcomes: Result<Vec<_>, cabled_wire::WireError> =
//!         batch.writes.iter().map(|write| Ok((write.engine, done("721")?))).collect();
//!     execution.handle_outcomes(Side::Device, outcomes?);
//! }
//! // Only the device's half was done: the rest is planned again next time.
//! assert_eq!(execution.state(0).len(), 2);
//! # Ok::<(), cabled_wire::WireError>(())
//! ```
//! # How it fits together
//! Both sides tell what they have into [`Reports`]. [`plan`] takes them with the [`PairState`] of the last session and the
//! [`Policy`]: it finds out who is who, settles earlier pushes, merges, and gives a [`Planned`], whose [`Plan`] can be
//! printed, kept as JSON, approved by its [`PlanHash`] or refused. [`Execution`] cuts it into [`Batch`]es in the order that
//! devices want, takes [`Outcome`]s, and says what is known afterwards. Nothing is agreed that was not done on both sides,
//! so a session that breaks off anywhere is planned again.
//!
//! The order that keeps everything safe (spec: mobilesync, section 15.6): read the computer, read the device, [`plan`],
//! stage the computer's writes, push the device's, keep [`Execution::doubtful_state`], commit the device, make the
//! computer's writes visible, keep [`Execution::state`]. When the device's answer to the commit is lost and the next opening
//! shows that it did commit, go on with the kept doubtful state and read everything from both sides. When it shows that
//! somebody else committed since, go on with the state before it, and [`PairState::take_over_arrived`] what is there.
//!
//! # Limits
//! No clock and no random source: times, session names and identifiers come in. The engine knows [`Record`], [`DataClass`]
//! and [`schema`], no text format and no device. Everything is in memory: between sessions some 250 bytes per record and 24
//! for each of its values, beside texts of more than 22 bytes; in a first sync some 1,000 per record at the most.
//!
//! [`Record`]: crate::record::Record
//! [`DataClass`]: crate::DataClass
//! [`schema`]: crate::schema

mod arrived;
mod canon;
mod decide;
mod draft;
mod drafting;
mod execute;
mod id;
mod identity;
mod layout;
mod likeness;
mod mask;
mod matching;
mod merge;
mod order;
mod plan;
mod policy;
mod report;
mod rows;
mod select;
mod settle;
mod state;
mod text;
mod value;
mod verdict;

/// What a store writes and reads.
#[cfg(feature = "pair")]
pub(crate) mod kept {
    pub(crate) use super::layout::Layouts;
    pub(crate) use super::state::{Held, Kept, Kind, More, Pending, Pushed, Row, Tombstone, Why};
    pub(crate) use super::value::{Datum, Fields, Name, Ref, since_1970, time};
}

pub use canon::{ContentHash, RecordHash};
pub use draft::{Inputs, Planned, plan};
pub use execute::{BATCH, Batch, Execution, Outcome, Write};
pub use id::{EngineId, NotAnEngineId, SessionId, Side, Sides};
pub use mask::{Holds, Mask, Rewriting, Rule};
pub use plan::{Action, Plan, PlanHash, Stop, Verb};
pub use policy::{
    Brakes, Choice, Choices, Direction, FirstSync, OnConflict, OnDeleteEdit, OnDeselect, Policy, PolicyError,
    Selection, Verify,
};
pub use report::{Capabilities, Extent, Report, Reports, Standing};
pub use state::{Bisect, PairState};
