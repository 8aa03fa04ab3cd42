//! The cable, the device and the transfer break in the middle of things.

use std::fs;
use std::time::{Duration, Instant};

use cabled::virtualdevice::Direction;
use cabled::virtualdevice::usb::UsbFault;
use cabled::wire::ids::Udid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::system::{Kind, Process, System};
use crate::tools::{CONTROLLER, used_ports};
use crate::work::{self, Route};
use crate::workbench::{ECHO, SINK, SOURCE, patterns};
use crate::{Failure, Outcome, plug};

const FOUND: Duration = Duration::from_secs(20);
/// A pending call that has not ended so long after the cable came out never ends.
const NEVER: Duration = Duration::from_secs(10);

/// Calls of each kind that wait for the device: reads with nothing to read, reads and writes in full flow.
struct Pending(JoinSet<Result<Instant, Failure>>);

impl Pending {
    async fn start(route: &Route) -> Result<Self, Failure> {
        let mut tasks = JoinSet::new();
        for _ in 0..3 {
            let mut idle = work::open(route, ECHO).await?;
            tasks.spawn(async move { Ok(ended(idle.read_u8().await.err())) });
        }
        for _ in 0..2 {
            let mut down = work::open(route, SOURCE).await?;
            down.write_u32_le(u32::MAX).await?;
            down.flush().await?;
            tasks.spawn(async move {
                let mut buffer = vec![0; 64 << 10];
                loop {
                    match down.read(&mut buffer).await {
                        Ok(0) => return Err("an end in order, although the cable came out".into()),
                        Ok(_) => {}
                        Err(error) => return Ok(ended(Some(error))),
                    }
                }
            });
            let mut up = work::open(route, SINK).await?;
            up.write_u64_le(u64::MAX).await?;
            tasks.spawn(async move {
                let block = patterns(0, 64 << 10);
                loop {
                    if let Err(error) = up.write_all(&block).await {
                        return Ok(ended(Some(error)));
                    }
                }
            });
        }
        // In full flow.
        tokio::time::sleep(Duration::from_millis(300)).await;
        if let Some(early) = tasks.try_join_next() {
            early??;
            return Err("a call ended before the cable came out".into());
        }
        Ok(Self(tasks))
    }

    /// Waits for all to end; how long after `since` the last one did.
    async fn end(mut self, since: Instant) -> Result<(usize, Duration), Failure> {
        let (mut count, mut last) = (0, Duration::ZERO);
        while let Some(ended) = timeout(NEVER, self.0.join_next())
            .await
            .map_err(|_| "a pending call never ends")?
        {
            last = last.max(ended??.saturating_duration_since(since));
            count += 1;
        }
        Ok((count, last))
    }
}

fn ended(error: Option<std::io::Error>) -> Instant {
    let now = Instant::now();
    println!("a call ended: {error:?}");
    now
}

/// The cable comes out in the middle of transfers both ways.
pub async fn unplug() -> Outcome {
    let system = System::start(Kind::Direct).await?;
    let phone = plug::phone(1)?;
    let mut worst = Duration::ZERO;
    let mut calls = 0;
    for _ in 0..3 {
        let plugged = plug::plug(&phone).await?;
        let (route, _) = system.find(&plugged.udid, FOUND).await?;
        let pending = Pending::start(&route).await?;
        let since = Instant::now();
        for port in used_ports() {
            fs::write(format!("{CONTROLLER}/detach"), port)?;
        }
        let (count, last) = pending.end(since).await?;
        (calls, worst) = (calls + count, worst.max(last));
        system.lose(&plugged.udid, FOUND).await?;
        if work::open(&route, ECHO).await.is_ok() {
            return Err("a connection opens to a device that is gone".into());
        }
    }
    again(&system, &phone).await?;
    system.stop().await;
    Ok(format!(
        "{calls} pending calls in 3 rounds, the last ended {:.0} ms after the cable came out",
        worst.as_secs_f64() * 1e3
    ))
}

