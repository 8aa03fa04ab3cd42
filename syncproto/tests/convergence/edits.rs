//! What people do on a side.

use cabled_syncproto::record::Record;
use cabled_syncproto::{DataClass, entity};
use cabled_wire::plist::Value;

use crate::store::{Store, day, forget_members, lossy, refs, related, remove, text};
use crate::world::World;

fn of(store: &Store, name: &str) -> Vec<String> {
    let all = store
        .iter()
        .filter(|(_, record)| record.entity.as_deref() == Some(name));
    all.map(|(id, _)| id.clone()).collect()
}

fn set(store: &mut Store, id: &str, key: &str, value: impl Into<Value>) {
    store
        .get_mut(id)
        .unwrap()
        .attributes
        .insert(key.to_owned(), value.into());
}

impl World {
    pub(crate) fn fresh(&mut self, what: &str) -> String {
        self.values += 1;
        format!("{what} {}", self.values)
    }

    /// A person does something on a side; `None` is the device.
    pub(crate) fn edit(&mut self, host: Option<usize>) {
        let mut store = match host {
            Some(host) => std::mem::take(&mut self.hosts[host].store),
            None => std::mem::take(&mut self.device.store),
        };
        let touched = self.edit_in(&mut store, host);
        match host {
            Some(host) => self.hosts[host].store = store,
            None => {
                for record in store.values_mut() {
                    lossy(&self.device.mask, record);
                }
                for gone in touched.iter().filter(|id| !store.contains_key(*id)) {
                    if let Some(was) = self.device.store_before.get(gone).filter(|_| self.device.reuses) {
                        let was = was.entity.clone().unwrap();
                        self.device.free.push((was, gone.clone()));
                    }
                }
                self.device.store_before = store.clone();
                self.device.store = store;
                self.device.changed.extend(touched);
            }
        }
    }

    fn new_id(&mut self, host: Option<usize>, entity: &str) -> String {
        match host {
            Some(host) => self.fresh(&format!("file{host}-")),
            None => {
                let root = matches!(entity, entity::CONTACT | entity::BOOKMARK | entity::EVENT);
                let free = self.device.free.iter().position(|(was, _)| root && was == entity);
                if let Some(at) = free {
                    return self.device.free.remove(at).1;
                }
                self.device.next += 1;
                self.device.next.to_string()
            }
        }
    }

    fn add(&mut self, store: &mut Store, host: Option<usize>, record: Record) -> Vec<String> {
        let new = self.new_id(host, record.entity.as_deref().unwrap());
        store.insert(new.clone(), record);
        vec![new]
    }

    fn edit_in(&mut self, store: &mut Store, host: Option<usize>) -> Vec<String> {
        let (root, container) = match self.class {
            DataClass::Contacts => (entity::CONTACT, entity::GROUP),
            DataClass::Bookmarks => (entity::BOOKMARK, entity::FOLDER),
            _ => (entity::EVENT, entity::CALENDAR),
        };
        let (roots, containers) = (of(store, root), of(store, container));
        match self.random.below(10) {
            0..=2 => self.add_root(store, host, &containers),
            3 | 4 => self.edit_root(store, host, &roots),
            5 if !self.calm => {
                let list = if self.random.one_in(4) { &containers } else { &roots };
                let Some(one) = self.random.pick(list) else {
                    return Vec::new();
                };
                let mut gone = remove(store, &one);
                gone.extend(forget_members(store, &gone));
                gone
            }
            6 if self.class == DataClass::Contacts => self.phone(store, host, &roots),
            6 | 9 if self.class == DataClass::Calendars => self.part(store, host, &roots),
            7 => {
                let key = if container == entity::CALENDAR { "title" } else { "name" };
                let name = self.fresh(container);
                self.add(store, host, Record::new(container).with(key, name))
            }
            8 => self.regroup(store, &roots, &containers),
            _ if self.class == DataClass::Bookmarks => {
                let Some(one) = self.random.pick(&roots) else {
                    return Vec::new();
                };
                set(store, &one, "position", i64::try_from(self.random.below(8)).unwrap());
                vec![one]
            }
            _ => Vec::new(),
        }
    }

