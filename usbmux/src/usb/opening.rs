//! From a device on the bus to a claimed interface: what to do next. No I/O. Spec: usbmux, sections 7 and 10.

use std::time::{Duration, Instant};

use super::choose::{MuxInterface, Plan, View};
use super::options::{UsbMode, UsbOptions};

/// Pause before the next try of something that failed for a reason that may pass: another program that is setting the
/// device up at the same time, as the udev rule of the stock daemon does.
const PAUSE: Duration = Duration::from_millis(100);
/// How often a configuration is set before somebody else's wish to have another one wins.
const MAX_CONFIGURES: u32 = 6;
/// How often a link may break before the device has answered over it.
const MAX_LOSSES: u32 = 5;
/// How long a device may take to come back after it accepted another mode.
const REENUMERATION: Duration = Duration::from_secs(10);

/// What the driver has to do next; it answers with the `handle` of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Open the device and read its descriptors: [`Opening::handle_view`].
    Open,
    /// Read again which configuration is active: [`Opening::handle_view`].
    Look,
    /// Make the kernel's drivers let go of these interfaces, then set the configuration: [`Opening::handle_done`].
    Configure { value: u8, interfaces: Vec<u8> },
    /// Claim the interface: [`Opening::handle_done`].
    Claim(MuxInterface),
    /// Ask for the mode, `0x45`: [`Opening::handle_done`].
    AskMode,
    /// Set the mode, `0x52`: [`Opening::handle_done`].
    SetMode(u16),
    /// Wait, then call [`Opening::handle_timeout`].
    Wait(Instant),
    /// The interface is claimed.
    Done(MuxInterface),
    /// It does not work.
    GiveUp(Obstacle),
}

/// What the system said no with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The device is not there any more.
    Gone,
    /// Somebody else holds it.
    Busy,
    /// This user may not.
    Permission,
    /// There is no such configuration or interface (any more).
    NotFound,
    /// The driver that the system has bound to the device cannot do this.
    Unsupported,
    /// Anything else, in the system's words.
    Other(String),
}

/// Why a device could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// It went away.
    Gone,
    Permission,
    Busy,
    NoDriver,
    NoMultiplexer {
        configurations: u8,
    },
    Failed(String),
}

#[derive(Debug)]
enum State {
    Opening,
    Looking,
    Configuring {
        value: u8,
        interfaces: Vec<u8>,
    },
    Claiming(MuxInterface),
    AskingMode {
        mode: u16,
        configurations: u8,
    },
    SettingMode {
        mode: u16,
        configurations: u8,
    },
    /// The device accepted another mode and has to go away and come back, as another attachment.
    Reenumerating {
        until: Instant,
        configurations: u8,
    },
    /// Something failed; after the pause it is tried again from here.
    Pausing {
        until: Instant,
        then: Retry,
    },
    Done(MuxInterface),
    GivenUp(Obstacle),
}

#[derive(Clone, Copy, Debug)]
enum Retry {
    Open,
    Look,
}

/// The way to one device.
#[derive(Debug)]
pub(super) struct Opening {
    state: State,
    /// Refusals that may pass are given this long.
    patience: Instant,
    busy_delay: Duration,
    busy_left: u32,
    configures: u32,
    losses: u32,
    /// The mode to ask for; none when this place's device was asked already and came back without the multiplexer.
    mode: Option<UsbMode>,
}

impl Opening {
    /// `may_switch` is false when the device is there because it switched its mode on our request.
    pub(super) fn new(now: Instant, options: &UsbOptions, may_switch: bool) -> Self {
        Self {
            state: State::Opening,
            patience: now.checked_add(options.open_retry).unwrap_or(now),
            busy_delay: options.busy_delay,
            busy_left: options.busy_tries.max(1),
            configures: 0,
            losses: 0,
            mode: may_switch.then_some(options.mode),
        }
    }

    /// Another look at a device that is in trouble: one that is new may need patience, this one has had it.
    #[must_use]
    pub(super) fn without_patience(mut self, now: Instant) -> Self {
        self.patience = now;
        self.busy_left = 1;
        self
    }

    /// What to do next.
    pub(super) fn act(&self) -> Act {
        match &self.state {
            State::Opening => Act::Open,
            State::Looking => Act::Look,
            State::Configuring { value, interfaces } => Act::Configure {
                value: *value,
                interfaces: interfaces.clone(),
            },
            State::Claiming(mux) => Act::Claim(*mux),
            State::AskingMode { .. } => Act::AskMode,
            State::SettingMode { mode, .. } => Act::SetMode(*mode),
            State::Reenumerating { until, .. } | State::Pausing { until, .. } => Act::Wait(*until),
            State::Done(mux) => Act::Done(*mux),
            State::GivenUp(obstacle) => Act::GiveUp(obstacle.clone()),
        }
    }

