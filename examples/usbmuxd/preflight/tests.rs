//! Virtual phones, plugged in behind a preflight.

use std::sync::atomic::{AtomicBool, Ordering};

use cabled::lockdown::{PairRecord, Paired};
use cabled::usbmux::store::PairRecordId;
use cabled::virtualdevice::front::Front;
use cabled::virtualdevice::service::{INSECURE_NOTIFICATION_PROXY, LOCKDOWN};
use cabled::virtualdevice::{Fault, Pairing, Phone};

use super::attend::{Way, way};
use super::*;

/// A cable, a store, and what listeners of the preflight hear.
struct Bed {
    front: Front,
    store: PairRecordStore,
    preflight: Preflight,
    events: broadcast::Receiver<SourceEvent>,
    _folder: tempfile::TempDir,
}

fn bed() -> Bed {
    let folder = tempfile::tempdir().unwrap();
    let front = Front::new(folder.path().join("unused"));
    let source = front.source();
    bed_of(front, source, folder, PreflightOptions::default())
}

fn bed_of(front: Front, source: Arc<dyn DeviceSource>, folder: tempfile::TempDir, options: PreflightOptions) -> Bed {
    let store = PairRecordStore::new(folder.path().join("lockdown"));
    let preflight = Preflight::start(source, store.clone(), options);
    let events = preflight.watch();
    Bed {
        front,
        store,
        preflight,
        events,
        _folder: folder,
    }
}

impl Bed {
    async fn plug(&self, phone: &Phone) -> DeviceId {
        self.front.add(phone.clone()).await.unwrap()
    }

    async fn next(&mut self) -> SourceEvent {
        let next = timeout(Duration::from_secs(60), self.events.recv());
        next.await.expect("nothing happens").unwrap()
    }

    async fn attached(&mut self) -> DeviceId {
        match self.next().await {
            SourceEvent::Attached(device) => device.id,
            other => panic!("{other:?}"),
        }
    }

    async fn record(&self, phone: &Phone) -> Option<PairRecord> {
        let stored = self.store.read(&PairRecordId::from(phone.udid())).await.unwrap();
        stored.map(|bytes| PairRecord::parse(bytes.expose()).unwrap())
    }

    /// Whether the stored record opens a session.
    async fn is_good(&self, phone: &Phone) -> bool {
        let Some(record) = self.record(phone).await else {
            return false;
        };
        Paired::new(Arc::new(phone.clone()), record).session().await.is_ok()
    }
}

fn phone(pairing: Pairing) -> Phone {
    let phone = Phone::builder().seed(3).empty().build().unwrap();
    phone.set_pairing(pairing);
    phone
}

fn pairs(phone: &Phone) -> usize {
    phone.log().count(LOCKDOWN, "Pair")
}

/// Waits until the phone knows that it is watched: what it says before is lost.
async fn watched(phone: &Phone) {
    let known = async {
        while phone.log().count(INSECURE_NOTIFICATION_PROXY, "ObserveNotification") < 2 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(60), known)
        .await
        .expect("nobody watches it");
}

#[tokio::test]
async fn a_phone_that_trusts_at_once_is_paired_before_it_is_shown() {
    let mut bed = bed();
    let phone = phone(Pairing::AutoTrust);
    let id = bed.plug(&phone).await;
    assert!(bed.preflight.list().is_empty(), "not before it is paired");
    assert_eq!(bed.attached().await, id);
    assert!(bed.is_good(&phone).await);
    assert_eq!(bed.preflight.list().len(), 1);
    let told = phone.value(None, "UntrustedHostBUID").unwrap().into_string();
    assert_eq!(told, Some(bed.store.system_buid().await.unwrap().to_string()));

    // It comes back: the record proves it, nobody is asked.
    bed.front.remove(id);
    assert_eq!(bed.next().await, SourceEvent::Detached(id));
    let again = bed.plug(&phone).await;
    assert_eq!(bed.attached().await, again);
    assert_eq!(pairs(&phone), 1);
}

