//! AFC, the phone's file service, over the phone's own file tree. Spec: afc 13.
//!
//! [`serve`] runs one connection. What it may see is a [`Root`]: the media folder, an app's container or documents, or
//! the crash reports. What a real phone may do differently is a switch in [`AfcQuirks`]; what goes wrong once is
//! scripted in [`AfcState`], which all connections of a phone share, together with the table of file locks.

mod connection;
pub mod crash_reports;
mod info;
mod quirks;
mod root;
mod session;
mod state;
mod write;

use cabled_wire::io::BoxStream;

pub use quirks::{AfcQuirks, ReplyOrder};
pub use root::Root;
pub use state::AfcState;

use super::ServeError;
use crate::phone::Phone;

/// The service that shows the media folder.
pub const NAME: &str = "com.apple.afc";

/// Serves one connection whose next byte is a request. Requests are worked on one after another; a long write is stored
/// as it comes.
///
/// Ends when the host closes the stream, and without a reply when it sends what is no AFC packet. Dropping the future
/// ends the connection; its locks are free then.
///
/// # Errors
/// [`ServeError::Service`] for what is no AFC packet, [`ServeError::Io`] when the link breaks.
pub async fn serve(phone: Phone, root: Root, stream: BoxStream) -> Result<(), ServeError> {
    connection::Connection::new(phone, root, stream).run().await
}
