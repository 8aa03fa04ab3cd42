//! The merge engine, rule by rule. Spec: mobilesync, sections 15.3 to 15.5.
#![expect(clippy::unwrap_used, reason = "test code")]

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
fn the_first_sync_asks_and_shows_what_a_merge_would_do() {
    let planned = planned(
        PairState::new(DataClass::Contacts),
        &vec![("1", person("Ann"))],
        &Told::new(),
        &Policy::default(),
    );
    assert_eq!(planned.plan().stops, [Stop::FirstSync]);
    assert_eq!(planned.plan().count(Side::Computer, Verb::Create), 1);
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
                .map(|action| action.groups.clone())
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
fn no_deletion_follows_from_a_reset_and_none_from_half_a_report() {
    let before = vec![("1", person("Ann")), ("2", person("Bo"))];
    let half = vec![("1", person("Ann"))];
    let state = agreed(DataClass::Contacts, &before, &before);
    let reset = plan(
        state.clone(),
        reports(Standing::Reset, &half, &before),
        &inputs(2, &merge()),
    );
    assert_eq!(reset.plan().count(Side::Computer, Verb::Delete), 0);
    assert_eq!(reset.plan().count(Side::Device, Verb::Create), 1);
    let mut told = reports(Standing::Own, &half, &before);
    let broken = told.get_mut(Side::Device).clone().complete(false);
    *told.get_mut(Side::Device) = broken;
    let incomplete = plan(state.clone(), told, &inputs(2, &merge()));
    assert!(incomplete.plan().is_empty());
    assert_eq!(incomplete.plan().stops, [Stop::Incomplete { side: Side::Device }]);
    let own = plan(state, reports(Standing::Own, &half, &before), &inputs(2, &merge()));
    assert_eq!(own.plan().count(Side::Computer, Verb::Delete), 1);
}

#[test]
fn an_erased_device_is_met_anew_and_nothing_is_deleted() {
    let before = vec![
        ("1", person("Ann").with("notes", "a")),
        ("2", Record::new(entity::CONTACT).with("first name", "Bo")),
    ];
    let other = vec![
        ("1", Record::new(entity::CONTACT).with("first name", "Zoe")),
        ("2", Record::new(entity::CONTACT).with("first name", "Yan")),
    ];
    let state = agreed(DataClass::Contacts, &before, &before);
    let met = plan(state, reports(Standing::Foreign, &other, &before), &inputs(2, &merge()));
    assert_eq!(met.plan().count(Side::Computer, Verb::Delete), 0, "{}", met.plan());
    assert_eq!(met.plan().count(Side::Computer, Verb::Create), 2, "{}", met.plan());
    assert_eq!(met.plan().count(Side::Device, Verb::Create), 2, "{}", met.plan());
}

#[test]
fn a_reused_row_number_is_a_deletion_and_a_new_record() {
    let before = vec![("1", Record::new(entity::CONTACT).with("first name", "Ann"))];
    let reused = vec![("1", Record::new(entity::CONTACT).with("first name", "Zoe"))];
    let state = agreed(DataClass::Contacts, &before, &before);
    let plan = planned(state, &reused, &before, &merge());
    let plan = plan.plan();
    assert_eq!(
        (
            plan.count(Side::Computer, Verb::Delete),
            plan.count(Side::Computer, Verb::Create)
        ),
        (1, 1),
        "{plan}"
    );
    assert!(plan.notes().any(|note| note.contains("assumption")));
}

#[test]
fn a_side_that_is_suddenly_empty_stops_and_so_do_many_deletions() {
    let names: Vec<String> = (0..30).map(|n| format!("Person {n}")).collect();
    let ids: Vec<&'static str> = (0..30).map(|n| &*format!("{n}").leak()).collect();
    let all: Told = ids.iter().zip(&names).map(|(id, name)| (*id, person(name))).collect();
    let state = agreed(DataClass::Contacts, &all, &all);
    let stops = planned(state.clone(), &Told::new(), &all, &merge())
        .plan()
        .stops
        .clone();
    assert!(
        stops.contains(&Stop::Emptied {
            side: Side::Device,
            had: 30
        }),
        "{stops:?}"
    );
    let fewer: Told = all.iter().skip(6).cloned().collect();
    let stops = planned(state.clone(), &fewer, &all, &merge()).plan().stops.clone();
    assert_eq!(
        stops,
        [Stop::Deletions {
            side: Side::Computer,
            deletions: 6,
            of: 30
        }]
    );
    let few: Told = all.iter().skip(4).cloned().collect();
    assert!(planned(state, &few, &all, &merge()).plan().stops.is_empty());
}

#[test]
fn doubles_stay_doubles_and_are_paired_one_to_one() {
    let twice = vec![("1", person("Ann")), ("2", person("Ann"))];
    let state = agreed(
        DataClass::Contacts,
        &twice,
        &vec![("a", person("Ann")), ("b", person("Ann"))],
    );
    assert_eq!(state.len(), 2);
    let once = planned(
        PairState::new(DataClass::Contacts),
        &twice,
        &vec![("a", person("Ann"))],
        &merge(),
    );
    assert_eq!(once.plan().count(Side::Computer, Verb::Create), 1);
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
fn export_writes_nothing_to_the_device() {
    let policy = merge().direction(Direction::Export);
    let plan = planned(
        PairState::new(DataClass::Contacts),
        &vec![("1", person("Ann"))],
        &vec![("b", person("Bo"))],
        &policy,
    );
    assert!(plan.plan().actions.device.is_empty());
    assert_eq!(plan.plan().withheld, 1);
}

#[test]
fn replacing_the_device_clears_it_and_sends_everything() {
    let policy = Policy::default().first_sync(FirstSync::ReplaceDevice);
    let plan = planned(
        PairState::new(DataClass::Contacts),
        &vec![("1", person("Ann"))],
        &vec![("b", person("Bo"))],
        &policy,
    );
    assert!(plan.plan().clear && plan.plan().stops.is_empty());
    assert_eq!(plan.plan().count(Side::Device, Verb::Create), 1);
    assert!(plan.plan().actions.computer.is_empty());
}

#[test]
fn newest_is_refused_where_records_carry_no_time() {
    let policy = Policy::default().on_conflict(OnConflict::Newest);
    assert_eq!(
        policy.check(&DataClass::Contacts),
        Err(PolicyError::NoTimes {
            class: DataClass::Contacts
        })
    );
    assert_eq!(policy.check(&DataClass::Notes), Ok(()));
}

#[test]
fn lines_of_a_card_are_paired_by_content_wherever_they_stand() {
    let phone = |owner: &str, number: &str| {
        Record::new(entity::PHONE_NUMBER)
            .with("contact", Value::Array(vec![owner.into()]))
            .with("value", number)
    };
    let device = vec![
        ("1", person("Ann")),
        ("p", phone("1", "5550100")),
        ("q", phone("1", "5550200")),
    ];
    let before = vec![
        ("a", person("Ann")),
        ("a/0", phone("a", "5550100")),
        ("a/1", phone("a", "5550200")),
    ];
    let mut inputs = inputs(1, &merge());
    inputs.capabilities.computer = Capabilities::of_files().nameless_children(true);
    let first = plan(
        PairState::new(DataClass::Contacts),
        reports(Standing::Own, &device, &before),
        &inputs,
    );
    assert!(first.plan().is_empty(), "{}", first.plan());
    let state = Execution::new(first).state(0);
    // The lines changed places, and one of them its number.
    let after = vec![
        ("a", person("Ann")),
        ("a/0", phone("a", "5550299")),
        ("a/1", phone("a", "5550100")),
    ];
    inputs.session = SessionId([2; 16]);
    let next = plan(state, reports(Standing::Own, &device, &after), &inputs);
    let actions = &next.plan().actions.device;
    assert_eq!(actions.len(), 1, "{}", next.plan());
    assert_eq!(
        (actions[0].verb, actions[0].native.as_deref()),
        (Verb::Update, Some("q"))
    );
    assert!(next.plan().actions.computer.is_empty(), "{}", next.plan());
}

/// Peak memory of this process in MiB, where the system tells.
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    line.unwrap_or("unknown").to_owned()
}

#[test]
#[ignore = "a measurement: says something only alone and optimised"]
fn fifty_thousand_contacts_are_planned_in_seconds() {
    let mut told = Vec::new();
    for n in 0..50_000 {
        told.push((n.to_string(), person(&format!("Person {n}"))));
        for (kind, what) in [
            (entity::PHONE_NUMBER, "p"),
            (entity::EMAIL_ADDRESS, "e"),
            (entity::URL, "u"),
        ] {
            let part = Record::new(kind).with("contact", Value::Array(vec![n.to_string().into()]));
            told.push((
                format!("{what}/{n}"),
                part.with("type", "home").with("value", format!("{what}555{n:07}")),
            ));
        }
    }
    let all = |standing| {
        let mut reports = Reports::new(
            Report::new(Extent::Everything, standing),
            Report::new(Extent::Everything, Standing::Own),
        );
        for (id, record) in &told {
            for side in Side::BOTH {
                let change = (RecordId::new(id.as_str()).unwrap(), Change::Upsert(record.clone()));
                reports.add(side, Changes::from_iter([change]));
            }
        }
        reports
    };
    let start = std::time::Instant::now();
    let reports = all(Standing::Own);
    println!("took in:    {:?}", start.elapsed());
    let start = std::time::Instant::now();
    let first = plan(PairState::new(DataClass::Contacts), reports, &inputs(1, &merge()));
    println!("first sync: {:?}, {}", start.elapsed(), peak());
    assert!(first.plan().is_empty());
    let state = Execution::new(first).state(0);
    assert_eq!(state.len(), 200_000);
    let reports = all(Standing::Own);
    let start = std::time::Instant::now();
    let slow = plan(state, reports, &inputs(2, &merge()));
    println!("slow sync:  {:?}, {}", start.elapsed(), peak());
    assert!(slow.plan().is_empty());
    let state = Execution::new(slow).state(0);
    let mut few = Reports::new(
        Report::new(Extent::Changes, Standing::Own),
        Report::new(Extent::Changes, Standing::Own),
    );
    few.add(
        Side::Device,
        Changes::from_iter([(RecordId::new("7").unwrap(), Change::Upsert(person("Somebody")))]),
    );
    let start = std::time::Instant::now();
    let fast = plan(state, few, &inputs(3, &merge()));
    println!("fast sync:  {:?}, {}", start.elapsed(), peak());
    assert_eq!(fast.plan().count(Side::Computer, Verb::Update), 1);
}

/// A folder of cards that tells only the files that changed.
fn card_files(session: u8) -> Inputs {
    let mut inputs = inputs(session, &merge());
    inputs.capabilities.computer = Capabilities::of_files().nameless_children(true);
    inputs
}

fn line(owner: &str, number: &str) -> Record {
    Record::new(entity::PHONE_NUMBER)
        .with("contact", Value::Array(vec![owner.into()]))
        .with("value", number)
}

/// Two people with two numbers each, known to both sides.
fn two_cards() -> (PairState, Told) {
    let device = vec![
        ("1", person("Ann")),
        ("p", line("1", "5550100")),
        ("q", line("1", "5550200")),
        ("2", person("Bo")),
        ("r", line("2", "5550300")),
        ("s", line("2", "5550400")),
    ];
    let computer = vec![
        ("a", person("Ann")),
        ("a/0", line("a", "5550100")),
        ("a/1", line("a", "5550200")),
        ("b", person("Bo")),
        ("b/0", line("b", "5550300")),
        ("b/1", line("b", "5550400")),
    ];
    let first = plan(
        PairState::new(DataClass::Contacts),
        reports(Standing::Own, &device, &computer),
        &card_files(1),
    );
    assert!(first.plan().is_empty(), "{}", first.plan());
    (Execution::new(first).state(0), device)
}

/// What follows when the computer tells only these, and the device that nothing changed.
fn changed_cards(state: PairState, told: Changes, session: u8) -> Planned {
    let changes = Report::new(Extent::Changes, Standing::Own);
    let mut reports = Reports::new(changes.clone(), changes);
    reports.add(Side::Computer, told);
    plan(state, reports, &card_files(session))
}

#[test]
fn a_card_that_is_told_brings_its_lines_anew_and_the_other_cards_keep_theirs() {
    let (state, _) = two_cards();
    // The first line went, the second got another number, one is new; their names moved up.
    let card = vec![
        ("a", person("Ann")),
        ("a/0", line("a", "5550299")),
        ("a/1", line("a", "5550200")),
    ];
    let next = changed_cards(state, changes(&card), 2);
    let writes: Vec<_> = next
        .plan()
        .actions
        .device
        .iter()
        .map(|one| (one.verb, one.native.as_deref()))
        .collect();
    assert_eq!(writes, [(Verb::Update, Some("p"))], "{}", next.plan());
    let (state, written) = carry_out(next);
    assert_eq!(value(&written.device[0].1, "value"), Some("5550299"));
    // The names of this report hold from now on, and those of the card that was not told still do.
    let of = |native: &str| {
        state
            .find(Side::Computer, native)
            .and_then(|id| state.native(&id).device.map(str::to_owned))
    };
    assert_eq!(of("a/0").as_deref(), Some("p"));
    assert_eq!(of("a/1").as_deref(), Some("q"));
    assert_eq!(of("b/0").as_deref(), Some("r"));
    // A line less is a deletion, of that line alone.
    let less = changed_cards(
        state.clone(),
        changes(&vec![("b", person("Bo")), ("b/0", line("b", "5550400"))]),
        3,
    );
    let gone: Vec<_> = less
        .plan()
        .actions
        .device
        .iter()
        .map(|one| (one.verb, one.native.as_deref()))
        .collect();
    assert_eq!(gone, [(Verb::Delete, Some("r"))], "{}", less.plan());
    // And nothing told is nothing to do.
    assert!(changed_cards(state, Changes::default(), 4).plan().is_empty());
}

#[test]
fn a_card_that_is_told_as_deleted_takes_its_lines_along() {
    let (state, device) = two_cards();
    let gone = Changes::from_iter([(RecordId::new("a").unwrap(), Change::Delete)]);
    let next = changed_cards(state, gone, 2);
    assert_eq!(next.plan().count(Side::Device, Verb::Delete), 1, "{}", next.plan());
    let (state, written) = carry_out(next);
    assert_eq!(written.device, [("1".to_owned(), Change::Delete)]);
    assert_eq!(state.len(), 3);
    let left: Told = device.into_iter().skip(3).collect();
    let mut full = Reports::new(
        Report::new(Extent::Everything, Standing::Own),
        Report::new(Extent::Changes, Standing::Own),
    );
    full.add(Side::Device, changes(&left));
    let quiet = plan(state, full, &card_files(3));
    assert!(quiet.plan().is_empty(), "{}", quiet.plan());
}

#[test]
fn a_new_card_of_a_report_of_changes_brings_new_lines() {
    let (state, _) = two_cards();
    let next = changed_cards(
        state,
        changes(&vec![("c", person("Cy")), ("c/0", line("c", "5550500"))]),
        2,
    );
    assert_eq!(next.plan().actions.device.len(), 2, "{}", next.plan());
    assert!(
        next.plan().actions.device.iter().all(|one| one.verb == Verb::Create),
        "{}",
        next.plan()
    );
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
