//! Spec mobilesync 15.9, no. 1 and 2: a plan is a pure function, and a merge has the algebra that people expect of one.

use proptest::prelude::*;

use super::*;

const KEYS: [&str; 4] = ["notes", "nickname", "department", "job title"];

/// A person's fields, each of a few values or absent.
fn fields() -> impl Strategy<Value = [Option<u8>; 4]> {
    proptest::array::uniform4(proptest::option::of(0..3_u8))
}

fn people() -> impl Strategy<Value = Vec<[Option<u8>; 4]>> {
    proptest::collection::vec(fields(), 1..6)
}

fn told(people: &[[Option<u8>; 4]]) -> Told {
    const IDS: [&str; 6] = ["1", "2", "3", "4", "5", "6"];
    let one = |(id, fields): (&&'static str, &[Option<u8>; 4])| {
        let values = KEYS
            .iter()
            .zip(fields)
            .filter_map(|(key, value)| Some((*key, (*value)?)));
        let named = person(&format!("Person {id}"));
        (
            *id,
            values.fold(named, |record, (key, value)| record.with(key, format!("value {value}"))),
        )
    };
    IDS.iter().zip(people).map(one).collect()
}

/// Two sides that hold everything, so that nothing but the values decides.
fn equal_sides(session: u8, policy: &Policy) -> Inputs {
    let mut inputs = inputs(session, policy);
    inputs.capabilities = Sides {
        device: Capabilities::of_files(),
        computer: Capabilities::of_files(),
    };
    inputs
}

fn merged(base: &Told, device: &Told, computer: &Told, policy: &Policy) -> Planned {
    let first = plan(
        PairState::new(DataClass::Contacts),
        reports(Standing::Own, base, base),
        &equal_sides(1, &merge()),
    );
    assert!(first.plan().is_empty());
    let state = Execution::new(first).into_state(0);
    plan(state, reports(Standing::Own, device, computer), &equal_sides(2, policy))
}

fn writes(planned: &Planned, side: Side) -> Vec<(Verb, String, String)> {
    let actions = planned.plan().actions.get(side).iter();
    let mut writes: Vec<_> = actions
        .map(|one| (one.verb, one.title(), one.groups().join(" ")))
        .collect();
    writes.sort();
    writes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_same_inputs_give_the_same_bytes(base in people(), device in people(), computer in people()) {
        let all = [base, device, computer].map(|people| told(&people));
        let one = || merged(&all[0], &all[1], &all[2], &merge());
        prop_assert_eq!(one().plan().to_json(), one().plan().to_json());
        let after = |planned| Execution::new(planned).into_state(7);
        prop_assert_eq!(after(one()), after(one()));
    }

    #[test]
    fn one_sides_edits_go_to_the_other_and_the_same_edit_on_both_is_none(base in people(), edited in people()) {
        let (base, edited) = (told(&base), told(&edited));
        let taken = merged(&base, &edited, &base, &merge());
        prop_assert!(taken.plan().actions.device.is_empty(), "{}", taken.plan());
        prop_assert_eq!(taken.plan().conflicts().count(), 0);
        let (_, written) = carry_out(taken);
        let mut computer: std::collections::BTreeMap<String, Record> =
            base.iter().map(|(id, record)| ((*id).to_owned(), record.clone())).collect();
        for (id, change) in written.computer {
            match change {
                Change::Upsert(record) => drop(computer.insert(id, record)),
                Change::Delete => drop(computer.remove(&id)),
            }
        }
        let values = |record: &Record| -> std::collections::BTreeMap<String, String> {
            let all = record.attributes.iter();
            all.map(|(key, value)| (key.clone(), format!("{value:?}"))).collect()
        };
        let mut has: Vec<_> = computer.values().map(values).collect();
        let mut wants: Vec<_> = edited.iter().map(|(_, record)| values(record)).collect();
        has.sort();
        wants.sort();
        prop_assert_eq!(has, wants);
        let both = merged(&base, &edited, &edited, &merge());
        prop_assert!(both.plan().is_empty(), "{}", both.plan());
    }

    #[test]
    fn exchanging_the_sides_exchanges_the_plan(base in people(), device in people(), computer in people()) {
        let all = [base, device, computer].map(|people| told(&people));
        for (policy, mirrored) in [
            (OnConflict::Defer, OnConflict::Defer),
            (OnConflict::Computer, OnConflict::Device),
            (OnConflict::Device, OnConflict::Computer),
        ] {
            let one = merged(&all[0], &all[1], &all[2], &merge().on_conflict(policy));
            let other = merged(&all[0], &all[2], &all[1], &merge().on_conflict(mirrored));
            for side in Side::BOTH {
                prop_assert_eq!(writes(&one, side), writes(&other, side.other()), "{} {}", one.plan(), other.plan());
            }
            let conflicts = |planned: &Planned| {
                let all = planned.plan().conflicts().map(|(_, group, _)| group.to_owned());
                let mut all: Vec<String> = all.collect();
                all.sort();
                all
            };
            prop_assert_eq!(conflicts(&one), conflicts(&other));
        }
    }

    #[test]
    fn set_merges_commute(before in 0..64_u8, device in 0..64_u8, computer in 0..64_u8) {
        const IDS: [&str; 6] = ["1", "2", "3", "4", "5", "6"];
        let with = |members: u8| -> Told {
            let all = (0..).zip(IDS).filter(|(bit, _)| members >> bit & 1 == 1).map(|(_, id)| Value::from(id));
            let group = Record::new(entity::GROUP).with("name", "Friends").with("members", Value::Array(all.collect()));
            let mut told: Told = IDS.iter().map(|id| (*id, person(id))).collect();
            told.push(("g", group));
            told
        };
        let members = |device: u8, computer: u8, side: Side| -> u8 {
            let (_, written) = carry_out(merged(&with(before), &with(device), &with(computer), &merge()));
            let known = if side == Side::Device { device } else { computer };
            written.get(side).iter().fold(known, |_, (_, change)| match change {
                Change::Upsert(group) => group.related("members").unwrap_or_default().iter().fold(0, |all, id| {
                    all | 1 << (id.as_str().parse::<u8>().unwrap() - 1)
                }),
                Change::Delete => unreachable!("no group was deleted"),
            })
        };
        let wanted = ((before & device & computer) | (device & !before) | (computer & !before)) & !(before & !(device & computer));
        for side in Side::BOTH {
            prop_assert_eq!(members(device, computer, side), wanted);
            prop_assert_eq!(members(computer, device, side), wanted);
        }
    }
}
