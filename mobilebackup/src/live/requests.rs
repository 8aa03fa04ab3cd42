//! The smaller requests, as the device answers them. Information and lists are better read from the files: devices from
//! iOS 10 on answer `Info` and `List` badly, and `Unback` and `Extract` work up to iOS 9 only. Spec 14.7 and 14.8.

use cabled_lockdown::Paired;

use super::error::BackupError;
use super::options::RequestOptions;
use super::progress::Observer;
use super::request::Request;
use super::run::{Frame, Outcome, Prepare, Run};
use crate::folder::{BackupFolder, Purpose};

macro_rules! simple {
    ($(#[$docs:meta])* $name:ident, |$options:ident| $request:expr) => {
        $(#[$docs])*
        #[derive(Clone, Debug)]
        pub struct $name<'a> {
            paired: &'a Paired,
        }

        impl<'a> $name<'a> {
            /// Nothing is sent yet.
            #[must_use]
            pub fn new(paired: &'a Paired) -> Self {
                Self { paired }
            }

            /// Makes the request. Dropping the future cuts the link.
            ///
            /// # Errors
            /// [`BackupError`].
            pub async fn run(
                &self,
                options: RequestOptions,
                folder: &mut dyn BackupFolder,
                observer: &mut dyn Observer,
            ) -> Result<Outcome, BackupError> {
                let $options = &options;
                request(self.paired, $options, &$request, folder, observer).await
            }
        }
    };
}

simple! {
    /// Asks the device to describe a backup; the text is [`Outcome::content`].
    Info, |_options| Request::Info
}
simple! {
    /// Asks the device to list a backup's files as CSV; the text is [`Outcome::content`].
    List, |_options| Request::List
}
simple! {
    /// Asks the device to unpack a backup into `_unback_` beside it (up to iOS 9).
    Unback, |options| Request::Unback { password: options.password.as_ref() }
}
simple! {
    /// Erases the device: all its data and settings. It needs no backup and asks nobody.
    EraseDevice, |_options| Request::EraseDevice
}

/// Asks the device to unpack one file of a backup into `_unback_` beside it (up to iOS 9).
#[derive(Clone, Debug)]
pub struct Extract<'a> {
    paired: &'a Paired,
    domain: String,
    path: String,
}

impl<'a> Extract<'a> {
    /// Nothing is sent yet.
    pub fn new(paired: &'a Paired, domain: impl Into<String>, path: impl Into<String>) -> Self {
        Self {
            paired,
            domain: domain.into(),
            path: path.into(),
        }
    }

    /// Makes the request. Dropping the future cuts the link.
    ///
    /// # Errors
    /// [`BackupError`].
    pub async fn run(
        &self,
        options: RequestOptions,
        folder: &mut dyn BackupFolder,
        observer: &mut dyn Observer,
    ) -> Result<Outcome, BackupError> {
        let password = options.password.as_ref();
        let extract = Request::Extract {
            domain: &self.domain,
            path: &self.path,
            password,
        };
        request(self.paired, &options, &extract, folder, observer).await
    }
}

async fn request(
    paired: &Paired,
    options: &RequestOptions,
    request: &Request<'_>,
    folder: &mut dyn BackupFolder,
    observer: &mut dyn Observer,
) -> Result<Outcome, BackupError> {
    let run = Run::open(
        paired,
        folder,
        options.source.as_deref(),
        Purpose::Other,
        &options.common,
        observer,
    )
    .await?;
    run.exchange(
        request,
        Frame {
            lock: false,
            prepare: Prepare::Nothing,
        },
    )
    .await
}
