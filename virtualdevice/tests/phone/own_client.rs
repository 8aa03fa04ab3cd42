//! The family's own client against the phone: two minds that share nothing but messages.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use cabled_lockdown::services::assertion::{AssertionKind, PowerAssertion};
use cabled_lockdown::services::diagnostics::Diagnostics;
use cabled_lockdown::services::installation_proxy::InstallationProxy;
use cabled_lockdown::services::notification_proxy::NotificationProxy;
use cabled_lockdown::services::springboard::SpringBoard;
use cabled_lockdown::{Error, Escrow, HeartbeatTask, Lockdown, PairOptions, PairRecord, Paired, Trust};
use cabled_virtualdevice::service::{self, LOCKDOWN};
use cabled_virtualdevice::{Fault, Pairing, Phone, Profile};
use cabled_wire::ids::SystemBuid;
use cabled_wire::plist::Value;

use super::host::identity;

fn phone(profile: Profile, pairing: Pairing) -> Phone {
    Phone::builder()
        .profile(profile)
        .seed(11)
        .pairing(pairing)
        .identity(identity())
        .build()
        .unwrap()
}

async fn pair(phone: &Phone, mut observer: impl FnMut(Trust) -> ControlFlow<()> + Send) -> Result<PairRecord, Error> {
    let mut lockdown = Lockdown::connect(Arc::new(phone.clone()), "test").await?;
    let options = PairOptions::new(SystemBuid::random()).poll_every(Duration::from_millis(20));
    lockdown.pair(options, &mut observer).await
}

fn go_on(_: Trust) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[tokio::test]
async fn it_pairs_while_the_user_takes_time_and_keeps_its_keys() {
    let phone = phone(Profile::ios_17_7(), Pairing::AskUser);
    let person = phone.clone();
    let mut seen = Vec::new();
    let record = pair(&phone, |state| {
        if state == Trust::WaitForUser && seen.iter().filter(|s| **s == state).count() == 2 {
            person.answer_trust(true);
        }
        seen.push(state);
        ControlFlow::Continue(())
    })
    .await
    .unwrap();
    assert!(
        seen.contains(&Trust::WaitForUser) && seen.contains(&Trust::Trusted),
        "{seen:?}"
    );
    assert!(phone.escrow_bag_is_known(record.escrow_bag.unwrap().expose()));
    let pairs: Vec<String> = phone
        .log()
        .entries()
        .into_iter()
        .filter(|e| e.request == "Pair")
        .map(|e| e.detail)
        .collect();
    assert!(pairs.len() >= 3);
    assert!(
        pairs.iter().all(|keys| !keys.contains("PrivateKey")),
        "no private key leaves the host: {pairs:?}"
    );
}

#[tokio::test]
async fn a_refusal_and_a_locked_screen_are_told_apart() {
    let denied = pair(&phone(Profile::ios_17_7(), Pairing::Deny), go_on).await;
    assert!(matches!(denied, Err(Error::UserDeniedPairing)), "{denied:?}");
    let phone = phone(Profile::ios_17_7(), Pairing::Locked);
    let person = phone.clone();
    let record = pair(&phone, |state| {
        if state == Trust::Locked {
            person.unlock();
        }
        ControlFlow::Continue(())
    })
    .await;
    assert!(record.is_ok(), "{record:?}");
}

