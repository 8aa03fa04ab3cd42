//! Restart, off and on, and the passcode prompt.

use std::time::Duration;

use cabled_virtualdevice::{LOCKDOWN_PORT, PasscodeEntry, PhoneEvent, Profile};
use cabled_wire::dict;
use cabled_wire::io::{Connect, ConnectError};

use super::host::{Host, Line, TIMEOUT, builder, phone};

#[tokio::test]
async fn a_restart_ends_every_connection_and_forgets_no_pairing() {
    let phone = phone();
    let host = Host::new();
    host.pair(&phone).await;
    let mut lockdown = host.session(&phone).await;
    let mut service = host.service(&phone, "com.apple.mobile.notification_proxy").await;
    let start = dict! { "Request" => "StartService", "Service" => "com.apple.mobile.heartbeat" };
    let reply = lockdown.ask(start).await;
    phone.reboot();
    assert!(matches!(phone.connect(LOCKDOWN_PORT).await, Err(ConnectError::Gone)));
    for line in [&mut lockdown, &mut service] {
        let (bytes, clean) = line.rest().await;
        assert!(bytes.is_empty() && !clean, "nobody says goodbye before a restart");
    }
    while !phone.is_on() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(matches!(
        phone.connect(super::host::port(&reply)).await,
        Err(ConnectError::Refused { .. })
    ));
    host.session(&phone).await;
}

#[tokio::test]
async fn recovery_mode_needs_somebody_to_switch_the_phone_on() {
    let phone = phone();
    let host = Host::new();
    host.pair(&phone).await;
    let mut events = phone.events();
    let mut line = host.session(&phone).await;
    line.ask(dict! { "Request" => "EnterRecovery" }).await;
    assert_eq!(events.recv().await.unwrap(), PhoneEvent::SwitchedOff);
    assert!(matches!(phone.connect(LOCKDOWN_PORT).await, Err(ConnectError::Gone)));
    phone.switch_on();
    assert!(
        Line::lockdown(&phone)
            .await
            .get(None, Some("DeviceName"))
            .await
            .contains_key("Value")
    );
}

#[tokio::test]
async fn the_passcode_prompt_is_answered_by_the_person() {
    let phone = builder(Profile::ios_17_7().with_passcode_timeout(Duration::from_millis(200)))
        .build()
        .unwrap();
    assert!(phone.ask_passcode().await, "no passcode, no prompt");
    phone.set_passcode(true);
    let mut notifications = phone.notifications();
    assert!(phone.ask_passcode().await, "typed in at once by default");
    assert_eq!(
        notifications.recv().await.unwrap(),
        "com.apple.LocalAuthentication.ui.presented"
    );
    assert_eq!(
        notifications.recv().await.unwrap(),
        "com.apple.LocalAuthentication.ui.dismissed"
    );
    phone.set_passcode_entry(PasscodeEntry::CancelsAfter(Duration::ZERO));
    assert!(!phone.ask_passcode().await);
    phone.set_passcode_entry(PasscodeEntry::Never);
    assert!(!phone.ask_passcode().await, "nobody came");
    assert!(!phone.enter_passcode(), "no prompt shows");

    phone.set_passcode_entry(PasscodeEntry::ByHand);
    let mut events = phone.events();
    let other = phone.clone();
    let asked = tokio::spawn(async move { other.ask_passcode().await });
    assert_eq!(
        tokio::time::timeout(TIMEOUT, events.recv()).await.unwrap().unwrap(),
        PhoneEvent::PasscodeAsked
    );
    assert!(phone.enter_passcode());
    assert!(asked.await.unwrap());
}

#[tokio::test]
async fn a_service_that_ends_says_close_notify_if_the_profile_says_so() {
    for says in [true, false] {
        let phone = builder(Profile::ios_17_7().with_sends_close_notify(says))
            .build()
            .unwrap();
        let host = Host::new();
        host.pair(&phone).await;
        let mut line = host.service(&phone, "com.apple.mobile.notification_proxy").await;
        line.tell(dict! { "Command" => "Shutdown" }).await;
        line.dict().await;
        let (bytes, clean) = line.rest().await;
        assert!(bytes.is_empty());
        assert_eq!(clean, says);
    }
}
