//! Scripted faults strike where they are told, once.

use std::time::{Duration, Instant};

use cabled_virtualdevice::service::LOCKDOWN;
use cabled_virtualdevice::{Direction, Fault, Phone};
use cabled_wire::dict;
use cabled_wire::io::{Connect, ConnectError};
use cabled_wire::plist::{Dictionary, Value};

use super::host::{Host, Line, phone, port};

const DIAGNOSTICS: &str = "com.apple.mobile.diagnostics_relay";

async fn paired() -> (Phone, Host) {
    let phone = phone();
    let host = Host::new();
    host.pair(&phone).await;
    (phone, host)
}

fn gas_gauge() -> Dictionary {
    dict! { "Request" => "GasGauge" }
}

#[tokio::test]
async fn a_cut_delivers_exactly_the_bytes_before_it() {
    let (phone, host) = paired().await;
    for n in [0, 1, 3, 4, 5, 100] {
        phone.faults().push(Fault::cut(DIAGNOSTICS, Direction::ToHost, n));
        let mut line = host.service(&phone, DIAGNOSTICS).await;
        let _ = line.try_tell(gas_gauge()).await;
        let (bytes, clean) = line.rest().await;
        assert_eq!(bytes.len() as u64, n);
        assert!(!clean, "no close_notify: the stream was cut");
        assert!(phone.faults().pending().is_empty(), "it struck");
    }
    let mut line = host.service(&phone, DIAGNOSTICS).await;
    assert!(line.ask(gas_gauge()).await.contains_key("Status"), "once each");
}

#[tokio::test]
async fn a_cut_counts_what_the_host_sends_too() {
    let (phone, host) = paired().await;
    phone.faults().push(Fault::cut(DIAGNOSTICS, Direction::FromHost, 20));
    let mut line = host.service(&phone, DIAGNOSTICS).await;
    line.tell(gas_gauge()).await;
    assert!(line.ended().await);
    assert_eq!(
        phone.log().count(DIAGNOSTICS, "GasGauge"),
        0,
        "the request never arrived whole"
    );
}

#[tokio::test]
async fn lockdown_itself_can_be_cut() {
    let (phone, _) = paired().await;
    phone.faults().push(Fault::cut(LOCKDOWN, Direction::ToHost, 10));
    let mut line = Line::lockdown(&phone).await;
    line.tell(dict! { "Request" => "QueryType" }).await;
    assert_eq!(line.rest().await.0.len(), 10);
}

#[tokio::test]
async fn a_stall_is_silence_and_then_the_rest() {
    let (phone, host) = paired().await;
    phone.faults().push(Fault::stall(
        DIAGNOSTICS,
        Direction::ToHost,
        6,
        Duration::from_millis(300),
    ));
    let mut line = host.service(&phone, DIAGNOSTICS).await;
    line.tell(gas_gauge()).await;
    line.exactly(6).await;
    let begin = Instant::now();
    line.exactly(10).await;
    assert!(begin.elapsed() > Duration::from_millis(200));
}

#[tokio::test]
async fn bytes_can_be_injected_between_frames() {
    let (phone, host) = paired().await;
    let hostile = [0xff_u8; 4];
    phone.faults().push(Fault::inject(DIAGNOSTICS, 0, hostile.to_vec()));
    let mut line = host.service(&phone, DIAGNOSTICS).await;
    line.tell(gas_gauge()).await;
    assert_eq!(line.exactly(4).await, hostile);
    assert!(line.dict().await.contains_key("Status"));
}

#[tokio::test]
async fn the_screen_locks_in_the_middle() {
    let (phone, host) = paired().await;
    phone.set_passcode(true);
    phone
        .faults()
        .push(Fault::lock_screen(DIAGNOSTICS, Direction::FromHost, 10));
    let mut line = host.service(&phone, DIAGNOSTICS).await;
    assert!(!phone.is_locked());
    assert!(line.ask(gas_gauge()).await.contains_key("Status"));
    assert!(phone.is_locked());
}

#[tokio::test]
async fn services_are_refused_in_both_places() {
    let (phone, host) = paired().await;
    let start = || dict! { "Request" => "StartService", "Service" => DIAGNOSTICS };
    phone.faults().push(Fault::refuse_service(DIAGNOSTICS, "ServiceLimit"));
    phone.faults().push(Fault::refuse_connection(DIAGNOSTICS));
    let mut line = host.session(&phone).await;
    assert_eq!(line.error(start()).await, "ServiceLimit");
    let reply = line.ask(start()).await;
    assert!(matches!(
        phone.connect(port(&reply)).await,
        Err(ConnectError::Refused { .. })
    ));
    let reply = line.ask(start()).await;
    host.open(&phone, &reply).await;
}

#[tokio::test]
async fn lockdown_answers_an_error_once_and_keeps_unknown_ones() {
    let (phone, _) = paired().await;
    phone
        .faults()
        .push(Fault::lockdown_error("GetValue", "InvalidConnection"));
    phone.faults().push(Fault::lockdown_error("*", "BrandNewError"));
    let mut line = Line::lockdown(&phone).await;
    assert_eq!(
        line.error(dict! { "Request" => "GetValue", "Key" => "DeviceName" })
            .await,
        "InvalidConnection"
    );
    assert_eq!(line.error(dict! { "Request" => "QueryType" }).await, "BrandNewError");
    assert!(line.get(None, Some("DeviceName")).await.contains_key("Value"));
}

#[tokio::test]
async fn half_a_frame_is_the_last_thing_said() {
    let (phone, _) = paired().await;
    phone.faults().push(Fault::half_frame("QueryType"));
    let mut line = Line::lockdown(&phone).await;
    line.tell(dict! { "Request" => "QueryType" }).await;
    let (bytes, _) = line.rest().await;
    let declared = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
    assert!(bytes.len() > 4 && bytes.len() < declared + 4);
}

#[tokio::test]
async fn the_handshake_ends_with_nothing_said_after_the_client_certificate() {
    let (phone, host) = paired().await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        phone.faults().push(Fault::close_after_client_certificate(LOCKDOWN));
        let mut line = Line::lockdown(&phone).await;
        line.begin_session(&host).await;
        match line.start_tls(&host, &[version]).await {
            Ok(()) => {
                let (bytes, clean) = line.rest().await;
                assert!(bytes.is_empty() && !clean);
            }
            // An end of file, not an alert.
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{error}"),
        }
        assert!(phone.faults().pending().is_empty());
    }
    host.session(&phone).await;
}

#[tokio::test]
async fn a_fault_waits_for_its_own_service() {
    let (phone, host) = paired().await;
    phone.faults().push(Fault::cut("com.apple.afc", Direction::ToHost, 0));
    let mut line = host.service(&phone, DIAGNOSTICS).await;
    assert!(
        line.ask(gas_gauge())
            .await
            .get("Status")
            .and_then(Value::as_string)
            .is_some()
    );
    assert_eq!(phone.faults().pending().len(), 1);
    assert_eq!(phone.faults().take_backup_error("Backup"), None);
    phone.faults().push(Fault::backup_error("Backup", 105, "disk"));
    assert_eq!(phone.faults().take_backup_error("Restore"), None);
    assert_eq!(
        phone.faults().take_backup_error("Backup"),
        Some((105, "disk".to_owned()))
    );
    phone.faults().clear();
    assert!(phone.faults().pending().is_empty());
}
