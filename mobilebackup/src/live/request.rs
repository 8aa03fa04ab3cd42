//! What the host asks for: one request per connection. Spec 3.

use cabled_wire::dict;
use cabled_wire::plist::{Dictionary, Value};
use cabled_wire::secret::SecretString;

use super::options::RestoreOptions;

/// A request, with the identifiers that the device puts in front of its paths.
#[derive(Clone, Debug)]
pub(crate) enum Request<'a> {
    Backup {
        force_full: bool,
    },
    Restore {
        options: &'a RestoreOptions,
    },
    Info,
    List,
    Unback {
        password: Option<&'a SecretString>,
    },
    Extract {
        domain: &'a str,
        path: &'a str,
        password: Option<&'a SecretString>,
    },
    ChangePassword {
        old: Option<&'a SecretString>,
        new: Option<&'a SecretString>,
    },
    EraseDevice,
}

impl Request<'_> {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Backup { .. } => "Backup",
            Self::Restore { .. } => "Restore",
            Self::Info => "Info",
            Self::List => "List",
            Self::Unback { .. } => "Unback",
            Self::Extract { .. } => "Extract",
            Self::ChangePassword { .. } => "ChangePassword",
            Self::EraseDevice => "EraseDevice",
        }
    }

    /// The dictionary of `DLMessageProcessMessage`. Absent means that the key is not there, never an empty string.
    pub(crate) fn to_dictionary(&self, target: &str, source: &str) -> Dictionary {
        let mut dict = dict! { "MessageName" => self.name(), "TargetIdentifier" => target };
        let mut put = |key: &str, value: Value| dict.insert(key.to_owned(), value);
        if !matches!(self, Self::ChangePassword { .. } | Self::EraseDevice) {
            put("SourceIdentifier", source.into());
        }
        match self {
            Self::Backup { force_full: true } => {
                put("Options", Value::Dictionary(dict! { "ForceFullBackup" => true }));
            }
            Self::Restore { options } => {
                put("Options", Value::Dictionary(options.to_dictionary()));
            }
            Self::Unback { password } => put_secret(&mut put, "Password", *password),
            Self::Extract { domain, path, password } => {
                put("DomainName", (*domain).into());
                put("RelativePath", (*path).into());
                put_secret(&mut put, "Password", *password);
            }
            Self::ChangePassword { old, new } => {
                put_secret(&mut put, "OldPassword", *old);
                put_secret(&mut put, "NewPassword", *new);
            }
            Self::Backup { force_full: false } | Self::Info | Self::List | Self::EraseDevice => {}
        }
        dict
    }
}

fn put_secret(put: &mut impl FnMut(&str, Value) -> Option<Value>, key: &str, secret: Option<&SecretString>) {
    if let Some(secret) = secret {
        put(key, secret.expose().into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cabled_wire::plist::DictExt;

    #[test]
    fn a_plain_backup_is_the_184_bytes_that_were_logged() {
        let udid = "0123456789abcdef0123456789abcdef01234567";
        let dict = Request::Backup { force_full: false }.to_dictionary(udid, udid);
        let message = cabled_devicelink::msg::Message::ProcessMessage(dict);
        assert_eq!(message.encode().len(), 184);
    }

    #[test]
    fn a_restore_says_all_five_options_and_the_password_inside_them() {
        let options = RestoreOptions::default().password("secret");
        let dict = Request::Restore { options: &options }.to_dictionary("T", "S");
        assert_eq!(
            (dict.text("TargetIdentifier"), dict.text("SourceIdentifier")),
            (Ok("T"), Ok("S"))
        );
        let options = dict.dict("Options").unwrap();
        let wanted = [
            ("RestoreSystemFiles", false),
            ("RestoreShouldReboot", true),
            ("RestoreDontCopyBackup", true),
            ("RestorePreserveSettings", true),
            ("RemoveItemsNotRestored", false),
        ];
        for (key, value) in wanted {
            assert_eq!(options.boolean(key), Ok(value), "{key}");
        }
        assert_eq!(options.text("Password"), Ok("secret"));
        assert_eq!(options.len(), 6);
    }

    #[test]
    fn an_absent_password_is_no_key_at_all() {
        let new = SecretString::from("new");
        let dict = Request::ChangePassword {
            old: None,
            new: Some(&new),
        }
        .to_dictionary("T", "T");
        let mut keys: Vec<_> = dict.keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["MessageName", "NewPassword", "TargetIdentifier"]);
    }
}
