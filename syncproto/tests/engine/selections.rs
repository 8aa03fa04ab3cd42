//! Collections that leave the selection. Spec: mobilesync, section 15.5.

use cabled_syncproto::engine::{OnDeselect, Selection};

use super::*;

fn folder(name: &str, parent: Option<&str>) -> Record {
    let folder = Record::new(entity::FOLDER).with("name", name);
    match parent {
        Some(parent) => folder.with("parent", Value::Array(vec![parent.into()])),
        None => folder,
    }
}

fn page(name: &str, parent: &str) -> Record {
    Record::new(entity::BOOKMARK)
        .with("name", name)
        .with("url", format!("https://{name}.example/"))
        .with("parent", Value::Array(vec![parent.into()]))
}

fn without(titles: &[&str]) -> Policy {
    let titles = titles.iter().map(|title| (*title).to_owned()).collect();
    merge()
        .selection(Selection::AllBut(titles))
        .on_deselect(OnDeselect::Remove)
}

fn removed(planned: &Planned) -> Vec<Option<&str>> {
    let actions = planned.plan().actions.device.iter();
    let mut removed: Vec<_> = actions
        .filter(|one| one.verb == Verb::Delete)
        .map(|one| one.native.as_deref())
        .collect();
    removed.sort();
    removed
}

#[test]
fn what_the_computer_does_not_have_is_not_removed_from_the_device_with_its_folder() {
    let before = vec![
        ("1", folder("Work", None)),
        ("2", page("plan", "1")),
        ("3", page("map", "1")),
    ];
    let state = agreed(DataClass::Bookmarks, &before, &before);
    let quiet = planned(state.clone(), &before, &before, &without(&["Work"]));
    assert_eq!(removed(&quiet), [Some("1"), Some("2"), Some("3")], "{}", quiet.plan());
    // One is new on the device, and one was edited there.
    let mut device = before.clone();
    device.push(("4", page("new", "1")));
    device[2].1 = page("globe", "1");
    let busy = planned(state, &device, &before, &without(&["Work"]));
    assert_eq!(removed(&busy), [Some("2")], "{}", busy.plan());
    assert!(busy.plan().actions.computer.is_empty(), "{}", busy.plan());
    let stays = |name: &str| {
        busy.plan()
            .notes()
            .any(|note| note.starts_with(name) && note.contains("stays on the device"))
    };
    assert!(stays("new") && stays("map"), "{}", busy.plan());
}

#[test]
fn a_first_sync_removes_nothing_that_happens_to_be_on_both_sides() {
    let both = vec![("1", folder("Work", None)), ("2", page("plan", "1"))];
    let first = planned(PairState::new(DataClass::Bookmarks), &both, &both, &without(&["Work"]));
    assert!(first.plan().is_empty(), "{}", first.plan());
}

#[test]
fn a_folder_that_leaves_the_selection_does_not_take_the_one_around_it_along() {
    let before = vec![
        ("1", folder("Top", None)),
        ("2", folder("Work", Some("1"))),
        ("3", page("plan", "2")),
        ("4", page("home", "1")),
    ];
    let state = agreed(DataClass::Bookmarks, &before, &before);
    let planned = planned(state, &before, &before, &without(&["Work"]));
    assert_eq!(removed(&planned), [Some("2"), Some("3")], "{}", planned.plan());
}
