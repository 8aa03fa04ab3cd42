//! A Linux with USB inside an emulator: the scenarios, and the lines by which the guest tells the host how they went.

#![forbid(unsafe_code)]

use std::time::Duration;

/// The kernel's command line names the scenarios to run after this, separated by commas.
pub const COMMAND_LINE: &str = "usblab=";
/// Where the guest writes [`Line`]s: the second serial port.
pub const RESULTS: &str = "/dev/ttyS1";

/// What tells programs in the guest that a device came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Events {
    /// The kernel's events, passed on the way udevd passes them on, by a relay of ours.
    Relay,
    /// The real systemd-udevd with the rules of the usbmuxd package.
    Udevd,
    /// Nothing at all, as in a bare container.
    Nothing,
}

impl Events {
    /// All of them, in the order of the boots.
    pub const ALL: [Self; 3] = [Self::Relay, Self::Udevd, Self::Nothing];

    /// As it is written on the kernel's command line and in names of files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Udevd => "udevd",
            Self::Nothing => "nothing",
        }
    }
}

/// One thing to try in the guest.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name in the report.
    pub name: &'static str,
    /// What it shows, as a sentence.
    pub about: &'static str,
    /// Who tells of devices; scenarios with the same answer share a boot.
    pub events: Events,
    /// After this it has failed.
    pub limit: Duration,
}

const fn scenario(name: &'static str, events: Events, seconds: u64, about: &'static str) -> Scenario {
    Scenario {
        name,
        about,
        events,
        limit: Duration::from_secs(seconds),
    }
}

/// Every scenario, in the order of the report.
pub const SCENARIOS: &[Scenario] = &[
    scenario(
        "boot",
        Events::Relay,
        20,
        "the kernel starts, has USB ports, and the stock usbmuxd answers on its socket",
    ),
    scenario(
        "stock-tools",
        Events::Relay,
        240,
        "Debian's usbmuxd and libimobiledevice's tools: hotplug, pair, values, backup; then our client",
    ),
    scenario(
        "stock-connections",
        Events::Relay,
        120,
        "200 connections opened and closed at random through Debian's usbmuxd",
    ),
    scenario(
        "usbmuxd-tools",
        Events::Relay,
        240,
        "our usbmuxd and libimobiledevice's tools: hotplug, pair, values, backup; then our client",
    ),
    scenario(
        "usbmuxd-sizes",
        Events::Relay,
        60,
        "packets around 512, 16384 and 49152 bytes through our usbmuxd",
    ),
    scenario(
        "usbmuxd-connections",
        Events::Relay,
        120,
        "200 connections opened and closed at random through our usbmuxd",
    ),
    scenario(
        "usbmuxd-two-phones",
        Events::Relay,
        120,
        "two phones at once on our usbmuxd, one pulled out",
    ),
    scenario(
        "usbmuxd-stop",
        Events::Relay,
        60,
        "our usbmuxd ends in order, lets go of the phone, and leaves another daemon's socket alone",
    ),
    scenario("direct-work", Events::Relay, 120, "our driver: pair, files, backup"),
    scenario(
        "direct-sizes",
        Events::Relay,
        60,
        "our driver: packets around 512, 16384 and 49152 bytes",
    ),
    scenario(
        "direct-connections",
        Events::Relay,
        120,
        "our driver: 200 connections opened and closed at random",
    ),
    scenario(
        "direct-two-phones",
        Events::Relay,
        120,
        "our driver: two phones at once, one pulled out",
    ),
    scenario(
        "direct-hotplug",
        Events::Relay,
        90,
        "our driver: in and out three times",
    ),
    scenario(
        "direct-busy",
        Events::Relay,
        90,
        "Debian's usbmuxd holds the phone: our driver names it, and takes the phone after it",
    ),
    scenario(
        "direct-mode",
        Events::Relay,
        90,
        "our driver: a phone in a mode without the multiplexer, and one that has it nowhere",
    ),
    scenario(
        "direct-ipheth",
        Events::Relay,
        90,
        "our driver beside the kernel's network driver for phones",
    ),
    scenario(
        "direct-unplug",
        Events::Relay,
        120,
        "our driver: unplugged in the middle of transfers",
    ),
    scenario(
        "direct-killed",
        Events::Relay,
        90,
        "our driver: the process that is the device dies in the middle of transfers",
    ),
    scenario(
        "direct-stall",
        Events::Relay,
        120,
        "our driver: an endpoint halts, each way",
    ),
    scenario(
        "direct-silence",
        Events::Relay,
        120,
        "our driver: the phone falls silent and speaks again",
    ),
    scenario(
        "boot-udevd",
        Events::Udevd,
        20,
        "as boot, beside the real systemd-udevd",
    ),
    scenario(
        "udevd-stock",
        Events::Udevd,
        90,
        "Debian's usbmuxd with udevd and its rule: the phone arrives unconfigured",
    ),
    scenario(
        "udevd-usbmuxd",
        Events::Udevd,
        90,
        "our usbmuxd with udevd and the rule: the phone arrives unconfigured",
    ),
    scenario(
        "udevd-direct",
        Events::Udevd,
        90,
        "our driver with udevd and the rule: the phone arrives unconfigured",
    ),
    scenario(
        "boot-nothing",
        Events::Nothing,
        20,
        "as boot, with nothing that tells of devices",
    ),
    scenario(
        "polling-direct",
        Events::Nothing,
        120,
        "our driver finds phones although nothing tells of them",
    ),
    scenario(
        "polling-usbmuxd",
        Events::Nothing,
        120,
        "our usbmuxd finds phones although nothing tells of them",
    ),
];

