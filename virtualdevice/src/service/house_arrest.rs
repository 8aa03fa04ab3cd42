//! `com.apple.mobile.house_arrest`: one question for an app's files, then AFC on the same stream. Spec: lockdown 12.5.

use cabled_lockdown::services::house_arrest::{Command, Reply};
use cabled_wire::io::BoxStream;

use super::afc::Root;
use super::{IDLE, ServeError, read_message, write_message};
use crate::fs::map;
use crate::phone::Phone;

/// The service's name.
pub const NAME: &str = "com.apple.mobile.house_arrest";

/// Serves one connection: one command, and AFC if it was granted. An app is known by its data container.
///
/// # Errors
/// As [`super::afc::serve`], and [`ServeError::Wire`] for a malformed command.
pub async fn serve(phone: Phone, mut stream: BoxStream) -> Result<(), ServeError> {
    let command: Command = read_message(&mut stream, IDLE).await?;
    let granted = grant(&phone, &command);
    let reply = match &granted {
        Ok(_) => Reply::Complete,
        Err(error) => Reply::Failed {
            error: (*error).to_owned(),
        },
    };
    write_message(&phone, &mut stream, &reply).await?;
    match granted {
        Ok(root) => super::afc::serve(phone, root, stream).await,
        Err(_) => Ok(()),
    }
}

fn grant(phone: &Phone, command: &Command) -> Result<Root, &'static str> {
    let (request, bundle_id, root): (_, _, fn(String) -> Root) = match command {
        Command::VendContainer { bundle_id } => ("VendContainer", bundle_id, Root::Container),
        Command::VendDocuments { bundle_id } => ("VendDocuments", bundle_id, Root::Documents),
        _ => return Err("InvalidCommand"),
    };
    phone.log().record(NAME, request, bundle_id.as_str());
    let known = map::container_path(bundle_id, "").is_ok_and(|(domain, path)| phone.fs().get(&domain, &path).is_some());
    if known {
        Ok(root(bundle_id.clone()))
    } else {
        Err("ApplicationLookupFailed")
    }
}
