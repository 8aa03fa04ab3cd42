//! Shows what a device says about itself.

use std::process::ExitCode;

use cabled::wire::plist::{self, Value};
use cabled_examples::{Failure, pairing, reach::Reach, run};
use clap::Parser;

/// Show the values of an iPhone or iPad.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    reach: Reach,
    /// The lockdown domain, such as com.apple.disk_usage; without it the default one.
    #[arg(long)]
    domain: Option<String>,
    /// One key only.
    #[arg(long)]
    key: Option<String>,
    /// Print an XML property list.
    #[arg(long)]
    xml: bool,
}

fn main() -> ExitCode {
    run(info(Args::parse()))
}

async fn info(args: Args) -> Result<(), Failure> {
    let paired = pairing::paired(&args.reach.device().await?).await?;
    let Some(value) = paired.get_value(args.domain.as_deref(), args.key.as_deref()).await? else {
        return Err("the device has no such value".into());
    };
    match value {
        value if args.xml => print!("{}", String::from_utf8_lossy(&plist::to_xml(&value))),
        Value::Dictionary(values) => {
            for (key, value) in &values {
                println!("{key}: {}", text(value));
            }
        }
        value => println!("{}", text(&value)),
    }
    Ok(())
}

/// A value on one line. Text from a device may hold anything: control characters do not reach the terminal.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.escape_debug().to_string(),
        Value::Integer(n) => n.to_string(),
        Value::Real(n) => n.to_string(),
        Value::Boolean(b) => b.to_string(),
        Value::Date(date) => date.to_xml_format(),
        Value::Data(data) => format!("{} bytes", data.len()),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        Value::Dictionary(values) => format!("{} values", values.len()),
        other => format!("{other:?}"),
    }
}