    fn add_root(&mut self, store: &mut Store, host: Option<usize>, containers: &[String]) -> Vec<String> {
        let here = if host.is_some() { "c" } else { "d" };
        let name = self.fresh("Name");
        let record = match self.class {
            DataClass::Contacts if self.device.reuses => Record::new(entity::CONTACT).with("first name", name),
            DataClass::Contacts => Record::new(entity::CONTACT)
                .with("first name", name)
                .with("company name", format!("{here} works")),
            DataClass::Bookmarks => {
                let parent = self.random.pick(containers).filter(|_| self.random.one_in(2));
                let record = Record::new(entity::BOOKMARK)
                    .with("name", name)
                    .with("url", format!("https://{}.example/", self.values))
                    .with("position", i64::try_from(self.random.below(6)).unwrap());
                parent
                    .into_iter()
                    .fold(record, |record, parent| record.with("parent", refs(&[parent])))
            }
            _ => {
                let Some(calendar) = self.random.pick(containers) else {
                    return self.add(store, host, Record::new(entity::CALENDAR).with("title", name));
                };
                let start = self.values * 3;
                Record::new(entity::EVENT)
                    .with("summary", name)
                    .with("start date", day(start))
                    .with("end date", day(start + 1))
                    .with("calendar", refs(&[calendar]))
            }
        };
        self.add(store, host, record)
    }

    fn edit_root(&mut self, store: &mut Store, host: Option<usize>, roots: &[String]) -> Vec<String> {
        let Some(one) = self.random.pick(roots) else {
            return Vec::new();
        };
        let here = if host.is_some() { "c" } else { "d" };
        let key = match self.class {
            DataClass::Contacts => ["notes", "nickname", "department"][self.random.below(3)],
            DataClass::Bookmarks => ["name", "url"][self.random.below(2)],
            _ => ["location", "description", "start date", "exception dates"][self.random.below(4)],
        };
        let contacts = self.class == DataClass::Contacts;
        let unique = text(&store[&one], "first name").unwrap_or_default().to_owned();
        let mine = text(&store[&one], "company name") == Some(&format!("{here} works"));
        if self.calm && !(mine && contacts && key == "notes") {
            return Vec::new();
        }
        let value = self.fresh("Value");
        match key {
            "start date" => {
                set(store, &one, key, day(self.values * 3));
                set(store, &one, "end date", day(self.values * 3 + 2));
            }
            "exception dates" => {
                let known = store[&one].attributes.get(key).and_then(Value::as_array);
                let mut dates = known.cloned().unwrap_or_default();
                if dates.len() > 1 && self.random.one_in(2) {
                    dates.remove(0);
                } else {
                    dates.push(day(self.values));
                }
                set(store, &one, key, Value::Array(dates));
            }
            _ => set(store, &one, key, value.as_str()),
        }
        if self.calm {
            self.expected.insert(unique, value.to_lowercase());
        }
        vec![one]
    }

    fn phone(&mut self, store: &mut Store, host: Option<usize>, roots: &[String]) -> Vec<String> {
        let phones = of(store, entity::PHONE_NUMBER);
        let change = self.random.one_in(2) && !self.calm;
        self.values += 1;
        let number = format!("555{:07}", self.values);
        if let (Some(phone), true) = (self.random.pick(&phones), change) {
            if self.random.one_in(2) {
                store.remove(&phone);
            } else {
                set(store, &phone, "value", number);
            }
            return vec![phone];
        }
        let Some(one) = self.random.pick(roots) else {
            return Vec::new();
        };
        let phone = Record::new(entity::PHONE_NUMBER)
            .with("contact", refs(&[one]))
            .with("value", number);
        self.add(store, host, phone)
    }

