//! The merge engine, rule by rule. Spec: mobilesync, sections 15.3 to 15.5.
#![expect(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "test code")]

mod algebra;
mod arrived;
mod broken;
mod guards;
mod lines;
mod memberships;
mod pushes;
mod selections;

use cabled_syncproto::engine::{
    Capabilities, Direction, Execution, Extent, FirstSync, Inputs, OnConflict, OnDeleteEdit, Outcome, PairState,
    Planned, Policy, PolicyError, Report, Reports, SessionId, Side, Sides, Standing, Stop, Verb, plan,
};
use cabled_syncproto::record::{Change, Changes, Record, RecordId};
use cabled_syncproto::{DataClass, entity};
use cabled_wire::plist::Value;

type Told = Vec<(&'static str, Record)>;

fn person(name: &str) -> Record {
    Record::new(entity::CONTACT)
        .with("first name", name)
        .with("company name", "Example")
}

fn changes(told: &Told) -> Changes {
    told.iter()
        .map(|(id, record)| (RecordId::new(*id).unwrap(), Change::Upsert(record.clone())))
        .collect()
}

fn reports(standing: Standing, device: &Told, computer: &Told) -> Reports {
    let mut reports = Reports::new(
        Report::new(Extent::Everything, standing),
        Report::new(Extent::Everything, Standing::Own),
    );
    reports.add(Side::Device, changes(device));
    reports.add(Side::Computer, changes(computer));
    reports
}

fn inputs(session: u8, policy: &Policy) -> Inputs {
    let mut inputs = Inputs::new(SessionId([session; 16]));
    inputs.policy = policy.clone();
    inputs.capabilities.device = Capabilities::of_devices().confirms(true);
    inputs
}

fn merge() -> Policy {
    Policy::default().first_sync(FirstSync::Merge)
}

/// A state in which both sides agree on the records.
fn agreed(class: DataClass, device: &Told, computer: &Told) -> PairState {
    let planned = plan(
        PairState::new(class),
        reports(Standing::Own, device, computer),
        &inputs(1, &merge()),
    );
    assert!(planned.plan().is_empty(), "{}", planned.plan());
    Execution::new(planned).state(0)
}

fn planned(state: PairState, device: &Told, computer: &Told, policy: &Policy) -> Planned {
    plan(state, reports(Standing::Own, device, computer), &inputs(2, policy))
}

/// Carries everything out and gives the state and what each side was written.
fn carry_out(planned: Planned) -> (PairState, Sides<Vec<(String, Change)>>) {
    let mut execution = Execution::new(planned);
    let mut written = Sides::<Vec<(String, Change)>>::default();
    for side in Side::BOTH {
        while let Some(batch) = execution.next_batch(side) {
            let done = |new: bool, id: &RecordId| Outcome::Done {
                native: new.then(|| id.clone()),
            };
            let outcomes: Vec<_> = batch
                .writes
                .iter()
                .map(|write| (write.engine, done(write.new, &write.id)))
                .collect();
            execution.handle_outcomes(side, outcomes);
            written.get_mut(side).extend(
                batch
                    .writes
                    .into_iter()
                    .map(|write| (write.id.to_string(), write.change)),
            );
        }
    }
    (execution.state(0), written)
}

fn value<'a>(change: &'a Change, key: &str) -> Option<&'a str> {
    match change {
        Change::Upsert(record) => record.attributes.get(key).and_then(Value::as_string),
        Change::Delete => None,
    }
}

#[test]
fn the_same_input_gives_the_same_plan_byte_by_byte() {
    let (device, computer) = (
        vec![("1", person("Ann"))],
        vec![("b", person("Bo")), ("c", person("Cy"))],
    );
    let one = || planned(PairState::new(DataClass::Contacts), &device, &computer, &merge());
    assert_eq!(one().plan().to_json(), one().plan().to_json());
    assert_eq!(one().plan().hash(), one().plan().hash());
}

