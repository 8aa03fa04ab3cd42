use cabled_wire::WireError;
use cabled_wire::io::BoxStream;
use cabled_wire::plist::{DictExt, Dictionary};

use super::{Entry, PowerOptions, Reply, Request};
use crate::link::PlistLink;
use crate::services::{REPLY_LIMIT, ServiceError};

const SERVICE: &str = "diagnostics_relay";

/// A client of diagnostics_relay (spec: lockdown 12.4). Methods are not safe to drop half-way.
#[derive(Debug)]
pub struct Diagnostics {
    link: PlistLink,
}

impl Diagnostics {
    /// On the stream of [`super::SERVICE`].
    #[must_use]
    pub fn new(stream: BoxStream) -> Self {
        Self {
            link: PlistLink::new(stream),
        }
    }

    /// `All`, `WiFi`, `GasGauge` or `NAND`, as far as the system still has them.
    ///
    /// # Errors
    /// [`ServiceError::Refused`] with the status, [`ServiceError::Link`].
    pub async fn facts(&mut self, kind: &str) -> Result<Dictionary, ServiceError> {
        self.ask(&Request::Facts { kind: kind.to_owned() }, "facts").await
    }

    /// Answers of `MobileGestalt`; current systems refuse it.
    ///
    /// # Errors
    /// [`ServiceError::Refused`] with the status (also `MobileGestaltDeprecated`), [`ServiceError::Link`].
    pub async fn mobile_gestalt(&mut self, keys: &[&str]) -> Result<Dictionary, ServiceError> {
        let request = "MobileGestalt";
        let keys = keys.iter().map(|&key| key.to_owned()).collect();
        let answers = self.ask(&Request::MobileGestalt { keys }, request).await?;
        let answers = match answers.opt_dict("MobileGestalt") {
            Ok(Some(inner)) => inner.clone(),
            _ => answers,
        };
        match answers.opt_text("Status") {
            Ok(Some(status)) if status != Reply::SUCCESS => Err(refused(request, status)),
            _ => Ok(answers),
        }
    }

    /// A part of the I/O registry.
    ///
    /// # Errors
    /// [`ServiceError::Refused`] with the status, [`ServiceError::Link`].
    pub async fn io_registry(&mut self, entry: Entry) -> Result<Dictionary, ServiceError> {
        let answer = self.ask(&Request::IoRegistry(entry), "IORegistry").await?;
        Ok(match answer.opt_dict("IORegistry") {
            Ok(Some(inner)) => inner.clone(),
            _ => answer,
        })
    }

    /// Restarts the device.
    ///
    /// # Errors
    /// [`ServiceError::Refused`] with the status, [`ServiceError::Link`].
    pub async fn restart(&mut self, options: PowerOptions) -> Result<(), ServiceError> {
        self.ask(&Request::Restart(options), "Restart").await.map(drop)
    }

    /// Shuts the device down.
    ///
    /// # Errors
    /// [`ServiceError::Refused`] with the status, [`ServiceError::Link`].
    pub async fn shut_down(&mut self, options: PowerOptions) -> Result<(), ServiceError> {
        self.ask(&Request::Shutdown(options), "Shutdown").await.map(drop)
    }

    /// Puts the device to sleep, which closes its USB link.
    ///
    /// # Errors
    /// [`ServiceError::Refused`] with the status, [`ServiceError::Link`].
    pub async fn sleep(&mut self) -> Result<(), ServiceError> {
        self.ask(&Request::Sleep, "Sleep").await.map(drop)
    }

    /// Ends the service politely.
    ///
    /// # Errors
    /// [`ServiceError::Link`].
    pub async fn goodbye(mut self) -> Result<(), ServiceError> {
        self.ask(&Request::Goodbye, "Goodbye").await.map(drop)
    }

    async fn ask(&mut self, request: &Request, name: &'static str) -> Result<Dictionary, ServiceError> {
        let reply: Reply = self.link.ask(request, "asking for diagnostics", REPLY_LIMIT).await?;
        if reply.status == Reply::SUCCESS {
            Ok(reply.diagnostics.unwrap_or_default())
        } else {
            Err(refused(name, &reply.status))
        }
    }
}

fn refused(request: &'static str, status: &str) -> ServiceError {
    ServiceError::Refused {
        service: SERVICE,
        request,
        error: WireError::excerpt(status),
        description: None,
    }
}
