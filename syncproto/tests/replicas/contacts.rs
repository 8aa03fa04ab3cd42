//! Folders of cards.

use super::*;
use cabled_syncproto::entity;
use cabled_syncproto::interchange::vcard::Version;
use cabled_syncproto::replica::vdir::Groups;
use cabled_wire::plist::{Date, Value};

fn seconds(seconds: u64) -> Value {
    let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    Value::Date(Date::from(time))
}

/// A phone with everything that a contact can have.
pub(super) fn full_phone() -> Phone {
    let mut phone = Phone::default();
    let part = |entity: &str| owned(entity, "contact", "41").with("type", "home");
    phone
        .put(
            "41",
            Record::new(entity::CONTACT)
                .with("first name", "Ann; née, \"Bo\\b\"")
                .with("last name", "Example")
                .with("middle name", "Q.")
                .with("title", "Dr.")
                .with("suffix", "Jr.")
                .with("nickname", "Annie")
                .with("first name yomi", "an")
                .with("company name", "Example, Works")
                .with("department", "R; D")
                .with("job title", "Engineer")
                .with("notes", "Line one\nline two, with; signs \\ and 😀")
                .with("birthday", seconds(476_107_200))
                .with("display as company", "person")
                .with("image", Value::Data(vec![0xff, 0xd8, 0xff, 0xe0, 1, 2, 3, 4, 5])),
        )
        .put(
            "3/41/0",
            part(entity::PHONE_NUMBER)
                .with("value", "555 0100")
                .with("type", "mobile"),
        )
        .put(
            "3/41/1",
            part(entity::PHONE_NUMBER)
                .with("value", "555 0101")
                .with("type", "home fax"),
        )
        .put(
            "3/41/2",
            part(entity::PHONE_NUMBER)
                .with("value", "555 0102")
                .with("type", "other")
                .with("label", "boat"),
        )
        .put("4/41/0", part(entity::EMAIL_ADDRESS).with("value", "ann@example.org"))
        .put(
            "5/41/0",
            part(entity::STREET_ADDRESS)
                .with("street", "1 Sample Street\nBack")
                .with("city", "Springfield")
                .with("postal code", "12345")
                .with("country", "Germany")
                .with("country code", "de"),
        )
        .put(
            "6/41/0",
            part(entity::URL)
                .with("value", "https://example.org/?a=1,2;3")
                .with("type", "home page"),
        )
        .put(
            "7/41/0",
            part(entity::RELATED_NAME).with("value", "Cy").with("type", "brother"),
        )
        .put("8/41/0", part(entity::IM).with("user", "ann").with("service", "jabber"))
        .put(
            "9/41/0",
            part(entity::DATE)
                .with("value", seconds(1_000_036_800))
                .with("type", "anniversary"),
        )
        .put(
            "9/41/1",
            part(entity::DATE)
                .with("value", seconds(1_100_044_800))
                .with("type", "other")
                .with("label", "met"),
        )
        .put(
            "42",
            Record::new(entity::CONTACT)
                .with("company name", "Acme")
                .with("display as company", "company"),
        )
        .put("43", Record::new(entity::CONTACT).with("first name", "Lone"))
        .put(
            "g1",
            Record::new(entity::GROUP)
                .with("name", "Friends, old")
                .with("members", vec!["41".into(), "42".into()]),
        )
        .put("g2", Record::new(entity::GROUP).with("name", "Nobody"));
    phone
}

#[test]
fn what_a_device_has_is_written_and_reads_back_as_the_same() {
    for (version, groups) in [
        (Version::V4, Groups::AsFound),
        (Version::V4, Groups::Cards),
        (Version::V3, Groups::Categories),
        (Version::V3, Groups::Cards),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let place = || contacts(folder.path()).version(version).groups(groups);
        let mut both = Both::new(DataClass::Contacts);
        both.phone = full_phone();
        let before = both.phone.records.clone();
        let done = both.sync(&mut place());
        done.is_clean();
        assert!(done.notes.is_empty());
        let written = files(folder.path());
        both.sync(&mut place()).is_idle();
        assert_eq!(both.phone.records, before);
        assert_eq!(files(folder.path()), written, "nothing was written again");

        // A device that was erased gets everything back, and says what it said.
        let mut again = Both::new(DataClass::Contacts);
        again.sync(&mut place()).is_clean();
        again.sync(&mut place()).is_idle();
        assert_eq!(again.phone.records.len(), before.len(), "{groups:?}");
        let (_, ann) = again.phone.find("nickname", "Annie");
        let mut wanted = before[&id("41")].clone();
        wanted.attributes.remove("display as company");
        let mut ann = ann;
        ann.attributes.remove("display as company");
        let sorted = |record: Record| record.attributes.into_iter().collect::<BTreeMap<_, _>>();
        assert_eq!(sorted(ann), sorted(wanted));
    }
}

