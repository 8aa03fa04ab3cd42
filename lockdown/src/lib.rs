//! Pair with an iPhone or iPad, open sessions, start services.

pub mod msg;
mod pair_record;
pub mod services;

pub use pair_record::{DeviceSide, MAX_PAIR_RECORD, PairRecord};
