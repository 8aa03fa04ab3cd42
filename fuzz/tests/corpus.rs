//! The corpora and the golden vectors through every target, as they are and a little mutated.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cabled_fuzz::{TARGETS, Target};
use cabled_golden::{BUILT, GO_IOS, LIBIMOBILEDEVICE, NETIMOBILEDEVICE, PYMOBILEDEVICE3, USBMUXD, files, lines};

mod seeds;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// The committed files of a target's corpus, by name; what libFuzzer collected beside them has 40 hexadecimal digits.
fn corpus_files(target: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(corpus(target))
        .unwrap_or_else(|error| panic!("corpus of {target}: {error}"))
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .filter(|(name, _)| name.len() != 40)
        .collect();
    files.sort();
    files
}

/// The bytes of every golden vector, each once.
fn golden() -> BTreeSet<Vec<u8>> {
    let mut all = BTreeSet::new();
    for folder in [BUILT, LIBIMOBILEDEVICE, PYMOBILEDEVICE3] {
        for line in files(folder, "jsonl").iter().flat_map(|file| lines(file)) {
            all.insert(line.body().to_vec());
            all.insert(line.bytes.to_vec());
        }
    }
    for exchange in cabled_golden::exchanges(&format!("{USBMUXD}/daemon-replies.jsonl")) {
        all.insert(exchange.answered.to_vec());
    }
    for file in files(GO_IOS, "plist")
        .into_iter()
        .chain(files(NETIMOBILEDEVICE, "plist"))
    {
        all.insert(cabled_golden::bytes(&file).to_vec());
    }
    for (_, blob) in seeds::backup_vectors() {
        all.insert(blob);
    }
    all
}

/// Runs a target and names the input if it fails.
fn run(target: &Target, name: &str, input: &[u8]) {
    let outcome = std::panic::catch_unwind(|| (target.run)(input));
    if outcome.is_err() {
        let start = &input[..input.len().min(2000)];
        panic!(
            "{} fails on {name} ({} bytes): {}",
            target.name,
            input.len(),
            hex::encode(start)
        );
    }
}

#[test]
fn every_target_has_a_binary_and_a_corpus_and_the_other_way_round() {
    let of = |folder: &str, suffix: &str| -> BTreeSet<String> {
        std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))
            .unwrap()
            .map(|entry| {
                entry
                    .unwrap()
                    .file_name()
                    .to_string_lossy()
                    .trim_end_matches(suffix)
                    .to_owned()
            })
            .collect()
    };
    let names: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(of("fuzz_targets", ".rs"), names);
    assert_eq!(of("corpus", ""), names);
    let manifest = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    for name in names {
        assert!(
            manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")),
            "{name} is not built"
        );
    }
}

#[test]
fn every_corpus_file_passes_its_target() {
    let mut total = 0;
    for target in TARGETS {
        let files = corpus_files(target.name);
        assert!(files.len() >= 2, "{}: {} files", target.name, files.len());
        for (name, input) in files {
            total += input.len();
            run(target, &name, &input);
        }
    }
    assert!(
        total < 1 << 20,
        "the corpora have grown to {total} bytes: keep what is small and telling"
    );
}

#[test]
fn every_golden_vector_passes_every_target() {
    let golden = golden();
    assert!(golden.len() > 1000, "{}", golden.len());
    for target in TARGETS {
        for input in &golden {
            // A transfer of 32 KiB tells a decoder of messages nothing that its first part does not.
            run(target, "a golden vector", &input[..input.len().min(16 << 10)]);
        }
    }
}

/// A generator that needs no seed from outside: the same mutations every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next()).unwrap_or_default() % end.max(1)
    }

    /// One small change: a bit, a byte, a number in either order, a piece taken out, doubled or put in from another.
    fn mutate(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        const EDGES: [u32; 8] = [0, 1, 0x7f, 0xff, 0x7fff_ffff, 0x8000_0000, 0xffff_fff0, 0xffff_ffff];
        let at = self.below(input.len());
        let len = self.below(16).min(input.len() - at.min(input.len()));
        match self.below(7) {
            0 if !input.is_empty() => input[at] ^= 1 << self.below(8),
            1 if !input.is_empty() => input[at] = u8::try_from(self.below(256)).unwrap(),
            2 if input.len() >= at + 4 => {
                let edge = EDGES[self.below(EDGES.len())];
                let bytes = if self.below(2) == 0 {
                    edge.to_be_bytes()
                } else {
                    edge.to_le_bytes()
                };
                input[at..at + 4].copy_from_slice(&bytes);
            }
            3 => drop(input.drain(at..at + len)),
            4 => {
                let piece = input[at..at + len].to_vec();
                input.splice(at..at, piece);
            }
            5 => input.truncate(at),
            _ => {
                let from = self.below(other.len());
                let piece = other[from..(from + 24).min(other.len())].to_vec();
                let at = at.min(input.len());
                input.splice(at..at, piece);
            }
        }
    }
}

#[test]
fn mutated_corpora_break_no_promise() {
    const TOGETHER: Duration = Duration::from_secs(10);
    let share = TOGETHER / u32::try_from(TARGETS.len()).unwrap();
    for (at, target) in TARGETS.iter().enumerate() {
        let files = corpus_files(target.name);
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (at as u64 + 1));
        let started = Instant::now();
        let mut runs = 0;
        // A slow machine does fewer, and never none.
        while runs < 20 || (runs < 3000 && started.elapsed() < share) {
            let mut input = files[random.below(files.len())].1.clone();
            for _ in 0..=random.below(6) {
                let other = random.below(files.len());
                random.mutate(&mut input, &files[other].1);
            }
            run(target, "a mutation", &input);
            runs += 1;
        }
    }
}
