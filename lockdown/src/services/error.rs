use crate::link::LinkError;

/// A companion service failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The stream failed, stayed silent or carried nonsense.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The service said no, in its own words.
    #[error("{service} refused {request} with `{error}`{}", description.as_deref().map(|text| format!(": {text}")).unwrap_or_default())]
    Refused {
        /// The service.
        service: &'static str,
        /// What was asked.
        request: &'static str,
        /// The code, as the service spelled it, cut to 200 characters.
        error: String,
        /// Text for people, where the service gave one, cut to 200 characters.
        description: Option<String>,
    },
    /// An answer of another kind than the request has.
    #[error("{service} answered {request} with a message of another kind")]
    WrongReply {
        /// The service.
        service: &'static str,
        /// What was asked.
        request: &'static str,
    },
    /// A listing is longer than we accept.
    #[error("{service} lists more than {max} entries")]
    TooMany {
        /// The service.
        service: &'static str,
        /// The limit.
        max: usize,
    },
    /// A listing has more bytes than we accept.
    #[error("{service} lists more than {max} bytes")]
    TooLarge {
        /// The service.
        service: &'static str,
        /// The limit.
        max: usize,
    },
}

impl ServiceError {
    /// What a person can do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Link(link) => link.remedy(),
            Self::Refused { error, .. } => match error.as_str() {
                "ApplicationLookupFailed" | "InstallationLookupFailed" => {
                    "check the bundle id, and that the app shares its files"
                }
                "PasswordProtected" | "DeviceLocked" => "unlock the device and try again",
                _ => "try again; the code says what the device objects to",
            },
            Self::WrongReply { .. } | Self::TooMany { .. } | Self::TooLarge { .. } => "report this with a trace log",
        }
    }
}