#[test]
fn edits_of_different_fields_merge_and_swapping_the_sides_swaps_the_plan() {
    let before = vec![("1", person("Ann"))];
    let left = vec![("1", person("Ann").with("notes", "left"))];
    let right = vec![("1", person("Ann").with("nickname", "right"))];
    let state = agreed(DataClass::Contacts, &before, &before);
    let one = planned(state.clone(), &left, &right, &merge());
    let other = planned(state, &right, &left, &merge());
    for side in Side::BOTH {
        let groups = |planned: &Planned, side| {
            planned
                .plan()
                .actions
                .get(side)
                .iter()
                .map(|action| action.groups().join(" "))
                .collect::<Vec<_>>()
        };
        assert_eq!(groups(&one, side), groups(&other, side.other()));
        assert_eq!(groups(&one, side).len(), 1);
    }
    let (_, written) = carry_out(one);
    assert_eq!(value(&written.device[0].1, "nickname"), Some("right"));
    assert_eq!(value(&written.device[0].1, "notes"), Some("left"));
    assert_eq!(written.device[0].1, written.computer[0].1);
}

#[test]
fn an_untouched_conflict_never_asks_or_writes_again_and_the_next_edit_closes_it() {
    let before = vec![("1", person("Ann"))];
    let left = vec![("1", person("Ann").with("notes", "left"))];
    let right = vec![("1", person("Ann").with("notes", "right"))];
    let first = planned(agreed(DataClass::Contacts, &before, &before), &left, &right, &merge());
    assert!(first.plan().is_empty());
    assert_eq!(first.plan().conflicts().count(), 1);
    let (state, _) = carry_out(first);
    assert_eq!(state.conflicts().count(), 1);
    let again = planned(state.clone(), &left, &right, &merge());
    assert_eq!((again.plan().is_empty(), again.plan().conflicts().count()), (true, 0));
    let edited = vec![("1", person("Ann").with("notes", "settled"))];
    let (state, written) = carry_out(planned(state, &edited, &right, &merge()));
    assert_eq!(value(&written.computer[0].1, "notes"), Some("settled"));
    assert_eq!(state.conflicts().count(), 0);
}

#[test]
fn the_policy_says_who_wins_a_conflict() {
    let before = vec![("1", person("Ann"))];
    let left = vec![("1", person("Ann").with("notes", "left"))];
    let right = vec![("1", person("Ann").with("notes", "right"))];
    for (policy, loser, wins) in [
        (OnConflict::Computer, Side::Device, "right"),
        (OnConflict::Device, Side::Computer, "left"),
    ] {
        let state = agreed(DataClass::Contacts, &before, &before);
        let (_, written) = carry_out(planned(state, &left, &right, &merge().on_conflict(policy)));
        assert_eq!(value(&written.get(loser)[0].1, "notes"), Some(wins));
        assert!(written.get(loser.other()).is_empty());
    }
}

#[test]
fn a_deletion_against_an_edit_of_any_part_is_a_conflict() {
    let phone = |number: &str| {
        Record::new(entity::PHONE_NUMBER)
            .with("contact", Value::Array(vec!["1".into()]))
            .with("value", number)
    };
    let before = vec![("1", person("Ann")), ("p", phone("5550100"))];
    let edited = vec![("1", person("Ann")), ("p", phone("5550199"))];
    let state = agreed(DataClass::Contacts, &before, &before);
    let kept = planned(state.clone(), &Told::new(), &edited, &merge());
    assert_eq!(kept.plan().count(Side::Device, Verb::Create), 1, "{}", kept.plan());
    let gone = planned(
        state.clone(),
        &Told::new(),
        &edited,
        &merge().on_delete_edit(OnDeleteEdit::DeleteWins),
    );
    assert_eq!(gone.plan().count(Side::Computer, Verb::Delete), 1, "{}", gone.plan());
    let left = planned(
        state,
        &Told::new(),
        &edited,
        &merge().on_delete_edit(OnDeleteEdit::Defer),
    );
    assert!(left.plan().is_empty(), "{}", left.plan());
    let (state, _) = carry_out(left);
    assert!(planned(state, &Told::new(), &edited, &merge()).plan().is_empty());
}

#[test]
fn members_merge_as_sets() {
    let ids = |list: &[&str]| Value::Array(list.iter().map(|id| (*id).into()).collect());
    let with = |members: &[&str]| -> Told {
        let group = Record::new(entity::GROUP)
            .with("name", "Friends")
            .with("members", ids(members));
        vec![
            ("1", person("Ann")),
            ("2", person("Bo")),
            ("3", person("Cy")),
            ("g", group),
        ]
    };
    let state = agreed(DataClass::Contacts, &with(&["1", "2"]), &with(&["1", "2"]));
    let merged = planned(state, &with(&["2"]), &with(&["1", "2", "3"]), &merge());
    assert_eq!(merged.plan().conflicts().count(), 0);
    let (_, written) = carry_out(merged);
    for side in Side::BOTH {
        let Change::Upsert(group) = &written.get(side)[0].1 else {
            unreachable!()
        };
        let members = group.related("members").unwrap();
        assert_eq!(members.len(), 2, "{members:?}");
    }
}

