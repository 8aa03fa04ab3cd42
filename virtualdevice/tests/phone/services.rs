//! The companion services, as clients ask them.

use std::time::Duration;

use cabled_virtualdevice::{Pairing, Phone, PhoneEvent, Profile};
use cabled_wire::dict;
use cabled_wire::io::Connect;
use cabled_wire::plist::{self, Dictionary, Value};

use super::host::{Host, Line, TIMEOUT, builder, identity, port};

const NP: &str = "com.apple.mobile.notification_proxy";
const IP: &str = "com.apple.mobile.installation_proxy";
const SB: &str = "com.apple.springboardservices";
const HEARTBEAT: &str = "com.apple.mobile.heartbeat";
const DIAGNOSTICS: &str = "com.apple.mobile.diagnostics_relay";

async fn with_contents(profile: Profile) -> (Phone, Host) {
    let phone = Phone::builder()
        .profile(profile)
        .seed(3)
        .pairing(Pairing::AutoTrust)
        .identity(identity())
        .build()
        .unwrap();
    let host = Host::new();
    host.pair(&phone).await;
    (phone, host)
}

fn text<'a>(dict: &'a Dictionary, key: &str) -> Option<&'a str> {
    dict.get(key).and_then(Value::as_string)
}

fn is_png(value: Option<&Value>) -> bool {
    value
        .and_then(Value::as_data)
        .is_some_and(|data| data.starts_with(b"\x89PNG\r\n\x1a\n") && data.len() > 60)
}

#[tokio::test]
async fn notifications_are_posted_relayed_and_ended_by_proxy_death() {
    let (phone, host) = with_contents(Profile::ios_17_7()).await;
    let mut posted = phone.notifications();
    let mut line = host.service(&phone, NP).await;
    let observe = |name: &str| dict! { "Command" => "ObserveNotification", "Name" => name };
    line.tell(observe("com.apple.itunes-client.syncCancelRequest")).await;
    line.tell(observe("com.apple.mobile.lockdown.device_name_changed"))
        .await;
    // A post of our own, so that the two above are known to have been read.
    line.tell(dict! { "Command" => "PostNotification", "Name" => "com.apple.itunes-mobdev.syncWillStart" })
        .await;
    let name = tokio::time::timeout(TIMEOUT, posted.recv()).await.unwrap().unwrap();
    assert_eq!(name, "com.apple.itunes-mobdev.syncWillStart");
    phone.notify("com.example.not.observed");
    phone.set_value(None, "DeviceName", "other");
    let relayed = line.dict().await;
    assert_eq!(text(&relayed, "Command"), Some("RelayNotification"));
    assert_eq!(
        text(&relayed, "Name"),
        Some("com.apple.mobile.lockdown.device_name_changed")
    );
    phone.press_cancel();
    assert_eq!(
        text(&line.dict().await, "Name"),
        Some("com.apple.itunes-client.syncCancelRequest")
    );
    line.tell(dict! { "Command" => "MakeCoffee" }).await;
    line.tell(dict! { "Command" => "Shutdown" }).await;
    assert_eq!(text(&line.dict().await, "Command"), Some("ProxyDeath"));
    assert!(line.ended().await);
    assert_eq!(phone.log().count(NP, "ObserveNotification"), 2);
}

#[tokio::test]
async fn the_insecure_proxy_needs_no_session_and_tells_of_the_users_answer() {
    let phone = builder(Profile::ios_17_7()).pairing(Pairing::AskUser).build().unwrap();
    let host = Host::new();
    let mut lockdown = Line::lockdown(&phone).await;
    let start = dict! { "Request" => "StartService", "Service" => "com.apple.mobile.insecure_notification_proxy" };
    let reply = lockdown.ask(start).await;
    assert!(!reply.contains_key("EnableServiceSSL"));
    let mut line = Line::new(phone.connect(port(&reply)).await.unwrap());
    let mut posted = phone.notifications();
    let name = "com.apple.mobile.lockdown.request_pair";
    line.tell(dict! { "Command" => "ObserveNotification", "Name" => name })
        .await;
    line.tell(dict! { "Command" => "PostNotification", "Name" => "read" })
        .await;
    assert_eq!(
        tokio::time::timeout(TIMEOUT, posted.recv()).await.unwrap().unwrap(),
        "read"
    );
    lockdown.error(host.pair_request()).await;
    phone.answer_trust(true);
    assert_eq!(text(&line.dict().await, "Name"), Some(name));
    assert_eq!(lockdown.ask(host.pair_request()).await.get("Error"), None);
}

