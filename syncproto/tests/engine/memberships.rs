//! Groups and what is in them.

use super::*;

#[test]
fn who_was_put_into_a_group_and_deleted_on_the_other_side_leaves_it_on_both() {
    let group = |members: &[&str]| {
        let members = members.iter().map(|member| (*member).into()).collect();
        Record::new(entity::GROUP)
            .with("name", "Friends")
            .with("members", Value::Array(members))
    };
    let everybody = vec![("a", person("Ann")), ("b", person("Bob")), ("g", group(&["a"]))];
    let state = agreed(DataClass::Contacts, &everybody, &everybody);
    let device = vec![("a", person("Ann")), ("g", group(&["a"]))];
    let computer = vec![("a", person("Ann")), ("b", person("Bob")), ("g", group(&["a", "b"]))];

    let next = planned(state, &device, &computer, &merge());
    assert!(next.plan().actions.device.is_empty(), "{}", next.plan());
    let (state, written) = carry_out(next);
    let verbs: Vec<&str> = written.computer.iter().map(|(native, _)| &**native).collect();
    assert_eq!(verbs, ["g", "b"], "the group is written without Bob, and Bob goes");

    let quiet = planned(state, &device, &device, &merge());
    assert!(quiet.plan().is_empty(), "{}", quiet.plan());
}
