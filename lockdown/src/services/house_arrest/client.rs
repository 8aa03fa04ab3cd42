use cabled_wire::WireError;
use cabled_wire::io::BoxStream;

use super::{Command, Reply};
use crate::link::PlistLink;
use crate::services::{REPLY_LIMIT, ServiceError};

const SERVICE: &str = "house_arrest";

/// Asks for an app's files on the stream of [`super::SERVICE`] and hands the stream back: it speaks AFC from then on.
///
/// Dropping the future closes the stream.
///
/// # Errors
/// [`ServiceError::Refused`] with `ApplicationLookupFailed`, `InstallationLookupFailed` and others;
/// [`ServiceError::WrongReply`]; [`ServiceError::Link`].
///
/// Spec: lockdown 12.5.
pub async fn vend(stream: BoxStream, command: &Command) -> Result<BoxStream, ServiceError> {
    let phase = "asking for an app's files";
    let request = match command {
        Command::VendContainer { .. } => "VendContainer",
        Command::VendDocuments { .. } => "VendDocuments",
        Command::Unknown(_) => "an unknown command",
    };
    let mut link = PlistLink::new(stream);
    match link.ask::<Reply>(command, phase, REPLY_LIMIT).await? {
        Reply::Complete => Ok(link.into_stream(phase)?),
        Reply::Failed { error } => Err(ServiceError::Refused {
            service: SERVICE,
            request,
            error: WireError::excerpt(&error),
            description: None,
        }),
        Reply::Unknown(_) => Err(ServiceError::WrongReply {
            service: SERVICE,
            request,
        }),
    }
}