#[test]
fn two_moves_that_make_a_ring_undo_the_devices() {
    let folder = |name: &str, parent: Option<&str>| {
        let folder = Record::new(entity::FOLDER).with("name", name);
        parent.into_iter().fold(folder, |folder, parent| {
            folder.with("parent", Value::Array(vec![parent.into()]))
        })
    };
    let before = vec![("a", folder("A", None)), ("b", folder("B", None))];
    let device = vec![("a", folder("A", Some("b"))), ("b", folder("B", None))];
    let computer = vec![("a", folder("A", None)), ("b", folder("B", Some("a")))];
    let state = agreed(DataClass::Bookmarks, &before, &before);
    let plan = planned(state, &device, &computer, &merge());
    let plan = plan.plan();
    assert!(plan.notes().any(|note| note.contains("moved into itself")), "{plan}");
    assert_eq!(plan.count(Side::Computer, Verb::Update), 0, "{plan}");
    assert_eq!(plan.count(Side::Device, Verb::Update), 2, "{plan}");
}

#[test]
fn a_folder_that_was_deleted_stays_for_what_was_added_to_it() {
    let inside = |name: &str| {
        Record::new(entity::BOOKMARK)
            .with("name", name)
            .with("url", format!("https://{name}.example"))
            .with("parent", Value::Array(vec!["f".into()]))
    };
    let before = vec![("f", Record::new(entity::FOLDER).with("name", "F")), ("x", inside("x"))];
    let mut added = before.clone();
    added.push(("y", inside("y")));
    let state = agreed(DataClass::Bookmarks, &before, &before);
    let plan = planned(state, &Told::new(), &added, &merge());
    let plan = plan.plan();
    assert_eq!(plan.count(Side::Device, Verb::Create), 2, "{plan}");
    assert_eq!(plan.count(Side::Computer, Verb::Delete), 1, "{plan}");
}

#[test]
fn an_update_says_which_groups_it_is_for_and_whether_the_picture_stays() {
    let with = |note: &str, image: u8| {
        vec![(
            "1",
            person("Ann")
                .with("notes", note)
                .with("image", Value::Data(vec![image; 40])),
        )]
    };
    let before = with("before", 1);
    let state = agreed(DataClass::Contacts, &before, &before);
    let write = |computer: &Told| {
        let mut execution = Execution::new(planned(state.clone(), &before, computer, &merge()));
        execution.next_batch(Side::Device).unwrap().writes.remove(0)
    };
    let note = write(&with("after", 1));
    assert_eq!(
        (note.groups.as_slice(), note.keeps_image()),
        (&["notes".to_owned()][..], true)
    );
    let picture = write(&with("before", 2));
    assert_eq!(
        (picture.groups.as_slice(), picture.keeps_image()),
        (&["image".to_owned()][..], false)
    );
    let new = write(&vec![before[0].clone(), ("2", person("Bo"))]);
    assert!(new.new && !new.keeps_image());
}

#[test]
fn notes_name_records_as_people_do() {
    let before = vec![("1", person("Ann"))];
    let left = vec![("1", person("Ann").with("notes", "left"))];
    let right = vec![("1", person("Ann").with("notes", "right"))];
    let planned = planned(agreed(DataClass::Contacts, &before, &before), &left, &right, &merge());
    let plan = planned.plan();
    let notes: Vec<String> = plan.notes().collect();
    assert_eq!(
        notes,
        ["Ann Example: notes was edited on both sides; each keeps its own"]
    );
    assert!(plan.to_string().contains("note: Ann Example: notes"), "{plan}");
    assert!(
        plan.to_json()
            .contains(r#""title":"Ann Example","note":"Ann Example: notes was"#),
        "{}",
        plan.to_json()
    );
    assert!(!format!("{plan:?}").contains("Ann"), "{plan:?}");
}
