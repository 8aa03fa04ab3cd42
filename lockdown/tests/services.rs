//! The companion clients against a scripted other end.

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use cabled_lockdown::msg::Message;
use cabled_lockdown::services::{
    ServiceError, assertion, diagnostics, heartbeat, house_arrest, installation_proxy, notification_proxy, springboard,
};
use cabled_lockdown::{HeartbeatTask, LinkError, Lockdown, NetworkDevice, Paired};
use cabled_wire::io::{BoxStream, Connect, ConnectError};
use cabled_wire::plist::{Dictionary, Value};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpListener;

fn ends() -> (BoxStream, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    (Box::new(ours), theirs)
}

fn app(bundle_id: &str) -> Dictionary {
    let mut app = Dictionary::new();
    app.insert("CFBundleIdentifier".to_owned(), bundle_id.into());
    app
}

#[tokio::test]
async fn notifications_are_observed_posted_and_ended_with_proxy_death() {
    use notification_proxy::{Command, Event, NotificationProxy, names};
    let (ours, mut device) = ends();
    let played = tokio::spawn(async move {
        let Some(Command::Observe { name }) = hear(&mut device).await else {
            panic!()
        };
        assert_eq!(name, names::SYNC_CANCEL_REQUEST);
        assert!(matches!(hear(&mut device).await, Some(Command::Post { name }) if name == names::SYNC_WILL_START));
        say(&mut device, &Event::Relay { name }).await;
        say(
            &mut device,
            &Event::Relay {
                name: "ignored at the end".to_owned(),
            },
        )
        .await;
        assert_eq!(hear::<Command>(&mut device).await, Some(Command::Shutdown));
        say(&mut device, &Event::ProxyDeath).await;
        hear::<Command>(&mut device).await
    });
    let mut proxy = NotificationProxy::new(ours);
    proxy.observe(names::SYNC_CANCEL_REQUEST).await.unwrap();
    let nothing = tokio::time::timeout(Duration::from_millis(10), proxy.next()).await;
    assert!(nothing.is_err(), "waiting is safe to drop");
    proxy.post(names::SYNC_WILL_START).await.unwrap();
    assert_eq!(proxy.next().await.unwrap().as_deref(), Some(names::SYNC_CANCEL_REQUEST));
    proxy.shutdown().await.unwrap();
    assert_eq!(played.await.unwrap(), None);
}

#[tokio::test]
async fn proxy_death_unasked_and_a_closed_stream_both_end_the_notifications() {
    use notification_proxy::{Event, NotificationProxy};
    let (ours, mut device) = ends();
    say(&mut device, &Event::ProxyDeath).await;
    assert_eq!(NotificationProxy::new(ours).next().await.unwrap(), None);
    let (ours, device) = ends();
    drop(device);
    assert_eq!(NotificationProxy::new(ours).next().await.unwrap(), None);
}

#[tokio::test]
async fn apps_are_listed_chunk_by_chunk_to_the_end() {
    use installation_proxy::{Command, InstallationProxy, Reply};
    let (ours, mut device) = ends();
    tokio::spawn(async move {
        let Some(Command::Browse { options: Some(options) }) = hear(&mut device).await else {
            panic!()
        };
        assert_eq!(options.get("ApplicationType"), Some(&"User".into()));
        for (n, name) in ["a.b", "c.d"].into_iter().enumerate() {
            let index = Some(n as u64);
            say(
                &mut device,
                &Reply::Browsing {
                    index,
                    amount: Some(1),
                    total: Some(2),
                    list: vec![app(name)],
                },
            )
            .await;
        }
        say(
            &mut device,
            &Reply::Complete {
                lookup: None,
                extra: Dictionary::new(),
            },
        )
        .await;
        let Some(Command::Lookup { .. }) = hear(&mut device).await else {
            panic!()
        };
        let mut found = Dictionary::new();
        found.insert("a.b".to_owned(), Value::Dictionary(app("a.b")));
        say(
            &mut device,
            &Reply::Complete {
                lookup: Some(found),
                extra: Dictionary::new(),
            },
        )
        .await;
    });
    let mut proxy = InstallationProxy::new(ours);
    let apps = proxy
        .browse("User", &["CFBundleIdentifier"])
        .await
        .unwrap()
        .all()
        .await
        .unwrap();
    assert_eq!(apps, [app("a.b"), app("c.d")]);
    let found = proxy.lookup(&["a.b", "not.there"], &[]).await.unwrap();
    assert_eq!(found.len(), 1);
}

