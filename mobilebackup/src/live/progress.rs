//! What a caller sees while a run goes on, and how it stops one.

use std::fmt;
use std::ops::ControlFlow;

use cabled_wire::io::BoxFuture;

/// What a run is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// Sessions, services, the handshake and the sync lock.
    #[default]
    Connecting,
    /// Gathering what Info.plist says, or writing the list of apps.
    Preparing,
    /// The device thinks: it scans, waits for a passcode, or verifies. Minutes are normal.
    Waiting,
    /// Files come from the device.
    Receiving,
    /// Files go to the device.
    Sending,
    /// Files are moved, copied or removed.
    Arranging,
    /// The result is there; locks are given back and data is flushed.
    Finishing,
    /// The run was cancelled and the device is told so.
    Cancelling,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connecting => "connecting",
            Self::Preparing => "preparing",
            Self::Waiting => "waiting for the device",
            Self::Receiving => "receiving files",
            Self::Sending => "sending files",
            Self::Arranging => "arranging files",
            Self::Finishing => "finishing",
            Self::Cancelling => "cancelling",
        })
    }
}

/// How far a run is. Nothing on the wire says how much a run will move in all; `percent` is all there is.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// What is going on.
    pub phase: Phase,
    /// 0 to 100, never falling: where the device says the step under way will end.
    pub percent: f64,
    /// The last value as the device sent it; it can fall, and stays near 100 while the device verifies.
    pub percent_raw: Option<f64>,
    /// The device's last message, by its wire name; empty before the first.
    pub message: String,
    /// The file under way, as the device spells it. For display only.
    pub file: Option<String>,
    /// Bytes of the batch under way.
    pub batch_bytes: u64,
    /// What the device announced for the batch: a hint, which real batches overshoot. `None` when it announced nothing.
    pub batch_total: Option<u64>,
    /// Bytes of file contents received in this run.
    pub bytes_received: u64,
    /// Bytes of file contents sent in this run.
    pub bytes_sent: u64,
    /// Files received whole in this run.
    pub files_received: u64,
    /// Files sent whole in this run.
    pub files_sent: u64,
}

impl Progress {
    /// Bytes of file contents moved in either direction.
    #[must_use]
    pub fn run_bytes(&self) -> u64 {
        self.bytes_received.saturating_add(self.bytes_sent)
    }

    pub(crate) fn target(&mut self, percent: Option<f64>) {
        if let Some(percent) = percent {
            self.percent_raw = Some(percent);
            self.percent = self.percent.max(percent.clamp(0.0, 100.0));
        }
    }
}

/// Something that only a person can do. The run waits for it and goes on by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HumanStep {
    /// The device shows its passcode prompt. Without an entry it gives up after about three minutes.
    EnterPasscode,
    /// The prompt is gone, which says nothing about success.
    PasscodePromptGone,
}

/// Something worth telling that does not end the run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A person is needed.
    Human(HumanStep),
    /// The device could not read one of its files; the backup goes on without it.
    DeviceFile {
        /// Where it is on the device.
        device_path: String,
        /// The absolute value of a DeviceLink code.
        code: u8,
        /// What the device said, perhaps nothing.
        text: String,
    },
    /// The host could not do something with one path; the device was told.
    HostFile {
        /// The path as the device spelled it, cut to 200 characters.
        path: String,
        /// Why.
        reason: String,
    },
    /// The device named a path that it may not touch; refused.
    RefusedPath {
        /// The message that carried it.
        message: String,
        /// The path, cut to 200 characters.
        path: String,
        /// Which rule it breaks.
        why: &'static str,
    },
    /// A message this version does not know was answered with "not supported".
    UnknownMessage {
        /// Its name.
        name: String,
    },
    /// The device's DeviceLink version is newer than any known one.
    NewerDeviceLink {
        /// Its major version.
        major: u64,
    },
    /// A part of Info.plist could not be had; the backup goes on without it.
    InfoPlist {
        /// Which part.
        part: &'static str,
        /// Why.
        reason: String,
    },
    /// Notifications from the device do not come any more: a cancel pressed on the device goes unseen.
    NotificationsLost,
    /// The run goes on without the sync lock, as the caller wished.
    NoLock {
        /// Why there is none.
        reason: String,
    },
    /// The device wants this many bytes freed.
    PurgeWanted {
        /// Bytes, 2 GiB of them for good measure.
        amount: u64,
        /// 4 in every log seen.
        urgency: i64,
    },
    /// A setting of backups changed on the device (`WillEncrypt` and others).
    BackupDomainChanged,
    /// Cancel was pressed on the device.
    CancelledOnDevice,
}

/// Watches a run, answers its questions, stops it.
///
/// `()` is the observer that does none of it.
pub trait Observer: Send {
    /// Called between chunks of data, and about twice a second while the device is silent.
    ///
    /// `Break` cancels: the transfer under way ends at a place where the device can follow, the device is told, and
    /// the run returns an error. It is not called again; to stop at once drop the run's future.
    fn on_progress(&mut self, _progress: &Progress) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// Called when something worth telling happens.
    fn on_notice(&mut self, _notice: &Notice) {}

    /// The device wants `amount` bytes freed where the backup goes. Free what you can, then return how much that was;
    /// the device asks for the free space again. `None`: nothing was freed, and the device will give up.
    fn purge(&mut self, _amount: u64, _urgency: i64) -> BoxFuture<'_, Option<u64>> {
        Box::pin(std::future::ready(None))
    }
}

impl Observer for () {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_percentage_shown_never_falls_and_the_raw_one_may() {
        let mut progress = Progress::default();
        for (raw, shown) in [(50.0, 50.0), (85.0, 85.0), (65.0, 85.0), (250.0, 100.0), (-3.0, 100.0)] {
            progress.target(Some(raw));
            assert_eq!((progress.percent_raw, progress.percent), (Some(raw), shown));
        }
        progress.target(None);
        assert_eq!(progress.percent_raw, Some(-3.0));
    }
}
