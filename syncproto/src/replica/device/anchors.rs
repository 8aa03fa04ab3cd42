//! Anchors of both sides in one text, and how a device stands by what it answers. Spec: mobilesync, sections 5.1 to 5.3.

use std::time::SystemTime;

use crate::DataClass;
use crate::engine::{Extent, SessionId, Standing};
use crate::msg::SyncType;
use crate::records::Timestamp;
use crate::session::machine::{Opening, Wanted};

/// The longest anchor that is kept, in bytes. Devices send 26.
const MAX_ANCHOR: usize = 1024;

/// The anchors of one session: ours, and the device's for the session after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Anchors {
    pub(super) computer: String,
    /// `None` where the device gave none, or none that can be kept: the next session is a slow one then.
    pub(super) device: Option<String>,
}

impl Anchors {
    /// Both in one text: `+` or `-` for whether there is a device's anchor, the length of ours in bytes, a blank, both.
    pub(super) fn to_token(&self) -> String {
        let sign = if self.device.is_some() { '+' } else { '-' };
        let device = self.device.as_deref().unwrap_or_default();
        format!("{sign}{} {}{device}", self.computer.len(), self.computer)
    }

    /// From a token; `None` when it is none of ours.
    pub(super) fn from_token(token: &str) -> Option<Self> {
        if token.len() > MAX_ANCHOR.saturating_mul(2).saturating_add(16) {
            return None;
        }
        let (head, rest) = token.split_once(' ')?;
        let (has_device, length) = match head.split_at_checked(1)? {
            ("+", length) => (true, length),
            ("-", length) => (false, length),
            _ => return None,
        };
        let (computer, device) = rest.split_at_checked(length.parse().ok()?)?;
        let fits = !computer.is_empty() && computer.len() <= MAX_ANCHOR && device.len() <= MAX_ANCHOR;
        (fits && (has_device || device.is_empty())).then(|| Self {
            computer: computer.to_owned(),
            device: has_device.then(|| device.to_owned()),
        })
    }

    /// Our anchor and the one that the device answered.
    pub(super) fn of(computer: String, opening: &Opening) -> Self {
        let kept = |anchor: &String| anchor.len() <= MAX_ANCHOR;
        let device = opening.device_anchor_next.clone().filter(kept);
        if device.is_none() && opening.device_anchor_next.is_some() {
            tracing::warn!("the device's anchor is too long to be kept; the next session is a slow one");
        }
        Self { computer, device }
    }
}

/// Our anchor for a session: the time in UTC, a blank, the session's name, so that two sessions in one second differ.
pub(super) fn computer_anchor(now: SystemTime, session: SessionId) -> String {
    let now = Timestamp::at(now).unwrap_or_default();
    let (date, (hour, minute, second)) = (now.date(), now.clock());
    format!("{date} {hour:02}:{minute:02}:{second:02} +0000 {session}")
}

/// How a device stands, how much it is going to tell, and with which request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stance {
    pub(super) standing: Standing,
    pub(super) extent: Extent,
    pub(super) wanted: Wanted,
}

