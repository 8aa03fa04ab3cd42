//! What broken sessions leave behind: batches under suspicion, and replacements that did not end.

use super::*;

/// Thirty people that the device is to get, and a device that breaks the session when it is sent one of them.
struct Breaking {
    state: PairState,
    computer: Told,
    bad: &'static str,
    session: u8,
}

impl Breaking {
    /// One session; gives the plan's notes, and whether it broke off.
    fn session(&mut self) -> (Vec<String>, bool) {
        self.session += 1;
        let policy = merge();
        let planned = plan(
            self.state.clone(),
            reports(Standing::Own, &Told::new(), &self.computer),
            &inputs(self.session, &policy),
        );
        let notes = planned.plan().notes().collect();
        let mut execution = Execution::new(planned);
        let mut number = 0;
        while let Some(batch) = execution.next_batch(Side::Device) {
            let ids: Vec<_> = batch.writes.iter().map(|write| write.engine).collect();
            if batch
                .writes
                .iter()
                .any(|write| value(&write.change, "first name") == Some(self.bad))
            {
                self.state.broke_at(SessionId([self.session; 16]), number, &ids);
                return (notes, true);
            }
            number += 1;
            let done = batch.writes.iter().map(|write| {
                let native = write
                    .new
                    .then(|| RecordId::new(format!("device {}", write.id)).unwrap());
                (write.engine, Outcome::Done { native })
            });
            execution.handle_outcomes(Side::Device, done);
        }
        self.state = execution.into_state(0);
        (notes, false)
    }
}

#[test]
fn a_record_that_breaks_every_session_is_found_and_left_out_until_it_is_edited() {
    let names: Vec<&'static str> = (0..30).map(|n| &*format!("Person {n}").leak()).collect();
    let computer: Told = names.iter().map(|name| (*name, person(name))).collect();
    let mut world = Breaking {
        state: PairState::new(DataClass::Contacts),
        computer,
        bad: "Person 17",
        session: 0,
    };
    let mut broken = 0;
    while world.session().1 {
        broken += 1;
        assert!(broken < 10, "{:?}", world.state.bisect);
        if let Some(bisect) = &world.state.bisect {
            assert_eq!(
                bisect.ids.len(),
                [30, 30, 15, 8, 4, 2, 1, 1, 1][broken - 1].min(bisect.ids.len())
            );
        }
    }
    // Twice as it was, then halves, and the one that was left three times.
    assert!((7..=9).contains(&broken), "{broken}");
    assert_eq!((world.state.len(), world.state.bisect.is_some()), (30, false));
    assert!(world.state.quarantined.is_empty());
    // It is in every report, and nothing is sent.
    let device: Told = Vec::new();
    let changes = || Report::new(Extent::Changes, Standing::Own);
    let again = |state: &PairState, computer: &Told| {
        let mut told = Reports::new(changes(), Report::new(Extent::Everything, Standing::Own));
        told.add(Side::Device, self::changes(&device));
        told.add(Side::Computer, self::changes(computer));
        plan(state.clone(), told, &inputs(99, &merge()))
    };
    let quiet = again(&world.state, &world.computer);
    assert!(quiet.plan().is_empty(), "{}", quiet.plan());
    assert!(
        quiet
            .plan()
            .notes()
            .any(|note| note.starts_with("Person 17") && note.contains("broke the sync"))
    );
    world.computer[17].1 = person("Person 17").with("notes", "mended");
    let mended = again(&world.state, &world.computer);
    assert_eq!(mended.plan().count(Side::Device, Verb::Create), 1, "{}", mended.plan());
}

