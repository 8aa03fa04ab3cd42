//! `com.apple.mobile.assertion_agent`: keeps the phone awake. Spec: lockdown, section 12.6.

use std::time::Duration;

use cabled_lockdown::services::assertion::{Command, Reply};
use cabled_wire::io::BoxStream;
use cabled_wire::plist::{Dictionary, Value};
use tokio::time::Instant;

use super::{IDLE, ServeError, read_message, write_message};
use crate::phone::{Phone, locked};

/// The service's name.
pub const NAME: &str = "com.apple.mobile.assertion_agent";

/// The longest assertion granted.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// One connection's assertion, which ends with it.
struct Held<'a> {
    phone: &'a Phone,
    number: u64,
}

impl<'a> Held<'a> {
    fn new(phone: &'a Phone) -> Self {
        let mut awake = locked(&phone.inner().awake);
        let number = awake.keys().next_back().map_or(0, |last| last.wrapping_add(1));
        awake.insert(number, Instant::now());
        Self { phone, number }
    }

    fn until(&self, timeout: Duration) {
        if let Some(until) = Instant::now().checked_add(timeout.min(LONGEST)) {
            locked(&self.phone.inner().awake).insert(self.number, until);
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        locked(&self.phone.inner().awake).remove(&self.number);
    }
}

/// Serves one connection.
pub(super) async fn serve(phone: Phone, mut stream: BoxStream) -> Result<(), ServeError> {
    let held = Held::new(&phone);
    loop {
        let reply = match read_message(&mut stream, IDLE).await? {
            Command::Create { kind, timeout, .. } => {
                phone.log().record(NAME, "CommandCreateAssertion", kind.as_str());
                held.until(timeout);
                Reply::Created(Dictionary::new())
            }
            _ => Reply::Failed {
                error: Value::from("UnknownCommand"),
                extra: Dictionary::new(),
            },
        };
        write_message(&phone, &mut stream, &reply).await?;
    }
}
