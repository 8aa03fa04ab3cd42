//! The services that come with lockdown.

use std::fmt::Debug;

use cabled::lockdown::msg::Message;
use cabled::lockdown::services::{
    assertion, diagnostics, heartbeat, house_arrest, installation_proxy, notification_proxy, springboard,
};
use cabled_golden::{Line, Side};

use crate::Coverage;
use crate::seen::Seen;

/// A service, the file that has its messages, and what the names of its hand-made vectors start with.
struct Service {
    name: &'static str,
    file: &'static str,
    prefix: &'static str,
}

impl Service {
    fn of(name: &'static str, file: &'static str, prefix: &'static str) -> Self {
        Self { name, file, prefix }
    }

    /// What one side says: its captures, and the built vectors. Nothing that is only built, nothing absent.
    fn coverage<M: Message + Debug>(
        &self,
        name: &'static str,
        side: Side,
        accepted: &'static [&'static str],
    ) -> Coverage {
        let is_built = |line: &Line| {
            line.file.ends_with("/lockdown-and-services.jsonl")
                && !self.prefix.is_empty()
                && line.name.starts_with(self.prefix)
        };
        let is_captured = |line: &Line| line.layer == self.name && !line.bytes.starts_with(b"CFA6LPAA");
        Coverage {
            name,
            file: self.file,
            seen: Seen::plists(
                |line| line.from == side && (is_captured(line) || is_built(line)),
                |message: &M| message,
            ),
            accepted,
            built: &[],
            absent: &[],
        }
    }
}

#[test]
fn every_notification_proxy_message_has_a_vector() {
    let service = Service::of(
        notification_proxy::SERVICE,
        "lockdown/src/services/notification_proxy/msg.rs",
        "np-",
    );
    service
        .coverage::<notification_proxy::Command>("Command", Side::Host, &[])
        .check();
    service
        .coverage::<notification_proxy::Event>("Event", Side::Device, &["ProxyDeath", "Relay"])
        .check();
}

#[test]
fn every_installation_proxy_message_has_a_vector() {
    let service = Service::of(
        installation_proxy::SERVICE,
        "lockdown/src/services/installation_proxy/msg.rs",
        "",
    );
    service
        .coverage::<installation_proxy::Command>("Command", Side::Host, &[])
        .check();
    service
        .coverage::<installation_proxy::Reply>("Reply", Side::Device, &["Browsing", "Complete", "Failed", "Progress"])
        .check();
}

#[test]
fn every_springboard_message_has_a_vector() {
    let service = Service::of(springboard::SERVICE, "lockdown/src/services/springboard/msg.rs", "");
    service
        .coverage::<springboard::Command>("Command", Side::Host, &[])
        .check();
    Coverage {
        absent: &[(
            "Failed",
            "no client reads an error of this service, so none was shown one",
        )],
        ..service.coverage::<springboard::Reply>("Reply", Side::Device, &["IconState", "Orientation", "Png", "Values"])
    }
    .check();
}

#[test]
fn every_diagnostics_message_has_a_vector() {
    let service = Service::of(diagnostics::SERVICE, "lockdown/src/services/diagnostics/msg.rs", "");
    service
        .coverage::<diagnostics::Request>("Request", Side::Host, &[])
        .check();
    service
        .coverage::<diagnostics::Reply>("Reply", Side::Device, &["Reply"])
        .check();
}

#[test]
fn every_heartbeat_message_has_a_vector() {
    let service = Service::of(
        heartbeat::SERVICE,
        "lockdown/src/services/heartbeat/msg.rs",
        "heartbeat-",
    );
    service
        .coverage::<heartbeat::Beat>("Beat", Side::Device, &["Marco", "SleepyTime"])
        .check();
    service.coverage::<heartbeat::Polo>("Polo", Side::Host, &[]).check();
}

#[test]
fn every_house_arrest_message_has_a_vector() {
    let service = Service::of(
        house_arrest::SERVICE,
        "lockdown/src/services/house_arrest/msg.rs",
        "ha-",
    );
    service
        .coverage::<house_arrest::Command>("Command", Side::Host, &[])
        .check();
    service
        .coverage::<house_arrest::Reply>("Reply", Side::Device, &["Complete", "Failed"])
        .check();
}

#[test]
fn every_assertion_message_has_a_vector() {
    let service = Service::of(assertion::SERVICE, "lockdown/src/services/assertion/msg.rs", "");
    service
        .coverage::<assertion::Command>("Command", Side::Host, &[])
        .check();
    service
        .coverage::<assertion::Reply>("Reply", Side::Device, &["Created", "Failed"])
        .check();
}
