//! What is done to a device with nusb, one call at a time, each with a time limit.

use std::future::IntoFuture;
use std::time::Duration;

use cabled_wire::WireError;
use cabled_wire::ids::Udid;
use nusb::transfer::TransferError;
use nusb::{Device, DeviceInfo, ErrorKind, GetDescriptorError, Interface, Speed};
use tokio::time::timeout;

use super::choose::{MuxInterface, View};
use super::link::{Transfers, UsbLink};
use super::opening::Refusal;
use super::options::UsbOptions;
use super::pipe::Pipe;
use super::platform;
use crate::{ConnectionKind, UnattachedDevice, Usb};

/// How long a device may take for a request about itself. Spec: usbmux, section 7.
const REQUEST_LIMIT: Duration = Duration::from_secs(1);
/// How long the system may take to open, configure or claim a device.
const SYSTEM_LIMIT: Duration = Duration::from_secs(10);

/// The link over nusb's endpoints.
pub(super) type NusbLink = UsbLink<Pipe<nusb::transfer::In>, Pipe<nusb::transfer::Out>>;

fn refusal(error: &nusb::Error) -> Refusal {
    match error.kind() {
        ErrorKind::Disconnected => Refusal::Gone,
        ErrorKind::Busy => Refusal::Busy,
        ErrorKind::PermissionDenied => Refusal::Permission,
        ErrorKind::NotFound => Refusal::NotFound,
        ErrorKind::Unsupported => Refusal::Unsupported,
        _ => Refusal::Other(error.to_string()),
    }
}

/// Waits for a call of nusb's, which may be stuck in the system.
async fn limited<T>(call: impl IntoFuture<Output = Result<T, nusb::Error>>, what: &str) -> Result<T, Refusal> {
    match timeout(SYSTEM_LIMIT, call).await {
        Ok(result) => result.map_err(|error| refusal(&error)),
        Err(_) => Err(Refusal::Other(format!(
            "the system did not finish {what} in {SYSTEM_LIMIT:?}"
        ))),
    }
}

/// Runs what looks at files on a thread where it may wait.
pub(super) async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(call).await.ok()
}

pub(super) async fn open(info: &DeviceInfo) -> Result<Device, Refusal> {
    limited(info.open(), "opening the device").await
}

/// Reads which configuration is active; the descriptors were read when the device was opened.
pub(super) async fn look(device: &Device) -> Result<View, Refusal> {
    let device = device.clone();
    let view = blocking(move || {
        // An error is another word for unconfigured, and for a configuration that has no descriptor.
        let active = device
            .active_configuration()
            .map_or(0, |active| active.configuration_value());
        View::new(active, device.configurations())
    });
    view.await.ok_or(Refusal::Gone)
}

pub(super) async fn configure(
    device: &Device,
    info: &DeviceInfo,
    value: u8,
    interfaces: Vec<u8>,
) -> Result<(), Refusal> {
    let (drivers_of, place) = (device.clone(), info.clone());
    blocking(move || platform::release_drivers(&drivers_of, &place, &interfaces))
        .await
        .unwrap_or(Ok(()))?;
    limited(device.set_configuration(value), "setting the configuration").await
}

pub(super) async fn claim(device: &Device, mux: MuxInterface) -> Result<Interface, Refusal> {
    limited(device.claim_interface(mux.number), "claiming the interface").await
}

/// Asks for the mode. What the four bytes mean is not known well enough to decide by them.
pub(super) async fn ask_mode(device: &Device) -> Result<(), Refusal> {
    let answer = vendor_request(device, 0x45, 0, 4).await?;
    tracing::debug!(?answer, "the device's mode");
    Ok(())
}

/// Sets the mode; an accepted one makes the device leave the bus and come back.
pub(super) async fn set_mode(device: &Device, mode: u16) -> Result<(), Refusal> {
    match vendor_request(device, 0x52, mode, 1).await?.as_slice() {
        [0] => Ok(()),
        answer => Err(Refusal::Other(format!("it refused mode {mode} with {answer:02x?}"))),
    }
}

#[cfg(not(windows))]
async fn vendor_request(device: &Device, request: u8, index: u16, length: u16) -> Result<Vec<u8>, Refusal> {
    use nusb::transfer::{ControlIn, ControlType, Recipient};

    let setup = ControlIn {
        control_type: ControlType::Vendor,
        recipient: Recipient::Device,
        request,
        value: 0,
        index,
        length,
    };
    let answer = device.control_in(setup, REQUEST_LIMIT).await;
    answer.map_err(|error| match error {
        TransferError::Disconnected => Refusal::Gone,
        error => Refusal::Other(error.to_string()),
    })
}