#[test]
fn who_was_written_and_then_deleted_on_the_device_stays_deleted() {
    for groups in [Groups::AsFound, Groups::Categories, Groups::Cards] {
        let folder = tempfile::tempdir().unwrap();
        let place = || contacts(folder.path()).groups(groups);
        let mut both = Both::new(DataClass::Contacts);
        both.phone = full_phone();
        both.sync(&mut place()).is_clean();
        let other = both.phone.records.keys().filter(|id| id.as_str() != "41").count();
        both.phone.delete(&id("41"));
        for record in both.phone.records.values_mut() {
            if let Some(Value::Array(members)) = record.attributes.get_mut("members") {
                members.retain(|member| member.as_string() != Some("41"));
            }
        }
        let done = both.sync(&mut place());
        assert_eq!(done.plan.conflicts().count(), 0, "{groups:?}: {}", done.plan);
        assert!(!both.phone.has("nickname", "Annie"), "{groups:?}: {other} others");
        both.sync(&mut place()).is_idle();
    }
}

#[test]
fn an_edit_on_the_device_changes_one_file_and_what_it_does_not_know_stays() {
    let folder = tempfile::tempdir().unwrap();
    let card = "BEGIN:VCARD\nVERSION:3.0\nPRODID:-//Other//EN\nREV:20200101T000000Z\nUID:urn:uuid:0B7C2E1A-5A00-4D2E-8F00-000000000001\n\
        X-MOOD;LEVEL=9:fine\nFN:Ann the\n  Great\nN:Example;Ann;;;\nTEL;type=CELL;type=pref:+1 (555) 0100\nTEL;TYPE=home:555 0199\n\
        item1.EMAIL:ann@example.org\nitem1.X-ABLabel:Boat\nCATEGORIES:Friends\nGENDER:F\nEND:VCARD\n";
    fs::write(folder.path().join("Ann's card.vcf"), card).unwrap();
    fs::write(
        folder.path().join("other.vcf"),
        card.replace("0001", "0002").replace("Ann", "Bo"),
    )
    .unwrap();
    let mut both = Both::new(DataClass::Contacts);
    both.sync(&mut contacts(folder.path())).is_clean();
    both.sync(&mut contacts(folder.path())).is_idle();
    assert!(both.phone.has("name", "Friends"));
    let before = files(folder.path());
    assert_eq!(
        before["Ann's card.vcf"], card,
        "a first sync writes nothing into files that say everything"
    );

    let (number, _) = both.phone.find("value", "+1 (555) 0100");
    both.phone.edit(number.as_str(), "value", "+1 (555) 0111");
    both.sync(&mut contacts(folder.path())).is_clean();
    both.sync(&mut contacts(folder.path())).is_idle();
    let after = files(folder.path());
    assert_eq!(after["other.vcf"], before["other.vcf"]);
    let lines = |text: &str| -> Vec<String> {
        let text = text.replace("\r\n", "\n").replace("\n ", "");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.retain(|line| !line.starts_with("REV:") && !line.starts_with("PRODID:"));
        lines.sort();
        lines
    };
    let (old, new) = (lines(card), lines(&after["Ann's card.vcf"]));
    let lost: Vec<&String> = old.iter().filter(|line| !new.contains(line)).collect();
    let more: Vec<&String> = new.iter().filter(|line| !old.contains(line)).collect();
    assert_eq!(lost, ["TEL;type=CELL;type=pref:+1 (555) 0100"]);
    assert_eq!(more, ["TEL;TYPE=cell:+1 (555) 0111"]);
    assert!(after["Ann's card.vcf"].contains("\r\nREV:2") && !after["Ann's card.vcf"].contains("REV:20200101"));
}

#[test]
fn what_another_program_reorders_folds_and_ends_differently_is_no_change() {
    let folder = tempfile::tempdir().unwrap();
    let mut both = Both::new(DataClass::Contacts);
    both.phone = full_phone();
    both.sync(&mut contacts(folder.path())).is_clean();
    let (name, text) = one_with(folder.path(), "Annie");
    let unfolded = text.replace("\r\n ", "");
    let mut lines: Vec<&str> = unfolded
        .lines()
        .filter(|line| !["BEGIN", "END:V", "VERSI"].contains(&&line[..5]))
        .collect();
    lines.sort_by_key(|line| std::cmp::Reverse(line.len()));
    let refolded = lines.join("\n").replace("example", "exam\n ple");
    fs::write(
        folder.path().join(&name),
        format!("BEGIN:VCARD\nVERSION:4.0\n{refolded}\nEND:VCARD\n"),
    )
    .unwrap();
    both.sync(&mut contacts(folder.path())).is_idle();

    // One value is changed among all that: that value goes to the device, and nothing else.
    let text = fs::read_to_string(folder.path().join(&name)).unwrap();
    fs::write(folder.path().join(&name), text.replace("555 0101", "555 0777")).unwrap();
    let before = both.phone.records.clone();
    both.sync(&mut contacts(folder.path())).is_clean();
    let changed: Vec<&RecordId> = before
        .iter()
        .filter(|(id, record)| both.phone.records.get(id) != Some(record))
        .map(|(id, _)| id)
        .collect();
    assert_eq!(changed, [&id("3/41/1")]);
    both.sync(&mut contacts(folder.path())).is_idle();
}

