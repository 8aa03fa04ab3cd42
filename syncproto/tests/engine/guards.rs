//! First syncs, brakes, and when a deletion may be concluded.

use super::*;

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
fn a_device_that_gave_all_its_records_new_numbers_is_met_anew_and_nothing_is_deleted() {
    let before = vec![("1", person("Ann")), ("2", person("Bo")), ("3", person("Cy"))];
    let computer = vec![
        ("a", person("Ann").with("x-only-here", "kept")),
        ("b", person("Bo")),
        ("c", person("Cy")),
    ];
    let state = agreed(DataClass::Contacts, &before, &computer);
    // Another computer replaced what was on the device, and left one out.
    let after = vec![("11", person("Ann")), ("12", person("Bo").with("notes", "theirs"))];
    let met = plan(
        state.clone(),
        reports(Standing::Foreign, &after, &computer),
        &inputs(2, &merge()),
    );
    assert_eq!(met.plan().count(Side::Computer, Verb::Delete), 0, "{}", met.plan());
    assert_eq!(met.plan().count(Side::Computer, Verb::Create), 0, "{}", met.plan());
    assert_eq!(met.plan().count(Side::Device, Verb::Create), 1, "{}", met.plan());
    // Others under other numbers are others.
    let others = vec![("11", person("Di"))];
    let met = plan(
        state,
        reports(Standing::Foreign, &others, &computer),
        &inputs(2, &merge()),
    );
    assert_eq!(met.plan().count(Side::Computer, Verb::Delete), 3, "{}", met.plan());
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
