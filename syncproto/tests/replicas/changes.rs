//! Folders of cards that tell what changed, and nothing else.

use super::*;
use cabled_syncproto::entity;
use cabled_syncproto::replica::vdir::Groups;
use std::time::{Duration, SystemTime};

/// What a folder told in a session.
struct Heard {
    extent: Extent,
    said: BTreeMap<RecordId, Option<Record>>,
    unreadable: Vec<String>,
    token: String,
}

impl Heard {
    fn ids(&self) -> Vec<&str> {
        self.said.keys().map(RecordId::as_str).collect()
    }
}

fn hear(mut place: Vdir, token: Option<&str>) -> Heard {
    let request = OpenRequest::new(SessionId([3; 16])).token(token);
    let opened = place.open(request.full(token.is_none())).unwrap();
    let mut said = BTreeMap::new();
    let end = loop {
        match place.read().unwrap() {
            Told::Batch(batch) => said.extend(batch.into_iter().map(|(id, change)| match change {
                Change::Upsert(record) => (id, Some(record)),
                Change::Delete => (id, None),
            })),
            Told::End(end) => break end,
            _ => unreachable!(),
        }
    };
    let committed = place.commit().unwrap();
    assert_eq!(committed.outcomes, []);
    Heard {
        extent: opened.extent,
        said,
        unreadable: end.unreadable,
        token: committed.token.unwrap(),
    }
}

fn card(uid: &str, name: &str, more: &str) -> String {
    format!("BEGIN:VCARD\r\nVERSION:4.0\r\nUID:{uid}\r\nFN:{name}\r\n{more}END:VCARD\r\n")
}

/// Six people, Ann with two numbers, Bo and Cy among friends.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let put =
        |uid: &str, more: &str| fs::write(folder.path().join(format!("{uid}.vcf")), card(uid, uid, more)).unwrap();
    put("ann", "TEL;TYPE=home:555 0100\r\nTEL;TYPE=work:555 0101\r\n");
    put("bo", "CATEGORIES:Friends\r\n");
    put("cy", "CATEGORIES:Friends,Team\r\n");
    for uid in ["di", "ed", "flo"] {
        put(uid, "");
    }
    folder
}

fn later(folder: &Path, token: &str) -> Heard {
    settle();
    hear(contacts(folder), Some(token))
}

fn members(heard: &Heard, name: &str) -> Vec<String> {
    let groups = heard.said.values().flatten();
    let mut groups =
        groups.filter(|record| record.attributes.get("name").and_then(|name| name.as_string()) == Some(name));
    let members = groups.next().unwrap().related("members").unwrap();
    members.iter().map(ToString::to_string).collect()
}

#[test]
fn nothing_is_told_when_nothing_changed() {
    let folder = folder();
    settle();
    let first = hear(contacts(folder.path()), None);
    assert_eq!((first.extent, first.said.len()), (Extent::Everything, 10));
    let mut token = first.token;
    for _ in 0..3 {
        let next = later(folder.path(), &token);
        assert_eq!((next.extent, next.ids()), (Extent::Changes, vec![]));
        token = next.token;
    }
    // Asked for everything, it tells everything.
    settle();
    let mut place = contacts(folder.path());
    let request = OpenRequest::new(SessionId([3; 16])).token(Some(&token));
    assert_eq!(place.open(request.full(true)).unwrap().extent, Extent::Everything);
}

#[test]
fn what_was_edited_added_deleted_and_renamed_is_told_alone() {
    let folder = folder();
    settle();
    let first = hear(contacts(folder.path()), None);
    let at = |name: &str| folder.path().join(name);

    fs::write(at("ann.vcf"), card("ann", "Ann", "TEL;TYPE=home:555 0177\r\n")).unwrap();
    let edited = later(folder.path(), &first.token);
    assert_eq!(edited.extent, Extent::Changes);
    assert_eq!(edited.ids(), ["ann", "ann/Phone Number/00001"]);

    fs::write(at("new.vcf"), card("gil", "Gil", "EMAIL:gil@example.org\r\n")).unwrap();
    fs::remove_file(at("di.vcf")).unwrap();
    fs::rename(at("ed.vcf"), at("Ed Example.vcf")).unwrap();
    let changed = later(folder.path(), &edited.token);
    assert_eq!(changed.extent, Extent::Changes);
    assert_eq!(changed.ids(), ["di", "ed", "gil", "gil/Email Address/00001"]);
    assert_eq!(changed.said[&id("di")], None);
    assert!(changed.said[&id("ed")].is_some(), "a file may be renamed");

    let quiet = later(folder.path(), &changed.token);
    assert_eq!((quiet.extent, quiet.ids()), (Extent::Changes, vec![]));
}

