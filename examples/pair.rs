//! Pairs this computer with a device, checks a pairing, or ends it.

use std::process::ExitCode;

use cabled::lockdown::{Lockdown, PairRecord, Paired};
use cabled_examples::{Failure, pairing, reach::Reach, run};
use clap::{Parser, ValueEnum};

/// Pair with an iPhone or iPad.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    reach: Reach,
    /// What to do.
    #[arg(value_enum, default_value = "pair")]
    action: Action,
}

#[derive(Clone, Copy, ValueEnum)]
enum Action {
    /// Make a pairing, unless a good one exists.
    Pair,
    /// Check that the device still knows the pairing.
    Validate,
    /// End the pairing on the device, then forget its record.
    Unpair,
}

fn main() -> ExitCode {
    run(pair(Args::parse()))
}

async fn pair(args: Args) -> Result<(), Failure> {
    let reached = args.reach.device().await?;
    let (udid, records) = (&reached.udid, &reached.records);
    if let Action::Pair = args.action {
        let paired = pairing::paired(&reached).await?;
        println!(
            "{udid} is paired with this computer (host {}).",
            paired.record().host_id
        );
        return Ok(());
    }
    let Some(stored) = records.read(udid).await? else {
        return Err(format!("{udid} is not paired with this computer").into());
    };
    let record = PairRecord::parse(stored.expose())?;
    let device = reached.device.clone();
    match args.action {
        Action::Unpair => {
            let mut lockdown = Lockdown::connect(device, pairing::LABEL).await?;
            lockdown.unpair(&record).await?;
            records.delete(udid).await?;
            println!("{udid} is no longer paired with this computer.");
        }
        _ => {
            Paired::new(device, record).session().await?.stop().await;
            println!("The pairing with {udid} is valid.");
        }
    }
    Ok(())
}
