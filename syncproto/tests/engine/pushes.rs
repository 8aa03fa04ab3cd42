//! Pushes to a device that does not say what it made of them. Spec: mobilesync, section 15.3, step 2.

use super::*;

/// A device that drops what it likes without a word, and numbers new records.
fn silent(session: u8) -> Inputs {
    let mut inputs = inputs(session, &merge());
    inputs.capabilities.device = Capabilities::of_devices();
    inputs
}

/// Pushes everything; the device takes no new record of which `takes` says so, and gives the others their name as number.
fn push(planned: Planned, takes: impl Fn(&str) -> bool) -> PairState {
    let mut execution = Execution::new(planned);
    while let Some(batch) = execution.next_batch(Side::Device) {
        let outcomes: Vec<_> = batch
            .writes
            .iter()
            .map(|write| {
                let name = ["first name", "name"].iter().find_map(|key| value(&write.change, key));
                let number = name.map(|name| RecordId::new(format!("number of {name}")).unwrap());
                let outcome = match name.filter(|name| write.new && !takes(name)) {
                    Some(_) => Outcome::NotAccepted,
                    None => Outcome::Done {
                        native: number.filter(|_| write.new),
                    },
                };
                (write.engine, outcome)
            })
            .collect();
        execution.handle_outcomes(Side::Device, outcomes);
    }
    execution.into_state(0)
}

fn friends(members: &[&str]) -> Record {
    let members = members.iter().map(|id| (*id).into()).collect();
    Record::new(entity::GROUP)
        .with("name", "Friends")
        .with("members", Value::Array(members))
}

#[test]
fn a_member_that_came_too_late_for_its_group_is_sent_again_when_the_second_push_was_dropped() {
    let computer = vec![("a", person("Ann")), ("g", friends(&["a"]))];
    let first = plan(
        PairState::new(DataClass::Contacts),
        reports(Standing::Own, &Told::new(), &computer),
        &silent(1),
    );
    // The group arrives without Ann, whom the device does not take.
    let state = push(first, |name| name != "Ann");
    let mut told = reports(Standing::Own, &Told::new(), &computer);
    *told.get_mut(Side::Device) = Report::new(Extent::Changes, Standing::Own);
    let second = plan(state, told, &silent(2));
    assert_eq!(second.plan().count(Side::Device, Verb::Update), 1, "{}", second.plan());
    // Ann is taken now, and the new list of members is dropped without a word.
    let state = push(second, |_| true);
    let device = vec![("number of Ann", person("Ann")), ("number of Friends", friends(&[]))];
    let third = plan(state, reports(Standing::Own, &device, &computer), &silent(3));
    let updates: Vec<_> = third
        .plan()
        .actions
        .device
        .iter()
        .map(|one| (one.verb, one.groups().join(" ")))
        .collect();
    assert_eq!(updates, [(Verb::Update, "members".to_owned())], "{}", third.plan());
    assert!(third.plan().actions.computer.is_empty(), "{}", third.plan());
    let state = push(third, |_| true);
    let device = vec![
        ("number of Ann", person("Ann")),
        ("number of Friends", friends(&["number of Ann"])),
    ];
    let fourth = plan(state, reports(Standing::Own, &device, &computer), &silent(4));
    assert!(fourth.plan().is_empty(), "{}", fourth.plan());
    assert_eq!(Execution::new(fourth).state(0).pending(), 0);
}

