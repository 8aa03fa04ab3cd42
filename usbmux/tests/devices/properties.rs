//! Whatever sources do, and however slow anybody is: what was told leads to what is.

use std::collections::BTreeMap;
use std::sync::Arc;

use cabled_usbmux::devices::{Device, DeviceEvent, Devices, DevicesEvents};
use cabled_usbmux::{AttachedDevice, DeviceSource, SourceEvent, Trouble, UnattachedDevice};
use cabled_wire::ids::{DeviceId, Udid};
use proptest::prelude::*;

use crate::script::{Script, cable, settle, wifi};

const SOURCES: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    Attach {
        source: usize,
        phone: u8,
        by_cable: bool,
    },
    /// Another address, or another place.
    Change {
        source: usize,
        nth: usize,
    },
    Detach {
        source: usize,
        nth: usize,
    },
    Trouble {
        source: usize,
        phone: Option<u8>,
    },
    Clear {
        source: usize,
    },
    /// The follower tasks run.
    Run,
    /// A watcher reads some events.
    Read {
        watcher: usize,
        events: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let source = 0..SOURCES;
    let step = prop_oneof![
        4 => (source.clone(), 0..4_u8, any::<bool>())
            .prop_map(|(source, phone, by_cable)| Step::Attach { source, phone, by_cable }),
        2 => (source.clone(), 0..8_usize).prop_map(|(source, nth)| Step::Change { source, nth }),
        4 => (source.clone(), 0..8_usize).prop_map(|(source, nth)| Step::Detach { source, nth }),
        1 => (source.clone(), proptest::option::of(0..4_u8)).prop_map(|(source, phone)| Step::Trouble { source, phone }),
        1 => source.prop_map(|source| Step::Clear { source }),
        4 => Just(Step::Run),
        4 => (0..2_usize, 1..4_usize).prop_map(|(watcher, events)| Step::Read { watcher, events }),
    ];
    proptest::collection::vec(step, 0..60)
}

fn phone(number: u8) -> String {
    format!("00008030-00000000000000A{number}")
}

/// What a watcher believes.
#[derive(Default)]
struct Belief {
    devices: BTreeMap<Udid, Device>,
    troubles: Vec<Trouble>,
}

impl Belief {
    fn take(&mut self, event: DeviceEvent) {
        match event {
            DeviceEvent::Attached(device) => {
                let before = self.devices.insert(device.udid().clone(), device);
                assert_eq!(before, None, "attached twice");
            }
            DeviceEvent::Changed(device) => {
                let before = self.devices.insert(device.udid().clone(), device.clone());
                assert!(
                    before.is_some_and(|before| before != device),
                    "changed from nothing, or not at all"
                );
            }
            DeviceEvent::Detached(device) => {
                assert_eq!(
                    self.devices.remove(device.udid()),
                    Some(device),
                    "detached something else"
                );
            }
            DeviceEvent::Trouble(trouble) => {
                assert!(!self.troubles.contains(&trouble), "told twice");
                self.troubles.push(trouble);
            }
            DeviceEvent::Cleared(trouble) => {
                let at = self.troubles.iter().position(|told| *told == trouble);
                self.troubles.remove(at.expect("cleared what was not told"));
            }
            other => panic!("{other:?}"),
        }
    }

    fn read(&mut self, events: &mut DevicesEvents, most: usize) {
        for _ in 0..most {
            let Some(event) = events.try_next() else { return };
            self.take(event);
        }
    }
}

struct World {
    sources: Vec<Arc<Script>>,
    next_id: u32,
}

