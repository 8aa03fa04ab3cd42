//! Whether a class can be synced over the cable, known before anything is opened (feature `device`).
//!
//! # Example
//! What a device says that syncs contacts with an account and bookmarks with a desktop:
//! ```
//! use cabled_syncproto::DataClass;
//! use cabled_syncproto::availability::{Access, Availability, Unavailable};
//! use cabled_wire::plist::{Dictionary, Value};
//!
//! let mut served = Dictionary::new();
//! served.insert("Sources".into(), Value::Array(vec!["iCloud".into()]));
//! let mut data_sync = Dictionary::new();
//! data_sync.insert("Contacts".into(), served.into());
//!
//! let classes = Value::Array(vec!["Contacts".into(), "Bookmarks".into()]);
//! let read = |class| Availability::of(class, Some(&classes), None, Some(&data_sync.clone().into()));
//! let refused = read(DataClass::Contacts)?.check(Access::ReadAndWrite);
//! assert!(matches!(refused, Err(Unavailable::ServedByAccount { .. })));
//! // What the account has is not among what the device tells, but what is, may be read:
//! read(DataClass::Contacts)?.check(Access::ReadEvenIfServedByAccount)?;
//! read(DataClass::Bookmarks)?.check(Access::ReadAndWrite)?;
//! assert!(matches!(read(DataClass::Notes)?.check(Access::ReadAndWrite), Err(Unavailable::NotAdvertised { .. })));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! # How it fits together
//! [`Availability::read`] and [`Availability::read_all`] ask the device's lockdown; [`Availability::of`] is the same
//! without a device. [`Availability::check`] gives the reason why a class cannot be had, before a connection to the sync
//! service is opened; the service may still refuse, with words of its own. [`enable`] switches a class on for cables. Spec:
//! mobilesync, sections 2 and 9.
//!
//! # Limits
//! 64 accounts are told of a class, 200 characters of each name.

use cabled_lockdown::{Paired, Session};
use cabled_wire::WireError;
use cabled_wire::plist::{Dictionary, Value};

use crate::DataClass;

/// The domain that lists the classes.
const ITUNES: &str = "com.apple.mobile.iTunes";
/// Its key.
const CLASSES: &str = "SyncDataClasses";
/// The domain that says what is switched off for cables, and who syncs it.
const TETHERED: &str = "com.apple.mobile.tethered_sync";
/// The domain that says which accounts serve a class.
const DATA_SYNC: &str = "com.apple.mobile.data_sync";
/// Accounts and classes that are read at most.
const MANY: usize = 64;

/// What a device says of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Availability {
    /// The class.
    pub class: DataClass,
    /// Whether the device lists it; `None` where it lists none at all. Being listed promises nothing: devices without a
    /// store for notes list them.
    pub advertised: Option<bool>,
    /// It is switched off for cables.
    pub disabled: bool,
    /// The desktop system that synced it last, as it called itself: `Windows`.
    pub claimed_by: Option<String>,
    /// What serves it over the air, such as `iCloud`.
    pub sources: Vec<String>,
    /// The names of the accounts.
    pub account_names: Vec<String>,
}

/// What is wanted of a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Access {
    /// To sync. Records that are written beside an account's make doubles, so a class that an account serves is refused.
    #[default]
    ReadAndWrite,
    /// To read what there is outside accounts, often nothing.
    ReadEvenIfServedByAccount,
}

/// Why a class cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// The device does not know it.
    #[error("the device does not offer {class} for sync")]
    NotAdvertised {
        /// The class.
        class: DataClass,
    },
    /// It is switched off for cables.
    #[error(
        "sync of {class} over the cable is switched off on the device{}; switch it on to go on",
        .claimed_by.as_deref().map(|by| format!(" (last set by {by})")).unwrap_or_default()
    )]
    DisabledOnDevice {
        /// The class.
        class: DataClass,
        /// Which desktop system set it last.
        claimed_by: Option<String>,
    },
    /// It is synced over the air; a cable would reach other records and make doubles.
    #[error(
        "{class} on the device are served by {}; switch them off there to sync over the cable, or only read",
        accounts.join(", ")
    )]
    ServedByAccount {
        /// The class.
        class: DataClass,
        /// The accounts, or what they are of.
        accounts: Vec<String>,
    },
}

