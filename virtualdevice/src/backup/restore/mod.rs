//! tmp
mod stage;
pub(in crate::backup) use stage::*;
