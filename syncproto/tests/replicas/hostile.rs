//! Folders that somebody else wrote, vanished, filled up or locked.

use super::*;
use cabled_syncproto::entity;

fn card(uid: &str, name: &str) -> String {
    format!("BEGIN:VCARD\r\nVERSION:4.0\r\n{uid}FN:{name}\r\nEND:VCARD\r\n")
}

#[test]
fn hostile_identifiers_are_no_names_of_files_and_come_back_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let long = "x".repeat(5000);
    let uids = ["../../x", "", "con", "a\0b", &long, "A", "a", &"y".repeat(1020)];
    for (number, uid) in uids.iter().enumerate() {
        fs::write(
            inner.join(format!("{number}.vcf")),
            card(&format!("UID:{uid}\r\n"), &format!("N{number}")),
        )
        .unwrap();
    }
    fs::write(inner.join("none.vcf"), card("", "None")).unwrap();
    let mut both = Both::new(DataClass::Contacts);
    let done = both.sync(&mut contacts(&inner));
    done.is_clean();
    assert!(done.notes.is_empty(), "{:?}", done.notes);
    both.sync(&mut contacts(&inner)).is_idle();
    assert_eq!(both.phone.records.len(), uids.len() + 1);

    // Every one of them is written by us: the names stay, and so do the identifiers.
    let all: Vec<RecordId> = both.phone.records.keys().cloned().collect();
    for one in &all {
        both.phone.edit(one.as_str(), "notes", "seen");
        let phone = owned(entity::PHONE_NUMBER, "contact", one.as_str()).with("type", "home");
        both.phone
            .put(&format!("3/{one}/0"), phone.clone().with("value", "555 0100"));
        both.phone.put(&format!("3/{one}/1"), phone.with("value", "555 0101"));
    }
    both.sync(&mut contacts(&inner)).is_clean();
    both.sync(&mut contacts(&inner)).is_idle();
    let after = files(&inner);
    assert_eq!(after.len(), uids.len() + 1);
    assert_eq!(files(folder.path()).len(), after.len(), "nothing was written elsewhere");
    for (number, uid) in uids.iter().enumerate() {
        let text = after[&format!("{number}.vcf")].replace("\r\n ", "");
        let clean = uid.replace('\0', "");
        assert!(
            text.contains(&format!("\r\nUID:{uid}\r\n")) || text.contains(&format!("\r\nUID:{clean}\r\n")),
            "{number}: {text}"
        );
        assert!(
            text.contains("NOTE:seen") && text.contains("555 0100") && text.contains("555 0101"),
            "{text}"
        );
    }
    assert!(after["none.vcf"].contains("\r\nUID:"), "{}", after["none.vcf"]);
}

#[test]
fn two_files_with_the_same_identifier_are_two_records_and_said_so() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        fs::write(folder.path().join(format!("{name}.vcf")), card("UID:same\r\n", name)).unwrap();
    }
    let mut both = Both::new(DataClass::Contacts);
    let done = both.sync(&mut contacts(folder.path()));
    done.is_clean();
    assert_eq!(
        done.notes,
        ["b.vcf and a.vcf have the same UID; both are kept, as two records"]
    );
    both.sync(&mut contacts(folder.path())).is_idle();
    let (b, _) = both.phone.find("first name", "b");
    both.phone.edit(b.as_str(), "nickname", "second");
    both.sync(&mut contacts(folder.path())).is_clean();
    both.sync(&mut contacts(folder.path())).is_idle();
    let after = files(folder.path());
    assert!(after["b.vcf"].contains("UID:same\r\n") && after["b.vcf"].contains("second"));
    assert_eq!(after["a.vcf"], card("UID:same\r\n", "a"));
}

#[test]
fn a_folder_that_vanishes_is_unavailable_and_one_that_is_empty_stops() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("people");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a.vcf"), card("UID:a\r\n", "Ann")).unwrap();
    let mut both = Both::new(DataClass::Contacts);
    both.sync(&mut contacts(&folder)).is_clean();
    fs::rename(&folder, outer.path().join("away")).unwrap();
    let gone = both.try_sync(&mut contacts(&folder), |_| ());
    assert!(matches!(gone, Err(ReplicaError::Unavailable { .. })));
    fs::create_dir(&folder).unwrap();
    let done = both.sync(&mut contacts(&folder));
    assert!(!done.plan.stops.is_empty(), "{}", done.plan);
    assert_eq!(both.phone.records.len(), 1);
}

