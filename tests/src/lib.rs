//! What the tests of the whole family share.

pub mod bed;
pub mod program;

/// What a test ends with: nothing, or what went wrong.
pub type Outcome = Result<(), String>;

/// Turns any error into the text a test ends with.
pub fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// The programs of `docs/guide`, compiled and run.
#[cfg(doctest)]
mod guide {
    #[doc = include_str!("../../docs/guide/pair.md")]
    mod pair {}
    #[doc = include_str!("../../docs/guide/usb.md")]
    mod usb {}
    #[doc = include_str!("../../docs/guide/backup.md")]
    mod backup {}
    #[doc = include_str!("../../docs/guide/restore.md")]
    mod restore {}
    #[doc = include_str!("../../docs/guide/read-a-backup.md")]
    mod read_a_backup {}
    #[doc = include_str!("../../docs/guide/extract.md")]
    mod extract {}
    #[doc = include_str!("../../docs/guide/damaged-backup.md")]
    mod damaged_backup {}
    #[doc = include_str!("../../docs/guide/export.md")]
    mod export {}
    #[doc = include_str!("../../docs/guide/change-a-backup.md")]
    mod change_a_backup {}
    #[doc = include_str!("../../docs/guide/sync.md")]
    mod sync {}
    #[doc = include_str!("../../docs/guide/contacts-as-files.md")]
    mod contacts_as_files {}
    #[doc = include_str!("../../docs/guide/files.md")]
    mod files {}
    #[doc = include_str!("../../docs/guide/usbmuxd.md")]
    mod usbmuxd {}
    #[doc = include_str!("../../docs/guide/virtual-phone.md")]
    mod virtual_phone {}
}

/// The program of `usbmux/README.md`, which needs the virtual phone: that crate cannot depend on it.
#[cfg(doctest)]
#[doc = include_str!("../../usbmux/README.md")]
mod usbmux_readme {}

#[cfg(test)]
mod tests {
    use cabled::usbmux::usb::UDEV_RULE;

    #[test]
    fn the_guide_shows_the_udev_rule_as_it_is() {
        assert!(include_str!("../../docs/guide/usb.md").contains(UDEV_RULE.trim_end()));
    }
}
