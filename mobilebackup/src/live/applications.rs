//! The list of apps that the device installs again after a restore. Spec 3.3.

use cabled_afc::msg::OpenMode;
use cabled_afc::{Afc, AfcError};
use cabled_wire::plist::{self, Value};

const FOLDER: &str = "/iTunesRestore";
const FILE: &str = "/iTunesRestore/RestoreApplications.plist";

/// Writes the list; the folder may be there already.
pub(super) async fn write(afc: &Afc, applications: &Value) -> Result<(), AfcError> {
    if let Err(error) = afc.make_dir(FOLDER).await
        && !matches!(error.status(), Some(cabled_afc::msg::Status::ObjectExists))
    {
        return Err(error);
    }
    let mut file = afc.open(FILE, OpenMode::WriteRead).await?;
    let written = file.write(plist::to_xml(applications).into()).await;
    let closed = file.close().await;
    written.and(closed)
}

/// After a failed restore: no app may be installed for it.
pub(super) async fn remove(afc: &Afc) {
    for path in [FILE, FOLDER] {
        if let Err(error) = afc.remove(path).await {
            tracing::debug!(%error, path, "left on the device");
        }
    }
}