    /// Whether the device accepted another mode: its next attachment at this place is not asked again.
    pub(super) fn has_switched(&self) -> bool {
        matches!(self.state, State::Reenumerating { .. })
    }

    /// The device was opened and looked at, or not.
    pub(super) fn handle_view(&mut self, now: Instant, view: Result<&View, Refusal>) {
        match (&self.state, view) {
            (State::Opening | State::Looking, Ok(view)) => self.follow(now, view.plan()),
            (State::Opening | State::Looking, Err(refusal)) => self.retry(now, refusal, Retry::Open),
            _ => {}
        }
    }

    fn follow(&mut self, now: Instant, plan: Plan) {
        self.state = match plan {
            Plan::UseActive(mux) => State::Claiming(mux),
            Plan::Configure { value, interfaces } if self.configures < MAX_CONFIGURES => {
                self.configures = self.configures.saturating_add(1);
                // Every one of these is a new start: whoever sets the device up beside us is at it right now.
                self.patience = self.patience.max(now.checked_add(PAUSE).unwrap_or(now));
                State::Configuring { value, interfaces }
            }
            Plan::Configure { value, .. } => State::GivenUp(Obstacle::Failed(format!(
                "another program keeps taking it out of configuration {value}"
            ))),
            Plan::SwitchMode { configurations } => match self.mode.and_then(UsbMode::number) {
                Some(mode) => State::AskingMode { mode, configurations },
                None => State::GivenUp(Obstacle::NoMultiplexer { configurations }),
            },
        };
    }

    /// What [`Opening::act`] asked for was done, or refused.
    pub(super) fn handle_done(&mut self, now: Instant, done: Result<(), Refusal>) {
        match (&self.state, done) {
            // Somebody may have set another since: look before anything is claimed.
            (State::Configuring { .. }, Ok(())) => self.state = State::Looking,
            (State::Configuring { .. }, Err(refusal)) => self.retry(now, refusal, Retry::Look),
            (State::Claiming(mux), Ok(())) => self.state = State::Done(*mux),
            (State::Claiming(_), Err(refusal)) => self.retry(now, refusal, Retry::Look),
            // The answer does not tell the mode reliably; what counts is that the device knows the request.
            (State::AskingMode { mode, configurations }, Ok(())) => {
                self.state = State::SettingMode {
                    mode: *mode,
                    configurations: *configurations,
                };
            }
            (State::SettingMode { configurations, .. }, Ok(())) => {
                self.state = State::Reenumerating {
                    until: now.checked_add(REENUMERATION).unwrap_or(now),
                    configurations: *configurations,
                };
            }
            (State::AskingMode { .. } | State::SettingMode { .. }, Err(Refusal::Gone)) => {
                self.state = State::GivenUp(Obstacle::Gone);
            }
            // Old devices know neither request and stall.
            (State::AskingMode { configurations, .. } | State::SettingMode { configurations, .. }, Err(_)) => {
                self.state = State::GivenUp(Obstacle::NoMultiplexer {
                    configurations: *configurations,
                });
            }
            _ => {}
        }
    }

