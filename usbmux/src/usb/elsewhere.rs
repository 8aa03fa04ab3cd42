//! What other systems than Linux tell: less.

use nusb::{Device, DeviceInfo};

use super::opening::Refusal;

/// There are no files for devices; the system's own name for the place.
pub(super) fn node(info: &DeviceInfo) -> String {
    format!("{} port {:?}", info.bus_id(), info.port_chain())
}

/// Why a device that the system lists cannot be opened because it is not there.
pub(super) fn absent(_info: &DeviceInfo) -> String {
    "the system lists it and does not find it; plug it in again".to_owned()
}

/// Nobody tells.
pub(super) fn owner(_info: &DeviceInfo) -> Option<String> {
    None
}

/// No driver can be detached here.
pub(super) fn release_drivers(_device: &Device, _info: &DeviceInfo, _interfaces: &[u8]) -> Result<(), Refusal> {
    Ok(())
}