    /// An alarm, a guest, a rule, or an occurrence that is not like the others.
    fn part(&mut self, store: &mut Store, host: Option<usize>, roots: &[String]) -> Vec<String> {
        let Some(event) = self.random.pick(roots) else {
            return Vec::new();
        };
        self.values += 1;
        let number = i64::try_from(self.values).unwrap();
        let owner = refs(std::slice::from_ref(&event));
        let kinds = [
            entity::DISPLAY_ALARM,
            entity::ATTENDEE,
            entity::RECURRENCE,
            entity::EVENT,
        ];
        let kind = kinds[self.random.below(4)];
        let parts: Vec<String> = of(store, kind)
            .into_iter()
            .filter(|id| related(&store[id], "owner").contains(&event))
            .collect();
        let known = self
            .random
            .pick(&parts)
            .filter(|_| kind == entity::RECURRENCE || self.random.one_in(2));
        match (kind, known) {
            (_, Some(part)) if self.random.one_in(2) && !self.calm => {
                store.remove(&part);
                vec![part]
            }
            (_, Some(_)) if self.calm => Vec::new(),
            (entity::DISPLAY_ALARM, Some(part)) => {
                set(store, &part, "triggerduration", -number);
                vec![part]
            }
            (entity::ATTENDEE, Some(part)) => {
                set(store, &part, "common name", format!("Guest {number}"));
                vec![part]
            }
            (entity::RECURRENCE, Some(part)) => {
                set(store, &part, "interval", 2 + number);
                vec![part]
            }
            (entity::DISPLAY_ALARM, None) => {
                let alarm = Record::new(kind).with("owner", owner).with("triggerduration", -number);
                self.add(store, host, alarm.with("description", "soon"))
            }
            (entity::ATTENDEE, None) => {
                let guest = Record::new(kind).with("owner", owner);
                self.add(store, host, guest.with("email", format!("guest{number}@example.org")))
            }
            (entity::RECURRENCE, None) => {
                let rule = Record::new(kind).with("owner", owner).with("frequency", "weekly");
                self.add(store, host, rule.with("interval", 2 + number))
            }
            _ => self.detach(store, host, &event),
        }
    }

    fn detach(&mut self, store: &mut Store, host: Option<usize>, event: &str) -> Vec<String> {
        let series = &store[event];
        if series.attributes.get("main event").is_some() {
            return Vec::new();
        }
        let calendar = related(series, "calendar");
        let name = self.fresh("Occurrence");
        let occurrence = Record::new(entity::EVENT)
            .with("summary", name)
            .with("start date", day(self.values * 3))
            .with("end date", day(self.values * 3 + 1))
            .with("original date", day(self.values * 3))
            .with("calendar", refs(&calendar))
            .with("main event", refs(&[event.to_owned()]));
        self.add(store, host, occurrence)
    }

    /// A member comes or goes; a folder, bookmark or event moves, never into itself here, but two sides together may manage.
    fn regroup(&mut self, store: &mut Store, roots: &[String], containers: &[String]) -> Vec<String> {
        let Some(group) = self.random.pick(containers) else {
            return Vec::new();
        };
        match self.class {
            DataClass::Contacts => {
                let mut members = related(&store[&group], "members");
                match self.random.pick(&members).filter(|_| self.random.one_in(2)) {
                    Some(out) => members.retain(|member| *member != out),
                    None => members.extend(self.random.pick(roots)),
                }
                members.sort();
                members.dedup();
                set(store, &group, "members", refs(&members));
                vec![group]
            }
            DataClass::Bookmarks => {
                let all: Vec<String> = store.keys().cloned().collect();
                let Some(one) = self.random.pick(&all) else {
                    return Vec::new();
                };
                let mut above = Some(group.clone());
                while let Some(at) = above {
                    if at == one {
                        return Vec::new();
                    }
                    above = store
                        .get(&at)
                        .and_then(|record| related(record, "parent").first().cloned());
                }
                set(store, &one, "parent", refs(&[group]));
                vec![one]
            }
            _ => {
                let Some(one) = self.random.pick(roots) else {
                    return Vec::new();
                };
                set(store, &one, "calendar", refs(&[group]));
                vec![one]
            }
        }
    }
}
