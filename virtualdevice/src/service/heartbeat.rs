//! `com.apple.mobile.heartbeat`: keeps a network host's services alive. Spec: lockdown, section 10.4.

use std::time::Duration;

use cabled_lockdown::services::heartbeat::{Beat, Polo};
use cabled_wire::io::BoxStream;
use cabled_wire::plist::Dictionary;
use tokio::sync::watch;

use super::{ServeError, read_message, write_message};
use crate::phone::{Phone, PhoneEvent};

/// The service's name.
pub const NAME: &str = "com.apple.mobile.heartbeat";

/// How long after the interval a `Polo` may come.
const LATE: Duration = Duration::from_secs(5);

/// Counts one living heartbeat for as long as it lives.
struct Alive<'a>(&'a watch::Sender<usize>);

impl<'a> Alive<'a> {
    fn new(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|n| *n = n.saturating_add(1));
        Self(count)
    }
}

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|n| *n = n.saturating_sub(1));
    }
}

/// Serves one connection: `Marco`, and the connection ends if no `Polo` comes in time.
pub(super) async fn serve(phone: Phone, mut stream: BoxStream) -> Result<(), ServeError> {
    let interval = phone.profile().heartbeat_interval;
    let mut events = phone.events();
    let mut alive = None;
    loop {
        let marco = Beat::Marco {
            interval: Some(interval.as_secs()),
            extra: Dictionary::new(),
        };
        write_message(&phone, &mut stream, &marco).await?;
        let Polo = read_message(&mut stream, interval.saturating_add(LATE)).await?;
        phone.log().record(NAME, "Polo", "");
        alive.get_or_insert_with(|| Alive::new(&phone.inner().heartbeats));
        let asleep = async { while !matches!(events.recv().await, Ok(PhoneEvent::Asleep)) {} };
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = asleep => return write_message(&phone, &mut stream, &Beat::SleepyTime).await,
        }
    }
}
