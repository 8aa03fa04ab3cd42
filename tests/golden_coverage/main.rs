//! Every message of usbmux, lockdown and its companions, AFC, DeviceLink and sync has a golden vector.
//!
//! Both sides of each protocol share one codec, so a round trip proves nothing about the wire. Here the variants that a
//! message enum has are read out of its source and held against those that the vectors decode to. What no vector shows,
//! or only one that we made ourselves, is listed below with the reason: a new message fails here until it has a vector
//! or a reason, and a vector that arrives later fails here until its excuse is taken out.

mod companions;
mod seen;
mod sync;

use std::collections::BTreeSet;

use cabled::afc::msg::{MAX_PACKET, Packet};
use cabled::devicelink::msg::{Message, limits};
use cabled::devicelink::transfer::{Direction, Receiver};
use cabled::lockdown::msg::{Reply, Request};
use cabled::usbmux::msg::{self as usbmux, MessageDecoder};
use cabled::usbmux::mux::frame::{self, HeaderStyle};
use cabled_golden::{GO_IOS, Line, Side, USBMUXD};
use seen::{Seen, Source};

/// What is known of one message enum.
struct Coverage {
    /// The enum and where it is, relative to the repository.
    name: &'static str,
    file: &'static str,
    seen: Seen,
    /// Only in answers of the stand-in, which third-party clients accepted: no real device was recorded.
    accepted: &'static [&'static str],
    /// Only in messages made by hand from the specification.
    built: &'static [&'static str],
    /// In no vector, and why.
    absent: &'static [(&'static str, &'static str)],
}

impl Coverage {
    fn check(&self) {
        let known = seen::variants(self.file, self.name);
        assert!(!known.is_empty(), "{}: no variants in {}", self.name, self.file);
        self.check_against(&known);
    }