/// The device did not say whether a class can be had, or a switch could not be set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AvailabilityError {
    /// Lockdown did not answer, or refused.
    #[error("the device's settings could not be read or written")]
    Lockdown(#[from] cabled_lockdown::Error),
    /// A setting is not of the form it should have; it is not guessed.
    #[error("the device's setting `{domain}` makes no sense")]
    Malformed {
        /// The domain.
        domain: &'static str,
        /// What is wrong with it.
        #[source]
        source: WireError,
    },
    /// The device took the switch without a word and left it off: a profile or an account holds it.
    #[error("the device keeps sync of {class} over the cable switched off; a profile or an account may hold it")]
    NotSwitched {
        /// The class.
        class: DataClass,
    },
}

impl Availability {
    /// Asks the device about one class. Dropping the future is safe.
    ///
    /// # Errors
    /// [`AvailabilityError`].
    pub async fn read(paired: &Paired, class: DataClass) -> Result<Self, AvailabilityError> {
        let [classes, tethered, data_sync] = settings(paired).await?;
        Self::of(class, classes.as_ref(), tethered.as_ref(), data_sync.as_ref())
    }

    /// Asks the device about every class that this library knows, or that the device lists. Dropping the future is safe.
    ///
    /// # Errors
    /// [`AvailabilityError`].
    pub async fn read_all(paired: &Paired) -> Result<Vec<Self>, AvailabilityError> {
        let [classes, tethered, data_sync] = settings(paired).await?;
        let listed = classes.as_ref().map(listed).transpose()?.unwrap_or_default();
        let others = listed.into_iter().filter(|class| matches!(class, DataClass::Other(_)));
        DataClass::KNOWN
            .into_iter()
            .chain(others)
            .map(|class| Self::of(class, classes.as_ref(), tethered.as_ref(), data_sync.as_ref()))
            .collect()
    }

    /// From lockdown's values: `SyncDataClasses`, and the domains `com.apple.mobile.tethered_sync` and
    /// `com.apple.mobile.data_sync` as a whole; what is missing has its default.
    ///
    /// # Errors
    /// [`AvailabilityError::Malformed`].
    pub fn of(
        class: DataClass,
        classes: Option<&Value>,
        tethered: Option<&Value>,
        data_sync: Option<&Value>,
    ) -> Result<Self, AvailabilityError> {
        let advertised = classes.map(listed).transpose()?.map(|listed| listed.contains(&class));
        let tethered = entry(TETHERED, tethered, &class)?;
        let served = entry(DATA_SYNC, data_sync, &class)?;
        let texts = |key: &str| match served.and_then(|served| served.get(key)) {
            None => Ok(Vec::new()),
            Some(value) => texts(DATA_SYNC, key, value),
        };
        let (sources, account_names) = (texts("Sources")?, texts("AccountNames")?);
        let disabled = match tethered.and_then(|tethered| tethered.get("DisableTethered")) {
            None => false,
            Some(flag) => truth(flag).ok_or_else(|| wrong(TETHERED, "DisableTethered", "a boolean"))?,
        };
        let claimed_by = match tethered.and_then(|tethered| tethered.get("SyncingOS")) {
            None => None,
            Some(name) => {
                let name = name.as_string().ok_or_else(|| wrong(TETHERED, "SyncingOS", "text"))?;
                Some(WireError::excerpt(name))
            }
        };
        Ok(Self {
            class,
            advertised,
            disabled,
            claimed_by,
            sources,
            account_names,
        })
    }

    /// The accounts that serve the class, by name where they have one.
    #[must_use]
    pub fn accounts(&self) -> &[String] {
        match self.account_names.is_empty() {
            true => &self.sources,
            false => &self.account_names,
        }
    }

    /// Whether the class can be had, and else why not. An account that serves bookmarks keeps devices from telling them at
    /// all; of other classes what is outside accounts can be read.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn check(&self, access: Access) -> Result<(), Unavailable> {
        let class = || self.class.clone();
        if self.advertised == Some(false) {
            return Err(Unavailable::NotAdvertised { class: class() });
        }
        if self.disabled {
            return Err(Unavailable::DisabledOnDevice {
                class: class(),
                claimed_by: self.claimed_by.clone(),
            });
        }
        let may_read = access == Access::ReadEvenIfServedByAccount && self.class != DataClass::Bookmarks;
        if !self.accounts().is_empty() && !may_read {
            return Err(Unavailable::ServedByAccount {
                class: class(),
                accounts: self.accounts().to_vec(),
            });
        }
        Ok(())
    }
}