/// What follows from the device's answer to the opening. The device's own opinion counts no more than ours: bookmarks
/// take no notice of the device's anchor, and a computer that committed in between shows only in the anchor of ours that
/// the device remembers.
pub(super) fn stance(
    class: &DataClass,
    opening: &Opening,
    committed: Option<&str>,
    doubtful: Option<&str>,
    full: bool,
) -> Stance {
    let last = opening.computer_anchor_last.as_deref();
    let is_last = |ours: Option<&str>| last.is_some() && last == ours;
    let standing = match opening.sync_type {
        SyncType::Reset => Standing::Reset,
        SyncType::Fast | SyncType::Slow if is_last(committed) => Standing::Own,
        SyncType::Fast | SyncType::Slow if is_last(doubtful) => Standing::Doubtful,
        SyncType::Fast | SyncType::Slow => Standing::Foreign,
    };
    let changes = opening.sync_type == SyncType::Fast && standing == Standing::Own && !full;
    let (wanted, extent) = match changes {
        true => (Wanted::Changes, Extent::Changes),
        false => (Wanted::All, Extent::Everything),
    };
    // A device never tells of accounts: what is missing from nothing was not deleted.
    let extent = if *class == DataClass::MailAccounts {
        Extent::Changes
    } else {
        extent
    };
    Stance {
        standing,
        extent,
        wanted,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn anchors(device: Option<&str>) -> Anchors {
        Anchors {
            computer: "2026-11-21 10:00:00 +0000 x".into(),
            device: device.map(str::to_owned),
        }
    }

    #[test]
    fn both_anchors_survive_in_one_text_whatever_they_hold() {
        for device in [
            None,
            Some(""),
            Some("Nov 21 2026 10:00:01 +0100"),
            Some("+3 ü |\n-"),
            Some("---"),
        ] {
            let both = anchors(device);
            assert_eq!(Anchors::from_token(&both.to_token()), Some(both));
        }
    }

    #[test]
    fn a_text_that_is_no_token_is_none() {
        let long = format!("+1 x{}", "y".repeat(MAX_ANCHOR + 1));
        let texts = [
            "",
            " ",
            "+",
            "+ ",
            "+x y",
            "+9 short",
            "-1 xy",
            "+0 y",
            "*1 xy",
            "+1 ü",
            "+99999999999999999999 x",
            &long,
        ];
        for text in texts {
            assert_eq!(Anchors::from_token(text), None, "{text:.20}");
        }
    }

    #[test]
    fn our_anchor_is_a_time_and_the_name_of_the_session() {
        let at = |seconds| computer_anchor(UNIX_EPOCH + Duration::from_secs(seconds), SessionId([7; 16]));
        let name = SessionId([7; 16]).to_string();
        assert_eq!(at(0), format!("1970-01-01 00:00:00 +0000 {name}"));
        assert_eq!(at(951_827_696), format!("2000-02-29 12:34:56 +0000 {name}"));
        assert_eq!(at(1_795_305_599), format!("2026-11-21 23:59:59 +0000 {name}"));
        assert_eq!(at(4_107_542_400), format!("2100-03-01 00:00:00 +0000 {name}"));
        assert!(at(u64::from(u32::MAX) * 60).len() <= MAX_ANCHOR);
    }

    fn opening(sync_type: SyncType, last: Option<&str>) -> Opening {
        Opening {
            computer_anchor_last: last.map(str::to_owned),
            device_anchor_next: Some("next".into()),
            sync_type,
            version: Some(106),
        }
    }

    #[test]
    fn only_a_fast_device_that_remembers_our_last_commit_tells_changes() {
        use Standing::{Doubtful, Foreign, Own, Reset};
        let table = [
            (SyncType::Fast, Some("ours"), false, Own, Wanted::Changes),
            (SyncType::Fast, Some("ours"), true, Own, Wanted::All),
            (SyncType::Slow, Some("ours"), false, Own, Wanted::All),
            (SyncType::Fast, Some("doubted"), false, Doubtful, Wanted::All),
            (SyncType::Slow, Some("doubted"), false, Doubtful, Wanted::All),
            (SyncType::Fast, Some("theirs"), false, Foreign, Wanted::All),
            (SyncType::Fast, None, false, Foreign, Wanted::All),
            (SyncType::Slow, None, false, Foreign, Wanted::All),
            (SyncType::Reset, Some("ours"), false, Reset, Wanted::All),
            (SyncType::Reset, Some("doubted"), false, Reset, Wanted::All),
        ];
        for (sync_type, last, full, standing, wanted) in table {
            let opening = opening(sync_type, last);
            let found = stance(&DataClass::Contacts, &opening, Some("ours"), Some("doubted"), full);
            assert_eq!((found.standing, found.wanted), (standing, wanted), "{opening:?} {full}");
            assert_eq!(found.extent == Extent::Changes, wanted == Wanted::Changes);
        }
        let first = stance(&DataClass::Contacts, &opening(SyncType::Slow, None), None, None, true);
        assert_eq!(
            first.standing,
            Standing::Foreign,
            "no anchor is not the same as no anchor"
        );
    }

    #[test]
    fn accounts_that_are_not_told_were_not_deleted() {
        let opening = opening(SyncType::Fast, Some("theirs"));
        let found = stance(&DataClass::MailAccounts, &opening, Some("ours"), None, true);
        assert_eq!((found.extent, found.wanted), (Extent::Changes, Wanted::All));
    }
}
