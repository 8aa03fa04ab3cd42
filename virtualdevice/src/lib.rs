//! A virtual iPhone.

pub mod backup;
pub mod contents;
pub mod fault;
pub mod fs;
pub mod lockdown;
pub mod log;
pub mod phone;
pub mod profile;
pub mod service;

pub use fault::{Direction, Fault, Faults};
pub use log::{LogEntry, RequestLog};
pub use phone::{BuildError, LOCKDOWN_PORT, NetworkPhone, Pairing, PasscodeEntry, Phone, PhoneBuilder, PhoneEvent};
pub use profile::Profile;