#[tokio::test]
async fn a_listing_that_is_cut_short_or_never_ends_is_an_error() {
    use installation_proxy::{InstallationProxy, Reply};
    let (ours, mut device) = ends();
    let chunk = Reply::Browsing {
        index: None,
        amount: None,
        total: None,
        list: vec![app("a.b")],
    };
    say(&mut device, &chunk).await;
    let cut = tokio::spawn(async move {
        let mut sink = [0; 4096];
        let _ = device.read(&mut sink).await;
    });
    let mut proxy = InstallationProxy::new(ours);
    let error = proxy.browse("Any", &[]).await.unwrap().all().await.unwrap_err();
    assert!(
        matches!(error, ServiceError::Link(LinkError::Closed { .. })),
        "{error:?}"
    );
    cut.await.unwrap();

    let (ours, mut device) = ends();
    tokio::spawn(async move {
        let endless = Reply::Browsing {
            index: None,
            amount: None,
            total: None,
            list: Vec::new(),
        };
        let frame = cabled_wire::frame::encode(&endless.encode_binary()).unwrap();
        while device.write_all(&frame).await.is_ok() {}
    });
    let mut proxy = InstallationProxy::new(ours);
    let error = proxy.browse("Any", &[]).await.unwrap().all().await.unwrap_err();
    assert!(matches!(error, ServiceError::TooMany { .. }), "{error:?}");
    let error = proxy.lookup(&[], &[]).await.unwrap_err();
    assert!(matches!(error, ServiceError::Link(LinkError::Unusable)), "{error:?}");
}