#[test]
fn groups_as_categories_follow_renames_members_and_deletions_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let place = || contacts(folder.path());
    let mut both = Both::new(DataClass::Contacts);
    both.phone = full_phone();
    both.sync(&mut place()).is_clean();
    let (_, card) = one_with(folder.path(), "Annie");
    assert!(card.contains("CATEGORIES:Friends\\, old\r\n"), "{card}");
    both.phone.edit("g1", "name", "Pals");
    both.sync(&mut place()).is_clean();
    both.sync(&mut place()).is_idle();
    let (_, card) = one_with(folder.path(), "Annie");
    assert!(
        card.contains("CATEGORIES:Pals\r\n") && !card.contains("Friends"),
        "{card}"
    );

    // The computer takes Ann out and puts Lone in; somebody is sorted under a new word.
    let (name, card) = one_with(folder.path(), "Annie");
    fs::write(
        folder.path().join(name),
        card.replace("CATEGORIES:Pals\r\n", "CATEGORIES:Team\r\n"),
    )
    .unwrap();
    let (name, card) = one_with(folder.path(), "FN:Lone");
    fs::write(
        folder.path().join(name),
        card.replace("FN:Lone\r\n", "FN:Lone\r\nCATEGORIES:Pals\r\n"),
    )
    .unwrap();
    both.sync(&mut place()).is_clean();
    both.sync(&mut place()).is_idle();
    let members = |name: &str| {
        let mut members = both.phone.find("name", name).1.related("members").unwrap();
        members.sort();
        members
    };
    assert_eq!(members("Pals"), [id("42"), id("43")]);
    assert_eq!(members("Team"), [id("41")]);

    both.phone.delete(&id("g1"));
    both.sync(&mut place()).is_clean();
    both.sync(&mut place()).is_idle();
    assert!(!files(folder.path()).values().any(|text| text.contains("Pals")));
    assert!(both.phone.has("name", "Nobody"), "a group without members stays");
}

#[test]
fn deletions_go_both_ways_and_a_file_may_be_renamed() {
    let folder = tempfile::tempdir().unwrap();
    let place = || contacts(folder.path()).groups(Groups::Cards);
    let mut both = Both::new(DataClass::Contacts);
    both.phone = full_phone();
    both.sync(&mut place()).is_clean();
    let (name, _) = one_with(folder.path(), "Acme");
    fs::rename(folder.path().join(name), folder.path().join("Acme & co.vcf")).unwrap();
    both.sync(&mut place()).is_idle();
    fs::remove_file(folder.path().join("Acme & co.vcf")).unwrap();
    both.phone.delete(&id("43"));
    both.sync(&mut place()).is_clean();
    both.sync(&mut place()).is_idle();
    assert!(!both.phone.records.contains_key(&id("42")));
    assert!(
        !files(folder.path())
            .values()
            .any(|text| text.contains("Lone") || text.contains("Acme"))
    );
}

#[test]
fn a_file_with_several_cards_is_several_records_and_the_others_keep_their_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let card = |name: &str| {
        format!(
            "BEGIN:VCARD\nVERSION:4.0\nX-ODD:  {name} \nFN:{name}\nTEL;type=voice:55501{}\nEND:VCARD\n\n",
            name.len()
        )
    };
    let text = ["Ann", "Bo Bo", "Cy"].map(card).concat();
    fs::write(folder.path().join("all.vcf"), &text).unwrap();
    let mut both = Both::new(DataClass::Contacts);
    both.sync(&mut contacts(folder.path())).is_clean();
    both.sync(&mut contacts(folder.path())).is_idle();
    assert_eq!(files(folder.path())["all.vcf"], text);
    let (bo, _) = both.phone.find("first name", "Bo Bo");
    both.phone.edit(bo.as_str(), "first name", "Bob");
    both.sync(&mut contacts(folder.path())).is_clean();
    both.sync(&mut contacts(folder.path())).is_idle();
    let after = &files(folder.path())["all.vcf"];
    assert!(
        after.starts_with(&card("Ann")) && after.trim_end().ends_with(card("Cy").trim_end()),
        "{after}"
    );
    assert!(
        after.contains("FN:Bob\r\n") && after.contains("X-ODD:  Bo Bo "),
        "{after}"
    );
    let (cy, _) = both.phone.find("first name", "Cy");
    both.phone.delete(&cy);
    both.sync(&mut contacts(folder.path())).is_clean();
    both.sync(&mut contacts(folder.path())).is_idle();
    assert!(!files(folder.path())["all.vcf"].contains("Cy"));
}
