//! Where the committed corpora come from.

use std::collections::BTreeSet;

use cabled_fuzz::TARGETS;
use cabled_golden::{BUILT, LIBIMOBILEDEVICE, Line, NETIMOBILEDEVICE, PYMOBILEDEVICE3, Side, USBMUXD, files, lines};

/// Longest seed and most bytes of seeds per target.
const MAX_SEED: usize = 10_000;
const MAX_CORPUS: usize = 40_000;

/// Keybags, records and property lists of backups, by kind.
pub(crate) fn backup_vectors() -> Vec<(&'static str, Vec<u8>)> {
    let vectors = cabled_golden::json("backup/vectors.json");
    let blobs = |section: &str| -> Vec<Vec<u8>> {
        let cases = vectors[section]
            .as_array()
            .unwrap_or_else(|| panic!("vectors.json has no {section}"));
        let blobs = cases.iter().filter_map(|case| case["blob"].as_str());
        blobs.map(|blob| hex::decode(blob).unwrap()).collect()
    };
    let mut all = Vec::new();
    all.extend(blobs("keybag").into_iter().map(|blob| ("keybag", blob)));
    all.extend(blobs("mbfile").into_iter().map(|blob| ("mbfile", blob)));
    for item in vectors["keychain_item"]["items"].as_array().unwrap() {
        for part in ["blob", "plain"] {
            all.push(("keychain_item", hex::decode(item[part].as_str().unwrap()).unwrap()));
        }
    }
    for backup in ["enc-v10", "plain-v10", "enc-mbdb"] {
        for name in ["Info.plist", "Manifest.plist", "Status.plist"] {
            let bytes = cabled_golden::bytes(&format!("backup/synthetic/{backup}/{name}"));
            all.push(("backup_plists", bytes.to_vec()));
        }
    }
    all.push((
        "keybag",
        hex::decode(vectors["real_keybag"]["blob"].as_str().unwrap()).unwrap(),
    ));
    for name in ["Manifest.mbdb", "Manifest.mbdx"] {
        all.push((
            "mbdb",
            cabled_golden::bytes(&format!("backup/synthetic/enc-mbdb/{name}")).to_vec(),
        ));
    }
    all
}

/// All lines of captures and built vectors.
fn all_lines() -> Vec<Line> {
    let folders = [BUILT, LIBIMOBILEDEVICE, PYMOBILEDEVICE3];
    let files = folders.iter().flat_map(|folder| files(folder, "jsonl"));
    files.flat_map(|file| lines(&file)).collect()
}

/// Bytes behind a decision: no cuts, or a few.
fn cut(stream: &[u8], at: usize) -> Vec<u8> {
    let mut seed = if at.is_multiple_of(2) {
        vec![0]
    } else {
        vec![3, 1, 5, 40]
    };
    seed.extend_from_slice(stream);
    seed
}

/// What one side said on one connection of a capture, run together.
fn stream(file: &str, layer: &str, side: Side) -> Vec<u8> {
    let mut said = lines(file);
    said.retain(|line| line.layer == layer && line.from == side);
    said.iter().flat_map(|line| &line.bytes).copied().collect()
}

