//! AFC packets and the texts they carry.

use bytes::Bytes;
use cabled_afc::msg::{DirectoryListing, InfoList, Packet};

/// One packet, as a server and as a client reads it.
pub fn afc_packet(data: &[u8]) {
    let frame = Bytes::copy_from_slice(data);
    let Ok((number, packet)) = Packet::decode(&frame, 1 << 20) else {
        return;
    };
    let encoded = packet.encode(number);
    match Packet::decode(&encoded, 2 << 20) {
        Ok(again) => assert_eq!(again, (number, packet)),
        Err(error) => panic!("{packet:?} cannot be read back: {error}"),
    }
}

/// The payload of an answer to a listing and to a question about a path.
pub fn afc_listings(data: &[u8]) {
    let payload = Bytes::copy_from_slice(data);
    let listing = DirectoryListing::decode(&payload);
    let names: Vec<&[u8]> = listing.names().collect();
    let again = DirectoryListing::decode(&DirectoryListing::encode(&names));
    assert_eq!(again.names().collect::<Vec<_>>(), names);
    let info = InfoList::decode(&payload);
    let pairs: Vec<_> = info.iter().collect();
    for (key, _) in &pairs {
        let _ = (info.get(key), info.number(key));
    }
    assert_eq!(InfoList::decode(&info.encode()).iter().collect::<Vec<_>>(), pairs);
}