    /// A pause is over.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Pausing { until, then } if until <= now => {
                self.state = match then {
                    Retry::Open => State::Opening,
                    Retry::Look => State::Looking,
                };
            }
            State::Reenumerating { until, configurations } if until <= now => {
                self.state = State::GivenUp(Obstacle::NoMultiplexer { configurations });
            }
            _ => {}
        }
    }

    /// The interface was claimed and is lost again, and the device is still there: somebody configured it under us.
    pub(super) fn handle_lost(&mut self, now: Instant) {
        if !matches!(self.state, State::Done(_)) {
            return;
        }
        self.losses = self.losses.saturating_add(1);
        if self.losses < MAX_LOSSES {
            self.pause(now, PAUSE, Retry::Open);
        } else {
            self.state = State::GivenUp(Obstacle::Failed("transfers fail before it has said a word".to_owned()));
        }
    }

    fn retry(&mut self, now: Instant, refusal: Refusal, then: Retry) {
        match refusal {
            Refusal::Busy => {
                self.busy_left = self.busy_left.saturating_sub(1);
                if self.busy_left == 0 {
                    self.state = State::GivenUp(Obstacle::Busy);
                } else {
                    self.pause(now, self.busy_delay, then);
                }
            }
            // Where a driver cannot do it now it cannot later.
            Refusal::Unsupported => self.state = State::GivenUp(Obstacle::NoDriver),
            refusal if now >= self.patience => {
                self.state = State::GivenUp(match refusal {
                    Refusal::Gone => Obstacle::Gone,
                    Refusal::Permission => Obstacle::Permission,
                    Refusal::NotFound => Obstacle::Failed("its configuration changes while it is opened".to_owned()),
                    Refusal::Other(reason) => Obstacle::Failed(reason),
                    Refusal::Busy | Refusal::Unsupported => Obstacle::Busy, // answered above
                });
            }
            // A node without permissions gets them from udev a moment after it appears, and a new device may refuse
            // anything for a while.
            _ => self.pause(now, PAUSE, then),
        }
    }

    fn pause(&mut self, now: Instant, pause: Duration, then: Retry) {
        self.state = State::Pausing {
            until: now.checked_add(pause).unwrap_or(now),
            then,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::super::choose::Configuration;
    use super::*;

    const MUX: MuxInterface = MuxInterface {
        number: 1,
        bulk_in: 0x85,
        bulk_out: 4,
    };

    fn view(active: u8) -> View {
        let with = |value, mux| Configuration {
            value,
            interfaces: vec![0, 1],
            mux,
        };
        View {
            active,
            configurations: vec![with(1, None), with(4, Some(MUX))],
        }
    }

    fn bare() -> View {
        let only = Configuration {
            value: 1,
            interfaces: vec![0],
            mux: None,
        };
        View {
            active: 1,
            configurations: vec![only],
        }
    }

    struct Hand {
        now: Instant,
        opening: Opening,
    }

    impl Hand {
        fn new(may_switch: bool) -> Self {
            let now = Instant::now();
            let opening = Opening::new(now, &UsbOptions::default(), may_switch);
            Self { now, opening }
        }

        fn look(&mut self, active: u8) -> &mut Self {
            assert!(
                matches!(self.opening.act(), Act::Open | Act::Look),
                "{:?}",
                self.opening.act()
            );
            self.opening.handle_view(self.now, Ok(&view(active)));
            self
        }

        fn done(&mut self, done: Result<(), Refusal>) -> &mut Self {
            self.opening.handle_done(self.now, done);
            self
        }

        fn wait(&mut self) -> Duration {
            let Act::Wait(until) = self.opening.act() else {
                panic!("{:?}", self.opening.act());
            };
            let waited = until.duration_since(self.now);
            self.now = until;
            self.opening.handle_timeout(self.now);
            waited
        }

        fn act(&self) -> Act {
            self.opening.act()
        }
    }

    #[test]
    fn a_device_in_the_right_configuration_is_claimed_at_once() {
        let mut hand = Hand::new(true);
        assert_eq!(hand.act(), Act::Open);
        assert_eq!(hand.look(4).act(), Act::Claim(MUX));
        assert_eq!(hand.done(Ok(())).act(), Act::Done(MUX));
    }

    #[test]
    fn an_unconfigured_device_is_configured_and_looked_at_again() {
        let mut hand = Hand::new(true);
        let configure = Act::Configure {
            value: 4,
            interfaces: Vec::new(),
        };
        assert_eq!(hand.look(0).act(), configure);
        assert_eq!(hand.done(Ok(())).act(), Act::Look);
        assert_eq!(hand.look(4).act(), Act::Claim(MUX));
    }

    #[test]
    fn a_configuration_0_set_by_udev_after_ours_is_set_again() {
        let mut hand = Hand::new(true);
        hand.look(1).done(Ok(()));
        hand.look(0).done(Ok(())); // udev was between
        assert_eq!(hand.look(4).act(), Act::Claim(MUX));
        // It was between the look and the claim.
        hand.done(Err(Refusal::NotFound));
        assert_eq!(hand.wait(), PAUSE);
        hand.look(0).done(Ok(()));
        assert_eq!(hand.look(4).done(Ok(())).act(), Act::Done(MUX));
        // And it was even after the claim.
        hand.opening.handle_lost(hand.now);
        hand.wait();
        assert_eq!(hand.act(), Act::Open);
        hand.look(0).done(Ok(()));
        assert_eq!(hand.look(4).done(Ok(())).act(), Act::Done(MUX));
    }

    #[test]
    fn somebody_who_never_stops_changing_the_configuration_wins() {
        let mut hand = Hand::new(true);
        for _ in 0..MAX_CONFIGURES {
            hand.look(0).done(Ok(()));
        }
        assert!(matches!(hand.look(0).act(), Act::GiveUp(Obstacle::Failed(_))));
    }

    #[test]
    fn a_link_that_always_breaks_is_given_up() {
        let mut hand = Hand::new(true);
        for _ in 1..MAX_LOSSES {
            hand.look(4).done(Ok(()));
            hand.opening.handle_lost(hand.now);
            hand.wait();
        }
        hand.look(4).done(Ok(()));
        hand.opening.handle_lost(hand.now);
        assert!(matches!(hand.act(), Act::GiveUp(Obstacle::Failed(_))));
    }

    #[test]
    fn refusals_of_a_new_device_are_waited_out_for_three_seconds() {
        for (refusal, obstacle) in [
            (Refusal::Permission, Obstacle::Permission),
            (Refusal::Gone, Obstacle::Gone),
            (Refusal::Other("no".into()), Obstacle::Failed("no".into())),
        ] {
            let mut hand = Hand::new(true);
            let started = hand.now;
            while hand.act() == Act::Open {
                hand.opening.handle_view(hand.now, Err(refusal.clone()));
                if matches!(hand.act(), Act::Wait(_)) {
                    hand.wait();
                }
            }
            assert_eq!(hand.act(), Act::GiveUp(obstacle));
            assert_eq!(hand.now.duration_since(started), Duration::from_secs(3));
        }
        let mut hand = Hand::new(true);
        hand.opening.handle_view(hand.now, Err(Refusal::Permission));
        hand.wait();
        assert_eq!(hand.look(4).act(), Act::Claim(MUX), "the node got its permissions");
    }

    #[test]
    fn a_busy_interface_is_tried_five_times_a_second_apart() {
        let mut hand = Hand::new(true);
        let started = hand.now;
        for _ in 0..4 {
            hand.look(4).done(Err(Refusal::Busy));
            assert_eq!(hand.wait(), Duration::from_secs(1));
        }
        hand.look(4).done(Err(Refusal::Busy));
        assert_eq!(hand.act(), Act::GiveUp(Obstacle::Busy));
        assert_eq!(hand.now.duration_since(started), Duration::from_secs(4));
    }

    #[test]
    fn a_device_in_trouble_is_tried_once_each_time() {
        for refusal in [Refusal::Busy, Refusal::Permission] {
            let now = Instant::now();
            let mut opening = Opening::new(now, &UsbOptions::default(), true).without_patience(now);
            opening.handle_view(now, Err(refusal));
            assert!(matches!(
                opening.act(),
                Act::GiveUp(Obstacle::Busy | Obstacle::Permission)
            ));
        }
    }

    #[test]
    fn a_driver_that_cannot_is_reported_at_once() {
        let mut hand = Hand::new(true);
        hand.look(1).done(Err(Refusal::Unsupported));
        assert_eq!(hand.act(), Act::GiveUp(Obstacle::NoDriver));
    }

    #[test]
    fn a_device_without_the_multiplexer_is_asked_for_mode_3_and_waited_for() {
        let mut hand = Hand::new(true);
        hand.opening.handle_view(hand.now, Ok(&bare()));
        assert_eq!(hand.act(), Act::AskMode);
        assert_eq!(hand.done(Ok(())).act(), Act::SetMode(3));
        hand.done(Ok(()));
        assert!(hand.opening.has_switched());
        assert_eq!(hand.wait(), REENUMERATION);
        let obstacle = Obstacle::NoMultiplexer { configurations: 1 };
        assert_eq!(hand.act(), Act::GiveUp(obstacle), "it never came back");
    }

    #[test]
    fn an_old_device_that_stalls_the_request_is_left_as_it_is() {
        let obstacle = Obstacle::NoMultiplexer { configurations: 1 };
        for asked in [0, 1] {
            let mut hand = Hand::new(true);
            hand.opening.handle_view(hand.now, Ok(&bare()));
            (0..asked).for_each(|_| drop(hand.done(Ok(())).act()));
            hand.done(Err(Refusal::Other("stall".into())));
            assert_eq!(hand.act(), Act::GiveUp(obstacle.clone()));
        }
    }

    #[test]
    fn a_device_that_came_back_without_the_multiplexer_is_not_asked_again() {
        let mut hand = Hand::new(false);
        hand.opening.handle_view(hand.now, Ok(&bare()));
        assert_eq!(hand.act(), Act::GiveUp(Obstacle::NoMultiplexer { configurations: 1 }));
    }

    #[test]
    fn a_device_with_the_multiplexer_is_never_asked_for_a_mode() {
        for active in [0, 1, 4, 7] {
            let mut hand = Hand::new(true);
            assert!(!matches!(hand.look(active).act(), Act::AskMode | Act::SetMode(_)));
        }
    }

    #[test]
    fn answers_that_were_not_asked_for_change_nothing() {
        let mut hand = Hand::new(true);
        hand.done(Ok(()));
        hand.opening.handle_timeout(hand.now);
        hand.opening.handle_lost(hand.now);
        assert_eq!(hand.act(), Act::Open);
    }
}
