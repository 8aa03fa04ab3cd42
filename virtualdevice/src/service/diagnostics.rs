//! `com.apple.mobile.diagnostics_relay`: facts about the hardware, restart, shut down. Spec: lockdown, section 12.4.

use cabled_lockdown::services::diagnostics::{Entry, Reply, Request};
use cabled_wire::dict;
use cabled_wire::frame::FrameError;
use cabled_wire::io::BoxStream;
use cabled_wire::plist::{Dictionary, Value};

use super::{IDLE, ServeError, read_message, write_message};
use crate::phone::Phone;

/// The service's name.
pub const NAME: &str = "com.apple.mobile.diagnostics_relay";

const BATTERY: &str = "com.apple.mobile.battery";

/// What to do once the host is gone, or at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Power {
    Restart,
    Off,
}

impl Power {
    fn act(self, phone: &Phone) {
        match self {
            Self::Restart => phone.reboot(),
            Self::Off => phone.switch_off(),
        }
    }
}

/// Serves one connection.
pub(super) async fn serve(phone: Phone, mut stream: BoxStream) -> Result<(), ServeError> {
    let mut later = None;
    loop {
        let request = match read_message(&mut stream, IDLE).await {
            Ok(request) => request,
            Err(error) => {
                if let (Some(power), ServeError::Frame(FrameError::Closed)) = (later, &error) {
                    Power::act(power, &phone);
                }
                return Err(error);
            }
        };
        phone.log().record(NAME, name(&request), detail(&request));
        let goodbye = request == Request::Goodbye;
        let (reply, power) = answer(&phone, &request);
        write_message(&phone, &mut stream, &reply).await?;
        match power {
            Some((power, true)) => later = Some(power),
            Some((power, false)) => {
                power.act(&phone);
                return Ok(());
            }
            None => {}
        }
        if goodbye {
            if let Some(power) = later {
                power.act(&phone);
            }
            return Ok(());
        }
    }
}

fn name(request: &Request) -> &str {
    match request {
        Request::Facts { kind } => kind,
        Request::MobileGestalt { .. } => "MobileGestalt",
        Request::IoRegistry(_) => "IORegistry",
        Request::Sleep => "Sleep",
        Request::Restart(_) => "Restart",
        Request::Shutdown(_) => "Shutdown",
        Request::Goodbye => "Goodbye",
        _ => "?",
    }
}

fn detail(request: &Request) -> String {
    match request {
        Request::MobileGestalt { keys } => keys.join(" "),
        Request::IoRegistry(entry) => [&entry.name, &entry.class, &entry.plane]
            .into_iter()
            .flatten()
            .cloned()
            .collect::<Vec<_>>()
            .join(" "),
        _ => String::new(),
    }
}

/// The reply, and what happens to the phone: what, and whether only after this connection.
fn answer(phone: &Phone, request: &Request) -> (Reply, Option<(Power, bool)>) {
    let success = |diagnostics: Dictionary| Reply {
        diagnostics: Some(diagnostics),
        ..Reply::status(Reply::SUCCESS)
    };
    match request {
        Request::Facts { kind } => match facts(phone, kind) {
            Some(found) => (success(found), None),
            None => (Reply::status(Reply::UNKNOWN_REQUEST), None),
        },
        Request::MobileGestalt { keys } => (success(dict! { "MobileGestalt" => gestalt(phone, keys) }), None),
        Request::IoRegistry(entry) => (success(registry(phone, entry)), None),
        Request::Sleep => {
            phone.fall_asleep();
            (Reply::status(Reply::SUCCESS), None)
        }
        Request::Restart(options) => {
            let wait = options.wait_for_disconnect.unwrap_or(false);
            (Reply::status(Reply::SUCCESS), Some((Power::Restart, wait)))
        }
        Request::Shutdown(options) => {
            let wait = options.wait_for_disconnect.unwrap_or(false);
            (Reply::status(Reply::SUCCESS), Some((Power::Off, wait)))
        }
        Request::Goodbye => (Reply::status(Reply::SUCCESS), None),
        _ => (Reply::status(Reply::UNKNOWN_REQUEST), None),
    }
}