#[test]
fn a_picture_that_is_too_large_stays_on_the_computer_and_the_devices_stays_too() {
    let with = |picture: Vec<u8>, note: &str| person("Ann").with("image", Value::Data(picture)).with("notes", note);
    let small = vec![("1", with(vec![1; 40], "before"))];
    let large = vec![("1", with(vec![2; 768_001], "after"))];
    let state = agreed(DataClass::Contacts, &small, &small);
    let first = plan(state, reports(Standing::Own, &small, &large), &silent(2));
    assert_eq!(first.plan().actions.device[0].groups(), ["notes"], "{}", first.plan());
    let state = push(first, |_| true);
    // The device has the note, and its own picture: nothing is tried again, and nothing comes back.
    let device = vec![("1", with(vec![1; 40], "after"))];
    let next = plan(state, reports(Standing::Own, &device, &large), &silent(3));
    assert!(
        next.plan().is_empty() && next.plan().notes().count() == 0,
        "{}",
        next.plan()
    );
    assert_eq!(next.skipped(), 0);
    let state = Execution::new(next).into_state(0);
    // A picture that fits goes the usual way.
    let fits = vec![("1", with(vec![3; 50], "after"))];
    let fits = plan(state.clone(), reports(Standing::Own, &device, &fits), &silent(4));
    assert_eq!(fits.plan().actions.device[0].groups(), ["image"], "{}", fits.plan());
    // And so does a new one of the device.
    let newer = vec![("1", with(vec![4; 60], "after"))];
    let newer = plan(state, reports(Standing::Own, &newer, &large), &silent(4));
    assert_eq!(newer.plan().actions.computer[0].groups(), ["image"], "{}", newer.plan());
}

#[test]
fn a_new_person_goes_without_a_picture_that_is_too_large() {
    let large = vec![("a", person("Ann").with("image", Value::Data(vec![2; 768_001])))];
    let first = plan(
        PairState::new(DataClass::Contacts),
        reports(Standing::Own, &Told::new(), &large),
        &silent(1),
    );
    let mut execution = Execution::new(first);
    let write = execution.next_batch(Side::Device).unwrap().writes.remove(0);
    let Change::Upsert(record) = &write.change else {
        unreachable!()
    };
    assert!(write.new && !record.attributes.contains_key("image"));
    let native = Some(RecordId::new("1").unwrap());
    execution.handle_outcomes(Side::Device, [(write.engine, Outcome::Done { native })]);
    let device = vec![("1", person("Ann"))];
    let next = plan(
        execution.into_state(0),
        reports(Standing::Own, &device, &large),
        &silent(2),
    );
    assert!(next.plan().is_empty(), "{}", next.plan());
}

#[test]
fn deletions_that_were_staged_and_not_made_visible_are_done_even_when_the_device_starts_afresh() {
    let names: [&'static str; 6] = ["Ann", "Bo", "Cy", "Di", "Ed", "Flo"];
    let all: Told = names.iter().map(|name| (*name, person(name))).collect();
    let state = agreed(DataClass::Contacts, &all, &all);
    let one_left = all[5..].to_vec();
    let first = plan(state, reports(Standing::Own, &one_left, &all), &silent(2));
    assert_eq!(first.plan().count(Side::Computer, Verb::Delete), 5, "{}", first.plan());
    let mut execution = Execution::new(first);
    let batch = execution.next_batch(Side::Computer).unwrap();
    let done = batch
        .writes
        .iter()
        .map(|write| (write.engine, Outcome::Done { native: None }));
    let done: Vec<_> = done.collect();
    execution.handle_outcomes(Side::Computer, done);
    let state = execution.doubtful_state(0);
    // The device committed, the computer went down, and the device is erased before the next session.
    let erased = plan(state.clone(), reports(Standing::Reset, &Told::new(), &all), &silent(3));
    assert_eq!(
        erased.plan().count(Side::Computer, Verb::Delete),
        5,
        "{}",
        erased.plan()
    );
    assert_eq!(erased.plan().count(Side::Device, Verb::Create), 1, "{}", erased.plan());
    // The brake counts what the computer still has, not what is left when all is done.
    let Some(Stop::Deletions { deletions, of, .. }) = erased.plan().stops.first() else {
        panic!("{}", erased.plan())
    };
    assert_eq!((*deletions, *of), (5, 6));
    // A backup that still knows the five brings them back instead.
    let restored = plan(state, reports(Standing::Reset, &all, &all), &silent(3));
    assert!(restored.plan().is_empty(), "{}", restored.plan());
}