#[tokio::test]
async fn the_user_is_asked_once_and_the_answer_makes_a_pairing() {
    let mut bed = bed();
    let phone = phone(Pairing::AskUser);
    let id = bed.plug(&phone).await;
    assert_eq!(bed.attached().await, id, "shown while the dialogue waits");
    assert_eq!((pairs(&phone), bed.record(&phone).await.is_some()), (1, false));
    watched(&phone).await;
    // The device may ask again who we are.
    phone.remove_value(None, "UntrustedHostBUID");
    phone.notify("com.apple.mobile.lockdown.request_host_buid");
    let told = async {
        while phone.value(None, "UntrustedHostBUID").is_none() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(30), told).await.expect("it was not told");
    assert_eq!(pairs(&phone), 1, "asked once");
    assert!(phone.answer_trust(true));
    assert_eq!(bed.next().await, SourceEvent::Paired(id));
    assert!(bed.is_good(&phone).await);
    assert_eq!(pairs(&phone), 2);
}

#[tokio::test]
async fn a_refusal_is_accepted_and_the_device_is_shown() {
    let mut bed = bed();
    let phone = phone(Pairing::Deny);
    let id = bed.plug(&phone).await;
    assert_eq!(bed.attached().await, id);
    sleep(Duration::from_millis(300)).await;
    assert_eq!((pairs(&phone), bed.record(&phone).await.is_some()), (1, false));
}

#[tokio::test]
async fn a_record_that_the_device_forgot_is_replaced_and_never_just_deleted() {
    let mut bed = bed();
    let phone = phone(Pairing::AutoTrust);
    let id = bed.plug(&phone).await;
    bed.attached().await;
    let old = bed.record(&phone).await.unwrap();
    bed.front.remove(id);
    bed.next().await;
    phone.forget_pairings();
    phone.set_pairing(Pairing::AskUser);
    let id = bed.plug(&phone).await;
    assert_eq!(bed.attached().await, id);
    let kept = bed.record(&phone).await.unwrap();
    assert_eq!(kept.host_id, old.host_id, "until there is a better one");
    watched(&phone).await;
    assert!(phone.answer_trust(true));
    assert_eq!(bed.next().await, SourceEvent::Paired(id));
    assert!(bed.is_good(&phone).await);
    assert_ne!(bed.record(&phone).await.unwrap().host_id, old.host_id);
}

#[tokio::test]
async fn a_session_that_fails_for_another_reason_asks_nobody() {
    let mut bed = bed();
    let phone = phone(Pairing::AutoTrust);
    let id = bed.plug(&phone).await;
    bed.attached().await;
    bed.front.remove(id);
    bed.next().await;
    phone.faults().push(Fault::LockdownError {
        request: "StartSession".into(),
        error: "PasswordProtected".into(),
    });
    let id = bed.plug(&phone).await;
    assert_eq!(bed.attached().await, id);
    assert_eq!(pairs(&phone), 1, "only the first time");
    assert!(phone.faults().pending().is_empty());
}

#[tokio::test]
async fn another_programs_pairing_is_not_done_again() {
    let mut bed = bed();
    let phone = phone(Pairing::AskUser);
    bed.plug(&phone).await;
    bed.attached().await;
    // Another program pairs with the same computer's identity, saves its record, and only then the notification comes.
    phone.set_pairing(Pairing::AutoTrust);
    phone.forget_pairings();
    let mut lockdown = cabled::lockdown::Lockdown::connect(Arc::new(phone.clone()), "other")
        .await
        .unwrap();
    let buid = bed.store.system_buid().await.unwrap();
    let mut observer = |_| std::ops::ControlFlow::Continue(());
    let options = cabled::lockdown::PairOptions::new(buid);
    let theirs = lockdown.pair(options, &mut observer).await.unwrap();
    bed.store
        .save(&PairRecordId::from(phone.udid()), &theirs.to_plist_xml())
        .await
        .unwrap();
    watched(&phone).await;
    let before = pairs(&phone);
    phone.notify("com.apple.mobile.lockdown.request_pair");
    sleep(Duration::from_millis(500)).await;
    assert_eq!(pairs(&phone), before);
    assert_eq!(bed.record(&phone).await.unwrap().host_id, theirs.host_id);
}

