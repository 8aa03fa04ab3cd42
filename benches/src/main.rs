//! One measurement per run, as one line of JSON; `benches/archive.sh` puts them beside those of other programs.
//!
//! Processor time for what uses one core, so that a busy machine changes little; the clock on the wall for the rest.

mod bare;
mod index;

use std::io::{Cursor, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use cabled_mobilebackup::archive::build::{BuildOptions, Builder, Details};
use cabled_mobilebackup::archive::extract::ExtractOptions;
use cabled_mobilebackup::archive::keybag::{Keybag, RoundLimits};
use cabled_mobilebackup::archive::{Archive, DecryptingReader, Key, ReadOptions, Silent};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

const USAGE: &str = "bench_archive build FOLDER LARGE BYTES SMALL BYTES
bench_archive extract FOLDER OUT [--flush]
bench_archive decrypt BYTES
bench_archive derive ROUNDS
bench_archive bare ROUNDS
bench_archive index FOLDER ROWS
bench_archive list FOLDER
bench_archive scan FOLDER
bench_archive lookup FOLDER";

pub(crate) const PASSWORD: &str = "benchmark";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<u64>().expect("a number");
    let outcome = match arguments[..] {
        ["build", folder, large, large_size, small, small_size] => build(
            Path::new(folder),
            [number(large), number(large_size), number(small), number(small_size)],
        ),
        ["extract", folder, out] => extract(Path::new(folder), Path::new(out), false),
        ["extract", folder, out, "--flush"] => extract(Path::new(folder), Path::new(out), true),
        ["decrypt", bytes] => decrypt(usize::try_from(number(bytes)).expect("it fits into memory")),
        ["derive", rounds] => derive(u32::try_from(number(rounds)).expect("32 bits")),
        ["bare", rounds] => bare::measure(number(rounds)),
        ["index", folder, rows] => index::build(Path::new(folder), number(rows)),
        ["list", folder] => index::list(Path::new(folder)),
        ["scan", folder] => index::scan(Path::new(folder)),
        ["lookup", folder] => index::lookup(Path::new(folder)),
        _ => {
            eprintln!("{USAGE}");
            std::process::exit(2);
        }
    };
    println!("{outcome}");
}

/// Processor time of this process.
pub(crate) fn processor() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).expect("below 1e9"),
    )
}

/// Largest resident memory of this process, in bytes.
pub(crate) fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("a high-water mark");
    line.trim()
        .trim_end_matches("kB")
        .trim()
        .parse::<u64>()
        .expect("a number")
        * 1024
}

/// Bytes that do not compress and cost little.
struct Noise {
    state: u64,
    left: u64,
}

impl Noise {
    const fn new(seed: u64, len: u64) -> Self {
        Self {
            state: seed ^ 0x9e37_79b9_7f4a_7c15,
            left: len,
        }
    }
}

impl Read for Noise {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let len = out.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        for piece in out[..len].chunks_mut(8) {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            piece.copy_from_slice(&self.state.to_le_bytes()[..piece.len()]);
        }
        self.left -= len as u64;
        Ok(len)
    }
}

/// An encrypted backup of large and small files. Few rounds of derivation: that is measured by itself.
fn build(folder: &Path, [large, large_size, small, small_size]: [u64; 4]) -> serde_json::Value {
    let started = Instant::now();
    let options = BuildOptions::default().encrypted(PASSWORD).rounds(1000, 1000);
    let mut builder = Builder::create(folder, options).expect("a new folder");
    for at in 0..large {
        let path = format!("Media/DCIM/100APPLE/IMG_{at:04}.MOV");
        builder
            .file(
                "CameraRollDomain",
                &path,
                Noise::new(at, large_size),
                &Details::default(),
            )
            .expect("room for it");
    }
    for at in 0..small {
        // As apps lay them out: some hundred files a folder.
        let (domain, path) = match at % 2 {
            0 => (
                "AppDomain-com.example.reader",
                format!("Documents/cache/{:03}/{at:06}.json", at / 200),
            ),
            _ => (
                "MediaDomain",
                format!("Library/SMS/Attachments/{:03}/{at:06}.jpeg", at / 200),
            ),
        };
        // Sizes from nothing to twice the mean, which comes out.
        let size = at % 101 * small_size / 50;
        builder
            .file(domain, &path, Noise::new(!at, size), &Details::default())
            .expect("room for it");
    }
    let built = builder.finish().expect("room for it");
    json!({ "seconds": started.elapsed().as_secs_f64(), "files": built.files })
}

fn extract(folder: &Path, out: &Path, flush: bool) -> serde_json::Value {
    let started = Instant::now();
    let mut backup = Archive::open(folder).expect("a backup");
    backup.unlock(PASSWORD).expect("its password");
    let options = ExtractOptions::default().flush(flush);
    let report = backup.extract(out, &options, &mut Silent).expect("room for it");
    let seconds = started.elapsed().as_secs_f64();
    assert!(report.is_complete(), "{report:?}");
    json!({ "seconds": seconds, "processor": processor().as_secs_f64(), "peak": peak() })
}

/// Decrypts one payload that lies in memory from front to back, as a program that reads into its own buffer would.
fn decrypt(bytes: usize) -> serde_json::Value {
    let mut payload = Vec::new();
    Noise::new(1, bytes as u64 / 16 * 16)
        .read_to_end(&mut payload)
        .expect("memory");
    let key = Key::from([7; 32]);
    let salvage = ReadOptions::default().salvage(true);
    let mut buffer = vec![0; 64 << 10];
    let mut run = || {
        let started = processor();
        let mut reader = DecryptingReader::new(Cursor::new(&payload), &key, 0, salvage).expect("in memory");
        let mut total = 0;
        loop {
            let got = reader.read(&mut buffer).expect("in memory");
            if got == 0 {
                break;
            }
            total += got;
        }
        assert!(total + 16 >= payload.len());
        total as f64 / (processor() - started).as_secs_f64()
    };
    run();
    json!({ "bytes_per_second": run() })
}

/// A bag with this many rounds in its first stage, and 10,000 in the second.
fn derive(rounds: u32) -> serde_json::Value {
    let mut bag = Vec::new();
    let mut put = |tag: &[u8; 4], value: &[u8]| {
        bag.extend_from_slice(tag);
        bag.extend_from_slice(&u32::try_from(value.len()).expect("short").to_be_bytes());
        bag.extend_from_slice(value);
    };
    put(b"UUID", &[1; 16]);
    put(b"SALT", &[2; 20]);
    put(b"ITER", &10_000_u32.to_be_bytes());
    put(b"DPIC", &rounds.to_be_bytes());
    put(b"DPSL", &[3; 20]);
    let bag = Keybag::parse(&bag).expect("a keybag");
    let started = processor();
    let key = bag
        .derive(b"0000", RoundLimits::default(), &mut Silent)
        .expect("not stopped");
    let seconds = (processor() - started).as_secs_f64();
    std::hint::black_box(key);
    json!({ "seconds": seconds })
}
