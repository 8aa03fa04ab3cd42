//! Three-way merge of two sides that know nothing of each other.
mod canon;
mod decide;
mod draft;
mod execute;
mod id;
mod identity;
mod mask;
mod matching;
mod merge;
mod order;
mod plan;
mod policy;
mod report;
mod select;
mod settle;
mod state;
mod value;

pub use canon::{ContentHash, RecordHash};
pub use draft::{Inputs, Planned, plan};
pub use execute::{BATCH, Batch, Execution, Outcome, Write};
pub use id::{EngineId, NotAnEngineId, SessionId, Side, Sides};
pub use mask::{Holds, Mask, Rewriting, Rule};
pub use plan::{Action, Plan, PlanHash, Stop, Verb};
pub use policy::{
    Brakes, Choice, Choices, Direction, FirstSync, OnConflict, OnDeleteEdit, OnDeselect, Policy, PolicyError, Selection,
    Verify,
};
pub use report::{Capabilities, Extent, Report, Reports, Standing};
pub use state::{Bisect, PairState};