#[tokio::test]
async fn browse_comes_in_chunks_that_do_not_overlap() {
    let (phone, host) = with_contents(Profile::ios_17_7().with_browse_chunk(3_usize)).await;
    let mut line = host.service(&phone, IP).await;
    let attributes = ["CFBundleIdentifier", "ApplicationSINF", "iTunesMetadata"]
        .map(Value::from)
        .to_vec();
    let options = dict! { "ApplicationType" => "User", "ReturnAttributes" => attributes };
    line.tell(dict! { "Command" => "Browse", "ClientOptions" => options })
        .await;
    let mut found: Vec<Dictionary> = Vec::new();
    loop {
        let reply = line.dict().await;
        if text(&reply, "Status") == Some("Complete") {
            break;
        }
        assert_eq!(text(&reply, "Status"), Some("BrowsingApplications"));
        let list = reply.get("CurrentList").and_then(Value::as_array).unwrap();
        let number = |key: &str| usize::try_from(reply.get(key).and_then(Value::as_unsigned_integer).unwrap()).unwrap();
        assert_eq!(number("CurrentIndex"), found.len());
        assert_eq!(number("CurrentAmount"), list.len());
        assert_eq!(number("Total"), phone.apps().len());
        assert!((1..=3).contains(&list.len()));
        found.extend(list.iter().map(|app| app.as_dictionary().unwrap().clone()));
    }
    let ids: Vec<&str> = found.iter().filter_map(|app| text(app, "CFBundleIdentifier")).collect();
    let expected: Vec<String> = phone.apps().iter().map(|app| app.bundle_id.clone()).collect();
    assert_eq!(ids, expected);
    for app in &found {
        assert_eq!(app.len(), 3, "only what was asked for: {app:?}");
        assert!(app.get("ApplicationSINF").and_then(Value::as_data).is_some());
    }
}

#[tokio::test]
async fn lookup_filters_by_bundle_id_and_type() {
    let (phone, host) = with_contents(Profile::ios_16_7()).await;
    let mut line = host.service(&phone, IP).await;
    let mut lookup = async |options: Dictionary| {
        let reply = line
            .ask(dict! { "Command" => "Lookup", "ClientOptions" => options })
            .await;
        assert_eq!(text(&reply, "Status"), Some("Complete"));
        reply
            .get("LookupResult")
            .and_then(Value::as_dictionary)
            .unwrap()
            .clone()
    };
    let user = lookup(dict! { "ApplicationType" => "User" }).await;
    let any = lookup(dict! { "ApplicationType" => "Any" }).await;
    assert_eq!(user.len(), phone.apps().len());
    assert!(any.len() > user.len() && any.contains_key("com.apple.mobilesafari"));
    let one = phone.apps()[0].bundle_id.clone();
    let found = lookup(dict! { "BundleIDs" => vec![Value::from(one.as_str()), Value::from("no.such")] }).await;
    assert_eq!(found.keys().collect::<Vec<_>>(), [&one]);
    let app = found.get(&one).and_then(Value::as_dictionary).unwrap();
    assert!(
        app.contains_key("Container") && !app.contains_key("ApplicationSINF"),
        "blobs only on demand"
    );
}

#[tokio::test]
async fn an_app_can_be_uninstalled_but_not_one_of_the_system() {
    let (phone, host) = with_contents(Profile::ios_17_7()).await;
    let app = phone.apps()[1].clone();
    assert!(phone.fs().get(&app.domain(), "").is_some());
    let mut line = host.service(&phone, IP).await;
    let uninstall = |id: &str| dict! { "Command" => "Uninstall", "ApplicationIdentifier" => id };
    line.tell(uninstall(&app.bundle_id)).await;
    let mut percents = Vec::new();
    loop {
        let reply = line.dict().await;
        if text(&reply, "Status") == Some("Complete") {
            break;
        }
        percents.push(
            reply
                .get("PercentComplete")
                .and_then(Value::as_unsigned_integer)
                .unwrap(),
        );
    }
    assert!(percents.is_sorted() && !percents.is_empty());
    assert!(phone.fs().get(&app.domain(), "").is_none());
    assert!(phone.apps().iter().all(|other| other.bundle_id != app.bundle_id));
    let reply = line.ask(uninstall("com.apple.mobilesafari")).await;
    assert_eq!(text(&reply, "Error"), Some("UninstallProhibited"));
    let reply = line
        .ask(dict! { "Command" => "Install", "PackagePath" => "PublicStaging/x.ipa" })
        .await;
    assert_eq!(text(&reply, "Error"), Some("PackageInspectionFailed"));
    phone.install(app.clone());
    assert!(phone.apps().contains(&app) && phone.fs().get(&app.domain(), "").is_some());
}

