//! A device together with its pair record: what backup, file access and sync start from.

use std::sync::Arc;

use cabled_wire::ids::Udid;
use cabled_wire::io::{BoxStream, Connect};
use cabled_wire::plist::Value;

use crate::client::Lockdown;
use crate::error::Error;
use crate::options::{Escrow, Options};
use crate::pair_record::PairRecord;
use crate::session::Session;

/// A paired device.
///
/// Every call opens a session of its own and closes it, so that nobody holds lockdown open during a transfer. Futures
/// may be dropped at any time. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Paired {
    device: Arc<dyn Connect>,
    record: Arc<PairRecord>,
    options: Options,
}

impl Paired {
    /// Puts device and record together; nothing is sent.
    #[must_use]
    pub fn new(device: Arc<dyn Connect>, record: PairRecord) -> Self {
        Self {
            device,
            record: Arc::new(record),
            options: Options::default(),
        }
    }

    /// The same with other options.
    #[must_use]
    pub fn with_options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// What carries bytes to the device.
    #[must_use]
    pub fn device(&self) -> &Arc<dyn Connect> {
        &self.device
    }

    /// The pair record.
    #[must_use]
    pub fn record(&self) -> &PairRecord {
        &self.record
    }

    /// The device's identifier, where the transport knows it.
    #[must_use]
    pub fn udid(&self) -> Option<&Udid> {
        self.device.udid()
    }

    /// Opens a session, for more than one request.
    ///
    /// # Errors
    /// As [`Lockdown::start_session`], and [`Error::NotLockdown`] in restore mode.
    pub async fn session(&self) -> Result<Session, Error> {
        let mut lockdown = Lockdown::connect_with(Arc::clone(&self.device), self.options.clone()).await?;
        lockdown.expect_lockdown().await?;
        Session::start(lockdown, Arc::clone(&self.record)).await
    }

    /// Starts a service and connects to it.
    ///
    /// # Errors
    /// As [`Self::session`] and [`Session::start_service_with`].
    pub async fn start_service(&self, name: &str, escrow: Escrow) -> Result<BoxStream, Error> {
        let mut session = self.session().await?;
        let stream = session.start_service_with(name, escrow).await;
        session.stop().await;
        stream
    }

    /// Reads one key, a whole domain, or (with neither) the default domain; what is not there is `None`.
    ///
    /// # Errors
    /// As [`Self::session`] and [`Session::get_value`].
    pub async fn get_value(&self, domain: Option<&str>, key: Option<&str>) -> Result<Option<Value>, Error> {
        let mut session = self.session().await?;
        let value = session.get_value(domain, key).await;
        session.stop().await;
        value
    }

    /// Sets a value.
    ///
    /// # Errors
    /// As [`Self::session`] and [`Session::set_value`].
    pub async fn set_value(&self, domain: Option<&str>, key: &str, value: Value) -> Result<(), Error> {
        let mut session = self.session().await?;
        let set = session.set_value(domain, key, value).await;
        session.stop().await;
        set
    }
}
