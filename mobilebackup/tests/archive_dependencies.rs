//! Reading backups must not pull in what only devices need.

use std::process::Command;

#[test]
fn the_archive_alone_needs_no_runtime_no_tls_and_no_device_crate() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--no-default-features", "--features", "archive"])
        .args(["--edges", "normal", "--prefix", "none", "--manifest-path", manifest])
        .output()
        .unwrap();
    let listed = String::from_utf8(tree.stdout).unwrap();
    let names: Vec<&str> = listed.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(
        names.contains(&"rusqlite"),
        "cargo tree said: {}",
        String::from_utf8_lossy(&tree.stderr)
    );
    let foreign = [
        "tokio",
        "rustls",
        "aws-lc-rs",
        "futures-util",
        "cabled-usbmux",
        "cabled-lockdown",
        "cabled-afc",
    ];
    for crate_name in foreign.into_iter().chain(["cabled-devicelink", "nusb", "mdns-sd"]) {
        assert!(!names.contains(&crate_name), "`archive` pulls in {crate_name}");
    }
}