#[tokio::test]
async fn springboard_gives_icons_as_png_and_answers_as_it_is_asked() {
    let (phone, host) = with_contents(Profile::ios_17_7()).await;
    let mut line = host.service(&phone, SB).await;
    let icon = |id: &str| dict! { "command" => "getIconPNGData", "bundleId" => id };
    let app = phone.apps()[0].clone();
    let reply = line.ask(icon(&app.bundle_id)).await;
    assert_eq!(reply.get("pngData").and_then(Value::as_data), Some(&*app.icon_png));
    assert!(is_png(line.ask(icon("com.apple.mobilesafari")).await.get("pngData")));
    assert!(is_png(
        line.ask(dict! { "command" => "getHomeScreenWallpaperPNGData" })
            .await
            .get("pngData")
    ));

    line.tell(dict! { "command" => "getIconState", "formatVersion" => "2" })
        .await;
    let state = line.value().await;
    let pages = state.as_array().unwrap();
    assert_eq!(pages[0].as_array().unwrap().len(), 4, "the dock");
    let shown: usize = pages.iter().map(|page| page.as_array().unwrap().len()).sum();
    assert!(shown > phone.apps().len());

    // A new order is kept; nothing is answered, so the next reply is that of the next question.
    let mut turned = pages.clone();
    turned.reverse();
    line.tell(dict! { "command" => "setIconState", "iconState" => turned.clone() })
        .await;
    let binary = plist::to_binary(&Value::Dictionary(dict! { "command" => "getIconState" }));
    let mut frame = u32::try_from(binary.len()).unwrap().to_be_bytes().to_vec();
    frame.extend(binary);
    line.write(&frame).await;
    let body = line.body().await;
    assert!(body.starts_with(b"bplist00"), "asked in binary, answered in binary");
    assert_eq!(
        plist::read(&body, &plist::Limits::default()).unwrap().as_array(),
        Some(&turned)
    );
    let reply = line.ask(dict! { "command" => "getInterfaceOrientation" }).await;
    assert_eq!(
        reply.get("interfaceOrientation").and_then(Value::as_unsigned_integer),
        Some(1)
    );
    assert!(
        line.ask(dict! { "command" => "makeCoffee" })
            .await
            .contains_key("Error")
    );
}

#[tokio::test]
async fn the_heart_beats_until_the_phone_sleeps() {
    let (phone, host) = with_contents(Profile::ios_17_7().with_heartbeat_interval(Duration::from_millis(1))).await;
    let mut line = host.service(&phone, HEARTBEAT).await;
    for _ in 0..3 {
        let marco = line.dict().await;
        assert_eq!(text(&marco, "Command"), Some("Marco"));
        assert!(marco.contains_key("Interval"));
        line.tell(dict! { "Command" => "Polo" }).await;
    }
    let (phone, host) = with_contents(Profile::ios_17_7()).await;
    let mut line = host.service(&phone, HEARTBEAT).await;
    line.dict().await;
    line.tell(dict! { "Command" => "Polo" }).await;
    let mut keep = host.service(&phone, "com.apple.mobile.assertion_agent").await;
    let create = |seconds: f64| {
        dict! {
            "CommandKey" => "CommandCreateAssertion",
            "AssertionTypeKey" => "AMDPowerAssertionTypeWirelessSync",
            "AssertionNameKey" => "test",
            "AssertionTimeoutKey" => seconds,
        }
    };
    assert_eq!(keep.ask(create(60.0)).await.get("ErrorKey"), None);
    assert!(!phone.fall_asleep(), "an assertion holds");
    drop(keep);
    while !phone.fall_asleep() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(text(&line.dict().await, "Command"), Some("SleepyTime"));
    assert!(line.ended().await);
}

#[tokio::test]
async fn over_the_network_services_end_without_a_heartbeat() {
    let profile = Profile::ios_17_7().with_heartbeat_grace(Duration::from_millis(300));
    let (phone, host) = with_contents(profile).await;
    let network = phone.over_network();
    let mut lockdown = Line::lockdown(&network).await;
    lockdown.start_session(&host).await;
    let start = |name: &str| dict! { "Request" => "StartService", "Service" => name };
    let reply = lockdown.ask(start(NP)).await;
    let mut doomed = host.open(&network, &reply).await;
    assert!(doomed.ended().await);

    let reply = lockdown.ask(start(HEARTBEAT)).await;
    let mut heart = host.open(&network, &reply).await;
    heart.dict().await;
    heart.tell(dict! { "Command" => "Polo" }).await;
    let reply = lockdown.ask(start(NP)).await;
    let mut kept = host.open(&network, &reply).await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    kept.tell(dict! { "Command" => "Shutdown" }).await;
    assert_eq!(text(&kept.dict().await, "Command"), Some("ProxyDeath"));
}

