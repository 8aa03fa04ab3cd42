//! Extraction into one file, read back by libraries and by programs of others.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::{golden_backup, lines, made, many, put, quick, tree};
use crate::archive::build::Details;
use crate::archive::extract::Links;
use crate::archive::names::Convention;
use crate::archive::observe::Silent;

#[test]
fn tar_and_zip_hold_what_a_folder_would_and_the_manifest_last() {
    for (name, backup) in [("enc-v10", golden_backup("enc-v10")), ("made", made(many).archive)] {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("out");
        let wanted_report = backup
            .extract(&target, &quick().names(Convention::Windows), &mut Silent)
            .unwrap();
        let wanted = tree(&target);
        let mut tar = Vec::new();
        let report = backup.extract_tar(&mut tar, &quick(), &mut Silent).unwrap();
        assert_eq!(
            (report.files, report.failed),
            (wanted_report.files, wanted_report.failed),
            "{name}"
        );
        let mut archive = ::tar::Archive::new(&tar[..]);
        let (mut files, mut last) = (BTreeMap::new(), PathBuf::new());
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            last = entry.path().unwrap().into_owned();
            if entry.header().entry_type() == ::tar::EntryType::Regular {
                let mut contents = Vec::new();
                std::io::Read::read_to_end(&mut entry, &mut contents).unwrap();
                files.insert(last.clone(), contents);
            }
        }
        assert_eq!(last, Path::new("manifest.jsonl"));
        let manifest = files.remove(Path::new("manifest.jsonl")).unwrap();
        let listed = lines(str::from_utf8(&manifest).unwrap());
        assert_eq!(
            listed
                .iter()
                .filter(|line| line["kind"] == "file" && line["status"] == "extracted")
                .count(),
            wanted.len()
        );
        assert!(files == wanted, "{name}");

        let mut zipped = Vec::new();
        backup.extract_zip(&mut zipped, &quick(), &mut Silent).unwrap();
        let mut archive = ::zip::ZipArchive::new(std::io::Cursor::new(zipped)).unwrap();
        let mut files = BTreeMap::new();
        for at in 0..archive.len() {
            let mut member = archive.by_index(at).unwrap();
            last = member.enclosed_name().unwrap();
            if member.is_file() {
                let mut contents = Vec::new();
                std::io::Read::read_to_end(&mut member, &mut contents).unwrap();
                files.insert(last.clone(), contents);
            }
        }
        assert_eq!(last, Path::new("manifest.jsonl"));
        files.remove(Path::new("manifest.jsonl")).unwrap();
        assert!(files == wanted, "{name}");
    }
}

/// What a program of others prints or writes; `None` if it is not installed.
fn ran(program: &str, arguments: &[&std::ffi::OsStr]) -> Option<std::process::Output> {
    match std::process::Command::new(program).args(arguments).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{program}: {said}");
            Some(output)
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("{program} is not installed");
            None
        }
        Err(e) => panic!("{program}: {e}"),
    }
}

#[cfg(unix)]
#[test]
fn programs_of_others_unpack_tar_and_zip_to_the_same_tree() {
    let long = format!("{}/{}.txt", "deep/".repeat(40), "\u{e9}".repeat(90));
    let made = made(|builder| {
        many(builder);
        for path in [
            "../../../../etc/evil",
            "AUX",
            "a:b*c?.txt",
            "Caf\u{e9}",
            "Cafe\u{301}",
            "/absolute",
            "-rf",
            &long,
        ] {
            put(builder, path, path.as_bytes());
        }
        let details = Details::default();
        builder
            .symlink("HomeDomain", "Library/in", "../Media/large-0.mov", &details)
            .unwrap();
    });
    let root = made.root.path();
    let options = quick().links(Links::Contained);
    made.archive
        .extract(root.join("reference"), &quick().names(Convention::Windows), &mut Silent)
        .unwrap();
    let wanted = tree(&root.join("reference"));
    let (tar, zip) = (root.join("all.tar"), root.join("all.zip"));
    made.archive
        .extract_tar(fs::File::create(&tar).unwrap(), &options, &mut Silent)
        .unwrap();
    made.archive
        .extract_zip(fs::File::create(&zip).unwrap(), &options, &mut Silent)
        .unwrap();
    let python = "import sys, tarfile, zipfile\n\
        kind, source, target = sys.argv[1:]\n\
        if kind == 'tar':\n    tarfile.open(source).extractall(target)\n\
        else:\n    archive = zipfile.ZipFile(source)\n    assert archive.testzip() is None\n    archive.extractall(target)\n";
    let runs: [(&str, &str, Vec<&std::ffi::OsStr>); 4] = [
        ("tar", "by-tar", vec!["-xf".as_ref(), tar.as_ref(), "-C".as_ref()]),
        ("unzip", "by-unzip", vec!["-q".as_ref(), zip.as_ref(), "-d".as_ref()]),
        (
            "python3",
            "by-tarfile",
            vec!["-c".as_ref(), python.as_ref(), "tar".as_ref(), tar.as_ref()],
        ),
        (
            "python3",
            "by-zipfile",
            vec!["-c".as_ref(), python.as_ref(), "zip".as_ref(), zip.as_ref()],
        ),
    ];
    for (program, name, mut arguments) in runs {
        let target = root.join(name);
        fs::create_dir(&target).unwrap();
        arguments.push(target.as_ref());
        if ran(program, &arguments).is_none() {
            continue;
        }
        let link = target.join("HomeDomain/Library/in");
        if name != "by-zipfile" {
            assert_eq!(
                fs::read_link(&link).unwrap(),
                Path::new("../Media/large-0.mov"),
                "{name}"
            );
        }
        fs::remove_file(&link).unwrap();
        assert!(tree(&target) == wanted, "{name}");
        let seconds = fs::metadata(target.join("HomeDomain/%41UX"))
            .unwrap()
            .modified()
            .unwrap();
        if name != "by-zipfile" {
            assert_eq!(seconds, UNIX_EPOCH + Duration::from_secs(1_600_000_000), "{name}");
        }
    }
}
