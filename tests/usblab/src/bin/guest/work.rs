//! What is done with a phone, whatever carries bytes to it. Everything read is compared with what was sent.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cabled::afc::Afc;
use cabled::lockdown::{Escrow, Lockdown, PairOptions, Paired, Trust};
use cabled::mobilebackup::archive::verify::VerifyOptions;
use cabled::mobilebackup::archive::{Archive, Silent};
use cabled::mobilebackup::folder::plain::PlainFolder;
use cabled::mobilebackup::live::{Backup, BackupOptions};
use cabled::wire::ids::{SystemBuid, Udid};
use cabled::wire::io::{BoxStream, Connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::workbench::{ECHO, SINK, SOURCE, patterns};
use crate::{Failure, Outcome};

/// A way to a device.
pub type Route = Arc<dyn Connect>;

/// No single step of these takes so long, even on a busy machine.
const STEP: Duration = Duration::from_secs(30);

/// Bytes of a file that is written and read.
const FILE: usize = 300_000;

/// Pairs; what then opens sessions.
///
/// # Errors
/// The device's, the route's.
pub async fn pair(route: &Route) -> Result<Paired, Failure> {
    let mut lockdown = Lockdown::connect(route.clone(), "usblab").await?;
    let mut trust = |_: Trust| ControlFlow::Continue(());
    let record = lockdown
        .pair(PairOptions::new(SystemBuid::random()), &mut trust)
        .await?;
    lockdown.close().await;
    Ok(Paired::new(route.clone(), record))
}

/// Pairs, and does what [`files_backup`] does.
///
/// # Errors
/// As [`pair`] and [`files_backup`].
pub async fn pair_files_backup(route: &Route, udid: &Udid) -> Outcome {
    let started = Instant::now();
    let paired = pair(route).await?;
    let took = started.elapsed();
    let note = files_backup(&paired, udid).await?;
    Ok(format!("pair {:.1} s, {note}", took.as_secs_f64()))
}

/// Writes a file and reads it back, makes a small backup and checks every file of it.
///
/// # Errors
/// Any step fails, or data differs.
pub async fn files_backup(paired: &Paired, udid: &Udid) -> Outcome {
    let started = Instant::now();
    let afc = Afc::new(paired.start_service("com.apple.afc", Escrow::IfNeeded).await?);
    let data = Bytes::from(patterns(7, FILE));
    afc.write_file("/Downloads/usblab.bin", data.clone()).await?;
    if afc.read_file("/Downloads/usblab.bin", 1 << 20).await? != data {
        return Err("a file reads otherwise than it was written".into());
    }
    drop(afc);
    let files = started.elapsed();

    let started = Instant::now();
    let root = tempfile::tempdir()?;
    let mut folder = PlainFolder::new(root.path());
    let report = Backup::new(paired)
        .run(BackupOptions::default(), &mut folder, &mut ())
        .await?;
    let archive = Archive::open(folder.device_path(udid.as_str()))?;
    if !archive.verify(&VerifyOptions::default(), &mut Silent)?.is_sound() {
        return Err("the backup is not sound".into());
    }
    Ok(format!(
        "300 kB written and read in {:.1} s, {} files backed up in {:.1} s",
        files.as_secs_f64(),
        report.outcome.files_received,
        started.elapsed().as_secs_f64()
    ))
}

/// Opens a port.
///
/// # Errors
/// The route's, or nothing in time.
pub async fn open(route: &Route, port: u16) -> Result<BoxStream, Failure> {
    Ok(timeout(STEP, route.connect(port))
        .await
        .map_err(|_| "no connection in time")??)
}

/// Sends bytes to [`ECHO`] and compares what comes back.
///
/// # Errors
/// They differ, or do not come in time.
pub async fn echo(stream: &mut BoxStream, data: &[u8]) -> Result<(), Failure> {
    let (mut read, mut write) = tokio::io::split(stream);
    let mut back = vec![0; data.len()];
    let send = async {
        write.write_all(data).await?;
        write.flush().await
    };
    let both = async { tokio::try_join!(send, read.read_exact(&mut back)) };
    timeout(STEP, both)
        .await
        .map_err(|_| "the echo did not come in time")??;
    if back != data {
        return Err(format!("the echo of {} bytes differs", data.len()).into());
    }
    Ok(())
}

/// Packets whose whole size, with the multiplexer's headers, is a multiple of USB's packet, both ways; and their
/// neighbours.
///
/// # Errors
/// Data differs or does not come: a lost end of a packet shows as this.
pub async fn sizes(route: &Route) -> Outcome {
    const HEADERS: usize = 36;
    let mut count = 0;
    let (mut both, mut down) = (open(route, ECHO).await?, open(route, SOURCE).await?);
    for size in [512, 1024, 16_384, 32_768, 49_152, 65_536] {
        for length in [size - HEADERS - 1, size - HEADERS, size - HEADERS + 1, size] {
            let step = async {
                echo(&mut both, &patterns(length as u64, length)).await?;
                answer(&mut down, length).await
            };
            step.await
                .map_err(|error: Failure| format!("packets of {length} and {HEADERS} bytes: {error}"))?;
            count += 2;
        }
    }
    Ok(format!("{count} packets around 512 to 65536 bytes, both ways"))
}

/// Asks [`SOURCE`] for bytes and compares them.
async fn answer(stream: &mut BoxStream, length: usize) -> Result<(), Failure> {
    stream.write_u32_le(u32::try_from(length)?).await?;
    stream.flush().await?;
    let mut data = vec![0; length];
    timeout(STEP, stream.read_exact(&mut data))
        .await
        .map_err(|_| "the answer did not come in time")??;
    if data != patterns(0, length) {
        return Err(format!("the answer of {length} bytes differs").into());
    }
    Ok(())
}

/// Opens and closes connections at random, up to twenty at once, and checks what each echoes.
///
/// # Errors
/// One fails, or its data differs.
pub async fn connections(route: &Route, total: u64, seed: u64) -> Outcome {
    const AT_ONCE: usize = 20;
    let started = Instant::now();
    let mut running = JoinSet::new();
    let mut bytes = 0;
    let mut most = 0;
    for number in 0..total {
        if running.len() >= AT_ONCE {
            bytes += running.join_next().await.ok_or("nothing runs")???;
        }
        let route = route.clone();
        running.spawn(async move {
            let done = connection(&route, seed.wrapping_add(number)).await;
            done.map_err(|error| Failure::from(format!("connection {number} of seed {seed}: {error}")))
        });
        most = most.max(running.len());
    }
    while let Some(done) = running.join_next().await {
        bytes += done??;
    }
    Ok(format!(
        "{total} connections, up to {most} at once, {} kB checked in {:.1} s",
        bytes / 1000,
        started.elapsed().as_secs_f64()
    ))
}

async fn connection(route: &Route, seed: u64) -> Result<u64, Failure> {
    let mut random = Random::new(seed);
    let mut stream = open(route, ECHO).await?;
    let mut bytes = 0;
    for _ in 0..random.below(4) {
        let most = if random.below(5) == 0 { 100_000 } else { 3000 };
        let length = random.below(most) + 1;
        echo(&mut stream, &patterns(random.next(), usize::try_from(length)?)).await?;
        bytes += length;
        if random.below(3) == 0 {
            tokio::time::sleep(Duration::from_millis(random.below(20))).await;
        }
    }
    match random.below(3) {
        // Pulled away with data on the way.
        0 => {
            let _ = timeout(
                Duration::from_millis(random.below(5)),
                stream.write_all(&patterns(0, 50_000)),
            )
            .await;
        }
        // Closed in order.
        1 => {
            stream.shutdown().await?;
            let mut rest = Vec::new();
            timeout(STEP, stream.read_to_end(&mut rest))
                .await
                .map_err(|_| "no end after ours")??;
        }
        _ => {}
    }
    Ok(bytes)
}

/// Megabytes each second: up to the phone, down from it.
///
/// # Errors
/// Data differs, or does not come in time.
pub async fn throughput(route: &Route, bytes: u32) -> Result<(f64, f64), Failure> {
    let rate = |started: Instant| f64::from(bytes) / 1e6 / started.elapsed().as_secs_f64();
    let block = patterns(0, 256 << 10);
    let whole = STEP * 2;

    let mut stream = open(route, SINK).await?;
    let started = Instant::now();
    let up = async {
        stream.write_u64_le(u64::from(bytes)).await?;
        let mut left = bytes as usize;
        while left > 0 {
            let part = block.get(..left.min(block.len())).unwrap_or_default();
            stream.write_all(part).await?;
            left -= part.len();
        }
        stream.flush().await?;
        stream.read_u8().await
    };
    timeout(whole, up).await.map_err(|_| "not sent in time")??;
    let up = rate(started);

    let mut stream = open(route, SOURCE).await?;
    let started = Instant::now();
    let down = async {
        stream.write_u32_le(bytes).await?;
        stream.flush().await?;
        let mut buffer = vec![0; 256 << 10];
        let mut left = bytes as usize;
        while left > 0 {
            let room = left.min(buffer.len());
            match stream.read(buffer.get_mut(..room).unwrap_or_default()).await? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                length => left -= length,
            }
        }
        Ok::<(), std::io::Error>(())
    };
    timeout(whole, down).await.map_err(|_| "not received in time")??;
    Ok((up, rate(started)))
}

/// Numbers from a seed (splitmix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same numbers for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next one.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
}