#[test]
fn an_edit_in_the_moment_of_the_reading_that_leaves_the_size_is_told() {
    let folder = folder();
    let mut token = hear(Vdir::contacts(folder.path()), None).token;
    for number in 100..140 {
        let more = format!("TEL;TYPE=home:555 0{number}\r\n");
        fs::write(folder.path().join("ann.vcf"), card("ann", "Ann", &more)).unwrap();
        let heard = hear(Vdir::contacts(folder.path()), Some(&token));
        let number = format!("555 0{number}");
        let told =
            |record: &Record| record.attributes.get("value").and_then(|value| value.as_string()) == Some(&number);
        assert!(heard.said.values().flatten().any(told), "{number}");
        token = heard.token;
    }
}

#[test]
#[cfg(unix)]
fn a_program_that_hides_its_edit_behind_an_old_time_is_found_out() {
    let folder = folder();
    settle();
    let path = folder.path().join("ann.vcf");
    let first = hear(contacts(folder.path()), None);
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, fs::read_to_string(&path).unwrap().replace("0100", "0199")).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(before).unwrap();
    drop(file);
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), before);
    let heard = later(folder.path(), &first.token);
    assert_eq!(heard.extent, Extent::Changes);
    assert_eq!(heard.ids().first(), Some(&"ann"));
}

#[test]
fn times_in_the_future_are_not_trusted() {
    let folder = folder();
    let path = folder.path().join("ann.vcf");
    let ahead = SystemTime::now() + Duration::from_secs(86_400);
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(ahead)
        .unwrap();
    settle();
    let first = hear(contacts(folder.path()), None);
    for _ in 0..2 {
        let heard = later(folder.path(), &first.token);
        assert_eq!(heard.ids().first(), Some(&"ann"));
    }
}

#[test]
fn what_this_engine_wrote_is_told_the_next_time_and_then_no_more() {
    let folder = folder();
    let mut both = Both::new(DataClass::Contacts);
    both.sync(&mut contacts(folder.path())).is_clean();
    both.sync(&mut contacts(folder.path())).is_idle();
    let (bo, _) = both.phone.find("first name", "bo");
    both.phone.edit(bo.as_str(), "nickname", "Bobby");
    both.sync(&mut contacts(folder.path())).is_clean();
    assert_eq!(both.extent, Extent::Changes);
    let token = both.token.clone().unwrap();
    let told = later(folder.path(), &token);
    assert_eq!((told.extent, told.ids()), (Extent::Changes, vec!["bo"]));
    assert_eq!(later(folder.path(), &told.token).ids(), Vec::<&str>::new());
    both.sync(&mut contacts(folder.path())).is_idle();
    both.sync(&mut contacts(folder.path())).is_idle();
}

