//! Plugging into a kernel, with plain files in place of the kernel's.
#![cfg(target_os = "linux")]

use cabled_virtualdevice::usbip::{AttachError, Vhci};
use tokio::time::timeout;

use super::{LIMIT, usb};

const STATUS: &str = "hub port sta spd dev      sockfd local_busid\nhs  0003 004 000 00000000 000000 0-0\n";

#[tokio::test]
async fn a_kernel_that_closes_its_end_has_let_go_of_the_phone() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("status", STATUS), ("attach", ""), ("detach", "")] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let kernel = Vhci::at(folder.path());
    assert_eq!(kernel.ports().unwrap().len(), 1);
    // Nobody took a copy of the socket, so that its end is closed at once.
    let attachment = kernel.attach(usb()).await.unwrap();
    timeout(LIMIT, attachment.ended()).await.unwrap();
    assert_eq!(attachment.port(), None);
    let phone = attachment.unplug().await.unwrap().unwrap();
    assert_eq!((phone.departure(), phone.configuration()), (None, 0));
    kernel.detach(3).unwrap();
    assert_eq!(std::fs::read_to_string(folder.path().join("detach")).unwrap(), "3");
}

#[tokio::test]
async fn a_kernel_without_the_controller_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let refused = Vhci::at(folder.path()).attach(usb()).await;
    assert!(matches!(refused, Err(AttachError::NoController(_))));
    std::fs::write(folder.path().join("status"), "what is this").unwrap();
    let refused = Vhci::at(folder.path()).attach(usb()).await;
    assert!(matches!(refused, Err(AttachError::Status { line }) if line == "what is this"));
}