fn facts(phone: &Phone, kind: &str) -> Option<Dictionary> {
    let gas_gauge = || {
        Value::Dictionary(dict! {
            "CycleCount" => 100_u64.saturating_add(phone.seed() % 400),
            "DesignCapacity" => 3000_u64,
            "FullChargeCapacity" => 2850_u64,
            "Status" => Reply::SUCCESS,
        })
    };
    let wifi = || Value::Dictionary(dict! { "Active" => true, "Status" => Reply::SUCCESS });
    let nand = || Value::Dictionary(dict! { "Status" => Reply::SUCCESS });
    Some(match kind {
        "All" => dict! { "GasGauge" => gas_gauge(), "WiFi" => wifi(), "NAND" => nand() },
        "GasGauge" => dict! { "GasGauge" => gas_gauge() },
        "WiFi" => dict! { "WiFi" => wifi() },
        "NAND" => dict! { "NAND" => nand() },
        _ => return None,
    })
}

/// Facts by name: lockdown's values, and whether a passcode is set.
fn gestalt(phone: &Phone, keys: &[String]) -> Dictionary {
    if phone.profile().mobile_gestalt_deprecated {
        return dict! { "Status" => "MobileGestaltDeprecated" };
    }
    let mut answer = dict! { "Status" => Reply::SUCCESS };
    for key in keys {
        let value = match key.as_str() {
            "PasswordConfigured" => Some(Value::from(phone.has_passcode())),
            "PasswordProtected" => Some(Value::from(phone.is_locked())),
            "marketing-name" => Some(Value::from(phone.profile().model.marketing_name.as_str())),
            // The key of the whole phone is not told here.
            "DevicePublicKey" => None,
            other => phone.value(None, other),
        };
        if let Some(value) = value {
            answer.insert(key.clone(), value);
        }
    }
    answer
}

/// The battery by its class or name, and a stump of the device tree; nothing else is known.
fn registry(phone: &Phone, entry: &Entry) -> Dictionary {
    let wanted = entry.name.as_deref().or(entry.class.as_deref());
    let found = match (wanted, entry.plane.as_deref()) {
        (Some("IOPMPowerSource" | "AppleSmartBattery" | "AppleARMPMUCharger"), _) => battery(phone),
        (None, Some(_)) => dict! {
            "name" => "device-tree",
            "compatible" => phone.profile().model.hardware_model.as_str(),
            "model" => phone.profile().model.product_type.as_str(),
            "IOObjectClass" => "IOPlatformExpertDevice",
        },
        _ => return Dictionary::new(),
    };
    dict! { "IORegistry" => found }
}

fn battery(phone: &Phone) -> Dictionary {
    let of = |key: &str| phone.value(Some(BATTERY), key);
    let capacity = of("BatteryCurrentCapacity")
        .and_then(|v| v.as_unsigned_integer())
        .unwrap_or(80);
    dict! {
        "AppleRawCurrentCapacity" => capacity.saturating_mul(28),
        "AppleRawMaxCapacity" => 2800_u64,
        "CurrentCapacity" => capacity,
        "CycleCount" => 100_u64.saturating_add(phone.seed() % 400),
        "DesignCapacity" => 3000_u64,
        "ExternalConnected" => of("ExternalConnected").unwrap_or(true.into()),
        "FullyCharged" => of("FullyCharged").unwrap_or(false.into()),
        "InstantAmperage" => 500_u64,
        "IsCharging" => of("BatteryIsCharging").unwrap_or(true.into()),
        "MaxCapacity" => 100_u64,
        "NominalChargeCapacity" => 2850_u64,
        "Serial" => phone.value(None, "MLBSerialNumber").unwrap_or("".into()),
        "Temperature" => 2900_u64,
        "Voltage" => 4100_u64,
    }
}