#[tokio::test]
async fn an_ipod_is_paired_and_validated_the_old_way() {
    let mut bed = bed();
    let phone = phone(Pairing::AutoTrust);
    phone.set_value(None, "DeviceClass", "iPod");
    let id = bed.plug(&phone).await;
    assert_eq!(bed.attached().await, id);
    assert!(bed.is_good(&phone).await);
    let asked = phone.log().requests(LOCKDOWN);
    assert!(asked.iter().any(|name| name == "ValidatePair"), "{asked:?}");
    assert!(!asked.iter().any(|name| name == "SetValue"), "{asked:?}");
}

#[test]
fn the_dialogue_came_with_certain_versions() {
    for (class, version, expected) in [
        (Some("iPhone"), "17.7", Way::Dialogue),
        (Some("iPhone"), "6.1.3", Way::AtOnce),
        (Some("iPad"), "7.0", Way::Dialogue),
        (Some("Watch"), "1.0", Way::AtOnce),
        (Some("Watch"), "10.1", Way::Dialogue),
        (Some("AppleTV"), "8.4", Way::AtOnce),
        (Some("AppleTV"), "9.0", Way::Dialogue),
        (Some("iPod"), "12.5", Way::AtOnce),
        (None, "17.7", Way::AtOnce),
        (Some("iPhone"), "garbage", Way::AtOnce),
    ] {
        assert_eq!(way(class, version), expected, "{class:?} {version}");
    }
}

/// A source whose devices do not answer until they are let.
struct Mute {
    source: Arc<dyn DeviceSource>,
    talks: AtomicBool,
}

impl DeviceSource for Mute {
    fn list(&self) -> Vec<AttachedDevice> {
        self.source.list()
    }

    fn watch(&self) -> broadcast::Receiver<SourceEvent> {
        self.source.watch()
    }

    fn connect(&self, id: DeviceId, port: u16) -> BoxFuture<'_, Result<BoxStream, ConnectError>> {
        match self.talks.load(Ordering::SeqCst) {
            true => self.source.connect(id, port),
            false => Box::pin(std::future::pending()),
        }
    }
}

fn mute(options: PreflightOptions) -> (Bed, Arc<Mute>) {
    let folder = tempfile::tempdir().unwrap();
    let front = Front::new(folder.path().join("unused"));
    let mute = Arc::new(Mute {
        source: front.source(),
        talks: AtomicBool::new(false),
    });
    (
        bed_of(front, Arc::clone(&mute) as Arc<dyn DeviceSource>, folder, options),
        mute,
    )
}

#[tokio::test]
async fn a_device_that_does_not_answer_is_asked_again_and_shown_at_last() {
    let options = PreflightOptions {
        hide_limit: Duration::from_millis(400),
        connect_limit: Duration::from_millis(100),
        ..PreflightOptions::default()
    };
    let (mut bed, mute) = mute(options);
    let phone = phone(Pairing::AutoTrust);
    let id = bed.plug(&phone).await;
    sleep(Duration::from_millis(50)).await;
    assert!(bed.preflight.list().is_empty());
    assert!(
        matches!(bed.preflight.connect(id, 62078).await, Err(ConnectError::Gone)),
        "nobody gets there before"
    );
    assert_eq!(bed.attached().await, id, "not hidden for ever");
    mute.talks.store(true, Ordering::SeqCst);
    assert_eq!(bed.next().await, SourceEvent::Paired(id), "nor given up");
    assert!(bed.is_good(&phone).await);
}

#[tokio::test(start_paused = true)]
async fn a_device_that_goes_before_it_was_shown_was_never_there() {
    let (mut bed, _mute) = mute(PreflightOptions::default());
    let phone = phone(Pairing::AutoTrust);
    let id = bed.plug(&phone).await;
    sleep(Duration::from_millis(50)).await;
    bed.front.remove(id);
    sleep(Duration::from_millis(200)).await;
    assert!(matches!(
        bed.events.try_recv(),
        Err(broadcast::error::TryRecvError::Empty)
    ));
    assert!(bed.preflight.shared.lock().is_empty());
}