#[tokio::test]
async fn a_listing_whose_chunks_are_few_and_huge_is_an_error() {
    use installation_proxy::{InstallationProxy, MAX_LISTING, Reply};
    let (ours, mut device) = ends();
    let mut huge = app("a.b");
    huge.insert("Padding".to_owned(), Value::Data(vec![0; 8 << 20]));
    let chunk = Reply::Browsing {
        index: None,
        amount: None,
        total: None,
        list: vec![huge],
    };
    let bytes = cabled_wire::frame::encode(&chunk.encode_binary()).unwrap();
    let device = tokio::spawn(async move {
        let mut sent = 0;
        while sent < 4 * MAX_LISTING && device.write_all(&bytes).await.is_ok() {
            sent += bytes.len();
        }
        sent
    });
    let mut proxy = InstallationProxy::new(ours);
    let error = proxy.browse("Any", &[]).await.unwrap().all().await.unwrap_err();
    assert!(matches!(error, ServiceError::TooLarge { .. }), "{error:?}");
    drop(proxy);
    assert!(device.await.unwrap() < 2 * MAX_LISTING);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_announces_a_silence_without_end_is_not_believed() {
    use heartbeat::{Beat, Ended, Heartbeat};
    let (ours, mut device) = ends();
    say(
        &mut device,
        &Beat::Marco {
            interval: Some(1_000_000_000_000),
            extra: Dictionary::new(),
        },
    )
    .await;
    let ended = tokio::time::timeout(Duration::from_secs(86_400), Heartbeat::new(ours).run()).await;
    assert_eq!(ended.unwrap(), Ended::Malformed);
}

#[tokio::test]
async fn an_installation_reports_its_steps_and_its_failure() {
    use installation_proxy::{Command, InstallationProxy, Reply};
    let (ours, mut device) = ends();
    tokio::spawn(async move {
        let Some(Command::Install { package_path, .. }) = hear(&mut device).await else {
            panic!()
        };
        assert_eq!(package_path, "PublicStaging/app.ipa");
        for percent in [5, 60] {
            let status = "VerifyingApplication".to_owned();
            say(
                &mut device,
                &Reply::Progress {
                    status,
                    percent: Some(percent),
                    extra: Dictionary::new(),
                },
            )
            .await;
        }
        let failed = Reply::Failed {
            error: "ApplicationVerificationFailed".to_owned(),
            description: Some("not signed\u{7}".to_owned()),
            detail: Some(-402_620_395),
            extra: Dictionary::new(),
        };
        say(&mut device, &failed).await;
    });
    let mut steps = Vec::new();
    let error = InstallationProxy::new(ours)
        .install(
            "PublicStaging/app.ipa",
            None,
            &mut |step: &installation_proxy::Progress| steps.push(step.percent),
        )
        .await
        .unwrap_err();
    assert_eq!(steps, [Some(5), Some(60)]);
    let ServiceError::Refused { error, description, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(error, "ApplicationVerificationFailed");
    assert!(
        !description.unwrap().contains('\u{7}'),
        "text for people carries no control characters"
    );
}

#[tokio::test]
async fn springboard_is_asked_in_binary_and_answers_with_icons_or_arrays() {
    use springboard::{Command, Reply, SpringBoard};
    let (ours, mut device) = ends();
    tokio::spawn(async move {
        let body = cabled_wire::frame::read_frame(&mut device, 4096).await.unwrap();
        assert!(body.starts_with(b"bplist00"));
        assert!(matches!(Command::decode(&body).unwrap(), Command::GetIconPng { bundle_id } if bundle_id == "a.b"));
        say(&mut device, &Reply::Png(b"\x89PNG".to_vec())).await;
        let _: Option<Command> = hear(&mut device).await;
        say(&mut device, &Reply::IconState(vec![Value::Array(Vec::new())])).await;
        let _: Option<Command> = hear(&mut device).await;
        say(&mut device, &Reply::Orientation(1)).await;
        let _: Option<Command> = hear(&mut device).await;
        say(
            &mut device,
            &Reply::Failed {
                error: "NoSuchApp".to_owned(),
                extra: Dictionary::new(),
            },
        )
        .await;
    });
    let mut springboard = SpringBoard::new(ours);
    assert_eq!(springboard.icon_png("a.b").await.unwrap(), b"\x89PNG");
    assert_eq!(springboard.icon_state().await.unwrap().len(), 1);
    assert_eq!(springboard.orientation().await.unwrap(), 1);
    let error = springboard.icon_png("no.app").await.unwrap_err();
    assert!(matches!(error, ServiceError::Refused { error, .. } if error == "NoSuchApp"));
}

#[tokio::test]
async fn diagnostics_unwrap_answers_and_refuse_by_status() {
    use diagnostics::{Diagnostics, Entry, PowerOptions, Reply, Request};
    let nested = |outer: &str, key: &str, value: &str| {
        let (mut inner, mut answer) = (Dictionary::new(), Dictionary::new());
        inner.insert(key.to_owned(), value.into());
        answer.insert(outer.to_owned(), Value::Dictionary(inner));
        Reply {
            diagnostics: Some(answer),
            ..Reply::status(Reply::SUCCESS)
        }
    };
    let (ours, mut device) = ends();
    tokio::spawn(async move {
        let Some(Request::MobileGestalt { keys }) = hear(&mut device).await else {
            panic!()
        };
        assert_eq!(keys, ["ProductVersion"]);
        say(&mut device, &nested("MobileGestalt", "ProductVersion", "12.5")).await;
        let _: Option<Request> = hear(&mut device).await;
        say(
            &mut device,
            &nested("MobileGestalt", "Status", "MobileGestaltDeprecated"),
        )
        .await;
        assert_eq!(
            hear(&mut device).await,
            Some(Request::IoRegistry(Entry::of_class("IOPMPowerSource")))
        );
        say(&mut device, &nested("IORegistry", "CurrentCapacity", "99")).await;
        let Some(Request::Restart(options)) = hear(&mut device).await else {
            panic!()
        };
        assert_eq!(options.wait_for_disconnect, Some(true));
        say(&mut device, &Reply::status(Reply::UNKNOWN_REQUEST)).await;
    });
    let mut diagnostics = Diagnostics::new(ours);
    let answers = diagnostics.mobile_gestalt(&["ProductVersion"]).await.unwrap();
    assert_eq!(answers.get("ProductVersion"), Some(&"12.5".into()));
    let refused =
        |error: ServiceError, with: &str| matches!(error, ServiceError::Refused { error, .. } if error == with);
    assert!(refused(
        diagnostics.mobile_gestalt(&["x"]).await.unwrap_err(),
        "MobileGestaltDeprecated"
    ));
    let power = diagnostics
        .io_registry(Entry::of_class("IOPMPowerSource"))
        .await
        .unwrap();
    assert!(power.contains_key("CurrentCapacity"));
    let options = PowerOptions {
        wait_for_disconnect: Some(true),
        ..PowerOptions::default()
    };
    assert!(refused(
        diagnostics.restart(options).await.unwrap_err(),
        "UnknownRequest"
    ));
}

#[tokio::test]
async fn a_vended_container_hands_the_same_stream_on() {
    use house_arrest::{Command, Reply, vend};
    let command = Command::VendDocuments {
        bundle_id: "org.example.app".to_owned(),
    };
    let (ours, mut device) = ends();
    let asked = command.clone();
    tokio::spawn(async move {
        assert_eq!(hear(&mut device).await, Some(asked));
        say(&mut device, &Reply::Complete).await;
        let mut magic = [0; 8];
        device.read_exact(&mut magic).await.unwrap();
        device.write_all(&magic).await.unwrap();
    });
    let mut stream = vend(ours, &command).await.unwrap();
    stream.write_all(b"CFA6LPAA").await.unwrap();
    let mut echo = [0; 8];
    stream.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"CFA6LPAA");

    let (ours, mut device) = ends();
    say(
        &mut device,
        &Reply::Failed {
            error: "ApplicationLookupFailed".to_owned(),
        },
    )
    .await;
    let error = vend(ours, &command).await.map(drop).unwrap_err();
    assert!(matches!(error, ServiceError::Refused { error, .. } if error == "ApplicationLookupFailed"));
}

#[tokio::test]
async fn a_power_assertion_is_taken_or_refused() {
    use assertion::{AssertionKind, Command, PowerAssertion, Reply};
    for refuse in [false, true] {
        let (ours, mut device) = ends();
        tokio::spawn(async move {
            let Some(Command::Create { kind, timeout, .. }) = hear(&mut device).await else {
                panic!()
            };
            assert_eq!(
                (kind, timeout),
                (AssertionKind::WirelessSync, Duration::from_millis(90_500))
            );
            let failed = Reply::Failed {
                error: "Denied".into(),
                extra: Dictionary::new(),
            };
            let reply = if refuse {
                failed
            } else {
                Reply::Created(Dictionary::new())
            };
            say(&mut device, &reply).await;
            let _: Option<Command> = hear(&mut device).await;
        });
        let taken =
            PowerAssertion::take(ours, AssertionKind::WirelessSync, "test", Duration::from_millis(90_500)).await;
        assert_eq!(taken.is_err(), refuse);
    }
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_is_answered_until_the_device_sleeps_closes_or_falls_silent() {
    use heartbeat::{Beat, Ended, Heartbeat, Polo};
    let marco = || Beat::Marco {
        interval: Some(10),
        extra: Dictionary::new(),
    };
    for (last, why) in [(Some(Beat::SleepyTime), Ended::DeviceSleeps), (None, Ended::Closed)] {
        let (ours, mut device) = ends();
        let played = tokio::spawn(async move {
            for _ in 0..3 {
                say(&mut device, &marco()).await;
                assert_eq!(hear(&mut device).await, Some(Polo));
                tokio::time::sleep(Duration::from_secs(14)).await; // late, within the grace
            }
            if let Some(beat) = last {
                say(&mut device, &beat).await;
                let _: Option<Polo> = hear(&mut device).await;
            }
        });
        assert_eq!(Heartbeat::new(ours).run().await, why);
        played.await.unwrap();
    }
    let (ours, mut device) = ends();
    let before = tokio::time::Instant::now();
    say(&mut device, &marco()).await;
    assert_eq!(Heartbeat::new(ours).run().await, Ended::Silent);
    assert_eq!(before.elapsed().as_secs(), 15, "interval and grace");
    let (ours, _device) = ends();
    assert_eq!(Heartbeat::new(ours).run().await, Ended::Silent, "no first beat");
}

#[tokio::test]
async fn a_network_device_is_reached_at_the_first_address_that_answers_and_its_heart_beats() {
    let lockdown = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let services = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead: SocketAddr = {
        let unused = TcpListener::bind("127.0.0.1:0").await.unwrap();
        unused.local_addr().unwrap()
    };
    let service_port = services.local_addr().unwrap().port();
    let device = NetworkDevice::new(None, vec![dead, lockdown.local_addr().unwrap()]);
    assert!(device.is_network());
    let played = tokio::spawn(async move {
        let (mut stream, _) = lockdown.accept().await.unwrap();
        answer(&mut stream, is_lockdown()).await;
        answer(&mut stream, session_started()).await;
        let mut stream = Tls::of(&record(), TLS13).accept(stream).await.unwrap();
        answer(&mut stream, service_at(service_port, false)).await;
        let (mut beats, _) = services.accept().await.unwrap();
        say(
            &mut beats,
            &heartbeat::Beat::Marco {
                interval: Some(10),
                extra: Dictionary::new(),
            },
        )
        .await;
        assert_eq!(hear(&mut beats).await, Some(heartbeat::Polo));
        answer(&mut stream, cabled_lockdown::msg::ReplyBody::Done).await;
        say(&mut beats, &heartbeat::Beat::SleepyTime).await;
        let _: Option<heartbeat::Polo> = hear(&mut beats).await;
    });
    let paired = Paired::new(std::sync::Arc::new(device), record()).with_options(impatient());
    let mut task = HeartbeatTask::start(&paired)
        .await
        .unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(task.ended().await, heartbeat::Ended::DeviceSleeps);
    played.await.unwrap();
}

#[tokio::test]
async fn a_network_device_nobody_answers_for_says_so() {
    let nowhere = NetworkDevice::new(None, Vec::new());
    let error = Lockdown::connect(std::sync::Arc::new(nowhere), "test")
        .await
        .unwrap_err();
    assert!(
        matches!(error, cabled_lockdown::Error::Connect(ConnectError::Gone)),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_service_behind_a_tunnel_is_checked_in_to() {
    use cabled_lockdown::msg::{LockdownError, Reply, ReplyBody, Request, RequestBody};
    use cabled_lockdown::{Options, rsd_checkin};
    for refused in [false, true] {
        let (ours, mut device) = ends();
        tokio::spawn(async move {
            let request = answer(&mut device, ReplyBody::Done).await;
            assert!(matches!(&request.body, RequestBody::RsdCheckin { protocol_version: Some(v), .. } if v == "2"));
            let start = Request::new(
                "device",
                RequestBody::StartService {
                    service: None,
                    escrow_bag: None,
                },
            );
            let body = if refused {
                ReplyBody::failed(LockdownError::ServiceProhibited)
            } else {
                ReplyBody::Done
            };
            say(&mut device, &Reply::to(&start, body)).await;
            let _ = device.write_all(b"plain").await;
        });
        match rsd_checkin(ours, Options::default(), None).await {
            Ok(mut stream) => {
                let mut said = [0; 5];
                stream.read_exact(&mut said).await.unwrap();
                assert!(!refused && &said == b"plain");
            }
            Err(error) => assert!(
                refused && error.code() == Some(&LockdownError::ServiceProhibited),
                "{error:?}"
            ),
        }
    }
}