/// Windows allows requests through an interface only, and there is none to go through.
#[cfg(windows)]
async fn vendor_request(_: &Device, _: u8, _: u16, _: u16) -> Result<Vec<u8>, Refusal> {
    Err(Refusal::Unsupported)
}

/// The device's identifier: its serial number, in the first language it offers.
pub(super) async fn udid(device: &Device, info: &DeviceInfo) -> Result<Udid, Refusal> {
    if let Some(udid) = known_udid(info) {
        return Ok(udid);
    }
    let words = |error: GetDescriptorError| match error {
        GetDescriptorError::Transfer(TransferError::Disconnected) => Refusal::Gone,
        error => Refusal::Other(format!("its serial number cannot be read ({error})")),
    };
    let none = || Refusal::Other("it has no serial number".to_owned());
    let index = device
        .device_descriptor()
        .serial_number_string_index()
        .ok_or_else(none)?;
    let languages = device.get_string_descriptor_supported_languages(REQUEST_LIMIT).await;
    let language = languages.map_err(words)?.next().ok_or_else(none)?;
    let serial = device
        .get_string_descriptor(index, language, REQUEST_LIMIT)
        .await
        .map_err(words)?;
    Udid::from_usb_serial(&serial).map_err(|error| Refusal::Other(format!("its serial number is unusable: {error}")))
}

/// As far as the system knows it without asking the device.
pub(super) fn known_udid(info: &DeviceInfo) -> Option<Udid> {
    Udid::from_usb_serial(info.serial_number()?).ok()
}

pub(super) fn link(interface: &Interface, mux: MuxInterface, options: &UsbOptions) -> Result<NusbLink, Refusal> {
    let from_device = interface.endpoint(mux.bulk_in).map_err(|error| refusal(&error))?;
    let to_device = interface.endpoint(mux.bulk_out).map_err(|error| refusal(&error))?;
    let transfers = Transfers {
        incoming: options.transfers_in,
        outgoing: options.transfers_out,
        size: options.transfer_size,
    };
    UsbLink::new(Pipe::new(from_device), Pipe::new(to_device), transfers)
        .map_err(|error| Refusal::Other(error.to_string()))
}

/// The device in words, for a person who has several.
pub(super) fn words(info: &DeviceInfo) -> UnattachedDevice {
    let product = info.product_string().map_or_else(
        || format!("the device {:04x}:{:04x}", info.vendor_id(), info.product_id()),
        |product| WireError::excerpt(product.trim()),
    );
    let words = format!("{product} at bus {}, address {}", info.bus_id(), info.device_address());
    let device = UnattachedDevice::new(words);
    match known_udid(info) {
        Some(udid) => device.with_udid(udid),
        None => device,
    }
}

/// The port it is plugged into: the same for a device that comes back.
pub(super) fn place(info: &DeviceInfo) -> String {
    format!("{} {:?}", info.bus_id(), info.port_chain())
}

/// What tells two devices of one name apart.
pub(super) fn mark(info: &DeviceInfo) -> String {
    let serial = info.serial_number().unwrap_or_default();
    format!("{} {:04x} {serial}", place(info), info.product_id())
}

/// What a daemon would tell about it. Spec: usbmux, section 4.
pub(super) fn properties(info: &DeviceInfo) -> ConnectionKind {
    ConnectionKind::Usb(Usb {
        product_id: Some(info.product_id()),
        location: Some(location(info)),
        speed: info.speed().and_then(bits_per_second),
    })
}

#[cfg(target_os = "macos")]
fn location(info: &DeviceInfo) -> u32 {
    info.location_id()
}

/// As the Linux daemon forms it: bus and address. It has to fit 32 bits for Apple's Windows library.
#[cfg(not(target_os = "macos"))]
fn location(info: &DeviceInfo) -> u32 {
    let bus: u16 = info.bus_id().parse().unwrap_or_default();
    (u32::from(bus) << 16) | u32::from(info.device_address())
}

fn bits_per_second(speed: Speed) -> Option<u64> {
    match speed {
        Speed::Low => Some(1_500_000),
        Speed::Full => Some(12_000_000),
        Speed::High => Some(480_000_000),
        Speed::Super => Some(5_000_000_000),
        Speed::SuperPlus => Some(10_000_000_000),
        _ => None,
    }
}