/// The process that is the device dies in the middle of transfers.
pub async fn killed() -> Outcome {
    let system = System::start(Kind::Direct).await?;
    let phone = plug::phone(1)?;
    let mut device = Process::start("usblab-guest", &["device", "1"])?;
    let (route, _) = system.find(phone.udid(), FOUND).await?;
    let pending = Pending::start(&route).await?;
    let since = Instant::now();
    device.kill()?;
    let (count, last) = pending.end(since).await?;
    let gone = system.lose(phone.udid(), FOUND).await?;
    again(&system, &phone).await?;
    system.stop().await;
    Ok(format!(
        "{count} pending calls, the last ended after {:.0} ms, the device was gone {:.0} ms later",
        last.as_secs_f64() * 1e3,
        gone.as_secs_f64() * 1e3
    ))
}

/// An endpoint halts, in each direction: what arrives is right, and the device works again without being touched.
pub async fn stall() -> Outcome {
    let system = System::start(Kind::Direct).await?;
    let phone = plug::phone(1)?;
    let plugged = plug::plug(&phone).await?;
    let (route, _) = system.find(phone.udid(), FOUND).await?;
    let mut notes = Vec::new();
    for (direction, name) in [(Direction::ToHost, "in"), (Direction::FromHost, "out")] {
        plugged.faults.push(UsbFault::stall(direction, 100_000));
        // Whether the link survives is the driver's choice; that wrong data comes, or nothing ever, is not.
        let transfer = async {
            let mut stream = work::open(&route, ECHO).await?;
            work::echo(&mut stream, &patterns(3, 400_000)).await
        };
        let started = Instant::now();
        let ended = timeout(Duration::from_secs(25), transfer)
            .await
            .map_err(|_| "a stalled transfer never ends")?;
        if plugged
            .faults
            .pending()
            .iter()
            .any(|fault| matches!(fault, UsbFault::Stall { .. }))
        {
            return Err(format!("the stall of {name} did not happen").into());
        }
        match ended {
            Ok(()) => notes.push(format!("{name}: all data arrived")),
            Err(error) if error.to_string().contains("differs") => return Err(error),
            Err(error) => notes.push(format!(
                "{name}: ended after {:.1} s ({error})",
                started.elapsed().as_secs_f64()
            )),
        }
        let back = Instant::now();
        works_again(&system, phone.udid()).await?;
        notes.push(format!("works again {:.1} s later", back.elapsed().as_secs_f64()));
    }
    system.stop().await;
    Ok(notes.join(", "))
}

/// The device says nothing any more: pending calls end in time, and it works again when it speaks again.
pub async fn silence() -> Outcome {
    let system = System::start(Kind::Direct).await?;
    let phone = plug::phone(1)?;
    let plugged = plug::plug(&phone).await?;
    let (route, _) = system.find(phone.udid(), FOUND).await?;
    plugged.faults.push(UsbFault::silence(Direction::ToHost, 0));
    let started = Instant::now();
    // Its own port answers no more, so a connection must fail within the deadline it has.
    let opened = timeout(Duration::from_secs(25), route.connect(ECHO)).await;
    let refused = match opened {
        Err(_) => return Err("opening a port of a silent device never ends".into()),
        Ok(Ok(_)) => return Err("a silent device has opened a port".into()),
        Ok(Err(error)) => error,
    };
    let took = started.elapsed();
    plugged.faults.heal();
    works_again(&system, phone.udid()).await?;
    system.stop().await;
    Ok(format!(
        "opening a port failed after {:.1} s ({refused}), works again after it spoke again",
        took.as_secs_f64()
    ))
}

/// Waits until a new connection carries data, through whatever attachment the device then has.
async fn works_again(system: &System, udid: &Udid) -> Result<(), Failure> {
    let started = Instant::now();
    loop {
        let attempt = async {
            let (route, _) = system.find(udid, FOUND).await?;
            let mut stream = work::open(&route, ECHO).await?;
            work::echo(&mut stream, &patterns(5, 5000)).await
        };
        match timeout(FOUND, attempt).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) if started.elapsed() > FOUND => {
                return Err(format!("it does not work again: {error}").into());
            }
            Err(_) => return Err("it does not work again: nothing answers".into()),
            Ok(Err(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Plugged in again after a break, it works.
async fn again(system: &System, phone: &cabled::virtualdevice::Phone) -> Result<(), Failure> {
    let _plugged = plug::plug(phone).await?;
    let (route, _) = system.find(phone.udid(), FOUND).await?;
    work::connections(&route, 5, 9).await?;
    Ok(())
}
