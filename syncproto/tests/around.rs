//! What stands around a sync: whether a class can be had, the lock, the notifications; against the virtual phone.
#![cfg(feature = "device")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use cabled_afc::{Afc, SyncLock, SyncLockError, SyncLockOptions};
use cabled_lockdown::services::notification_proxy::{SERVICE, names};
use cabled_lockdown::{Escrow, Lockdown, PairOptions, Paired, Trust};
use cabled_syncproto::DataClass;
use cabled_syncproto::availability::{Access, Availability, AvailabilityError, Unavailable, enable};
use cabled_syncproto::guard::{GuardError, GuardOptions, SyncGuard};
use cabled_virtualdevice::{Pairing, Phone};
use cabled_wire::ids::SystemBuid;
use cabled_wire::plist::{Dictionary, Value};

const TETHERED: &str = "com.apple.mobile.tethered_sync";
const DATA_SYNC: &str = "com.apple.mobile.data_sync";

async fn paired() -> (Phone, Paired) {
    let phone = Phone::builder().pairing(Pairing::AutoTrust).build().unwrap();
    let mut lockdown = Lockdown::connect(Arc::new(phone.clone()), "test").await.unwrap();
    let options = PairOptions::new(SystemBuid::random());
    let record = lockdown.pair(options, &mut |_: Trust| ControlFlow::Continue(())).await;
    let paired = Paired::new(Arc::new(phone.clone()), record.unwrap());
    (phone, paired)
}

fn texts(texts: &[&str]) -> Value {
    Value::Array(texts.iter().copied().map(Value::from).collect())
}

