//! The services that come with lockdown.

use std::fmt::Debug;

use cabled::lockdown::msg::Message;
use cabled::lockdown::services::{
    assertion, diagnostics, heartbeat, house_arrest, installation_proxy, notification_proxy, springboard,
};
use cabled_golden::{Line, Side};

use crate::Coverage;
use crate::seen::Seen;

/// The messages of one side of a service: its captures, and built vectors whose names start with `prefix`.
fn of<M: Message + Debug>(service: &str, prefix: &str, side: Side) -> Seen {
    let is_built = |line: &Line| {
        line.file.ends_with("/lockdown-and-services.jsonl") && !prefix.is_empty() && line.name.starts_with(prefix)
    };
    let is_captured = |line: &Line| line.layer == service && !line.bytes.starts_with(b"CFA6LPAA");
    Seen::plists(
        |line| line.from == side && (is_captured(line) || is_built(line)),
        |message: &M| message,
    )
}

#[test]
fn every_notification_proxy_message_has_a_vector() {
    let (service, file) = (
        notification_proxy::SERVICE,
        "lockdown/src/services/notification_proxy/msg.rs",
    );
    Coverage {
        name: "Command",
        file,
        seen: of::<notification_proxy::Command>(service, "np-", Side::Host),
        accepted: &[],
        built: &[],
        absent: &[],
    }
    .check();
    Coverage {
        name: "Event",
        file,
        seen: of::<notification_proxy::Event>(service, "np-", Side::Device),
        accepted: &["ProxyDeath", "Relay"],
        built: &[],
        absent: &[],
    }
    .check();
}

#[test]
fn every_installation_proxy_message_has_a_vector() {
    let (service, file) = (
        installation_proxy::SERVICE,
        "lockdown/src/services/installation_proxy/msg.rs",
    );
    Coverage {
        name: "Command",
        file,
        seen: of::<installation_proxy::Command>(service, "", Side::Host),
        accepted: &[],
        built: &[],
        absent: &[],
    }
    .check();
    Coverage {
        name: "Reply",
        file,
        seen: of::<installation_proxy::Reply>(service, "", Side::Device),
        accepted: &["Browsing", "Complete", "Failed", "Progress"],
        built: &[],
        absent: &[],
    }
    .check();
}

#[test]
fn every_springboard_message_has_a_vector() {
    let (service, file) = (springboard::SERVICE, "lockdown/src/services/springboard/msg.rs");
    Coverage {
        name: "Command",
        file,
        seen: of::<springboard::Command>(service, "", Side::Host),
        accepted: &[],
        built: &[],
        absent: &[],
    }
    .check();
    Coverage {
        name: "Reply",
        file,
        seen: of::<springboard::Reply>(service, "", Side::Device),
        accepted: &["IconState", "Orientation", "Png", "Values"],
        built: &[],
        absent: &[(
            "Failed",
            "no client reads an error of this service, so none was shown one",
        )],
    }
    .check();
}

#[test]
fn every_diagnostics_message_has_a_vector() {
    let (service, file) = (diagnostics::SERVICE, "lockdown/src/services/diagnostics/msg.rs");
    Coverage {
        name: "Request",
        file,
        seen: of::<diagnostics::Request>(service, "", Side::Host),
        accepted: &[],
        built: &[],
        absent: &[],
    }
    .check();
    Coverage {
        name: "Reply",
        file,
        seen: of::<diagnostics::Reply>(service, "", Side::Device),
        accepted: &["Reply"],
        built: &[],
        absent: &[],
    }
    .check();
}

#[test]
fn every_heartbeat_message_has_a_vector() {
    let (service, file) = (heartbeat::SERVICE, "lockdown/src/services/heartbeat/msg.rs");
    Coverage {
        name: "Beat",
        file,
        seen: of::<heartbeat::Beat>(service, "heartbeat-", Side::Device),
        accepted: &["Marco", "SleepyTime"],
        built: &[],
        absent: &[],
    }
    .check();
    Coverage {
        name: "Polo",
        file,
        seen: of::<heartbeat::Polo>(service, "heartbeat-", Side::Host),
        accepted: &[],
        built: &[],
        absent: &[],
    }
    .check();
}

#[test]
fn every_house_arrest_message_has_a_vector() {
    let (service, file) = (house_arrest::SERVICE, "lockdown/src/services/house_arrest/msg.rs");
    Coverage {
        name: "Command",
        file,
        seen: of::<house_arrest::Command>(service, "ha-", Side::Host),
        accepted: &[],
        built: &[],
        absent: &[],
    }
    .check();
    Coverage {
        name: "Reply",
        file,
        seen: of::<house_arrest::Reply>(service, "ha-", Side::Device),
        accepted: &["Complete", "Failed"],
        built: &[],
        absent: &[],
    }
    .check();
}

#[test]
fn every_assertion_message_has_a_vector() {
    let (service, file) = (assertion::SERVICE, "lockdown/src/services/assertion/msg.rs");
    Coverage {
        name: "Command",
        file,
        seen: of::<assertion::Command>(service, "", Side::Host),
        accepted: &[],
        built: &[],
        absent: &[],
    }
    .check();
    Coverage {
        name: "Reply",
        file,
        seen: of::<assertion::Reply>(service, "", Side::Device),
        accepted: &["Created", "Failed"],
        built: &[],
        absent: &[],
    }
    .check();
}
