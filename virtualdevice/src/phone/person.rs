//! What the person in front of the phone does: trust, lock, type, cancel, switch.

use super::{Pairing, PasscodeEntry, Phone, PhoneEvent, locked};
use crate::lockdown::pairing::PairingInfo;

impl Phone {
    /// Answers every trust dialogue that shows; true if one did.
    ///
    /// Posts `com.apple.mobile.lockdown.request_pair`, on which a host pairs again.
    pub fn answer_trust(&self, trust: bool) -> bool {
        let answered = locked(&self.inner.pairings).answer(trust);
        if answered {
            self.notify("com.apple.mobile.lockdown.request_pair");
        }
        answered
    }

    /// Changes how the phone answers computers from now on; dialogues that show stay.
    pub fn set_pairing(&self, pairing: Pairing) {
        locked(&self.inner.pairings).set_mode(pairing);
    }

    /// The computers this phone trusts.
    #[must_use]
    pub fn pairings(&self) -> Vec<PairingInfo> {
        locked(&self.inner.pairings).list()
    }

    /// Forgets every computer and every answer, as "Reset Location & Privacy" does.
    pub fn forget_pairings(&self) {
        let forgotten = locked(&self.inner.pairings).forget_all();
        for host_id in forgotten {
            self.emit(PhoneEvent::Unpaired { host_id });
        }
    }

    /// Whether an escrow bag is that of a pairing of this phone.
    #[must_use]
    pub fn escrow_bag_is_known(&self, escrow_bag: &[u8]) -> bool {
        locked(&self.inner.pairings).knows_escrow_bag(escrow_bag)
    }

    // The screen, and the person in front of it.

    /// Whether a passcode is set.
    #[must_use]
    pub fn has_passcode(&self) -> bool {
        self.inner.screen.has_passcode()
    }

    /// Sets or removes the passcode.
    pub fn set_passcode(&self, set: bool) {
        self.inner.screen.set_passcode(set);
    }

    /// Whether data protection is in force: a passcode is set and the screen is locked.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.inner.screen.is_locked()
    }

    /// Whether the phone was unlocked since its last start, or has no passcode.
    #[must_use]
    pub fn unlocked_since_start(&self) -> bool {
        self.inner.screen.unlocked_since_start()
    }

    /// Locks the screen.
    pub fn lock(&self) {
        self.inner.screen.lock();
        self.emit(PhoneEvent::Locked);
    }

    /// Unlocks the screen.
    pub fn unlock(&self) {
        self.inner.screen.unlock();
        self.emit(PhoneEvent::Unlocked);
    }

    /// How the person in front of the phone reacts to a passcode prompt.
    pub fn set_passcode_entry(&self, entry: PasscodeEntry) {
        self.inner.screen.set_entry(entry);
    }

    /// Types the passcode into every prompt that shows; true if one did.
    pub fn enter_passcode(&self) -> bool {
        self.inner.screen.enter_passcode()
    }

    /// Shows the passcode prompt and waits for the person: true once the passcode was typed in.
    ///
    /// Posts `com.apple.LocalAuthentication.ui.presented` and `.dismissed`. Ends with false after
    /// [`Profile::passcode_timeout`], or at once when the person cancels. With no passcode set: true, no prompt.
    /// Safe to drop: the prompt goes away.
    ///
    /// [`Profile::passcode_timeout`]: crate::Profile::passcode_timeout
    pub async fn ask_passcode(&self) -> bool {
        if !self.has_passcode() {
            return true;
        }
        self.notify("com.apple.LocalAuthentication.ui.presented");
        let prompt = self.inner.screen.prompt();
        self.emit(PhoneEvent::PasscodeAsked);
        let entered = prompt.answered(self.inner.profile.passcode_timeout).await;
        self.notify("com.apple.LocalAuthentication.ui.dismissed");
        entered
    }

    /// The user presses cancel on the backup or sync screen: posts `com.apple.itunes-client.syncCancelRequest`.
    pub fn press_cancel(&self) {
        self.emit(PhoneEvent::CancelPressed);
        self.notify("com.apple.itunes-client.syncCancelRequest");
    }

    /// Turns Find My on or off; a restore is refused while it is on.
    pub fn set_find_my(&self, on: bool) {
        self.set_value(Some("com.apple.fmip"), "IsAssociated", on);
    }

    /// Whether Find My is on.
    #[must_use]
    pub fn find_my(&self) -> bool {
        self.value(Some("com.apple.fmip"), "IsAssociated")
            .and_then(|v| v.as_boolean())
            .unwrap_or(false)
    }

    /// Finishes the setup assistant, or not: backups are refused before.
    pub fn set_setup_done(&self, done: bool) {
        self.set_value(Some("com.apple.purplebuddy"), "SetupDone", done);
        self.set_value(Some("com.apple.PurpleBuddy"), "SetupDone", done);
    }

    /// Whether the setup assistant is finished.
    #[must_use]
    pub fn setup_done(&self) -> bool {
        self.value(Some("com.apple.purplebuddy"), "SetupDone")
            .and_then(|v| v.as_boolean())
            .unwrap_or(true)
    }
}
