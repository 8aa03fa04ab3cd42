//! Virtual phones on the guest's virtual USB controller.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cabled::virtualdevice::contents::Recipe;
use cabled::virtualdevice::usb::{UsbFaults, UsbOptions, UsbPhone};
use cabled::virtualdevice::usbip::{Attachment, attach};
use cabled::virtualdevice::{Phone, Profile};
use cabled::wire::ids::Udid;
use tokio::runtime::{Builder, Runtime};

use crate::Failure;
use crate::tools;
use crate::workbench::Workbench;

/// A phone on the cable. Dropping it pulls it out.
#[derive(Debug)]
pub struct Plugged {
    /// Which one.
    pub udid: Udid,
    /// What goes wrong on its cable.
    pub faults: UsbFaults,
    _attachment: Attachment,
}

/// Phones have threads of their own, as real ones do: what a driver does in the kernel may wait for the phone's answer, and
/// the kernel does not give such a wait up.
fn threads_of_phones() -> Result<&'static Runtime, Failure> {
    static THREADS: OnceLock<Runtime> = OnceLock::new();
    if let Some(threads) = THREADS.get() {
        return Ok(threads);
    }
    let threads = Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("phone")
        .enable_all()
        .build()?;
    Ok(THREADS.get_or_init(|| threads))
}

/// A phone that is the same for the same seed, with a few files.
pub fn phone(seed: u64) -> Result<Phone, Failure> {
    Ok(Phone::builder()
        .profile(Profile::ios_17_7())
        .seed(seed)
        .recipe(Recipe::tiny())
        .build()?)
}

/// Plugs a phone in and waits until the kernel has found it.
pub async fn plug(phone: &Phone) -> Result<Plugged, Failure> {
    plug_as(phone, UsbOptions::of_profile(phone.profile())).await
}

/// As [`plug`], with something else about it on the bus.
pub async fn plug_as(phone: &Phone, options: UsbOptions) -> Result<Plugged, Failure> {
    let before = tools::usb_devices();
    let bench = Arc::new(Workbench::new(phone.clone()));
    let device = UsbPhone::new(bench, options)?;
    let attachment = threads_of_phones()?.spawn(attach(device)).await??;
    let found = || tools::usb_devices().len() > before.len();
    tools::until(Duration::from_secs(20), "the kernel has found the phone", found)?;
    Ok(Plugged {
        udid: phone.udid().clone(),
        faults: attachment.faults(),
        _attachment: attachment,
    })
}
