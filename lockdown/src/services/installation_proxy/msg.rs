use cabled_wire::WireError;
use cabled_wire::plist::{Dictionary, Value};

use crate::msg::Message;
use crate::msg::fields::{Builder, Fields, texts};

/// What a host says (spec: lockdown 12.2). `options` is `ClientOptions`, kept as it is: its keys differ by command.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Command {
    /// `Browse`: answered by [`Reply::Browsing`] any number of times, then [`Reply::Complete`].
    Browse {
        /// `ApplicationType` (`User`, `System`, `Any`, `Internal`), `ReturnAttributes`, `BundleIDs`, ...
        options: Option<Dictionary>,
    },
    /// `Lookup`: answered by one [`Reply::Complete`] with a result.
    Lookup {
        /// `BundleIDs`, `ReturnAttributes`, `ApplicationType`.
        options: Option<Dictionary>,
    },
    /// `Install` or `Upgrade` of a package that was uploaded to `PublicStaging` over AFC.
    Install {
        /// `Upgrade` in place of `Install`.
        upgrade: bool,
        /// `PackagePath`, relative to the AFC root.
        package_path: String,
        /// `ClientOptions`.
        options: Option<Dictionary>,
    },
    /// `Uninstall`, `Archive`, `Restore` or `RemoveArchive` of one app.
    OnApplication {
        /// `Command` as spelled.
        command: String,
        /// `ApplicationIdentifier`: the bundle id.
        bundle_id: String,
        /// `ClientOptions`.
        options: Option<Dictionary>,
    },
    /// `LookupArchives`.
    LookupArchives {
        /// `ClientOptions`.
        options: Option<Dictionary>,
    },
    /// `CheckCapabilitiesMatch`.
    CheckCapabilitiesMatch {
        /// `Capabilities`: an array of names or a dictionary of name to boolean.
        capabilities: Value,
        /// `ClientOptions`.
        options: Option<Dictionary>,
    },
    /// A command this version does not know, kept whole.
    Unknown(Dictionary),
}

/// What a device says.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reply {
    /// `BrowsingApplications`: one chunk of a listing. Chunks never overlap.
    Browsing {
        /// `CurrentIndex`: where the chunk starts.
        index: Option<u64>,
        /// `CurrentAmount`: how many it holds.
        amount: Option<u64>,
        /// `Total`, if it is known.
        total: Option<u64>,
        /// `CurrentList`: the attributes of each app.
        list: Vec<Dictionary>,
    },
    /// A step of a longer job.
    Progress {
        /// `Status`: what is being done, such as `InstallingApplication`.
        status: String,
        /// `PercentComplete`, 0 to 100.
        percent: Option<u64>,
        /// Further keys.
        extra: Dictionary,
    },
    /// `Complete`: the command has ended.
    Complete {
        /// `LookupResult`: bundle id to attributes.
        lookup: Option<Dictionary>,
        /// Further keys.
        extra: Dictionary,
    },
    /// The command failed.
    Failed {
        /// `Error`: a camel-case name, such as `ApplicationVerificationFailed`.
        error: String,
        /// `ErrorDescription`: text for people.
        description: Option<String>,
        /// `ErrorDetail`: a number.
        detail: Option<i64>,
        /// Further keys.
        extra: Dictionary,
    },
    /// A message this version does not know, kept whole.
    Unknown(Dictionary),
}

impl Command {
    /// `Browse` of one application type with chosen attributes (none: all of them).
    #[must_use]
    pub fn browse(application_type: &str, attributes: &[String]) -> Self {
        Self::Browse {
            options: Some(options(Some(application_type), None, attributes)),
        }
    }

    /// `Lookup` of some bundle ids with chosen attributes (none: all of them).
    #[must_use]
    pub fn lookup(bundle_ids: &[String], attributes: &[String]) -> Self {
        Self::Lookup {
            options: Some(options(None, Some(bundle_ids), attributes)),
        }
    }
}

fn options(application_type: Option<&str>, bundle_ids: Option<&[String]>, attributes: &[String]) -> Dictionary {
    let attributes = (!attributes.is_empty()).then(|| texts(attributes));
    Builder::default()
        .opt("ApplicationType", application_type)
        .opt("BundleIDs", bundle_ids.map(texts))
        .opt("ReturnAttributes", attributes)
        .build_dict()
}