#[test]
fn what_cannot_be_read_is_named_and_stops_writing() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.vcf"), card("UID:a\r\n", "Ann")).unwrap();
    let mut both = Both::new(DataClass::Contacts);
    both.sync(&mut contacts(folder.path())).is_clean();
    let bad: &[(&str, &[u8])] = &[
        ("cut.vcf", b"BEGIN:VCARD\r\nFN:x\r\n"),
        ("latin.vcf", b"BEGIN:VCARD\r\nFN:\xe9\r\nEND:VCARD\r\n"),
        ("none.vcf", b"hello"),
    ];
    for (name, content) in bad {
        fs::write(folder.path().join(name), content).unwrap();
    }
    for passed_over in [".hidden.vcf", "a.vcf.tmp", "readme.txt"] {
        fs::write(folder.path().join(passed_over), "no card").unwrap();
    }
    both.phone
        .put("9", Record::new(entity::CONTACT).with("first name", "New"));
    let done = both.sync(&mut contacts(folder.path()));
    assert_eq!(done.unreadable.len(), bad.len(), "{:?}", done.unreadable);
    for (name, content) in bad {
        assert!(done.unreadable.iter().any(|said| said.starts_with(name)));
        assert_eq!(fs::read(folder.path().join(name)).unwrap(), *content);
    }
    assert_eq!(both.phone.records.len(), 2);
    assert!(!files(folder.path()).values().any(|text| text.contains("New")));
}

#[cfg(unix)]
#[test]
fn links_and_pipes_are_not_followed() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("people");
    fs::create_dir(&folder).unwrap();
    fs::write(outer.path().join("secret.vcf"), card("UID:s\r\n", "Secret")).unwrap();
    std::os::unix::fs::symlink("../secret.vcf", folder.join("out.vcf")).unwrap();
    std::os::unix::fs::symlink("nowhere", folder.join("gone.vcf")).unwrap();
    let mut both = Both::new(DataClass::Contacts);
    let done = both.sync(&mut contacts(&folder));
    assert_eq!(done.unreadable.len(), 2, "{:?}", done.unreadable);
    assert!(both.phone.records.is_empty());
}

#[test]
fn what_another_program_changes_meanwhile_is_left_alone_and_merged_next_time() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["Ann", "Bo", "Cy"] {
        fs::write(
            folder.path().join(format!("{name}.vcf")),
            card(&format!("UID:{name}\r\n"), name),
        )
        .unwrap();
    }
    let mut both = Both::new(DataClass::Contacts);
    both.sync(&mut contacts(folder.path())).is_clean();
    for name in ["Ann", "Bo"] {
        let (one, _) = both.phone.find("first name", name);
        both.phone.edit(one.as_str(), "notes", "from the phone");
    }
    let (cy, _) = both.phone.find("first name", "Cy");
    both.phone.delete(&cy);
    let done = both
        .try_sync(&mut contacts(folder.path()), |_| {
            for name in ["Ann", "Cy"] {
                let text = card(&format!("UID:{name}\r\n"), name).replace("END:", "NICKNAME:meanwhile\r\nEND:");
                fs::write(folder.path().join(format!("{name}.vcf")), text).unwrap();
            }
        })
        .unwrap();
    assert_eq!(done.failed.len(), 2, "{:?}", done.failed);
    let after = files(folder.path());
    assert!(after["Ann.vcf"].contains("meanwhile") && !after["Ann.vcf"].contains("from the phone"));
    assert!(after["Cy.vcf"].contains("meanwhile"));
    assert!(after["Bo.vcf"].contains("from the phone"));
    assert_eq!(after.len(), 3, "nothing temporary is left");

    both.sync(&mut contacts(folder.path())).is_clean();
    both.sync(&mut contacts(folder.path())).is_idle();
    let after = files(folder.path());
    assert!(
        after["Ann.vcf"].contains("meanwhile") && after["Ann.vcf"].contains("from the phone"),
        "{after:?}"
    );
    assert!(both.phone.has("nickname", "meanwhile"));
}

#[test]
fn what_a_card_cannot_hold_fails_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut both = Both::new(DataClass::Contacts);
    both.phone
        .put("1", Record::new(entity::CONTACT).with("first name", "Ann"))
        .put("3/1/0", owned(entity::PHONE_NUMBER, "contact", "1").with("value", 5))
        .put(
            "3/1/1",
            owned(entity::PHONE_NUMBER, "contact", "1").with("value", "555 0101"),
        )
        .put("2", Record::new(entity::CONTACT).with("first name", 7));
    let done = both.sync(&mut contacts(folder.path()));
    assert_eq!(done.failed.len(), 2, "{:?}", done.failed);
    let after = files(folder.path());
    assert_eq!(after.len(), 1);
    let (_, ann) = one_with(folder.path(), "FN:Ann");
    assert!(ann.contains("555 0101"));
}
