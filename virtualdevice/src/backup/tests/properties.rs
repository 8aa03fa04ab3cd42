//! An incremental backup is a full one, whatever happened to the phone in between; hostile hosts do no harm.

use proptest::prelude::*;

use super::host::Host;
use super::*;
use crate::fs::{Content, Fs, Kind, Meta};

/// One thing that happens to a phone between two backups.
#[derive(Clone, Debug)]
enum Change {
    Write {
        file: usize,
        at: u64,
        text: Vec<u8>,
    },
    Create {
        name: u8,
        length: u64,
    },
    CreateDeep {
        name: u8,
    },
    Remove {
        file: usize,
    },
    Rename {
        file: usize,
        name: u8,
    },
    Link {
        name: u8,
    },
    Chmod {
        file: usize,
    },
    Truncate {
        file: usize,
    },
    /// The same length and the same times: only the revision tells.
    Sneak {
        file: usize,
    },
    Backup,
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let file = 0_usize..1000;
    let change = prop_oneof![
        4 => (file.clone(), 0_u64..5000, proptest::collection::vec(any::<u8>(), 1..50))
            .prop_map(|(file, at, text)| Change::Write { file, at, text }),
        3 => (any::<u8>(), 0_u64..40_000).prop_map(|(name, length)| Change::Create { name, length }),
        2 => any::<u8>().prop_map(|name| Change::CreateDeep { name }),
        3 => file.clone().prop_map(|file| Change::Remove { file }),
        2 => (file.clone(), any::<u8>()).prop_map(|(file, name)| Change::Rename { file, name }),
        1 => any::<u8>().prop_map(|name| Change::Link { name }),
        1 => file.clone().prop_map(|file| Change::Chmod { file }),
        1 => file.clone().prop_map(|file| Change::Truncate { file }),
        1 => file.prop_map(|file| Change::Sneak { file }),
        2 => Just(Change::Backup),
    ];
    proptest::collection::vec(change, 1..25)
}

fn apply(fs: &Fs, change: &Change) {
    let files: Vec<_> = fs.snapshot().into_iter().filter(|entry| entry.is_file()).collect();
    let pick = |n: usize| files.get(n % files.len().max(1));
    // Every failure is a change that did not happen, which is fine.
    let _ = match change {
        Change::Write { file, at, text } => pick(*file).map(|f| fs.write_at(&f.domain, &f.path, *at, text)),
        Change::Create { name, length } => {
            let content = Content::bytes(vec![*name; usize::try_from(*length).unwrap()]);
            let _ = fs.create_dir_all("AppDomain-com.example.new", "Documents");
            let path = format!("Documents/{name:02x}");
            Some(
                fs.put("AppDomain-com.example.new", &path, Kind::File(content), Meta::file())
                    .map(drop),
            )
        }
        Change::CreateDeep { name } => {
            let path = format!("Media/{:x}/{name:02x}", name % 4);
            let _ = fs.create_dir_all("MediaDomain", &format!("Media/{:x}", name % 4));
            Some(fs.create_file("MediaDomain", &path).map(drop))
        }
        Change::Remove { file } => pick(*file).map(|f| fs.remove(&f.domain, &f.path)),
        Change::Rename { file, name } => {
            pick(*file).map(|f| fs.rename(&f.domain, &f.path, "MediaDomain", &format!("Media/moved {name}")))
        }
        Change::Link { name } => Some(
            fs.symlink("/var/mobile/Library", "MediaDomain", &format!("Media/link {name}"))
                .map(drop),
        ),
        Change::Chmod { file } => pick(*file).map(|f| fs.update_meta(&f.domain, &f.path, |meta| meta.mode ^= 0o22)),
        Change::Truncate { file } => pick(*file).map(|f| fs.set_len(&f.domain, &f.path, f.len() / 2)),
        Change::Sneak { file } => pick(*file).map(|f| {
            let bytes = f.content().unwrap().to_bytes(1 << 30).unwrap();
            let changed: Vec<u8> = bytes.iter().map(|byte| byte.wrapping_add(1)).collect();
            fs.put(&f.domain, &f.path, Kind::File(Content::bytes(changed)), f.meta.clone())
                .map(drop)
        }),
        Change::Backup => None,
    };
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn an_incremental_backup_equals_a_fresh_full_one(changes in changes(), encrypted: bool) {
        run(async {
            let phone = phone(Profile::ios_17_7());
            let password = encrypted.then_some("pw");
            crate::backup::set_password(&phone, password).unwrap();
            let mut host = Host::new();
            host.backup(&phone).await.ok();
            for change in &changes {
                apply(phone.fs(), change);
                if matches!(change, Change::Backup) {
                    host.backup(&phone).await.ok();
                }
            }
            host.backup(&phone).await.ok();
            assert!(!report(&phone).full);
            let incremental = assert_holds(&host, &phone, password);
            let mut other = Host::new();
            other.backup(&phone).await.ok();
            assert!(report(&phone).full);
            let full = assert_holds(&other, &phone, password);
            assert_eq!(incremental.files, full.files);
            let plain = |opened: &Opened| -> Vec<_> {
                let bare = |record: &Record| Record { key: None, digest: record.digest.filter(|_| !encrypted), ..record.clone() };
                opened.records.iter().map(|(at, (flags, record))| (at.clone(), *flags, bare(record))).collect()
            };
            assert_eq!(plain(&incremental), plain(&full));
        });
    }

    #[test]
    fn a_hostile_host_never_panics_the_phone(bytes in proptest::collection::vec(any::<u8>(), 0..400), frames: bool) {
        run(async {
            use tokio::io::AsyncWriteExt;
            let phone = fresh(Profile::ios_17_7());
            let (mut near, far) = tokio::io::duplex(1 << 20);
            let server = tokio::spawn(crate::backup::serve(phone, Box::new(far), None));
            let versions = cabled_devicelink::msg::Message::VersionsOk { major: 400 }.encode();
            near.write_all(&cabled_wire::frame::encode(&versions).unwrap()).await.unwrap();
            if frames {
                near.write_all(&cabled_wire::frame::encode(&bytes).unwrap()).await.unwrap();
            } else {
                near.write_all(&bytes).await.unwrap();
            }
            drop(near);
            let _ = server.await.expect("no panic");
        });
    }
}
