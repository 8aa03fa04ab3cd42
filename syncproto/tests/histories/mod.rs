//! States as sessions leave them: two sides that are edited at random, with skips, refusals, conflicts and deletions.

#[path = "../schedules/random.rs"]
mod random;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use cabled_syncproto::engine::{
    Brakes, EngineId, Execution, Extent, FirstSync, Inputs, OnConflict, Outcome, PairState, Policy, Report, Reports,
    SessionId, Side, Sides, Standing, plan,
};
use cabled_syncproto::record::{Change, Changes, Record, RecordId};
use cabled_syncproto::{DataClass, entity};
use cabled_wire::plist::{Date, Dictionary, Uid, Value};
pub(crate) use random::Random;

type Records = BTreeMap<String, Record>;

pub(crate) fn id(text: &str) -> RecordId {
    RecordId::new(text).unwrap()
}

/// A value of a kind that `number` picks.
pub(crate) fn value(number: u64) -> Value {
    match number % 12 {
        0 => Value::from(format!("text {number}")),
        1 => Value::from(-i64::try_from(number).unwrap()),
        2 => Value::from(u64::MAX - number),
        3 => Value::from(number.is_multiple_of(24)),
        4 => Value::Real(0.25),
        5 => Value::Date(Date::from(SystemTime::UNIX_EPOCH + Duration::new(number, 5))),
        6 => Value::Date(Date::from(SystemTime::UNIX_EPOCH - Duration::new(number, 250))),
        7 => Value::Data(vec![7; 100]),
        8 => Value::Uid(Uid::new(number)),
        9 => Value::Array(vec![value(number / 12), "ü".into()]),
        10 => Value::Dictionary(Dictionary::from_iter([("inner".to_owned(), value(number / 12))])),
        _ => Value::from(""),
    }
}

fn edit(random: &mut Random, side: &mut Records, here: &str, count: &mut u64) {
    *count += 1;
    let keys: Vec<String> = side.keys().cloned().collect();
    let any = keys.get(random.below(keys.len().max(1)));
    match (random.below(6), any) {
        (0 | 1, _) | (_, None) => {
            let name = format!("{here}{count}");
            let person = Record::new(entity::CONTACT)
                .with("first name", name.as_str())
                .with("image", Value::Data(vec![u8::try_from(*count % 256).unwrap(); 300]));
            side.insert(name.clone(), person);
            let phone = Record::new(entity::PHONE_NUMBER)
                .with("type", "mobile")
                .with("value", format!("555 {count}"))
                .with("contact", Value::Array(vec![name.as_str().into()]));
            side.insert(format!("{name}-1"), phone);
            let group = Record::new(entity::GROUP)
                .with("name", format!("Group {count}"))
                .with("members", Value::Array(vec![name.into(), "nobody".into()]));
            side.insert(format!("{here}g{count}"), group);
        }
        (2, Some(any)) => drop(side.remove(any)),
        (3, Some(any)) => {
            let record = side.get_mut(any).unwrap();
            record
                .attributes
                .insert(format!("residue {}", random.below(5)), value(*count));
        }
        (_, Some(any)) => {
            let record = side.get_mut(any).unwrap();
            record
                .attributes
                .insert("notes".to_owned(), format!("{here} {count}").into());
        }
    }
}

fn report(side: &Records) -> Changes {
    side.iter()
        .map(|(native, record)| (id(native), Change::Upsert(record.clone())))
        .collect()
}

/// A session that nothing stops.
fn unhindered(random: &mut Random) -> Inputs {
    let mut inputs = Inputs::new(SessionId(u128::from(random.next()).to_le_bytes()));
    let none = Brakes {
        deletions: 1_000_000,
        deletions_percent: 1_000_000,
        changes_percent: 1_000_000,
    };
    inputs.policy = Policy::default()
        .first_sync(FirstSync::Merge)
        .on_conflict(OnConflict::Defer)
        .brakes(none)
        .insist(true);
    inputs
}

/// The states after each of some sessions: what is known for certain, and what would be if the commit is in doubt.
pub(crate) fn states(seed: u64, sessions: u32) -> Vec<PairState> {
    let mut all = on(PairState::new(DataClass::Contacts), seed, sessions);
    let mut state = all.last().unwrap().clone();
    state.tokens.device = Some("device anchor".to_owned());
    state.tokens.computer = Some("ü".to_owned());
    state.build = Some("106/20A362".to_owned());
    state.replacing = true;
    state.not_accepted_percent = 12;
    let ids = state.conflicts().map(|(id, ..)| *id).collect();
    state.bisect = Some(cabled_syncproto::engine::Bisect {
        batch: 3,
        times: 2,
        size: 250,
        ids,
    });
    state.quarantined = vec![EngineId::from_bytes([6; 16])];
    all.push(state);
    all
}