    fn check_against(&self, known: &BTreeSet<String>) {
        let place = format!("{} of {}", self.name, self.file);
        let by = |source: Option<Source>| -> BTreeSet<&str> {
            let of = known.iter().filter(|name| self.seen.best(name) == source);
            of.map(String::as_str).collect()
        };
        let set = |names: &[&'static str]| names.iter().copied().collect::<BTreeSet<_>>();
        let absent: Vec<&str> = self.absent.iter().map(|(name, _)| *name).collect();
        let found = (by(Some(Source::Accepted)), by(Some(Source::Built)), by(None));
        let listed = (set(self.accepted), set(self.built), set(&absent));
        assert_eq!(
            found, listed,
            "{place}: (only from the stand-in, only made by hand, in no vector)"
        );
        assert!(self.absent.iter().all(|(_, reason)| !reason.is_empty()));
    }
}

/// Splits bytes into usbmux messages and notes what each is.
fn note_usbmux(seen: &mut Seen, bytes: &[u8], side: Side, source: Source) {
    let mut decoder = MessageDecoder::new(usbmux::MAX_MESSAGE);
    decoder.push(bytes);
    while let Some((header, payload)) = decoder.next().unwrap() {
        match side {
            Side::Host => {
                if let Ok(call) = usbmux::Request::decode(&header, &payload) {
                    seen.note(&call.request, source);
                }
            }
            Side::Device => match usbmux::Message::decode(&header, &payload).unwrap() {
                usbmux::Message::Reply(reply) => seen.note(&reply, source),
                usbmux::Message::Event(event) => seen.note(&event, source),
                _ => {}
            },
        }
    }
}

fn usbmux(side: Side) -> Seen {
    let mut seen = Seen::default();
    for (line, source) in seen::recorded() {
        if line.from == side && (line.layer == "usbmux" || line.file.ends_with("/usbmux-client.jsonl")) {
            note_usbmux(&mut seen, &line.bytes, side, source);
        }
    }
    if side == Side::Host {
        let request = cabled_golden::bytes(&format!("{GO_IOS}/readdevices.bin"));
        note_usbmux(&mut seen, &request, side, Source::ThirdParty);
    } else {
        for exchange in cabled_golden::exchanges(&format!("{USBMUXD}/daemon-replies.jsonl")) {
            note_usbmux(&mut seen, &exchange.answered, side, Source::ThirdParty);
        }
    }
    seen
}

#[test]
fn every_usbmux_message_has_a_vector() {
    let requests = Coverage {
        name: "Request",
        file: "usbmux/src/msg/request.rs",
        seen: usbmux(Side::Host),
        accepted: &[],
        built: &["ListListeners"],
        absent: &[],
    };
    requests.check();
    let file = "usbmux/src/msg/answer.rs";
    let replies = Coverage {
        name: "Reply",
        file,
        seen: usbmux(Side::Device),
        accepted: &[],
        built: &[],
        absent: &[],
    };
    replies.check();
    // The daemon was recorded with no device attached.
    let events = Coverage {
        name: "Event",
        file,
        seen: usbmux(Side::Device),
        accepted: &["Attached", "Detached", "Paired"],
        built: &[],
        absent: &[],
    };
    events.check();
}

#[test]
fn every_frame_of_the_multiplexer_has_a_vector() {
    let mut seen = Seen::default();
    for (line, source) in seen::recorded() {
        if line.file.ends_with("/usb-frames.jsonl") {
            for style in [HeaderStyle::Short, HeaderStyle::Long] {
                let mut bytes = bytes::BytesMut::from(&line.bytes[..]);
                if let Ok(Some(taken)) = frame::take(&mut bytes, style)
                    && let Ok(frame) = taken.frame
                {
                    seen.note(&frame, source);
                }
            }
        }
    }
    // These frames never leave the USB cable, and nobody publishes a recording of one.
    let frames = Coverage {
        name: "Frame",
        file: "usbmux/src/mux/frame.rs",
        seen,
        accepted: &[],
        built: &["Control", "Setup", "Tcp", "Version"],
        absent: &[],
    };
    frames.check();
}

fn is_lockdown(line: &Line, side: Side) -> bool {
    let built = || {
        let name = &line.name;
        line.file.ends_with("/lockdown-and-services.jsonl")
            && !["heartbeat-", "np-", "ha-", "cdtunnel"]
                .iter()
                .any(|other| name.starts_with(other))
    };
    line.from == side && (line.layer == "lockdown" || built())
}

#[test]
fn every_lockdown_message_has_a_vector() {
    let requests = Coverage {
        name: "RequestBody",
        file: "lockdown/src/msg/request.rs",
        seen: Seen::plists(|line| is_lockdown(line, Side::Host), |request: &Request| &request.body),
        accepted: &[],
        built: &[],
        absent: &[("ResetPairing", "no open client has a call for it")],
    };
    requests.check();
    let replies = Coverage {
        name: "ReplyBody",
        file: "lockdown/src/msg/reply.rs",
        seen: Seen::plists(|line| is_lockdown(line, Side::Device), |reply: &Reply| &reply.body),
        accepted: &[
            "Done",
            "Failed",
            "Paired",
            "QueryType",
            "ServiceStarted",
            "SessionStarted",
            "Value",
        ],
        built: &[],
        absent: &[],
    };
    replies.check();
}

/// No open client has code that sends them, and no device was seen to; the field lists them by number and name.
const NOBODY_SENDS_THESE: &[(&str, &str)] = &[
    ("ReadFile", "whole files are read by handle"),
    ("WriteFile", "whole files are written by handle"),
    ("WritePart", "parts are written by handle"),
    ("WriteFileAtomic", "clients write and rename"),
    ("ConnectionInfo", "its keys are unknown"),
    ("ConnectionOptions", "its layout is unknown"),
    ("SetFsBlockSize", "clients leave the block size alone"),
    ("SetSocketBlockSize", "clients leave the block size alone"),
    ("FileHashRange", "layout unconfirmed"),
    ("SetImmutableHint", "layout unconfirmed"),
    ("DirOpen", "folders are listed whole"),
    ("DirOpenResult", "answers DirOpen only"),
    ("DirRead", "folders are listed whole"),
    ("DirClose", "folders are listed whole"),
    ("FileReadOffset", "layout unconfirmed"),
    ("FileWriteOffset", "layout unconfirmed"),
];

#[test]
fn every_afc_packet_has_a_vector() {
    let mut seen = Seen::default();
    for (line, source) in seen::recorded() {
        // House arrest and the crash report services turn into AFC after their first message.
        if line.bytes.starts_with(b"CFA6LPAA") {
            seen.note(&Packet::decode(&line.bytes, MAX_PACKET).unwrap().1, source);
        }
    }
    let packets = Coverage {
        name: "Packet",
        file: "afc/src/msg/packet.rs",
        seen,
        accepted: &["Data", "FileOpenResult", "FileTellResult", "Status"],
        built: &["FileHash", "SizeOfPathContents"],
        absent: NOBODY_SENDS_THESE,
    };
    packets.check();
}

/// Variants and wire names of the DeviceLink messages in all captures; raw transfers are skipped over.
fn device_link() -> (Seen, Seen) {
    let (mut variants, mut names) = (Seen::default(), Seen::default());
    let mut transfer: Option<Receiver> = None;
    for (line, source) in seen::recorded() {
        if line.layer != "com.apple.mobilebackup2" && line.layer != "com.apple.mobilesync" {
            continue;
        }
        if let Some(receiver) = &mut transfer {
            let mut chunk = line.bytes.clone();
            while receiver.feed(&mut chunk).unwrap().is_some() {}
            if receiver.is_finished() {
                transfer = None;
            }
            continue;
        }
        // Messages of a sync session come bare, as arrays whose names start with SD; they are another protocol's.
        let Ok(message) = Message::decode(&line.body(), &limits()) else {
            assert_eq!(line.layer, "com.apple.mobilesync", "{}", line.place());
            continue;
        };
        names.name(message.name(), source);
        variants.note(&message, source);
        transfer = match message {
            Message::DownloadFiles { .. } => Some(Receiver::new(Direction::Download)),
            Message::UploadFiles { .. } => Some(Receiver::new(Direction::Upload)),
            _ => None,
        };
    }
    assert!(transfer.is_none());
    (variants, names)
}

#[test]
fn every_device_link_message_has_a_vector() {
    let (variants, names) = device_link();
    let messages = Coverage {
        name: "Message",
        file: "devicelink/src/msg.rs",
        seen: variants,
        accepted: &[
            "ContentsOfDirectory",
            "CopyItem",
            "CreateDirectory",
            "DeviceReady",
            "DownloadFiles",
            "GetFreeDiskSpace",
            "MoveItems",
            "PurgeDiskSpace",
            "RemoveItems",
            "UploadFiles",
            "VersionExchange",
        ],
        built: &[],
        absent: &[],
    };
    messages.check();

    // Some variants go by two names on the wire: the arms of the decoder have them all.
    let source = seen::source("devicelink/src/msg.rs");
    let arms = source
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix('"')?.split_once("\" => "));
    let known: BTreeSet<String> = arms
        .map(|(name, _)| name.to_owned())
        .filter(|name| name.starts_with("DL"))
        .collect();
    assert!(known.len() > 15, "{known:?}");
    let names = Coverage {
        name: "wire names",
        file: "devicelink/src/msg.rs",
        seen: names,
        accepted: &[
            "DLContentsOfDirectory",
            "DLMessageCopyItem",
            "DLMessageCreateDirectory",
            "DLMessageDeviceReady",
            "DLMessageDownloadFiles",
            "DLMessageGetFreeDiskSpace",
            "DLMessageMoveItems",
            "DLMessagePurgeDiskSpace",
            "DLMessageRemoveItems",
            "DLMessageUploadFiles",
        ],
        built: &[],
        absent: &[
            (
                "DLMessageMoveFiles",
                "up to iOS 5, and nobody recorded one; the elements are those of DLMessageMoveItems",
            ),
            (
                "DLMessageRemoveFiles",
                "up to iOS 5, and nobody recorded one; the elements are those of DLMessageRemoveItems",
            ),
        ],
    };
    names.check_against(&known);
}
