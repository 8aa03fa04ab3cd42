//! Sleep, restart, off and on.

use tokio::time::Instant;

use super::{Phone, PhoneEvent, locked};

/// Whether the phone runs, and since which boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Power {
    pub(super) boot: u64,
    pub(super) state: PowerState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PowerState {
    On,
    RestartingUntil(Instant),
    Off,
}

impl Phone {
    /// Sends the phone to sleep: heartbeats say `SleepyTime` and end. False while an assertion keeps it awake.
    pub fn fall_asleep(&self) -> bool {
        let now = Instant::now();
        let awake = locked(&self.inner.awake).values().any(|until| *until > now);
        if !awake {
            self.emit(PhoneEvent::Asleep);
        }
        !awake
    }

    /// Restarts the phone: every connection ends, ports are closed, and for [`Profile::restart_time`] it is gone.
    ///
    /// With a passcode the screen comes back locked, unless [`PhoneBuilder::unlocks_after_restart`] is on. Restored
    /// files move into place.
    ///
    /// [`Profile::restart_time`]: crate::Profile::restart_time
    /// [`PhoneBuilder::unlocks_after_restart`]: super::PhoneBuilder::unlocks_after_restart
    pub fn reboot(&self) {
        let until = Instant::now().checked_add(self.inner.profile.restart_time);
        let state = until.map_or(PowerState::On, PowerState::RestartingUntil);
        self.go_down(state, PhoneEvent::Restarting);
        let phone = self.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(phone.inner.profile.restart_time).await;
                phone.emit(PhoneEvent::Restarted);
                phone.notify("com.apple.springboard.finishedstartup");
            });
        }
    }

    /// Switches the phone off: every connection ends and none can be made until [`switch_on`](Self::switch_on).
    pub fn switch_off(&self) {
        self.go_down(PowerState::Off, PhoneEvent::SwitchedOff);
    }

    /// Switches the phone on again; without effect on one that runs.
    pub fn switch_on(&self) {
        let mut was_off = false;
        self.inner.power.send_if_modified(|power| {
            was_off = power.state == PowerState::Off;
            if was_off {
                power.state = PowerState::On;
            }
            was_off
        });
        if was_off {
            self.emit(PhoneEvent::Restarted);
        }
    }

    fn go_down(&self, state: PowerState, event: PhoneEvent) {
        locked(&self.inner.ports).close_all();
        self.inner.screen.restarted();
        self.inner.backup.restarted(&self.inner.fs);
        self.emit(event);
        self.inner.power.send_modify(|power| {
            *power = Power {
                boot: power.boot.wrapping_add(1),
                state,
            }
        });
    }

    /// Counts restarts.
    pub(crate) fn boot(&self) -> u64 {
        self.inner.power.borrow().boot
    }

    /// Whether connections can be made: not switched off, not restarting.
    #[must_use]
    pub fn is_on(&self) -> bool {
        match self.inner.power.borrow().state {
            PowerState::On => true,
            PowerState::RestartingUntil(until) => Instant::now() >= until,
            PowerState::Off => false,
        }
    }
}