/// The same behind a state, of whose records nothing is left on either side.
pub(crate) fn on(mut state: PairState, seed: u64, sessions: u32) -> Vec<PairState> {
    let mut random = Random(seed);
    let mut sides: Sides<Records> = Sides::default();
    let mut all = vec![state.clone()];
    let mut count = 0;
    for session in 0..sessions {
        for side in Side::BOTH {
            for _ in 0..=random.below(8) {
                edit(
                    &mut random,
                    sides.get_mut(side),
                    if side == Side::Device { "d" } else { "c" },
                    &mut count,
                );
            }
        }
        let told = Report::new(Extent::Everything, Standing::Own);
        let mut reports = Reports::new(told.clone(), told);
        for side in Side::BOTH {
            reports.add(side, report(sides.get(side)));
        }
        let inputs = unhindered(&mut random);
        let mut execution = Execution::new(plan(state, reports, &inputs));
        for side in Side::BOTH {
            while let Some(batch) = execution.next_batch(side) {
                let mut outcomes = Vec::new();
                for write in batch.writes {
                    let native = if side == Side::Device && write.new {
                        count += 1;
                        id(&count.to_string())
                    } else {
                        write.id.clone()
                    };
                    let (applied, outcome) = match random.below(8) {
                        0 => (false, Outcome::NotAccepted),
                        // A device says that it took it, and did not.
                        1 if side == Side::Device => (
                            false,
                            Outcome::Done {
                                native: Some(native.clone()),
                            },
                        ),
                        _ => (
                            true,
                            Outcome::Done {
                                native: write.new.then(|| native.clone()),
                            },
                        ),
                    };
                    match write.change {
                        Change::Upsert(record) if applied => {
                            sides.get_mut(side).insert(native.as_str().to_owned(), record);
                        }
                        Change::Delete if applied => drop(sides.get_mut(side).remove(native.as_str())),
                        _ => {}
                    }
                    outcomes.push((write.engine, outcome));
                }
                execution.handle_outcomes(side, outcomes);
            }
        }
        let now = u64::from(session) * 1000;
        all.push(execution.doubtful_state(now));
        state = execution.state(now);
        all.push(state.clone());
    }
    all
}

/// After the first session of two sides that have the same contacts, with four parts each.
pub(crate) fn large(contacts: usize) -> PairState {
    let parts = [
        (entity::PHONE_NUMBER, "+49 30 1234"),
        (entity::PHONE_NUMBER, "+49 171 555"),
        (entity::EMAIL_ADDRESS, "person@example.org "),
        (entity::URL, "https://www.example.org/"),
    ];
    let side = |prefix: &str| -> Changes {
        let mut changes = Changes::new();
        for number in 0..contacts {
            let name = format!("{prefix}{number}");
            let person = Record::new(entity::CONTACT)
                .with("first name", format!("First {number}"))
                .with("last name", format!("Last {number}"))
                .with("company name", "A Company of some length")
                .with("notes", "met at a conference");
            changes.insert(id(&name), Change::Upsert(person));
            for (at, (entity, value)) in parts.iter().enumerate() {
                let part = Record::new(entity)
                    .with("type", "home")
                    .with("value", format!("{value}{number}"))
                    .with("contact", Value::Array(vec![name.as_str().into()]));
                changes.insert(id(&format!("{name}/{at}")), Change::Upsert(part));
            }
        }
        changes
    };
    let told = Report::new(Extent::Everything, Standing::Own);
    let mut reports = Reports::new(told.clone(), told);
    reports.add(Side::Device, side(""));
    reports.add(Side::Computer, side("0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9-"));
    let mut inputs = Inputs::new(SessionId([7; 16]));
    inputs.policy = Policy::default().first_sync(FirstSync::Merge);
    Execution::new(plan(PairState::new(DataClass::Contacts), reports, &inputs)).state(0)
}

/// States of many contacts, each after a session that changed few of them and little of the computer's token.
pub(crate) fn grown(contacts: usize, seed: u64, sessions: u32) -> Vec<PairState> {
    let mut random = Random(seed);
    let mut all = vec![large(contacts)];
    for session in 0..sessions {
        let edits = session % 3 + 1;
        let mut state = edited(all.last().unwrap().clone(), contacts, edits, &mut random);
        let line = |number| format!("card {number} of {}\n", if number == session { 1 } else { 0 });
        state.tokens.computer = (session % 5 > 0).then(|| (0..30).map(line).collect());
        all.push(state);
    }
    all
}

/// A state of [`large`] after a session in which the device told some edits and deletions.
pub(crate) fn edited(state: PairState, contacts: usize, edits: u32, random: &mut Random) -> PairState {
    let told = Report::new(Extent::Changes, Standing::Own);
    let mut reports = Reports::new(told.clone(), told);
    let (session, beyond) = (state.sessions, contacts + 3);
    let edit = |_| {
        let native = id(&random.below(beyond).to_string());
        let edited = Record::new(entity::CONTACT).with("first name", format!("Edited {session}"));
        match random.below(4) {
            0 => (native, Change::Delete),
            _ => (native, Change::Upsert(edited)),
        }
    };
    reports.add(Side::Device, (0..edits).map(edit).collect());
    let inputs = unhindered(random);
    let mut execution = Execution::new(plan(state, reports, &inputs));
    for side in Side::BOTH {
        while let Some(batch) = execution.next_batch(side) {
            let done = batch.writes.into_iter().map(|write| {
                let native = write.new.then_some(write.id);
                (write.engine, Outcome::Done { native })
            });
            execution.handle_outcomes(side, done.collect::<Vec<_>>());
        }
    }
    execution.into_state(session.into())
}
