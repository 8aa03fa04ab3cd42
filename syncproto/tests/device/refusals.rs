//! Classes that the phone does not open.

use cabled_syncproto::session::{Refusal, RefusalKind};
use cabled_wire::plist::Dictionary;

use super::*;

fn kind(error: &ReplicaError) -> RefusalKind {
    let ReplicaError::Refused { source, reason, .. } = error else {
        panic!("{error:?}")
    };
    let refusal = source.as_ref().unwrap().downcast_ref::<Refusal>().unwrap();
    assert!(reason.contains(&refusal.text), "{reason}");
    refusal.kind
}

#[tokio::test]
async fn a_refusal_has_its_kind_and_leaves_the_connection_for_the_next_class() {
    let phone = phone();
    let mut off = Dictionary::new();
    off.insert("DisableTethered".to_owned(), Value::Boolean(true));
    phone.set_value(Some("com.apple.mobile.tethered_sync"), "Contacts", off);
    let mut link = None;
    for (class, wanted) in [
        (CONTACTS, RefusalKind::DisabledOnDevice),
        (DataClass::Notes, RefusalKind::NoDataStore),
    ] {
        let mut device = match link.take() {
            Some(link) => Device::new(link, class),
            None => device(&phone, class).await,
        };
        let error = Host::default().open(&mut device, false).await.unwrap_err();
        assert_eq!(kind(&error), wanted);
        assert!(device.is_connected() && device.opening().is_none());
        link = device.into_link();
    }
    let mut calendars = Device::new(link.unwrap(), CALENDARS);
    Host::default().open(&mut calendars, false).await.unwrap();
    assert_eq!(records(read(&mut calendars).await), phone.sync().records(&CALENDARS));
}

#[tokio::test]
async fn a_version_that_is_too_old_is_raised_once() {
    let phone = phone();
    let asked = || phone.log().count(sync::NAME, "SDMessageSyncDataClassWithDevice");
    let mut device = device(&phone, BOOKMARKS).await.with_version(50);
    Host::default().open(&mut device, false).await.unwrap();
    assert_eq!(asked(), 2);
    device.abort("enough").await.unwrap();
    let mut options = phone.sync().options();
    options.versions.insert(BOOKMARKS, 2_000);
    phone.sync().set_options(options);
    let mut device = device.with_version(50);
    // 999 is above what the phone accepts of old computers, so nothing is refused for ever.
    Host::default().open(&mut device, false).await.unwrap();
    assert_eq!(asked(), 4);
}
