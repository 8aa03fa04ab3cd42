//! The person in front of a virtual phone, by typed lines.

use cabled::virtualdevice::{Phone, contents};

use crate::Failure;

/// The lines that [`act`] understands.
pub const LINES: &str = "day, trust, deny, lock, unlock, passcode, cancel, restart";

/// Does to a phone what a line says, and tells what came of it. `day` changes the contents, each `number` differently.
pub fn act(phone: &Phone, line: &str, number: u64) -> Result<String, Failure> {
    let done = match line {
        "day" => {
            let changes = contents::mutate(phone.fs(), phone.seed() + number)?;
            format!(
                "{} new, {} changed, {} removed",
                changes.added.len(),
                changes.edited.len(),
                changes.removed.len()
            )
        }
        "trust" => answered(phone.answer_trust(true)),
        "deny" => answered(phone.answer_trust(false)),
        "passcode" => answered(phone.enter_passcode()),
        "lock" => {
            phone.lock();
            "locked".to_owned()
        }
        "unlock" => {
            phone.unlock();
            "unlocked".to_owned()
        }
        "cancel" => {
            phone.press_cancel();
            "cancelled".to_owned()
        }
        "restart" => {
            phone.reboot();
            "restarting".to_owned()
        }
        other => format!("`{other}` is none of {LINES}"),
    };
    Ok(format!("{}: {done}", phone.udid()))
}

fn answered(shown: bool) -> String {
    if shown { "done" } else { "nothing is asked" }.to_owned()
}
