//! The screen: locked or not, and the passcode prompt.

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::watch;

use super::locked;

/// How the person in front of the phone reacts to a passcode prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PasscodeEntry {
    /// Types it in after this long.
    After(Duration),
    /// Types it in when [`Phone::enter_passcode`](super::Phone::enter_passcode) is called.
    ByHand,
    /// Presses cancel after this long.
    CancelsAfter(Duration),
    /// Does not look at the phone.
    Never,
}

/// Lock and passcode state, shared by all that serve the phone.
#[derive(Debug)]
pub(super) struct Screen {
    state: Mutex<State>,
    /// Counts passcodes typed in by hand.
    typed: watch::Sender<u64>,
    /// Prompts that show.
    prompts: Mutex<usize>,
}

#[derive(Debug)]
struct State {
    passcode: bool,
    locked: bool,
    unlocked_since_start: bool,
    unlocks_after_restart: bool,
    entry: PasscodeEntry,
}

impl Screen {
    pub(super) fn new(passcode: bool, locked: bool, unlocks_after_restart: bool) -> Self {
        let state = State {
            passcode,
            locked,
            unlocked_since_start: true,
            unlocks_after_restart,
            entry: PasscodeEntry::After(Duration::ZERO),
        };
        Self {
            state: Mutex::new(state),
            typed: watch::Sender::new(0),
            prompts: Mutex::new(0),
        }
    }

    pub(super) fn has_passcode(&self) -> bool {
        locked(&self.state).passcode
    }

    pub(super) fn set_passcode(&self, set: bool) {
        locked(&self.state).passcode = set;
    }

    pub(super) fn is_locked(&self) -> bool {
        let state = locked(&self.state);
        state.passcode && state.locked
    }

    pub(super) fn unlocked_since_start(&self) -> bool {
        let state = locked(&self.state);
        !state.passcode || state.unlocked_since_start
    }

    pub(super) fn lock(&self) {
        locked(&self.state).locked = true;
    }

    pub(super) fn unlock(&self) {
        let mut state = locked(&self.state);
        state.locked = false;
        state.unlocked_since_start = true;
    }

    pub(super) fn restarted(&self) {
        let mut state = locked(&self.state);
        if !state.unlocks_after_restart {
            state.locked = true;
            state.unlocked_since_start = false;
        }
    }

    pub(super) fn set_entry(&self, entry: PasscodeEntry) {
        locked(&self.state).entry = entry;
    }

    pub(super) fn enter_passcode(&self) -> bool {
        let showing = *locked(&self.prompts) > 0;
        if showing {
            self.typed.send_modify(|n| *n = n.wrapping_add(1));
        }
        showing
    }

    /// Shows a prompt; it goes away when the value is dropped.
    pub(super) fn prompt(&self) -> Prompt<'_> {
        let mut showing = locked(&self.prompts);
        *showing = showing.saturating_add(1);
        Prompt {
            screen: self,
            typed: self.typed.subscribe(),
        }
    }
}

/// A passcode prompt that shows.
pub(super) struct Prompt<'a> {
    screen: &'a Screen,
    typed: watch::Receiver<u64>,
}

impl Prompt<'_> {
    /// Waits for the person, at most `timeout`.
    pub(super) async fn answered(mut self, timeout: Duration) -> bool {
        let entry = locked(&self.screen.state).entry;
        let person = async {
            let by_itself = async {
                match entry {
                    PasscodeEntry::After(wait) => {
                        tokio::time::sleep(wait).await;
                        true
                    }
                    PasscodeEntry::CancelsAfter(wait) => {
                        tokio::time::sleep(wait).await;
                        false
                    }
                    PasscodeEntry::ByHand | PasscodeEntry::Never => std::future::pending().await,
                }
            };
            tokio::select! {
                answer = by_itself => answer,
                changed = self.typed.changed() => changed.is_ok(),
            }
        };
        tokio::time::timeout(timeout, person).await.unwrap_or(false)
    }
}

impl Drop for Prompt<'_> {
    fn drop(&mut self) {
        let mut showing = locked(&self.screen.prompts);
        *showing = showing.saturating_sub(1);
    }
}
