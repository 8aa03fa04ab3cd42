//! A session whose answer was lost, and another computer that committed since. Spec: mobilesync, section 15.6.

use super::*;

fn phone(owner: &str, number: &str) -> Record {
    Record::new(entity::PHONE_NUMBER)
        .with("contact", Value::Array(vec![owner.into()]))
        .with("value", number)
}

fn silent(session: u8) -> Inputs {
    let mut inputs = inputs(session, &merge());
    inputs.capabilities.device = Capabilities::of_devices();
    inputs
}

/// Zoe is known to both; Ann with a number and Bo were sent, and the answer to the commit was lost. Gives what was known
/// before, and what was to be known.
fn lost() -> (PairState, PairState, Told) {
    let zoe = vec![("1", person("Zoe"))];
    let before = agreed(DataClass::Contacts, &zoe, &vec![("z", person("Zoe"))]);
    let computer = vec![
        ("z", person("Zoe")),
        ("a", person("Ann")),
        ("t", phone("a", "5550100")),
        ("b", person("Bo")),
    ];
    let planned = plan(before.clone(), reports(Standing::Own, &zoe, &computer), &silent(2));
    let mut execution = Execution::new(planned);
    while let Some(batch) = execution.next_batch(Side::Device) {
        let done = batch.writes.iter().map(|write| {
            let number = match (value(&write.change, "first name"), value(&write.change, "value")) {
                (Some("Ann"), _) => "7",
                (Some(_), _) => "8",
                _ => "9",
            };
            let native = Some(RecordId::new(number).unwrap());
            (write.engine, Outcome::Done { native })
        });
        let done: Vec<_> = done.collect();
        execution.handle_outcomes(Side::Device, done);
    }
    (before, execution.doubtful_state(0), computer)
}

/// What the device has after the other computer gave Ann a note and Zoe another one.
fn device() -> Told {
    vec![
        ("1", person("Zoe").with("notes", "theirs")),
        ("7", person("Ann").with("notes", "theirs")),
        ("8", person("Bo")),
        ("9", phone("7", "5550100")),
    ]
}

/// What the device is to get that it does not have, numbers included.
fn created(planned: &Planned) -> usize {
    let actions = planned.plan().actions.device.iter();
    actions.filter(|one| one.verb == Verb::Create).count()
}

#[test]
fn what_arrived_before_another_computer_committed_is_not_doubled_when_it_was_edited_since() {
    let (before, doubtful, mut computer) = lost();
    // Ann has another name here now, by which nobody would find her on the device.
    computer[1].1 = Record::new(entity::CONTACT).with("first name", "Johanna");
    let foreign = || reports(Standing::Foreign, &device(), &computer);
    let mut state = before.clone();
    assert_eq!(state.take_over_arrived(&doubtful, &foreign()), 3);
    let planned = plan(state, foreign(), &silent(3));
    for side in Side::BOTH {
        let verbs: Vec<_> = planned.plan().actions.get(side).iter().map(|one| one.verb).collect();
        let expected = match side {
            Side::Device => vec![Verb::Update],
            Side::Computer => vec![Verb::Update; 2],
        };
        assert_eq!(verbs, expected, "{}", planned.plan());
    }
    // Without it she would be there twice.
    let doubled = plan(before, foreign(), &silent(3));
    assert_eq!(
        doubled.plan().count(Side::Device, Verb::Create),
        1,
        "{}",
        doubled.plan()
    );
}

#[test]
fn a_session_that_was_not_committed_is_not_taken_over_and_no_deletion_follows_from_what_it_would_have_made() {
    let (before, doubtful, computer) = lost();
    let others = vec![
        ("1", person("Zoe")),
        // The numbers were given out again.
        ("7", person("Cy")),
        ("8", person("Di")),
    ];
    for device in [vec![("1", person("Zoe"))], others] {
        let foreign = || reports(Standing::Foreign, &device, &computer);
        let mut state = before.clone();
        assert_eq!(state.take_over_arrived(&doubtful, &foreign()), 0);
        assert_eq!(state, before);
        let planned = plan(state, foreign(), &silent(3));
        assert_eq!(
            planned.plan().count(Side::Computer, Verb::Delete),
            0,
            "{}",
            planned.plan()
        );
        assert_eq!(created(&planned), 3, "{}", planned.plan());
    }
}

#[test]
fn what_did_not_arrive_of_a_session_that_did_is_made_again_and_never_deleted() {
    let (before, doubtful, computer) = lost();
    // The number is not there: dropped, or deleted by somebody, and who can say which.
    let device = device()[..3].to_vec();
    let foreign = || reports(Standing::Foreign, &device, &computer);
    let mut state = before;
    assert_eq!(state.take_over_arrived(&doubtful, &foreign()), 2);
    let planned = plan(state, foreign(), &silent(3));
    assert_eq!(
        planned.plan().count(Side::Computer, Verb::Delete),
        0,
        "{}",
        planned.plan()
    );
    assert_eq!(created(&planned), 1, "{}", planned.plan());
}

#[test]
fn half_a_report_is_no_evidence() {
    let (before, doubtful, computer) = lost();
    let mut told = reports(Standing::Foreign, &device(), &computer);
    let half = told.get(Side::Device).clone().complete(false);
    *told.get_mut(Side::Device) = half;
    let mut state = before.clone();
    assert_eq!(state.take_over_arrived(&doubtful, &told), 0);
    assert_eq!(state, before);
}