#[test]
fn groups_of_words_are_told_anew_with_the_members_whose_cards_were_not_read() {
    let folder = folder();
    settle();
    let first = hear(contacts(folder.path()), None);
    assert_eq!(members(&first, "Friends"), ["bo", "cy"]);
    let put =
        |uid: &str, more: &str| fs::write(folder.path().join(format!("{uid}.vcf")), card(uid, uid, more)).unwrap();

    put("di", "CATEGORIES:Friends\r\n");
    let joined = later(folder.path(), &first.token);
    assert_eq!(joined.extent, Extent::Changes);
    assert_eq!(members(&joined, "Friends"), ["bo", "cy", "di"]);
    assert!(joined.said.contains_key(&id("di")) && !joined.said.contains_key(&id("bo")));

    // The last one under a word leaves: the group is gone.
    put("cy", "CATEGORIES:Friends\r\nNOTE:alone\r\n");
    let left = later(folder.path(), &joined.token);
    assert_eq!(left.extent, Extent::Changes);
    assert_eq!(left.said.values().filter(|said| said.is_none()).count(), 1);
    assert_eq!(members(&left, "Friends"), ["bo", "cy", "di"]);

    // An edit that leaves the words alone says nothing of groups.
    put("bo", "CATEGORIES:Friends\r\nNOTE:seen\r\n");
    assert_eq!(later(folder.path(), &left.token).ids(), ["bo"]);

    fs::remove_file(folder.path().join("bo.vcf")).unwrap();
    let gone = later(folder.path(), &left.token);
    assert_eq!(gone.said[&id("bo")], None);
    assert_eq!(members(&gone, "Friends"), ["cy", "di"]);
}

#[test]
fn members_that_a_device_sorts_change_cards_that_were_not_read() {
    let folder = folder();
    let mut both = Both::new(DataClass::Contacts);
    both.sync(&mut contacts(folder.path())).is_clean();
    both.sync(&mut contacts(folder.path())).is_idle();
    let (friends, _) = both.phone.find("name", "Friends");
    let (flo, _) = both.phone.find("first name", "flo");
    let group = both.phone.records.get_mut(&friends).unwrap();
    group
        .attributes
        .insert("members".into(), vec![flo.as_str().into()].into());
    both.sync(&mut contacts(folder.path())).is_clean();
    assert_eq!(both.extent, Extent::Changes);
    let after = files(folder.path());
    assert!(after["flo.vcf"].contains("CATEGORIES:Friends\r\n"));
    assert!(after["cy.vcf"].contains("CATEGORIES:Team\r\n") && !after["bo.vcf"].contains("CATEGORIES"));
    assert_eq!(
        after["ann.vcf"],
        card("ann", "ann", "TEL;TYPE=home:555 0100\r\nTEL;TYPE=work:555 0101\r\n")
    );
    both.sync(&mut contacts(folder.path())).is_idle();
    both.sync(&mut contacts(folder.path())).is_idle();
}

#[test]
fn a_group_is_told_anew_after_a_member_was_deleted_by_the_device() {
    let folder = folder();
    let mut both = Both::new(DataClass::Contacts);
    both.sync(&mut contacts(folder.path())).is_clean();
    both.sync(&mut contacts(folder.path())).is_idle();
    let (bo, _) = both.phone.find("first name", "bo");
    both.phone.delete(&bo);
    both.sync(&mut contacts(folder.path())).is_clean();
    let heard = later(folder.path(), both.token.as_deref().unwrap());
    assert_eq!(heard.extent, Extent::Changes);
    assert_eq!(members(&heard, "Friends"), ["cy"]);
    assert!(!heard.said.contains_key(&id("bo")), "who deleted it knows");
}

#[test]
fn a_card_that_was_not_read_and_changed_meanwhile_is_left_alone() {
    let folder = folder();
    let mut both = Both::new(DataClass::Contacts);
    both.sync(&mut contacts(folder.path())).is_clean();
    both.sync(&mut contacts(folder.path())).is_idle();
    let (ed, _) = both.phone.find("first name", "ed");
    both.phone.edit(ed.as_str(), "nickname", "Eddy");
    let theirs = card("ed", "ed", "NOTE:somebody else\r\n");
    let done = both.try_sync(&mut contacts(folder.path()), |_| {
        fs::write(folder.path().join("ed.vcf"), &theirs).unwrap();
    });
    assert_eq!(both.extent, Extent::Changes);
    let done = done.unwrap();
    assert!(
        done.failed.iter().any(|reason| reason.contains("ed.vcf")),
        "{:?}",
        done.failed
    );
    assert_eq!(files(folder.path())["ed.vcf"], theirs);
    both.sync(&mut contacts(folder.path())).is_clean();
    both.sync(&mut contacts(folder.path())).is_idle();
    let text = &files(folder.path())["ed.vcf"];
    assert!(text.contains("somebody else") && text.contains("Eddy"), "{text}");
}