fn of_wire(target: &str) -> Vec<Vec<u8>> {
    let lines = all_lines();
    let bodies = || lines.iter().map(|line| line.body().to_vec());
    let packets = || lines.iter().filter(|line| line.bytes.starts_with(b"CFA6LPAA"));
    let link = || lines.iter().filter(|line| line.layer == "com.apple.mobilebackup2");
    let built = |name: &str| cabled_golden::built(name).into_values().map(|bytes| bytes.to_vec());
    let is_service = |line: &&Line| line.layer.starts_with("com.apple.") && !line.layer.contains("backup2");
    match target {
        "plist_binary" => bodies().filter(|body| body.starts_with(b"bplist00")).collect(),
        "plist_xml" => {
            let own = files(NETIMOBILEDEVICE, "plist")
                .into_iter()
                .map(|file| cabled_golden::bytes(&file).to_vec());
            own.chain(bodies()).filter(|body| body.starts_with(b"<?xml")).collect()
        }
        "frame_decoder" => lines
            .iter()
            .filter(is_service)
            .map(|line| cut(&line.bytes, line.number))
            .collect(),
        "usbmux_messages" => {
            let replies = cabled_golden::exchanges(&format!("{USBMUXD}/daemon-replies.jsonl"));
            let replies = replies.into_iter().map(|exchange| exchange.answered.to_vec());
            let all = built("usbmux-client.jsonl").chain(replies);
            all.enumerate().map(|(at, bytes)| cut(&bytes, at)).collect()
        }
        "mux_frames" => built("usb-frames.jsonl").collect(),
        "lockdown_messages" => {
            let captured = lines
                .iter()
                .filter(|line| line.layer == "lockdown")
                .map(|line| line.bytes.to_vec());
            built("lockdown-and-services.jsonl").chain(captured).collect()
        }
        "companion_messages" => lines
            .iter()
            .filter(is_service)
            .map(|line| line.bytes.to_vec())
            .collect(),
        "pair_record" => {
            let bytes = cabled_golden::bytes(&format!("{LIBIMOBILEDEVICE}/pair-record.plist")).to_vec();
            let value = cabled_wire::plist::read(&bytes, &cabled_wire::plist::Limits::default()).unwrap();
            let binary = cabled_wire::plist::to_binary(&value);
            let mut short = value.into_dictionary().unwrap();
            short.remove("EscrowBag");
            vec![bytes, binary, cabled_wire::plist::to_binary(&short.into())]
        }
        "afc_packet" => packets().map(|line| line.bytes.to_vec()).collect(),
        "afc_listings" => packets()
            .filter(|line| line.bytes[32] == 2)
            .map(|line| line.bytes[40..].to_vec())
            .collect(),
        "devicelink_message" => link().map(|line| line.body().to_vec()).collect(),
        "transfer_receiver" => transfers()
            .iter()
            .enumerate()
            .map(|(at, bytes)| cut(bytes, at))
            .collect(),
        "devicelink_exchange" => exchanges(),
        _ => Vec::new(),
    }
}

/// The raw transfers of the recorded backups: everything between two property lists.
fn transfers() -> Vec<Vec<u8>> {
    let mut found = vec![Vec::new()];
    for line in all_lines()
        .iter()
        .filter(|line| line.layer == "com.apple.mobilebackup2")
    {
        if line.body().starts_with(b"bplist00") || line.body().starts_with(b"<?xml") {
            found.push(Vec::new());
        } else if let Some(transfer) = found.last_mut() {
            transfer.extend_from_slice(&line.bytes);
        }
    }
    found
}

/// What devices said in the recorded runs; the long ones cut off in the middle.
fn exchanges() -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for folder in [LIBIMOBILEDEVICE, PYMOBILEDEVICE3] {
        for (at, file) in files(folder, "jsonl")
            .iter()
            .filter(|file| file.contains("backup2-"))
            .enumerate()
        {
            let mut said = stream(file, "com.apple.mobilebackup2", Side::Device);
            said.truncate(MAX_SEED - 4);
            found.push(cut(&said, at));
        }
    }
    // Behind the handshake that the target itself puts in front.
    for line in all_lines()
        .iter()
        .filter(|line| line.layer == "com.apple.mobilebackup2" && line.from == Side::Device)
    {
        let mut seed = vec![8];
        seed.extend_from_slice(&line.bytes);
        found.push(seed);
    }
    found
}