impl World {
    fn act(&mut self, step: &Step) {
        let nth = |source: usize, nth: usize| {
            let devices = self.sources[source].devices.lock().unwrap();
            devices.values().nth(nth % devices.len().max(1)).cloned()
        };
        match step {
            Step::Attach {
                source,
                phone: number,
                by_cable,
            } => {
                self.next_id += 1;
                let udid = phone(*number);
                self.sources[*source].attach(match by_cable {
                    true => cable(self.next_id, &udid),
                    false => wifi(self.next_id, &udid, "10.0.0.1"),
                });
            }
            Step::Change { source, nth: n } => {
                if let Some(device) = nth(*source, *n) {
                    let ip = format!("10.0.1.{}", n + 1);
                    let connection = wifi(1, device.udid.as_str(), &ip).connection;
                    self.sources[*source].attach(AttachedDevice { connection, ..device });
                }
            }
            Step::Detach { source, nth: n } => {
                if let Some(device) = nth(*source, *n) {
                    self.sources[*source].detach(device.id.0);
                }
            }
            Step::Trouble { source, phone: number } => {
                let device = UnattachedDevice::new("a phone");
                let device = match number {
                    Some(number) => device.with_udid(phone(*number).parse().unwrap()),
                    None => device,
                };
                self.sources[*source].trouble(Trouble::Busy { device, owner: None });
            }
            Step::Clear { source } => self.sources[*source].clear(),
            Step::Run | Step::Read { .. } => {}
        }
    }

    /// What is there, by the sources themselves: for each phone the ids of its attachments.
    fn truth(&self) -> BTreeMap<Udid, Vec<DeviceId>> {
        let mut truth: BTreeMap<Udid, Vec<DeviceId>> = BTreeMap::new();
        for device in self.sources.iter().flat_map(|source| source.list()) {
            truth.entry(device.udid).or_default().push(device.id);
        }
        truth.values_mut().for_each(|ids| ids.sort());
        truth
    }
}

async fn run(steps: Vec<Step>) {
    let mut world = World {
        sources: (0..SOURCES).map(|_| Script::new()).collect(),
        next_id: 0,
    };
    let mut builder = Devices::builder();
    for source in &world.sources {
        builder = builder.source(source.clone());
    }
    let devices = builder.start();
    let mut watchers = [
        (devices.watch(), Belief::default()),
        (devices.watch(), Belief::default()),
    ];
    let mut client = DeviceSource::watch(&devices);
    let mut listed: BTreeMap<DeviceId, AttachedDevice> = BTreeMap::new();
    for step in &steps {
        world.act(step);
        match step {
            Step::Run => settle().await,
            Step::Read { watcher, events } => {
                let (stream, belief) = &mut watchers[*watcher];
                belief.read(stream, *events);
            }
            _ => {}
        }
    }
    settle().await;
    let list = devices.list();
    let seen: BTreeMap<Udid, Vec<DeviceId>> = list
        .iter()
        .map(|device| {
            let mut ids: Vec<_> = device.attachments().map(|attachment| attachment.device.id).collect();
            ids.sort();
            (device.udid().clone(), ids)
        })
        .collect();
    assert_eq!(seen, world.truth(), "the view is what the sources have");
    for device in &list {
        let keys: Vec<_> = device.attachments().map(|attachment| attachment.way()).collect();
        assert!(keys.is_sorted(), "the best way comes first");
    }
    for (stream, belief) in &mut watchers {
        belief.read(stream, usize::MAX);
        assert_eq!(belief.devices.values().cloned().collect::<Vec<_>>(), list);
        let (mut told, mut now) = (belief.troubles.clone(), devices.troubles());
        let order = |trouble: &Trouble| trouble.to_string() + &format!("{:?}", trouble.device());
        told.sort_by_key(order);
        now.sort_by_key(order);
        assert_eq!(told, now);
    }
    // A client of the union, whose queue was long enough.
    while let Ok(event) = client.try_recv() {
        match event {
            SourceEvent::Attached(device) => {
                assert_eq!(listed.insert(device.id, device), None, "an id used twice");
            }
            SourceEvent::Changed(device) => {
                assert!(
                    listed
                        .insert(device.id, device.clone())
                        .is_some_and(|before| before != device)
                );
            }
            SourceEvent::Detached(id) => assert!(listed.remove(&id).is_some()),
            _ => {}
        }
    }
    assert_eq!(listed.into_values().collect::<Vec<_>>(), DeviceSource::list(&devices));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn whatever_happens_and_whoever_lags_every_watcher_ends_with_what_is_there(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(run(steps));
    }
}