/// Switches a class on for sync over the cable, as a desktop does, under the name of a system such as `Windows`.
///
/// It changes what the device and desktop programs show in their settings, so nothing in this library calls it by itself.
/// Dropping the future is safe; it may be done nevertheless.
///
/// # Errors
/// [`AvailabilityError`].
pub async fn enable(paired: &Paired, class: &DataClass, os_name: &str) -> Result<(), AvailabilityError> {
    let mut switch = Dictionary::new();
    switch.insert("DisableTethered".to_owned(), Value::Boolean(false));
    switch.insert("SyncingOS".to_owned(), os_name.into());
    let mut session = paired.session().await?;
    session
        .set_value(Some(TETHERED), class.data_type(), switch.into())
        .await?;
    // Devices ignore some writes without a word.
    let tethered = session.get_value(Some(TETHERED), None).await?;
    session.stop().await;
    match Availability::of(class.clone(), None, tethered.as_ref(), None)?.disabled {
        true => Err(AvailabilityError::NotSwitched { class: class.clone() }),
        false => Ok(()),
    }
}

/// The list of classes and both domains.
async fn settings(paired: &Paired) -> Result<[Option<Value>; 3], AvailabilityError> {
    let mut session: Session = paired.session().await?;
    let classes = session.get_value(Some(ITUNES), Some(CLASSES)).await?;
    let tethered = session.get_value(Some(TETHERED), None).await?;
    let data_sync = session.get_value(Some(DATA_SYNC), None).await?;
    session.stop().await;
    Ok([classes, tethered, data_sync])
}

fn wrong(domain: &'static str, key: &str, expected: &'static str) -> AvailabilityError {
    let key = WireError::excerpt(key);
    AvailabilityError::Malformed {
        domain,
        source: WireError::Type { key, expected },
    }
}

fn listed(classes: &Value) -> Result<Vec<DataClass>, AvailabilityError> {
    let names = texts(ITUNES, CLASSES, classes)?;
    Ok(names.iter().map(|name| DataClass::from_data_type(name)).collect())
}

/// What a domain says of a class.
fn entry<'a>(
    domain: &'static str,
    values: Option<&'a Value>,
    class: &DataClass,
) -> Result<Option<&'a Dictionary>, AvailabilityError> {
    let Some(values) = values else { return Ok(None) };
    let values = values.as_dictionary();
    let value = values
        .ok_or_else(|| wrong(domain, domain, "a dictionary"))?
        .get(class.data_type());
    let entry = |value: &'a Value| value.as_dictionary();
    match value.map(entry) {
        None => Ok(None),
        Some(None) => Err(wrong(domain, class.data_type(), "a dictionary")),
        Some(entry) => Ok(entry),
    }
}

fn texts(domain: &'static str, key: &str, value: &Value) -> Result<Vec<String>, AvailabilityError> {
    let wrong = || wrong(domain, key, "an array of texts");
    let list = value.as_array().ok_or_else(wrong)?;
    let text = |value: &Value| value.as_string().map(WireError::excerpt).ok_or_else(wrong);
    list.iter().take(MANY).map(text).collect()
}

/// A boolean, or the 0 and 1 of older systems.
fn truth(value: &Value) -> Option<bool> {
    value.as_boolean().or_else(|| match value.as_signed_integer() {
        Some(0) => Some(false),
        Some(1) => Some(true),
        _ => None,
    })
}

#[cfg(feature = "pair")]
impl From<Unavailable> for crate::replica::ReplicaError {
    fn from(unavailable: Unavailable) -> Self {
        let class = match &unavailable {
            Unavailable::NotAdvertised { class }
            | Unavailable::DisabledOnDevice { class, .. }
            | Unavailable::ServedByAccount { class, .. } => class.to_string(),
        };
        Self::Refused {
            class,
            reason: unavailable.to_string(),
            source: Some(Box::new(unavailable)),
        }
    }
}