#[test]
fn what_is_not_simple_is_read_in_full() {
    let everything = |change: &dyn Fn(&Path)| {
        let folder = folder();
        settle();
        let first = hear(contacts(folder.path()), None);
        change(folder.path());
        let heard = later(folder.path(), &first.token);
        assert_eq!(heard.extent, Extent::Everything);
        let again = later(folder.path(), &heard.token);
        (heard, again)
    };
    // The same identifier twice: which file has it is known only when all are read.
    let (_, again) = everything(&|folder| fs::write(folder.join("zz.vcf"), card("ann", "Other", "")).unwrap());
    assert_eq!(again.extent, Extent::Everything);
    let (heard, _) = everything(&|folder| fs::write(folder.join("ann.vcf"), "BEGIN:VCARD\r\nFN:x\r\n").unwrap());
    assert_eq!(heard.unreadable.len(), 1);
    // More than half of the cards were changed.
    let (_, again) = everything(&|folder| {
        for uid in ["ann", "bo", "cy", "di"] {
            fs::write(folder.join(format!("{uid}.vcf")), card(uid, "Changed", "")).unwrap();
        }
    });
    assert_eq!(again.extent, Extent::Changes);
}

#[test]
fn another_way_of_keeping_groups_and_tokens_that_are_not_ours_mean_everything() {
    let folder = folder();
    settle();
    let token = hear(contacts(folder.path()), None).token;
    let extent = |place: Vdir, token: &str| hear(place, Some(token)).extent;
    assert_eq!(extent(contacts(folder.path()), &token), Extent::Changes);
    let cards = || contacts(folder.path()).groups(Groups::Cards);
    assert_eq!(extent(cards(), &token), Extent::Everything);
    let mut cuts: Vec<String> = (0..token.len()).map(|at| token[..at].to_owned()).collect();
    cuts.extend(
        [
            "{\"calendars\":1}",
            "contacts 1 cards",
            "contacts 1 categories",
            "contacts 9 cards 7",
            "",
        ]
        .map(str::to_owned),
    );
    cuts.push(token.replace("\nend", "\n-\tann.vcf\tc\nend"));
    cuts.push(token.replace("\tc1", "\tc7"));
    cuts.push(token.replace("ann.vcf\tc", "ann.vcf\tc:bo"));
    for cut in cuts {
        let heard = hear(contacts(folder.path()), Some(&cut));
        assert_eq!(heard.extent, Extent::Everything, "{cut:?}");
        assert!(heard.said.len() >= 8);
    }
    // How groups were kept when a folder was first read is known to tokens of every version.
    let told = |token: &str| hear(contacts(folder.path()), Some(token)).said;
    assert!(
        told("contacts 1 categories")
            .values()
            .flatten()
            .any(|record| record.entity.as_deref() == Some(entity::GROUP))
    );
    assert!(
        !told("contacts 1 cards")
            .values()
            .flatten()
            .any(|record| record.entity.as_deref() == Some(entity::GROUP))
    );
}

/// A small generator of random numbers.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

fn random_card(dice: &mut Dice, uid: u64) -> String {
    let mut more = match dice.below(5) {
        0 => "CATEGORIES:Friends\r\n",
        1 => "CATEGORIES:Team,Friends\r\n",
        2 => "CATEGORIES:Club\r\n",
        _ => "",
    }
    .to_owned();
    for _ in 0..dice.below(3) {
        more += &format!("TEL;TYPE=home:555 0{}\r\n", dice.below(100));
    }
    match dice.below(12) {
        0 => card(
            &format!("u{uid}"),
            "Group",
            "KIND:group\r\nMEMBER:urn:uuid:u1\r\nMEMBER:u2\r\n",
        ),
        1 => card("x", "Nobody", &more).replace("UID:x\r\n", ""),
        _ => card(&format!("u{uid}"), &format!("N{}", dice.below(1000)), &more),
    }
}