impl Message for Command {
    fn to_plist(&self) -> Value {
        let start = |command: &str, options: &Option<Dictionary>| {
            Builder::default()
                .set("Command", command)
                .opt("ClientOptions", options.clone().map(Value::Dictionary))
        };
        match self {
            Self::Browse { options } => start("Browse", options).build(),
            Self::Lookup { options } => start("Lookup", options).build(),
            Self::Install {
                upgrade,
                package_path,
                options,
            } => {
                let command = if *upgrade { "Upgrade" } else { "Install" };
                start(command, options)
                    .set("PackagePath", package_path.as_str())
                    .build()
            }
            Self::OnApplication {
                command,
                bundle_id,
                options,
            } => start(command, options)
                .set("ApplicationIdentifier", bundle_id.as_str())
                .build(),
            Self::LookupArchives { options } => start("LookupArchives", options).build(),
            Self::CheckCapabilitiesMatch { capabilities, options } => start("CheckCapabilitiesMatch", options)
                .set("Capabilities", capabilities.clone())
                .build(),
            Self::Unknown(dict) => Value::Dictionary(dict.clone()),
        }
    }

    fn from_plist(value: Value) -> Result<Self, WireError> {
        let mut f = Fields::of(value, "installation_proxy command")?;
        let command = f.peek_text("Command")?.to_owned();
        Ok(match command.as_str() {
            "Browse" => Self::Browse {
                options: f.opt_dict("ClientOptions")?,
            },
            "Lookup" => Self::Lookup {
                options: f.opt_dict("ClientOptions")?,
            },
            "Install" | "Upgrade" => Self::Install {
                upgrade: command == "Upgrade",
                package_path: f.text("PackagePath")?,
                options: f.opt_dict("ClientOptions")?,
            },
            "Uninstall" | "Archive" | "Restore" | "RemoveArchive" => Self::OnApplication {
                bundle_id: f.text("ApplicationIdentifier")?,
                options: f.opt_dict("ClientOptions")?,
                command,
            },
            "LookupArchives" => Self::LookupArchives {
                options: f.opt_dict("ClientOptions")?,
            },
            "CheckCapabilitiesMatch" => Self::CheckCapabilitiesMatch {
                capabilities: f.take("Capabilities").ok_or(WireError::Missing {
                    key: "Capabilities".to_owned(),
                })?,
                options: f.opt_dict("ClientOptions")?,
            },
            _ => Self::Unknown(f.rest()),
        })
    }
}

impl Message for Reply {
    fn to_plist(&self) -> Value {
        match self {
            Self::Browsing {
                index,
                amount,
                total,
                list,
            } => Builder::default()
                .set("Status", "BrowsingApplications")
                .opt("CurrentIndex", *index)
                .opt("CurrentAmount", *amount)
                .opt("Total", *total)
                .set(
                    "CurrentList",
                    Value::Array(list.iter().cloned().map(Value::Dictionary).collect()),
                )
                .build(),
            Self::Progress { status, percent, extra } => Builder::on(extra)
                .set("Status", status.as_str())
                .opt("PercentComplete", *percent)
                .build(),
            Self::Complete { lookup, extra } => Builder::on(extra)
                .set("Status", "Complete")
                .opt("LookupResult", lookup.clone().map(Value::Dictionary))
                .build(),
            Self::Failed {
                error,
                description,
                detail,
                extra,
            } => Builder::on(extra)
                .set("Error", error.as_str())
                .opt("ErrorDescription", description.as_deref())
                .opt("ErrorDetail", *detail)
                .build(),
            Self::Unknown(dict) => Value::Dictionary(dict.clone()),
        }
    }

    fn from_plist(value: Value) -> Result<Self, WireError> {
        let mut f = Fields::of(value, "installation_proxy reply")?;
        if let Some(error) = f.opt_text("Error")? {
            let description = f.opt_text("ErrorDescription")?;
            return Ok(Self::Failed {
                error,
                description,
                detail: f.opt_integer("ErrorDetail")?,
                extra: f.rest(),
            });
        }
        let Some(status) = f.opt_text("Status")? else {
            return Ok(Self::Unknown(f.rest()));
        };
        Ok(match status.as_str() {
            "BrowsingApplications" => Self::Browsing {
                index: f.opt_count("CurrentIndex", u64::from(u32::MAX))?,
                amount: f.opt_count("CurrentAmount", u64::from(u32::MAX))?,
                total: f.opt_count("Total", u64::from(u32::MAX))?,
                list: f.opt_dicts("CurrentList")?.unwrap_or_default(),
            },
            "Complete" => Self::Complete {
                lookup: f.opt_dict("LookupResult")?,
                extra: f.rest(),
            },
            _ => Self::Progress {
                status,
                percent: f.opt_count("PercentComplete", 100)?,
                extra: f.rest(),
            },
        })
    }
}
