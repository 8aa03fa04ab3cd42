//! The matrix of ChangePassword, and what a password does to the next run.

use super::host::Host;
use super::*;
use crate::contents::mutate;

fn will_encrypt(phone: &Phone) -> bool {
    let value = phone.value(Some("com.apple.mobile.backup"), "WillEncrypt");
    value.and_then(|value| value.as_boolean()).unwrap_or(false)
}

#[tokio::test]
async fn the_matrix_of_old_and_new_passwords() {
    let phone = phone(Profile::ios_17_7());
    let mut host = Host::new();
    let mut notifications = phone.notifications();
    // Old, new, code, whether a password is set afterwards.
    let steps = [
        (Some("x"), None, 207, false),
        (Some("x"), Some("y"), 207, false),
        (None, None, 207, false),
        (None, Some("one"), 0, true),
        (None, Some("two"), 207, true),
        (Some("wrong"), Some("two"), 207, true),
        (Some("one"), Some("zwei \u{1f511}"), 0, true),
        (Some("one"), None, 207, true),
        (Some("zwei \u{1f511}"), None, 0, false),
    ];
    for (old, new, code, set) in steps {
        let ended = host.password(&phone, old, new).await;
        assert_eq!(ended.code, Some(code), "{old:?} to {new:?}: {ended:?}");
        assert_eq!((will_encrypt(&phone), phone.backup_state().is_encrypted()), (set, set));
        let told = notifications.try_recv().ok();
        assert_eq!(
            told.as_deref(),
            (code == 0).then_some("com.apple.mobile.backup.domain_changed")
        );
    }
}

#[tokio::test]
async fn management_forbids_turning_encryption_off() {
    let phone = phone(Profile::ios_17_7());
    let mut host = Host::new();
    host.password(&phone, None, Some("pw")).await.ok();
    phone.set_value(Some("com.apple.mobile.backup"), "RequiresEncryption", true);
    let ended = host.password(&phone, Some("pw"), None).await;
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.text.contains("MBErrorDomain/22") && ended.text.contains("WillEncrypt"),
        "{}",
        ended.text
    );
    host.password(&phone, Some("pw"), Some("other")).await.ok();
}

#[tokio::test]
async fn a_changed_password_opens_the_next_run_which_sends_nothing_again() {
    let phone = phone(Profile::ios_17_7());
    let mut host = Host::new();
    host.password(&phone, None, Some("first")).await.ok();
    host.backup(&phone).await.ok();
    assert!(report(&phone).full && report(&phone).encrypted);
    assert_holds(&host, &phone, Some("first"));
    host.password(&phone, Some("first"), Some("second")).await.ok();
    let changes = mutate(phone.fs(), 1).unwrap();
    host.backup(&phone).await.ok();
    assert_holds(&host, &phone, Some("second"));
    assert!(!report(&phone).full);
    assert!(report(&phone).files_sent as usize >= changes.to_send() && report(&phone).files_kept > 80);
}

#[tokio::test]
async fn turning_encryption_on_or_off_makes_a_full_run() {
    for profile in [Profile::ios_10_3(), Profile::ios_26()] {
        let phone = phone(profile);
        let mut host = Host::new();
        host.backup(&phone).await.ok();
        host.password(&phone, None, Some("pw")).await.ok();
        host.backup(&phone).await.ok();
        assert!(report(&phone).full);
        assert_holds(&host, &phone, Some("pw"));
        host.password(&phone, Some("pw"), None).await.ok();
        host.backup(&phone).await.ok();
        assert!(report(&phone).full);
        assert_holds(&host, &phone, None);
    }
}

#[tokio::test]
async fn a_generation_without_encrypted_databases_leaves_it_plain_and_names_no_key() {
    let phone = phone(
        Profile::ios_10_3()
            .with_encrypts_manifest_db(false)
            .with_product_version("10.1"),
    );
    crate::backup::set_password(&phone, Some("pw")).unwrap();
    let mut host = Host::new();
    host.backup(&phone).await.ok();
    let opened = assert_holds(&host, &phone, Some("pw"));
    assert_eq!(opened.manifest.manifest_key, None);
    assert_eq!(opened.manifest.keybag.unwrap().len(), 1336, "one stage of derivation");
    mutate(phone.fs(), 1).unwrap();
    host.backup(&phone).await.ok();
    assert!(!report(&phone).full);
    assert_holds(&host, &phone, Some("pw"));
}
