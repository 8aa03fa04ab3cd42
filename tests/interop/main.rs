//! Other people's clients against the virtual phone. What they did is compared as files and as phones, not by their exit
//! codes alone: those are uneven.

mod backups;
mod libimobiledevice;
mod mobilesync;
mod pymobiledevice3;
mod readers;
mod sync;
#[cfg(unix)]
mod usbmuxd;

use cabled_tests::{Outcome, program};
use libtest_mimic::{Arguments, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = libimobiledevice::trials();
    trials.extend(pymobiledevice3::trials());
    trials.extend(backups::trials());
    trials.extend(readers::trials());
    trials.extend(sync::trials());
    trials.extend(mobilesync::trials());
    #[cfg(unix)]
    trials.extend(usbmuxd::trials());
    libtest_mimic::run(&arguments, trials).exit();
}

/// A test that needs programs, or is [`without`] one.
fn trial(name: &str, programs: &[&'static str], body: impl FnOnce() -> Outcome + Send + 'static) -> Trial {
    let Some(missing) = programs.iter().find(|program| program::find(program).is_none()) else {
        return Trial::test(name, move || body().map_err(Into::into));
    };
    without(name, missing)
}

/// A test that needs what is not there: it fails in CI, and is ignored with the reason elsewhere.
fn without(name: &str, missing: &str) -> Trial {
    let reason = format!("{missing} is not installed; docs/TESTING.md says how");
    if program::missing_is_failure() {
        Trial::test(name, move || Err(reason.into()))
    } else {
        Trial::test(name, || Ok(())).with_kind(reason).with_ignored_flag(true)
    }
}
