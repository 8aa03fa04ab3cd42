//! The small services beside lockdown: what is said on each, and a thin client for each.
//!
//! Every client takes the stream that [`crate::Session::start_service`] or [`crate::Paired::start_service`] returned.
//! The message types carry both directions, so that a device can be played with them. Spec: lockdown 12.

pub mod assertion;
pub mod diagnostics;
mod error;
pub mod heartbeat;
pub mod house_arrest;
pub mod installation_proxy;
pub mod notification_proxy;
pub mod springboard;

use std::time::Duration;

pub use error::ServiceError;

/// How long one answer of a companion service may take.
pub const REPLY_LIMIT: Duration = Duration::from_secs(30);
