//! Children whose identifiers hold for one report only: the lines of a card.

use super::*;

#[test]
fn lines_of_a_card_are_paired_by_content_wherever_they_stand() {
    let device = vec![
        ("1", person("Ann")),
        ("p", line("1", "5550100")),
        ("q", line("1", "5550200")),
    ];
    let before = vec![
        ("a", person("Ann")),
        ("a/0", line("a", "5550100")),
        ("a/1", line("a", "5550200")),
    ];
    let state = agreed_cards(&device, &before);
    // The lines changed places, and one of them its number.
    let after = vec![
        ("a", person("Ann")),
        ("a/0", line("a", "5550299")),
        ("a/1", line("a", "5550100")),
    ];
    let next = plan(state, reports(Standing::Own, &device, &after), &card_files(2));
    let actions = &next.plan().actions.device;
    assert_eq!(actions.len(), 1, "{}", next.plan());
    assert_eq!(
        (actions[0].verb, actions[0].native.as_deref()),
        (Verb::Update, Some("q"))
    );
    assert!(next.plan().actions.computer.is_empty(), "{}", next.plan());
}

/// A folder of cards.
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

/// After a first session of two sides that say the same.
fn agreed_cards(device: &Told, computer: &Told) -> PairState {
    let first = plan(
        PairState::new(DataClass::Contacts),
        reports(Standing::Own, device, computer),
        &card_files(1),
    );
    assert!(first.plan().is_empty(), "{}", first.plan());
    Execution::new(first).into_state(0)
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
    (agreed_cards(&device, &computer), device)
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
fn a_person_deleted_on_the_device_goes_from_a_folder_of_cards_that_nobody_edited() {
    let (state, mut device) = two_cards();
    device.retain(|(id, _)| !["1", "p", "q"].contains(id));
    let card = vec![
        ("a", person("Ann")),
        ("a/0", line("a", "5550200")),
        ("a/1", line("a", "5550100")),
        ("b", person("Bo")),
        ("b/0", line("b", "5550400")),
        ("b/1", line("b", "5550300")),
    ];
    // Whether the folder tells everything, with its lines in whatever order, or nothing: nobody edited anything.
    for computer in [card, Told::new()] {
        let mut told = reports(Standing::Own, &device, &computer);
        if computer.is_empty() {
            *told.get_mut(Side::Computer) = Report::new(Extent::Changes, Standing::Own);
        }
        let planned = plan(state.clone(), told, &card_files(2));
        assert_eq!(
            planned.plan().count(Side::Computer, Verb::Delete),
            1,
            "{}",
            planned.plan()
        );
        assert!(planned.plan().actions.device.is_empty(), "{}", planned.plan());
        assert_eq!(planned.plan().notes().count(), 0, "{}", planned.plan());
    }
}

#[test]
fn a_member_deleted_on_the_device_goes_from_a_folder_that_keeps_its_groups_in_the_cards() {
    let group = |members: &[&str]| {
        let members = members.iter().map(|id| (*id).into()).collect();
        Record::new(entity::GROUP)
            .with("name", "Friends")
            .with("members", Value::Array(members))
    };
    let device = vec![
        ("1", person("Ann")),
        ("p", line("1", "5550100")),
        ("2", person("Bo")),
        ("g", group(&["1", "2"])),
    ];
    let folder = vec![
        ("a", person("Ann")),
        ("a/0", line("a", "5550100")),
        ("b", person("Bo")),
        ("group Friends", group(&["a", "b"])),
    ];
    let state = agreed_cards(&device, &folder);
    let device = vec![("2", person("Bo")), ("g", group(&["2"]))];
    let next = plan(state, reports(Standing::Own, &device, &folder), &card_files(2));
    let actions = &next.plan().actions;
    assert_eq!(next.plan().count(Side::Computer, Verb::Delete), 1, "{}", next.plan());
    assert_eq!(next.plan().count(Side::Computer, Verb::Update), 1, "{}", next.plan());
    assert!(
        actions.device.is_empty() && next.plan().notes().count() == 0,
        "{}",
        next.plan()
    );
}

#[test]
fn a_number_whose_person_never_got_to_the_computer_goes_when_the_person_is_deleted_on_the_device() {
    let number = |owner: &str| {
        Record::new(entity::PHONE_NUMBER)
            .with("contact", Value::Array(vec![owner.into()]))
            .with("value", "555 0100")
    };
    let device = vec![("41", person("Ann")), ("3/41/0", number("41"))];
    let first = planned(PairState::new(DataClass::Contacts), &device, &Told::new(), &merge());
    let mut execution = Execution::new(first);
    // A program that keeps numbers apart from people takes the number and not the person.
    let mut kept = None;
    while let Some(batch) = execution.next_batch(Side::Computer) {
        let outcomes: Vec<_> = batch
            .writes
            .iter()
            .map(|write| {
                kept = Some(write.id.clone());
                let native = Some(write.id.clone());
                (write.engine, Outcome::Done { native })
            })
            .collect();
        execution.handle_outcomes(Side::Computer, outcomes);
    }
    let ann = execution.plan().actions.computer.iter();
    let ann = ann
        .clone()
        .find(|action| action.entity() == entity::CONTACT)
        .unwrap()
        .id;
    let reason = "somebody else changed it".to_owned();
    execution.handle_outcomes(Side::Computer, [(ann, Outcome::Failed { reason })]);
    let state = execution.into_state(0);
    let left: &'static str = kept.unwrap().to_string().leak();
    let owner: &'static str = ann.to_string().leak();

    let after = planned(state, &Told::new(), &vec![(left, number(owner))], &merge());
    let computer = &after.plan().actions.computer;
    assert_eq!(computer.len(), 1, "{}", after.plan());
    assert_eq!((computer[0].verb, computer[0].part), (Verb::Delete, false));
    assert_eq!(after.plan().conflicts().count(), 0, "{}", after.plan());
    assert!(after.plan().actions.device.is_empty(), "{}", after.plan());
}
