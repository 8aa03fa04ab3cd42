//! The pair-record calls.

use cabled_wire::ids::{DeviceId, Udid};
use cabled_wire::secret::SecretBytes;

use super::Shared;
use crate::AttachedDevice;
use crate::msg::{Reply, ResultCode};
use crate::store::{PairRecordId, StoreError};

impl Shared {
    pub(super) async fn read_record(&self, id: &str) -> Reply {
        let Ok(id) = id.parse() else {
            return Reply::Result(ResultCode::InvalidArgument);
        };
        match self.store.read(&id).await {
            Ok(Some(record)) => Reply::PairRecordData(record),
            Ok(None) => Reply::Result(ResultCode::BadDevice),
            Err(error) => failed(&error),
        }
    }

    pub(super) async fn save_record(&self, id: &str, data: &SecretBytes) -> Result<(), Reply> {
        let id: PairRecordId = id.parse().map_err(|_| Reply::Result(ResultCode::InvalidArgument))?;
        self.store.save(&id, data).await.map_err(|error| failed(&error))
    }

    pub(super) async fn delete_record(&self, id: &str) -> Reply {
        let Ok(id) = id.parse() else {
            return Reply::Result(ResultCode::InvalidArgument);
        };
        match self.store.delete(&id).await {
            Ok(true) => Reply::Result(ResultCode::Ok),
            Ok(false) => Reply::Result(ResultCode::BadDevice),
            Err(error) => failed(&error),
        }
    }

    /// Tells all listeners, before the saver gets its result.
    pub(super) fn announce_paired(&self, record: &str, device: Option<DeviceId>) {
        let Some(device) = device else { return };
        let udid: Option<Udid> = record.parse().ok();
        let fits = |attached: &AttachedDevice| attached.id == device && Some(&attached.udid) == udid.as_ref();
        if self.devices().iter().any(fits) {
            // An error only says that nobody listens.
            let _ = self.paired.send(device);
        }
    }
}

/// What a client is told when the store fails; the reason goes to the log.
pub(super) fn failed(error: &StoreError) -> Reply {
    match error {
        StoreError::NotARecord(_) => tracing::debug!(%error, "pair record refused"),
        StoreError::Configuration { .. } | StoreError::Io { .. } => {
            tracing::warn!(error = error as &dyn std::error::Error, "pair-record store");
        }
    }
    Reply::Result(ResultCode::InvalidArgument)
}
