//! What a phone and a folder of contacts go through, on a virtual phone whose contents are known.

use std::fs;
use std::path::Path;

use cabled::lockdown::Paired;
use cabled::syncproto::engine::{FirstSync, Policy};
use cabled::syncproto::pair::{Request, Synced};
use cabled::syncproto::record::{Record, RecordId};
use cabled::syncproto::{DataClass, entity};
use cabled::virtualdevice::Phone;
use cabled::virtualdevice::contents::Recipe;
use cabled_examples::phones::{self, Desk};
use cabled_examples::reach::Reached;
use cabled_examples::{Failure, pairing};

use crate::session::{Place, Sync};

const CONTACTS: DataClass = DataClass::Contacts;

/// Runs it, and checks each step.
pub async fn tell(profile: &str) -> Result<(), Failure> {
    let desk = Desk::new()?;
    let phone = phones::phone(phones::profile(profile)?, 1, Some(&Recipe::tiny()))?;
    desk.plug(&phone).await?;
    let daemon = desk.daemon()?;
    let device = daemon
        .find(phone.udid())
        .await?
        .ok_or("the virtual phone was not found")?;
    let paired = pairing::paired(&Reached::at_daemon(&daemon, device)).await?;
    let temporary = tempfile::tempdir()?;
    let folder = temporary.path().join("contacts");
    fs::create_dir(&folder)?;
    let story = Story {
        sync: Sync {
            class: CONTACTS,
            place: Place::Folder(folder.clone()),
            state: temporary.path().join("state"),
        },
        paired,
        phone,
    };

    println!("== The first sync asks");
    let Synced::Stopped(_) = story.sync(&Request::default()).await? else {
        return Err("the first sync did not ask".into());
    };
    println!("== Merged into an empty folder");
    story.merge().await?;
    story.compare(&folder)?;

    println!("== Read again: nothing to do");
    story.idle().await?;

    println!("== Edited on both sides, in different places; one deleted; one new on each side");
    let (edited, deleted) = story.use_phone()?;
    edit_card(&folder, &edited, "NICKNAME:Ace")?;
    fs::write(
        folder.join("grace.vcf"),
        "BEGIN:VCARD\r\nVERSION:4.0\r\nUID:grace\r\nFN:Grace Sample\r\nN:Sample;Grace;;;\r\nTEL;TYPE=cell:555 0142\r\nEND:VCARD\r\n",
    )?;
    story.merge().await?;
    story.compare(&folder)?;
    if story.text_of(&edited, "nickname").as_deref() != Some("Ace") || card_of(&folder, &deleted)?.is_some() {
        return Err("the edits did not meet".into());
    }

    println!("== The same field edited on both sides: each keeps its own, and it is said");
    story.phone.sync().edit(&CONTACTS, &story.id_of(&edited)?, |record| {
        record.attributes.insert("nickname".to_owned(), "Ace of phones".into());
    });
    let (file, card) = card_of(&folder, &edited)?.ok_or("the card is gone")?;
    fs::write(file, card.replace("NICKNAME:Ace", "NICKNAME:Ace of folders"))?;
    let report = story.merge().await?;
    if report.plan.conflicts().count() != 1 {
        return Err("the conflict was not told".into());
    }
    println!("== Nothing left to do");
    story.idle().await?;
    println!("The folder and the phone have {} people each.", story.people());
    Ok(())
}

struct Story {
    sync: Sync,
    paired: Paired,
    phone: Phone,
}

impl Story {
    async fn sync(&self, request: &Request) -> Result<Synced, Failure> {
        let synced = self.sync.run(&self.paired, request).await?;
        match &synced {
            Synced::Done(report) => println!("{report}"),
            Synced::Stopped(_) => println!("nothing was written\n"),
            _ => {}
        }
        Ok(synced)
    }

    async fn merge(&self) -> Result<cabled::syncproto::pair::Report, Failure> {
        let request = Request::default().policy(Policy::default().first_sync(FirstSync::Merge));
        match self.sync(&request).await? {
            Synced::Done(report) if report.failures.is_empty() => Ok(report),
            other => Err(format!("it did not go through: {other:?}").into()),
        }
    }

    async fn idle(&self) -> Result<(), Failure> {
        match self.merge().await?.plan.is_empty() {
            true => Ok(()),
            false => Err("there was something left to do".into()),
        }
    }

    fn names(&self) -> Vec<(RecordId, String)> {
        let records = self.phone.sync().records(&CONTACTS).into_iter();
        let people = records.filter(|(_, record)| record.entity.as_deref() == Some(entity::CONTACT));
        people.map(|(id, record)| (id, name(&record))).collect()
    }

    fn people(&self) -> usize {
        self.names().len()
    }

    fn id_of(&self, wanted: &str) -> Result<RecordId, Failure> {
        let found = self.names().into_iter().find(|(_, name)| name == wanted);
        Ok(found.ok_or_else(|| format!("{wanted} is not on the phone"))?.0)
    }

    fn text_of(&self, wanted: &str, key: &str) -> Option<String> {
        let records = self.phone.sync().records(&CONTACTS);
        let record = records.values().find(|record| name(record) == wanted)?;
        Some(record.attributes.get(key)?.as_string()?.to_owned())
    }

    /// A day with the phone: somebody is renamed in a place of their own, somebody is deleted, somebody is new. Gives the
    /// names of the first two.
    fn use_phone(&self) -> Result<(String, String), Failure> {
        let names = self.names();
        let [(first, edited), (second, deleted), ..] = names.as_slice() else {
            return Err("the phone has too few people".into());
        };
        self.phone.sync().edit(&CONTACTS, first, |record| {
            record.attributes.insert("job title".to_owned(), "Captain".into());
        });
        self.phone.sync().delete(&CONTACTS, second);
        let new = Record::new(entity::CONTACT)
            .with("first name", "Hedy")
            .with("last name", "Example");
        self.phone
            .sync()
            .add(&CONTACTS, new.with("display as company", "person"));
        Ok((edited.clone(), deleted.clone()))
    }

    /// Every person of the phone has a card, and every card a person.
    fn compare(&self, folder: &Path) -> Result<(), Failure> {
        let cards = fs::read_dir(folder)?.filter_map(Result::ok);
        let cards = cards.filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.ends_with(".vcf") && !name.starts_with('.')
        });
        let cards = cards.count();
        match cards == self.people() {
            true => Ok(()),
            false => Err(format!("{} people and {cards} cards", self.people()).into()),
        }
    }
}

fn name(record: &Record) -> String {
    let text = |key: &str| {
        record
            .attributes
            .get(key)
            .and_then(|value| value.as_string())
            .unwrap_or_default()
    };
    format!("{} {}", text("first name"), text("last name"))
}

/// The card of somebody, with its file.
fn card_of(folder: &Path, name: &str) -> Result<Option<(std::path::PathBuf, String)>, Failure> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "vcf") {
            let card = fs::read_to_string(&path)?;
            if card.lines().any(|line| line == format!("FN:{name}")) {
                return Ok(Some((path, card)));
            }
        }
    }
    Ok(None)
}

/// What another program does to a card: a line more, written anew and put in its place.
fn edit_card(folder: &Path, name: &str, line: &str) -> Result<(), Failure> {
    let (path, card) = card_of(folder, name)?.ok_or_else(|| format!("{name} has no card"))?;
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, card.replace("END:VCARD", &format!("{line}\r\nEND:VCARD")))?;
    Ok(fs::rename(temporary, path)?)
}