fn made(target: &str) -> Vec<Vec<u8>> {
    let paths = [
        "00008030-001A2B3C4D5E6F70/Status.plist",
        "00008030-001A2B3C4D5E6F70/Snapshot/3d/3d0d7e5fb2ce288813306e4d4636395e047a3d28",
        "/00008030-001A2B3C4D5E6F70",
        "../../etc/passwd",
        "a/./b//c/",
        "_unback_/x",
        "0123456789abcdef0123456789abcdef01234567-copy/Manifest.db",
        "Caf\u{e9}/cafe\u{301}.jpg",
        "C:\\x\0y",
    ];
    match target {
        "relative_path" => paths.iter().map(|path| path.as_bytes().to_vec()).collect(),
        "scope_admit" => (0..64_u8)
            .map(|choice| [&[choice], paths[usize::from(choice) % paths.len()].as_bytes()].concat())
            .collect(),
        // Scripts have no golden bytes: any will do to start from.
        "mux_host" | "mux_device" | "mux_pair" => (1..=12_u64)
            .map(|n| script(n, 60 * usize::try_from(n).unwrap()))
            .collect(),
        "usbip_server" => usbip(),
        "padding_reader" => (1..=12_u64)
            .map(|n| script(n, 7 + 31 * usize::try_from(n).unwrap()))
            .collect(),
        _ => Vec::new(),
    }
}

/// Scripts whose first decisions get a kernel as far as the multiplexer, and streams that are real requests.
fn usbip() -> Vec<Vec<u8>> {
    let configured = [
        0, 0x40, 0, 200, 200, 200, 200, 0, 0, 2, 0, 5, 0, 255, 2, 1, 2, 2, 0, 0, 0, 0, 0,
    ];
    let mut found: Vec<Vec<u8>> = (1..=10_u64)
        .map(|n| [&configured[..], &script(n, 40 * usize::try_from(n).unwrap())].concat())
        .collect();
    let submit = |fields: [u32; 10], setup: [u8; 8]| -> Vec<u8> {
        let mut bytes: Vec<u8> = fields.iter().flat_map(|field| field.to_be_bytes()).collect();
        bytes.extend(setup);
        bytes
    };
    let mut raw = vec![0x80, 0x40, 0, 7, 200, 48, 1];
    raw.extend(submit([1, 1, 1, 1, 0, 0, 18, 0, 0, 0], [0x80, 6, 0, 1, 0, 0, 18, 0]));
    raw.extend(submit([1, 2, 1, 0, 0, 0, 0, 0, 0, 0], [0, 9, 4, 0, 0, 0, 0, 0]));
    raw.extend(submit([1, 3, 1, 1, 5, 0, 512, 0, 0, 0], [0; 8]));
    raw.extend(submit([1, 4, 1, 0, 4, 0, 20, 0, 0, 0], [0; 8]));
    raw.extend([0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
    raw.extend(submit([2, 5, 1, 0, 0, 3, 0, 0, 0, 0], [0; 8]));
    found.push(raw.clone());
    raw[7 + 3] = 9;
    found.push(raw);
    found
}

/// Bytes that look like nothing.
fn script(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[4]
    };
    (0..len).map(|_| next()).collect()
}

#[test]
#[ignore = "writes the seeds into fuzz/corpus; run it when golden vectors were added"]
fn write_the_seeds() {
    for target in TARGETS {
        let folder = super::corpus(target.name);
        std::fs::create_dir_all(&folder).unwrap();
        let of_backups = backup_vectors().into_iter().filter(|(kind, _)| *kind == target.name);
        let all: BTreeSet<Vec<u8>> = of_backups
            .map(|(_, blob)| blob)
            .chain(of_wire(target.name))
            .chain(made(target.name))
            .filter(|seed| !seed.is_empty() && seed.len() <= MAX_SEED)
            .collect();
        if all.is_empty() {
            continue; // its seeds are written by hand
        }
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            // What a fuzzer found is kept; it has another name.
            if path.file_name().unwrap().to_string_lossy().starts_with("seed-") {
                std::fs::remove_file(path).unwrap();
            }
        }
        // Evenly over all that there is, rather than the first of them.
        let bytes: usize = all.iter().map(Vec::len).sum();
        let every = bytes.div_ceil(MAX_CORPUS).max(1);
        for (at, seed) in all.iter().step_by(every).enumerate() {
            std::fs::write(folder.join(format!("seed-{at:03}")), seed).unwrap();
        }
    }
}
