#![allow(
    clippy::all,
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing
)]
use cabled_virtualdevice::front::{Front, Plug};
use cabled_virtualdevice::{Pairing, Phone, Profile};
use std::sync::Arc;
#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let profile = Profile::by_name(&args[1]).unwrap();
    let port: u16 = args[2].parse().unwrap();
    let pairing = match args[3].as_str() {
        "ask" => Pairing::AskUser,
        "deny" => Pairing::Deny,
        "locked" => Pairing::Locked,
        _ => Pairing::AutoTrust,
    };
    let phone = Phone::builder()
        .profile(profile)
        .seed(7)
        .pairing(pairing)
        .build()
        .unwrap();
    let front = Front::new(&args[4]);
    front.add(Plug::new(Arc::new(phone.clone()))).await.unwrap();
    let handle = front.serve_tcp(format!("127.0.0.1:{port}").parse().unwrap()).unwrap();
    println!("udid {} at {:?}", phone.udid(), handle.addr());
    let (tx, mut rx) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for l in std::io::stdin().lines() {
            if tx.send(l.unwrap()).is_err() {
                break;
            }
        }
    });
    while let Some(line) = rx.recv().await {
        match line.trim() {
            "trust" => println!("{}", phone.answer_trust(true)),
            "lock" => phone.lock(),
            "unlock" => phone.unlock(),
            "log" => {
                for e in phone.log().entries() {
                    println!("{e}");
                }
                phone.log().clear();
            }
            "quit" => break,
            _ => {}
        }
    }
}
