//! Many schedules, each of them its seed: those of the model (`convergence`), those of the virtual phone
//! with records in memory (`phone`), and with a folder of cards (`folder`).

mod random;

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::thread;

pub(crate) use random::Random;

impl Random {
    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<T: Clone>(&mut self, list: &[T]) -> Option<T> {
        (!list.is_empty()).then(|| list[self.below(list.len())].clone())
    }
}

/// A number from the environment.
fn number(name: &str, otherwise: u64) -> u64 {
    let said = std::env::var(name).ok().and_then(|number| number.parse().ok());
    said.unwrap_or(otherwise)
}

/// What a failed schedule said, without its numbers.
fn said(cause: &(dyn Any + Send)) -> String {
    let text = cause.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| cause.downcast_ref::<&str>().copied());
    let text = text.unwrap_or_default().chars();
    text.filter(|c| !c.is_ascii_digit()).take(70).collect()
}

/// Runs `CABLED_SCHEDULES` schedules, by default as many as `unless`, from seed `CABLED_SEED` (0) on, and says which failed and
/// of what: a few seeds of each kind of failure.
pub(crate) fn run_all(unless: u64, schedule: impl Fn(u64)) {
    let (first, count) = (number("CABLED_SEED", 0), number("CABLED_SCHEDULES", unless));
    let mut failures: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let ours = thread::current().id();
    let hook = std::panic::take_hook();
    let shows = std::env::var_os("CABLED_SHOW").is_some();
    // What fails here is told at the end; what fails in a test beside this one is told at once.
    std::panic::set_hook(Box::new(move |info| {
        if shows || thread::current().id() != ours {
            hook(info);
        }
    }));
    for seed in first..first + count {
        if let Err(cause) = std::panic::catch_unwind(AssertUnwindSafe(|| schedule(seed))) {
            failures.entry(said(&*cause)).or_default().push(seed);
        }
    }
    drop(std::panic::take_hook());
    let failed: usize = failures.values().map(Vec::len).sum();
    failures.values_mut().for_each(|seeds| seeds.truncate(5));
    assert!(
        failures.is_empty(),
        "{failed} of {count} schedules failed: {failures:#?}"
    );
}