#[test]
fn a_record_that_was_left_out_is_tried_once_more_and_then_only_when_it_is_edited() {
    let mut world = Breaking {
        state: PairState::new(DataClass::Contacts),
        computer: vec![("a", person("Ann")), ("b", person("Bo")), ("c", person("Cy"))],
        bad: "Bo",
        session: 0,
    };
    while world.session().1 {}
    let bo = |state: &PairState| {
        let id = state.find(Side::Computer, "b").unwrap();
        (id, state.native(&id).device.is_some())
    };
    assert!(!bo(&world.state).1);
    // Until the tenth session, nothing is sent, and everybody is told.
    let told = |world: &Breaking| {
        let changes = || Report::new(Extent::Changes, Standing::Own);
        let everything = Report::new(Extent::Everything, Standing::Own);
        let mut told = Reports::new(changes(), everything);
        told.add(Side::Computer, super::changes(&world.computer));
        plan(world.state.clone(), told, &inputs(200, &merge()))
    };
    while world.state.sessions < 10 {
        let quiet = told(&world);
        assert!(quiet.plan().is_empty(), "{}", quiet.plan());
        assert!(quiet.plan().notes().any(|note| note.contains("tried once more")));
        world.state = Execution::new(quiet).into_state(0);
    }
    // Now it goes, alone, beside whatever else there is.
    world.computer.push(("d", person("Di")));
    for _ in 0..3 {
        let mut execution = Execution::new(told(&world));
        let mut sizes = Vec::new();
        while let Some(batch) = execution.next_batch(Side::Device) {
            sizes.push(batch.writes.len());
            if batch.writes[0].engine == bo(&world.state).0 {
                let number = u32::try_from(sizes.len()).unwrap() - 1;
                world
                    .state
                    .broke_at(SessionId([9; 16]), number, &[batch.writes[0].engine]);
            }
        }
        assert_eq!(sizes, [1, 1]);
    }
    assert_eq!(world.state.quarantined, [bo(&world.state).0]);
    // Three times again: from now on it waits for an edit, also when the next multiple of ten comes.
    for _ in 0..21 {
        let planned = told(&world);
        let bo = bo(&world.state).0;
        assert!(
            planned.plan().actions.device.iter().all(|one| one.id != bo),
            "{}",
            planned.plan()
        );
        assert!(
            planned
                .plan()
                .notes()
                .any(|note| note.starts_with("Bo") && note.contains("when it is edited"))
        );
        world.state = carry_out(planned).0;
    }
    assert!(world.state.sessions > 30 && world.state.quarantined.is_empty());
    world.computer[1].1 = person("Bo").with("notes", "mended");
    assert_eq!(told(&world).plan().count(Side::Device, Verb::Create), 1);
}

#[test]
fn a_record_that_was_left_out_because_of_a_bad_cable_arrives_with_its_second_chance() {
    let mut world = Breaking {
        state: PairState::new(DataClass::Contacts),
        computer: vec![("b", person("Bo"))],
        bad: "Bo",
        session: 0,
    };
    while world.session().1 {}
    world.state.sessions = 20;
    world.bad = "nobody";
    assert!(!world.session().1);
    let id = world.state.find(Side::Computer, "b").unwrap();
    assert!(world.state.native(&id).device.is_some() && world.state.bisect.is_none());
}

#[test]
fn a_session_that_broke_off_elsewhere_starts_the_search_again() {
    let id = |n: u8| cabled_syncproto::engine::EngineId::from_bytes([n; 16]);
    let mut state = PairState::new(DataClass::Contacts);
    let session = SessionId([1; 16]);
    state.broke_at(session, 0, &[id(1), id(2)]);
    state.broke_at(session, 3, &[id(3), id(4)]);
    assert_eq!(
        state
            .bisect
            .as_ref()
            .map(|bisect| (bisect.batch, bisect.times, bisect.size)),
        Some((3, 1, 2))
    );
    state.broke_at(session, 3, &[id(3), id(4)]);
    assert_eq!(
        state.bisect.as_ref().map(|bisect| (bisect.times, bisect.size)),
        Some((2, 1))
    );
    for _ in 0..2 {
        state.broke_at(session, 4, &[id(4)]);
        assert!(state.quarantined.is_empty());
    }
    state.broke_at(session, 4, &[id(4)]);
    assert_eq!((state.quarantined.as_slice(), state.bisect), (&[id(4)][..], None));
}

#[test]
fn what_is_missing_after_a_replacement_that_broke_off_was_not_deleted_by_anybody() {
    let before = vec![("1", person("Ann")), ("2", person("Bo"))];
    let half = vec![("1", person("Ann"))];
    let mut state = agreed(DataClass::Contacts, &before, &before);
    state.replacing = true;
    let own = plan(
        state.clone(),
        reports(Standing::Own, &half, &before),
        &inputs(2, &merge()),
    );
    assert_eq!(own.plan().stops, [Stop::UnfinishedReplacement]);
    assert_eq!(own.plan().count(Side::Computer, Verb::Delete), 0);
    // Somebody else committed: what is there counts, and absence still proves nothing.
    let foreign = plan(
        state.clone(),
        reports(Standing::Foreign, &half, &before),
        &inputs(2, &merge()),
    );
    assert!(foreign.plan().stops.is_empty(), "{:?}", foreign.plan().stops);
    assert_eq!(foreign.plan().count(Side::Computer, Verb::Delete), 0);
    assert_eq!(foreign.plan().count(Side::Device, Verb::Create), 1);
    assert!(!Execution::new(foreign).state(0).replacing);
    // Asked for again, it is done again.
    let policy = merge().first_sync(FirstSync::ReplaceDevice);
    let again = plan(state, reports(Standing::Own, &half, &before), &inputs(2, &policy));
    assert!(
        again.plan().clear && again.plan().stops.is_empty(),
        "{:?}",
        again.plan().stops
    );
    assert_eq!(again.plan().count(Side::Device, Verb::Create), 2);
}
