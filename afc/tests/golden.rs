//! Every AFC packet that other people's clients were seen to send, and our own malformed ones.
#![expect(clippy::unwrap_used, reason = "test code")]

use bytes::Bytes;
use cabled_afc::msg::{
    DirectoryListing, FileHandle, Header, InfoList, LinkKind, LockOp, MAX_PACKET, OpenMode, Packet, PacketError,
    Status, Whence,
};
use cabled_golden::{BUILT, LIBIMOBILEDEVICE, Line, PYMOBILEDEVICE3, Side};

/// Every line of a folder that is an AFC packet, or is meant to look like one.
fn lines(folder: &str) -> Vec<Line> {
    let files = cabled_golden::files(folder, "jsonl");
    let mut lines: Vec<Line> = files.iter().flat_map(|file| cabled_golden::lines(file)).collect();
    lines.retain(|line| line.bytes.starts_with(b"CFA6") || line.is_malformed());
    lines
}

fn built(name: &str) -> Bytes {
    cabled_golden::built("afc.jsonl").remove(name).unwrap()
}

fn decode(bytes: &Bytes) -> Result<(u64, Packet), PacketError> {
    Packet::decode(bytes, MAX_PACKET)
}

#[test]
fn every_recorded_packet_decodes_and_encodes_to_the_same_bytes() {
    let mut per_folder = Vec::new();
    for folder in [BUILT, LIBIMOBILEDEVICE, PYMOBILEDEVICE3] {
        let mut host = 0;
        for line in lines(folder).iter().filter(|l| l.bytes.starts_with(&Header::MAGIC)) {
            // Malformed in the payload only is well framed.
            let bad_header = ["BAD-this-lt-40", "BAD-entire-lt-this", "BAD-status-short", "BAD-huge"];
            if bad_header.contains(&line.name.as_str()) {
                continue;
            }
            let (number, packet) = decode(&line.bytes).unwrap();
            assert!(
                !matches!(packet, Packet::Unknown { .. }),
                "{}: {packet:?}",
                line.place()
            );
            assert_eq!(packet.encode(number), line.bytes, "{}: {packet:?}", line.place());
            host += usize::from(line.from == Side::Host);
        }
        per_folder.push(host);
    }
    // All there is in the captures, so that an emptied folder does not pass.
    assert_eq!(per_folder, [25, 114, 60]);
}

#[test]
fn built_packets_mean_what_their_names_say() {
    let handle = FileHandle::new;
    assert_eq!(
        decode(&built("read")).unwrap(),
        (
            5,
            Packet::FileRead {
                handle: handle(1),
                len: 1 << 20
            }
        )
    );
    assert_eq!(decode(&built("read-eof")).unwrap().1, Packet::Data(Bytes::new()));
    let write = Packet::FileWrite {
        handle: handle(2),
        data: Bytes::from_static(b"hello"),
    };
    assert_eq!(decode(&built("write")).unwrap(), (9, write));
    let seek = Packet::FileSeek {
        handle: handle(1),
        whence: Whence::End,
        offset: -4,
    };
    assert_eq!(decode(&built("seek-end")).unwrap().1, seek);
    assert_eq!(
        decode(&built("lock-ex")).unwrap().1,
        Packet::FileLock {
            handle: handle(3),
            op: LockOp::Exclusive
        }
    );
    assert_eq!(
        decode(&built("unlock")).unwrap().1,
        Packet::FileLock {
            handle: handle(3),
            op: LockOp::Unlock
        }
    );
    assert_eq!(
        decode(&built("lock-busy")).unwrap().1,
        Packet::Status(Status::OperationWouldBlock)
    );
    assert_eq!(
        decode(&built("remove-notempty")).unwrap().1,
        Packet::Status(Status::UnknownError)
    );
    assert_eq!(
        decode(&built("tell-reply")).unwrap().1,
        Packet::FileTellResult { position: 2 }
    );
    let Packet::FileOpen {
        mode: OpenMode::Read,
        path,
    } = decode(&built("open-ro")).unwrap().1
    else {
        panic!()
    };
    assert_eq!(path.to_str(), Some("/DCIM/a.txt"));
    let Packet::MakeLink {
        kind: LinkKind::Symbolic,
        target,
        link,
    } = decode(&built("symlink")).unwrap().1
    else {
        panic!()
    };
    assert_eq!((target.to_str(), link.to_str()), (Some("m"), Some("/Books/l")));
    let Packet::SetModTime { mtime, path } = decode(&built("setmtime")).unwrap().1 else {
        panic!()
    };
    assert_eq!((mtime, path.to_str()), (1_577_923_200_000_000_000, Some("/Books/m")));
    let Packet::ReadDir { path } = decode(&built("nonul-readdir")).unwrap().1 else {
        panic!()
    };
    assert!(path.to_str() == Some("/DCIM") && !path.is_terminated());
}

#[test]
fn headers_that_lie_are_refused_by_the_field_that_lies() {
    assert!(matches!(decode(&built("BAD-magic")), Err(PacketError::Magic { .. })));
    assert!(matches!(
        decode(&built("BAD-this-lt-40")),
        Err(PacketError::ThisLength { this: 8 })
    ));
    assert!(matches!(
        decode(&built("BAD-entire-lt-this")),
        Err(PacketError::EntireLength { this: 48, entire: 40 })
    ));
    assert!(matches!(
        decode(&built("BAD-status-short")),
        Err(PacketError::Fields { .. })
    ));
    assert!(matches!(decode(&built("BAD-huge")), Err(PacketError::TooLong { .. })));
}

#[test]
fn malformed_lists_are_read_as_far_as_they_go() {
    let payload = |name: &str| decode(&built(name)).unwrap().1.payload();
    let info = InfoList::decode(&payload("BAD-stat-odd"));
    assert_eq!(
        info.iter().collect::<Vec<_>>(),
        [("st_size", "6")],
        "the last key has no value"
    );
    let listing = DirectoryListing::decode(&payload("BAD-readdir-nonul"));
    assert_eq!(listing.names().last(), Some(&b"abc"[..]), "the last name lacks its NUL");
    let listing = DirectoryListing::decode(&payload("readdir-really-empty"));
    assert_eq!(listing.names().count(), 0);
    let info = InfoList::decode(&payload("stat-link-reply"));
    assert_eq!(info.get("LinkTarget"), Some("/DCIM/x"));
    assert_eq!(info.encode(), payload("stat-link-reply"));
    assert_eq!(
        InfoList::decode(&payload("devinfo-reply")).number("FSTotalBytes"),
        Some(63_900_000_000)
    );
}