#[tokio::test]
async fn diagnostics_tell_facts_and_whether_a_passcode_is_set() {
    let (phone, host) = with_contents(Profile::ios_17_7()).await;
    phone.set_passcode(true);
    let mut line = host.service(&phone, DIAGNOSTICS).await;
    let reply = line.ask(dict! { "Request" => "GasGauge" }).await;
    assert_eq!(text(&reply, "Status"), Some("Success"));
    let part = |reply: &Dictionary, key: &str| {
        let diagnostics = reply.get("Diagnostics").and_then(Value::as_dictionary).unwrap();
        diagnostics.get(key).and_then(Value::as_dictionary).unwrap().clone()
    };
    assert!(part(&reply, "GasGauge").contains_key("CycleCount"));
    let keys = ["PasswordConfigured", "ProductVersion", "NoSuchKey"]
        .map(Value::from)
        .to_vec();
    let gestalt = dict! { "Request" => "MobileGestalt", "MobileGestaltKeys" => keys };
    let found = part(&line.ask(gestalt.clone()).await, "MobileGestalt");
    assert_eq!(found.get("PasswordConfigured"), Some(&Value::Boolean(true)));
    assert_eq!(text(&found, "ProductVersion"), Some("17.7.2"));
    assert!(!found.contains_key("NoSuchKey"));
    let reply = line
        .ask(dict! { "Request" => "IORegistry", "EntryClass" => "IOPMPowerSource" })
        .await;
    assert!(part(&reply, "IORegistry").contains_key("CurrentCapacity"));
    let reply = line.ask(dict! { "Request" => "MakeCoffee" }).await;
    assert_eq!(text(&reply, "Status"), Some("UnknownRequest"));
    assert_eq!(
        text(&line.ask(dict! { "Request" => "Goodbye" }).await, "Status"),
        Some("Success")
    );
    assert!(line.ended().await);

    let (phone, host) = with_contents(Profile::ios_26()).await;
    let mut line = host.service(&phone, DIAGNOSTICS).await;
    let found = part(&line.ask(gestalt).await, "MobileGestalt");
    assert_eq!(text(&found, "Status"), Some("MobileGestaltDeprecated"));
}

#[tokio::test]
async fn diagnostics_restart_the_phone_at_once_or_after_the_goodbye() {
    let (phone, host) = with_contents(Profile::ios_17_7()).await;
    for wait in [false, true] {
        let mut events = phone.events();
        let mut line = host.service(&phone, DIAGNOSTICS).await;
        let reply = line
            .ask(dict! { "Request" => "Restart", "WaitForDisconnect" => wait })
            .await;
        assert_eq!(text(&reply, "Status"), Some("Success"));
        if wait {
            tokio::time::sleep(Duration::from_millis(30)).await;
            assert!(phone.is_on(), "not before the host is gone");
            line.tell(dict! { "Request" => "Goodbye" }).await;
        }
        line.rest().await;
        for expected in [PhoneEvent::Restarting, PhoneEvent::Restarted] {
            assert_eq!(
                tokio::time::timeout(TIMEOUT, events.recv()).await.unwrap().unwrap(),
                expected
            );
        }
        assert!(phone.is_on());
    }
}

#[tokio::test]
async fn hostile_bytes_end_a_service_and_nothing_else() {
    let (phone, host) = with_contents(Profile::ios_17_7()).await;
    for name in [NP, IP, SB, HEARTBEAT, DIAGNOSTICS, "com.apple.mobile.assertion_agent"] {
        let wrong = plist::to_xml(&Value::Array(vec![Value::from("no dictionary")]));
        let mut frame = u32::try_from(wrong.len()).unwrap().to_be_bytes().to_vec();
        frame.extend(wrong);
        for bytes in [&b"\xff\xff\xff\xffx"[..], b"\0\0\0\x04\xde\xad\xbe\xef", &frame] {
            let mut line = host.service(&phone, name).await;
            if name == HEARTBEAT {
                line.dict().await;
            }
            let _ = line.try_write(bytes).await;
            assert!(line.ended().await, "{name} {bytes:?}");
        }
    }
    host.service(&phone, NP)
        .await
        .tell(dict! { "Command" => "Shutdown" })
        .await;
}