/// What is measured, and only when asked.
pub const MEASUREMENTS: &[Scenario] = &[scenario(
    "bench-throughput",
    Events::Relay,
    600,
    "bytes each second of Debian's usbmuxd, ours and our driver, in turns",
)];

/// A scenario or measurement by name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    SCENARIOS
        .iter()
        .chain(MEASUREMENTS)
        .find(|scenario| scenario.name == name)
}

/// What the guest says on the second serial port.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// The guest is up; scenarios follow.
    Ready,
    /// A scenario starts.
    Begin(String),
    /// It passed.
    Pass(Verdict),
    /// It failed, and the note says why.
    Fail(Verdict),
    /// No more scenarios.
    Done,
}

/// How one scenario went.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The scenario.
    pub name: String,
    /// How long it took.
    pub seconds: f64,
    /// Figures, or the reason; one line.
    pub note: String,
}

impl Line {
    /// One line of text, without its end.
    pub fn encode(&self) -> String {
        match self {
            Self::Ready => "READY".into(),
            Self::Begin(name) => format!("BEGIN {name}"),
            Self::Pass(verdict) => format!("PASS {}", verdict.encode()),
            Self::Fail(verdict) => format!("FAIL {}", verdict.encode()),
            Self::Done => "DONE".into(),
        }
    }

    /// Reads a line; `None` for anything else that came over the wire.
    pub fn decode(text: &str) -> Option<Self> {
        let text = text.trim();
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        match word {
            "READY" => Some(Self::Ready),
            "BEGIN" => Some(Self::Begin(rest.to_owned())),
            "PASS" => Verdict::decode(rest).map(Self::Pass),
            "FAIL" => Verdict::decode(rest).map(Self::Fail),
            "DONE" => Some(Self::Done),
            _ => None,
        }
    }
}

impl Verdict {
    fn encode(&self) -> String {
        let note: Vec<&str> = self.note.split_whitespace().collect();
        format!("{} {:.2} {}", self.name, self.seconds, note.join(" "))
    }

    fn decode(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ' ');
        Some(Self {
            name: parts.next()?.to_owned(),
            seconds: parts.next()?.parse().ok()?,
            note: parts.next().unwrap_or_default().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_survive_the_wire() {
        let verdict = Verdict {
            name: "boot".into(),
            seconds: 1.25,
            note: "two words".into(),
        };
        for line in [
            Line::Ready,
            Line::Begin("boot".into()),
            Line::Pass(verdict.clone()),
            Line::Fail(verdict.clone()),
            Line::Done,
        ] {
            assert_eq!(Line::decode(&format!("{}\r\n", line.encode())), Some(line));
        }
        assert_eq!(Line::decode("[    1.2] usb 1-1: new device"), None);
    }

    #[test]
    fn a_note_stays_on_its_line() {
        let verdict = Verdict {
            name: "boot".into(),
            seconds: 0.0,
            note: "first\nPASS second 1.0".into(),
        };
        assert_eq!(
            Line::Fail(verdict).encode().lines().count(),
            1,
            "a note could forge a verdict"
        );
    }

    #[test]
    fn names_are_different_and_fit_on_a_command_line() {
        let mut names: Vec<&str> = SCENARIOS
            .iter()
            .chain(MEASUREMENTS)
            .map(|scenario| scenario.name)
            .collect();
        assert!(names.iter().all(|name| !name.contains([' ', ',', '='])));
        assert!(names.join(",").len() < 1500, "the kernel takes 2048 bytes");
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SCENARIOS.len() + MEASUREMENTS.len());
    }
}