#[tokio::test]
async fn every_generation_serves_it_every_companion() {
    for profile in Profile::all() {
        let deprecated = profile.mobile_gestalt_deprecated;
        let phone = phone(profile, Pairing::AutoTrust);
        let record = pair(&phone, go_on).await.unwrap();
        let paired = Paired::new(Arc::new(phone.clone()), record);
        let version = paired.get_value(None, Some("ProductVersion")).await.unwrap();
        assert_eq!(
            version.as_ref().and_then(Value::as_string),
            Some(phone.profile().product_version.as_str())
        );
        let open = async |name: &str| paired.start_service(name, Escrow::Never).await.unwrap();

        let mut apps = InstallationProxy::new(open(service::installation_proxy::NAME).await);
        let listed = apps
            .browse("User", &["CFBundleIdentifier"])
            .await
            .unwrap()
            .all()
            .await
            .unwrap();
        assert_eq!(listed.len(), phone.apps().len());
        let mut springboard = SpringBoard::new(open(service::springboard::NAME).await);
        let icon = springboard.icon_png(&phone.apps()[0].bundle_id).await.unwrap();
        assert_eq!(icon, phone.apps()[0].icon_png);
        assert!(springboard.icon_state().await.unwrap().len() > 1);
        let mut diagnostics = Diagnostics::new(open(service::diagnostics::NAME).await);
        let gestalt = diagnostics.mobile_gestalt(&["PasswordConfigured"]).await;
        assert_eq!(gestalt.is_ok_and(|g| g.contains_key("PasswordConfigured")), !deprecated);
        diagnostics.goodbye().await.unwrap();

        let mut proxy = NotificationProxy::new(open(service::notification_proxy::NAME).await);
        let cancel = "com.apple.itunes-client.syncCancelRequest";
        proxy.observe(cancel).await.unwrap();
        proxy.post("com.apple.itunes-mobdev.syncWillStart").await.unwrap();
        while phone.log().count(service::notification_proxy::NAME, "PostNotification") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        phone.press_cancel();
        assert_eq!(proxy.next().await.unwrap().as_deref(), Some(cancel));
        proxy.shutdown().await.unwrap();

        let agent = open(service::assertion::NAME).await;
        let kind = AssertionKind::WirelessSync;
        let assertion = PowerAssertion::take(agent, kind, "test", Duration::from_secs(60))
            .await
            .unwrap();
        assert!(!phone.fall_asleep());
        drop(assertion);
    }
}

#[tokio::test]
async fn over_the_network_its_heartbeat_keeps_services_alive() {
    let grace = Duration::from_millis(400);
    let phone = phone(Profile::ios_17_7().with_heartbeat_grace(grace), Pairing::AutoTrust);
    let record = pair(&phone, go_on).await.unwrap();
    let paired = Paired::new(Arc::new(phone.over_network()), record);
    let _heart = HeartbeatTask::start(&paired).await.unwrap();
    let stream = paired
        .start_service(service::notification_proxy::NAME, Escrow::Never)
        .await
        .unwrap();
    tokio::time::sleep(3 * grace).await;
    NotificationProxy::new(stream).shutdown().await.unwrap();
}

#[tokio::test]
async fn a_pairing_forgotten_on_the_phone_asks_for_pairing_again() {
    let phone = phone(Profile::ios_17_7(), Pairing::AutoTrust);
    let record = pair(&phone, go_on).await.unwrap();
    let paired = Paired::new(Arc::new(phone.clone()), record);
    // With TLS 1.3 the host learns of it with its first request.
    let ask = async || paired.get_value(None, Some("SerialNumber")).await;
    phone.faults().push(Fault::close_after_client_certificate(LOCKDOWN));
    let error = ask().await.unwrap_err();
    assert!(error.needs_pairing(), "{error}");
    assert!(ask().await.unwrap().is_some());
    phone.forget_pairings();
    let error = ask().await.unwrap_err();
    assert!(error.needs_pairing(), "{error}");
}

#[tokio::test]
async fn the_escrow_bag_opens_a_service_on_a_locked_screen() {
    let phone = phone(Profile::ios_17_7(), Pairing::AutoTrust);
    let record = pair(&phone, go_on).await.unwrap();
    let paired = Paired::new(Arc::new(phone.clone()), record);
    phone.set_passcode(true);
    phone.lock();
    let name = service::installation_proxy::NAME;
    let refused = paired.start_service(name, Escrow::Never).await;
    assert!(refused.err().is_some_and(|error| error.needs_unlock()));
    assert!(paired.start_service(name, Escrow::IfNeeded).await.is_ok());
    assert!(paired.start_service(name, Escrow::Always).await.is_ok());
}