fn random_edits(dice: &mut Dice, folder: &Path) {
    for _ in 0..dice.below(5) {
        let number = dice.below(14);
        let path = folder.join(format!("{number}.vcf"));
        match dice.below(9) {
            0 | 1 => drop(fs::remove_file(&path)),
            2 => drop(fs::rename(&path, folder.join(format!("{}.vcf", dice.below(14))))),
            3 => {
                let text = random_card(dice, number) + &random_card(dice, 100 + number);
                fs::write(&path, text).unwrap();
            }
            4 if dice.below(3) == 0 => {
                let uid = dice.below(14);
                fs::write(&path, random_card(dice, uid)).unwrap();
            }
            5 => {
                let group = |name: &str| card(&format!("h{name}"), name, "KIND:group\r\nMEMBER:hTeam\r\n");
                let names = ["Team", "Nobody", "Club"];
                let text: String = names
                    .iter()
                    .filter(|_| dice.below(2) == 0)
                    .map(|name| group(name))
                    .collect();
                fs::write(folder.join(".cabled-groups"), text).unwrap();
            }
            _ => fs::write(&path, random_card(dice, number)).unwrap(),
        }
    }
}

/// What is known after a report of changes: who is told brings all that belongs to them, who goes takes it along.
fn apply(picture: &mut BTreeMap<RecordId, Record>, heard: Heard) {
    let whole = |said: &Option<Record>| {
        said.as_ref()
            .is_none_or(|record| matches!(record.entity.as_deref(), Some(entity::CONTACT | entity::GROUP)))
    };
    for (name, _) in heard.said.iter().filter(|(_, said)| whole(said)) {
        picture.remove(name);
        picture.retain(|_, record| !record.related("contact").unwrap().contains(name));
    }
    picture.extend(heard.said.into_iter().filter_map(|(name, said)| Some((name, said?))));
}

#[test]
fn changes_put_on_what_was_known_give_what_a_reading_of_everything_gives() {
    let mut partial = 0;
    for seed in 1..=40_u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let folder = tempfile::tempdir().unwrap();
        let groups = if seed % 3 == 0 {
            Groups::Cards
        } else {
            Groups::Categories
        };
        let place = || contacts(folder.path()).groups(groups);
        for number in 0..10 {
            fs::write(
                folder.path().join(format!("{number}.vcf")),
                random_card(&mut dice, number),
            )
            .unwrap();
        }
        let mut token: Option<String> = None;
        let mut picture = BTreeMap::new();
        for _ in 0..8 {
            settle();
            let heard = hear(place(), token.as_deref());
            token = Some(heard.token.clone());
            match heard.extent {
                Extent::Everything => picture = heard.said.into_iter().map(|(id, said)| (id, said.unwrap())).collect(),
                Extent::Changes => {
                    partial += 1;
                    apply(&mut picture, heard);
                }
            }
            let all = hear(place(), None).said;
            let all: BTreeMap<RecordId, Record> = all.into_iter().map(|(id, said)| (id, said.unwrap())).collect();
            assert_eq!(
                picture.keys().collect::<Vec<_>>(),
                all.keys().collect::<Vec<_>>(),
                "seed {seed}"
            );
            for (id, record) in &all {
                assert!(picture[id].entity == record.entity, "seed {seed}: {id}");
                assert!(
                    picture[id] == *record,
                    "seed {seed}: {id} is {:?}, not {record:?}",
                    picture[id]
                );
            }
            random_edits(&mut dice, folder.path());
        }
    }
    assert!(partial > 60, "only {partial} of 320 sessions told changes alone");
}

#[test]
#[cfg(unix)]
fn a_card_that_nobody_may_write_to_is_replaced_and_stays_so() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    let path = folder.path().join("di.vcf");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    let mut both = Both::new(DataClass::Contacts);
    both.sync(&mut contacts(folder.path())).is_clean();
    let (di, _) = both.phone.find("first name", "di");
    both.phone.edit(di.as_str(), "nickname", "Diana");
    both.sync(&mut contacts(folder.path())).is_clean();
    assert!(files(folder.path())["di.vcf"].contains("Diana"));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o444);
}
