//! What holds for all bytes, not only for recorded ones.
#![expect(clippy::arithmetic_side_effects, reason = "test code")]

use bytes::Bytes;
use cabled_afc::msg::{DirectoryListing, Header, InfoList, MAX_PACKET, Operation, Packet, PacketError};
use proptest::prelude::*;

fn frame(operation: u64, fields: &[u8], payload: &[u8]) -> Bytes {
    let header = Header::new(Operation::from_code(operation), 7, fields.len(), payload.len());
    [&header.encode()[..], fields, payload].concat().into()
}

proptest! {
    #[test]
    fn decode_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Packet::decode(&bytes.clone().into(), MAX_PACKET);
        let _ = InfoList::decode(&bytes);
        let _ = DirectoryListing::decode(&bytes.into()).names().count();
    }

    #[test]
    fn decode_never_panics_behind_a_sound_header(
        operation in 0_u64..0x30,
        fields in prop::collection::vec(any::<u8>(), 0..64),
        payload in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        if let Ok((number, packet)) = Packet::decode(&frame(operation, &fields, &payload), MAX_PACKET) {
            prop_assert_eq!(number, 7);
            prop_assert_eq!(packet.operation(), Operation::from_code(operation));
            // What was understood survives being sent again.
            let again = packet.encode(number);
            prop_assert_eq!(Packet::decode(&again, MAX_PACKET).unwrap(), (number, packet));
        }
    }

    #[test]
    fn lengths_that_are_off_never_pass(fields in any::<u64>(), entire in any::<u64>(), tail in 0_usize..64) {
        let mut bytes = Header::MAGIC.to_vec();
        for number in [entire, fields, 1, 2] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.resize(Header::LEN + tail, 0);
        let sound = fields >= 40 && entire >= fields && entire == (Header::LEN + tail) as u64;
        let decoded = Packet::decode(&bytes.into(), MAX_PACKET);
        prop_assert_eq!(decoded.is_ok(), sound);
    }

    #[test]
    fn a_cut_packet_is_never_taken_for_a_whole_one(payload in prop::collection::vec(any::<u8>(), 0..64), cut in 0_usize..104) {
        let whole = frame(2, &[], &payload);
        let cut = cut.min(whole.len() - 1);
        let refused = matches!(Packet::decode(&whole.slice(..cut), MAX_PACKET), Err(PacketError::Length { .. }));
        prop_assert!(refused);
    }

    #[test]
    fn unknown_operations_are_kept_whole(
        operation in 0x29_u64..,
        fields in prop::collection::vec(any::<u8>(), 0..64),
        payload in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let whole = frame(operation, &fields, &payload);
        let (number, packet) = Packet::decode(&whole, MAX_PACKET).unwrap();
        prop_assert_eq!(packet.encode(number), whole);
    }

    #[test]
    fn information_lists_survive_a_round_trip(pairs in prop::collection::vec(("[^\0]{0,8}", "[^\0]{0,8}"), 0..8)) {
        let list: InfoList = pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        prop_assert_eq!(InfoList::decode(&list.encode()), list);
    }

    #[test]
    fn listings_survive_a_round_trip(names in prop::collection::vec("[^\0]{1,8}", 0..8)) {
        let listing = DirectoryListing::decode(&DirectoryListing::encode(&names));
        let read: Vec<_> = listing.names().map(|n| String::from_utf8(n.to_vec()).unwrap()).collect();
        prop_assert_eq!(read, names);
    }
}