fn dictionary<const N: usize>(pairs: [(&str, Value); N]) -> Dictionary {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

#[tokio::test]
async fn what_the_phone_says_of_each_class_is_read_before_anything_is_opened() {
    let (phone, paired) = paired().await;
    phone.set_value(
        Some(TETHERED),
        "Calendars",
        dictionary([("DisableTethered", 1.into()), ("SyncingOS", "Windows".into())]),
    );
    phone.set_value(
        Some(DATA_SYNC),
        "Contacts",
        dictionary([
            ("Sources", texts(&["iCloud"])),
            ("AccountNames", texts(&["ann@example.org"])),
        ]),
    );
    phone.set_value(
        Some(DATA_SYNC),
        "Bookmarks",
        dictionary([("Sources", texts(&["iCloud"]))]),
    );
    let all = Availability::read_all(&paired).await.unwrap();
    let refused = |class: DataClass, access| {
        let one = all.iter().find(|one| one.class == class).unwrap();
        one.check(access).err()
    };
    let (write, read) = (Access::ReadAndWrite, Access::ReadEvenIfServedByAccount);
    let served = Unavailable::ServedByAccount {
        class: DataClass::Contacts,
        accounts: vec!["ann@example.org".into()],
    };
    assert_eq!(refused(DataClass::Contacts, write), Some(served));
    assert_eq!(refused(DataClass::Contacts, read), None);
    let off = Unavailable::DisabledOnDevice {
        class: DataClass::Calendars,
        claimed_by: Some("Windows".into()),
    };
    assert_eq!(refused(DataClass::Calendars, read), Some(off));
    // The phone itself refuses bookmarks of an account: there is nothing to read.
    assert!(matches!(
        refused(DataClass::Bookmarks, read),
        Some(Unavailable::ServedByAccount { .. })
    ));
    assert_eq!(refused(DataClass::MailAccounts, write), None);
    assert_eq!(
        phone
            .log()
            .count("com.apple.mobilesync", "SDMessageSyncDataClassWithDevice"),
        0
    );
}

#[tokio::test]
async fn a_class_is_switched_on_by_an_explicit_call_and_by_nothing_else() {
    let (phone, paired) = paired().await;
    phone.set_value(
        Some(TETHERED),
        "Contacts",
        dictionary([("DisableTethered", true.into())]),
    );
    let read = || Availability::read(&paired, DataClass::Contacts);
    assert!(read().await.unwrap().check(Access::ReadAndWrite).is_err());
    assert!(read().await.unwrap().disabled, "asking changes nothing");
    enable(&paired, &DataClass::Contacts, "Linux").await.unwrap();
    let now = read().await.unwrap();
    assert_eq!((now.disabled, now.claimed_by.as_deref()), (false, Some("Linux")));
    now.check(Access::ReadAndWrite).unwrap();
}

#[test]
fn settings_that_make_no_sense_are_not_guessed() {
    let malformed = |tethered: Option<Value>, data_sync: Option<Value>| {
        let read = Availability::of(DataClass::Contacts, None, tethered.as_ref(), data_sync.as_ref());
        assert!(matches!(read, Err(AvailabilityError::Malformed { .. })), "{read:?}");
    };
    let of = |value: Value| Some(Value::Dictionary(dictionary([("Contacts", value)])));
    malformed(Some("no dictionary".into()), None);
    malformed(of("no dictionary".into()), None);
    malformed(of(dictionary([("DisableTethered", 2.into())]).into()), None);
    malformed(of(dictionary([("SyncingOS", 2.into())]).into()), None);
    malformed(None, of(dictionary([("Sources", "iCloud".into())]).into()));
    malformed(
        None,
        of(dictionary([("AccountNames", Value::Array(vec![1.into()]))]).into()),
    );
    // What is missing has its default, and a hostile list is cut.
    let read = Availability::of(DataClass::Contacts, None, None, None).unwrap();
    assert_eq!((read.advertised, read.check(Access::ReadAndWrite)), (None, Ok(())));
    let many = Value::Array(vec!["x".repeat(10_000).into(); 10_000]);
    let read = Availability::of(
        DataClass::Contacts,
        None,
        None,
        of(dictionary([("Sources", many)]).into()).as_ref(),
    )
    .unwrap();
    assert_eq!(read.accounts().len(), 64);
    assert!(read.accounts().iter().all(|account| account.len() == 200));
}

/// What was observed and posted, in order.
fn notifications(phone: &Phone) -> Vec<(String, String)> {
    let entries = phone.log().entries().into_iter();
    let ours = entries.filter(|entry| &*entry.service == SERVICE && entry.request != "Shutdown");
    ours.map(|entry| (entry.request, entry.detail)).collect()
}

fn posted(phone: &Phone) -> Vec<String> {
    let posts = notifications(phone)
        .into_iter()
        .filter(|(request, _)| request == "PostNotification");
    posts.map(|(_, name)| name).collect()
}

async fn afc(paired: &Paired) -> Afc {
    Afc::new(paired.start_service("com.apple.afc", Escrow::IfNeeded).await.unwrap())
}

/// Whether somebody else gets the lock now; waits for a while, as it is given back in the background.
async fn is_free(paired: &Paired) -> bool {
    let options = SyncLockOptions::default().tries(50).interval(Duration::from_millis(20));
    SyncLock::acquire(&afc(paired).await, &options).await.is_ok()
}

fn impatient() -> GuardOptions {
    GuardOptions::default().with_lock(SyncLockOptions::default().tries(2).interval(Duration::from_millis(1)))
}

#[tokio::test]
async fn buttons_are_observed_before_the_sync_is_announced_and_its_end_is_told_last() {
    let (phone, paired) = paired().await;
    let guard = SyncGuard::begin(&paired, &GuardOptions::default()).await.unwrap();
    let during = SyncLock::acquire(&afc(&paired).await, &SyncLockOptions::default().tries(1)).await;
    assert!(matches!(during, Err(SyncLockError::Held { .. })), "{during:?}");
    guard.close().await;
    let said = notifications(&phone);
    let said: Vec<(&str, &str)> = said
        .iter()
        .map(|(request, name)| (request.as_str(), name.as_str()))
        .collect();
    let (observe, post) = ("ObserveNotification", "PostNotification");
    let wanted = [
        (observe, names::SYNC_CANCEL_REQUEST),
        (observe, names::SYNC_SUSPEND_REQUEST),
        (observe, names::SYNC_RESUME_REQUEST),
        (post, names::SYNC_WILL_START),
        (post, names::SYNC_LOCK_REQUEST),
        (post, names::SYNC_DID_START),
    ];
    assert_eq!(said.get(..6), Some(&wanted[..]));
    assert!(is_free(&paired).await);
    until(|| posted(&phone).last().is_some_and(|last| last == names::SYNC_DID_FINISH)).await;
}

#[tokio::test]
async fn a_lock_that_another_program_holds_is_a_start_that_failed() {
    let (phone, paired) = paired().await;
    let held = SyncLock::acquire(&afc(&paired).await, &SyncLockOptions::default())
        .await
        .unwrap();
    let error = SyncGuard::begin(&paired, &impatient()).await.unwrap_err();
    assert!(
        matches!(error, GuardError::Lock(SyncLockError::Held { tries: 2, .. })),
        "{error:?}"
    );
    until(|| posted(&phone).iter().any(|name| name == names::SYNC_FAILED_TO_START)).await;
    assert!(!posted(&phone).iter().any(|name| name == names::SYNC_DID_START));
    held.release().await.unwrap();
    SyncGuard::begin(&paired, &impatient()).await.unwrap().close().await;
}

#[tokio::test]
async fn a_guard_that_is_dropped_gives_the_lock_back_and_tells_the_end() {
    let (phone, paired) = paired().await;
    drop(SyncGuard::begin(&paired, &GuardOptions::default()).await.unwrap());
    assert!(is_free(&paired).await);
    until(|| posted(&phone).last().is_some_and(|last| last == names::SYNC_DID_FINISH)).await;
}

#[tokio::test]
async fn a_begin_that_is_dropped_half_way_tells_the_end_of_what_it_announced() {
    let (phone, paired) = paired().await;
    let held = SyncLock::acquire(&afc(&paired).await, &SyncLockOptions::default())
        .await
        .unwrap();
    let patient = GuardOptions::default().with_lock(SyncLockOptions::default().tries(10_000));
    {
        let mut begin = std::pin::pin!(SyncGuard::begin(&paired, &patient));
        let asked = until(|| posted(&phone).iter().any(|name| name == names::SYNC_LOCK_REQUEST));
        tokio::select! {
            begun = &mut begin => panic!("{begun:?}"),
            () = asked => {}
        }
    }
    until(|| posted(&phone).last().is_some_and(|last| last == names::SYNC_DID_FINISH)).await;
    held.release().await.unwrap();
    assert!(is_free(&paired).await);
}

#[tokio::test]
async fn cancel_on_the_phone_is_heard_and_stays_pressed_and_a_pause_ends() {
    let (phone, paired) = paired().await;
    let guard = SyncGuard::begin(&paired, &GuardOptions::default()).await.unwrap();
    assert!(!guard.is_cancelled() && !guard.is_suspended());
    guard.resumed().await;
    phone.notify(names::SYNC_SUSPEND_REQUEST);
    until(|| guard.is_suspended()).await;
    phone.notify(names::SYNC_RESUME_REQUEST);
    guard.resumed().await;
    phone.press_cancel();
    guard.cancelled().await;
    phone.notify(names::SYNC_RESUME_REQUEST);
    guard.cancelled().await;
    assert!(guard.is_cancelled());
    guard.close().await;
}

/// Waits for something that another task does.
async fn until(mut is: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(30), async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.expect("it does not happen");
}
