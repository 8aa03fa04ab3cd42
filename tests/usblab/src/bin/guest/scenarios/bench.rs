//! Throughput in the guest, beside the stock daemon.

use std::time::Duration;

use crate::system::{Kind, Process, System};
use crate::{Failure, Outcome, plug, tools, work};

const ROUNDS: usize = 7;
const BYTES: u32 = 24_000_000;
const FOUND: Duration = Duration::from_secs(20);

/// The same phone in a process of its own, the same client; the stock daemon, ours and our driver in turns, so that
/// what else the machine does strikes all alike. Medians.
pub async fn throughput() -> Outcome {
    let phone = plug::phone(1)?;
    let kinds = [Kind::StockUnpaired, Kind::OursUnpaired, Kind::Direct];
    let mut rates: [(Vec<f64>, Vec<f64>); 3] = Default::default();
    for round in 0..ROUNDS {
        for (kind, (up, down)) in kinds.iter().zip(&mut rates) {
            let (one, two) = once(*kind, phone.udid()).await?;
            println!("round {round} {kind:?}: {one:.1} MB/s up, {two:.1} MB/s down");
            up.push(one);
            down.push(two);
        }
    }
    let medians: Vec<(f64, f64)> = rates.iter_mut().map(|(up, down)| (median(up), median(down))).collect();
    let [stock, ours, direct] = medians.as_slice() else {
        unreachable!()
    };
    let ratios = |(up, down): (f64, f64)| format!("{up:.1}/{down:.1} ({:.2}/{:.2})", up / stock.0, down / stock.1);
    Ok(format!(
        "MB/s up/down, medians of {ROUNDS}: stock usbmuxd {:.1}/{:.1}, our usbmuxd {}, our driver {}",
        stock.0,
        stock.1,
        ratios(*ours),
        ratios(*direct)
    ))
}

async fn once(kind: Kind, udid: &cabled::wire::ids::Udid) -> Result<(f64, f64), Failure> {
    let device = Process::start("usblab-guest", &["device", "1"])?;
    let system = System::start(kind).await?;
    let (route, _) = system.find(udid, FOUND).await?;
    let rates = work::throughput(&route, BYTES).await?;
    system.stop().await;
    drop(device);
    tools::clear();
    Ok(rates)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
