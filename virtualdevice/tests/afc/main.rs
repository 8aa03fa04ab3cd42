//! Our AFC client against the phone's AFC service, and recorded packets of other clients against it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

mod connections;
mod operations;
mod storage;

use std::time::Duration;

use cabled_afc::msg::{Header, Packet, Status};
use cabled_afc::{Afc, AfcError};
use cabled_virtualdevice::Phone;
use cabled_virtualdevice::fs::{Content, Kind, Meta};
use cabled_virtualdevice::service::afc::{self, AfcQuirks, Root};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

pub(crate) fn phone() -> Phone {
    let phone = Phone::builder().seed(1).empty().build().unwrap();
    let fs = phone.fs();
    fs.create_dir_all("CameraRollDomain", "Media/DCIM").unwrap();
    fs.create_dir_all("MediaDomain", "Media/Books").unwrap();
    let text = Kind::File(Content::bytes("hello\n"));
    fs.put("CameraRollDomain", "Media/DCIM/a.txt", text, Meta::file())
        .unwrap();
    phone
}

/// A connection to the phone; without a client, its near end.
pub(crate) fn stream(phone: &Phone, root: Root) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let phone = phone.clone();
    tokio::spawn(async move { afc::serve(phone, root, Box::new(theirs)).await });
    ours
}

pub(crate) fn connect(phone: &Phone) -> Afc {
    Afc::new(Box::new(stream(phone, Root::Media)))
}

pub(crate) fn with_quirks(phone: &Phone, change: impl FnOnce(&mut AfcQuirks)) {
    let mut quirks = phone.afc().quirks();
    change(&mut quirks);
    phone.afc().set_quirks(quirks);
}

pub(crate) fn status<T: std::fmt::Debug>(result: Result<T, AfcError>) -> Status {
    result.unwrap_err().status().unwrap()
}

/// Until `reached`, which is soon.
pub(crate) async fn eventually(mut reached: impl FnMut() -> bool) {
    for _ in 0..500 {
        if reached() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("it did not happen within a second");
}

/// Sends bytes to the service and gives the answer to them, `None` if it closes.
pub(crate) async fn exchange(stream: &mut DuplexStream, request: &[u8]) -> Option<Packet> {
    stream.write_all(request).await.unwrap();
    let mut bytes = vec![0; Header::LEN];
    stream.read_exact(&mut bytes).await.ok()?;
    let header = Header::decode(bytes.first_chunk().unwrap(), 1 << 30).unwrap();
    bytes.resize(Header::LEN + usize::try_from(header.body_len()).unwrap(), 0);
    stream.read_exact(&mut bytes[Header::LEN..]).await.unwrap();
    Some(Packet::decode(&bytes.into(), 1 << 30).unwrap().1)
}
