//! What is written, and what becomes of it.

use cabled_syncproto::engine::{
    Execution, Extent, FirstSync, Inputs, PairState, Policy, Report, Reports, Side, Standing, plan,
};
use cabled_syncproto::record::Change;
use cabled_virtualdevice::sync::SyncFault;

use super::*;

/// A phone with nothing on it, open for writes.
async fn empty(class: DataClass) -> (Phone, Device) {
    let phone = Phone::builder().empty().build().unwrap();
    let mut device = device(&phone, class).await;
    Host::default().open(&mut device, true).await.unwrap();
    read(&mut device).await;
    (phone, device)
}

fn phone_number(owner: &str) -> Record {
    Record::new(entity::PHONE_NUMBER)
        .with("contact", Value::Array(vec![owner.into()]))
        .with("type", "home")
        .with("value", "555 0100")
}

#[tokio::test]
async fn new_people_get_identifiers_with_the_last_of_them() {
    let (phone, mut device) = empty(CONTACTS).await;
    let (ann, bo) = (create("ann", person("Ann")), create("bo", person("Bo")));
    let first = Batch {
        completes: false,
        more: true,
        ..batch([ann.clone()])
    };
    assert_eq!(device.write(first).await.unwrap(), []);
    let second = Batch {
        more: true,
        ..batch([bo.clone()])
    };
    let outcomes = device.write(second).await.unwrap();
    let native = natives(&outcomes);
    assert_eq!(native.len(), 2, "{outcomes:?}");
    let number = create("number", phone_number(native[&ann.engine].as_str()));
    let lost = create("lost", phone_number("999999"));
    let outcomes = device.write(batch([number.clone(), lost.clone()])).await.unwrap();
    assert!(outcomes.contains(&(lost.engine, Outcome::NotAccepted)), "{outcomes:?}");
    let given = natives(&outcomes)[&number.engine].clone();
    assert_eq!(device.commit().await.unwrap().outcomes, []);
    let records = phone.sync().records(&CONTACTS);
    assert_eq!(records.len(), 3);
    assert_eq!(text(&records[&native[&bo.engine]], "first name"), "Bo");
    assert_eq!(text(&records[&given], "value"), "555 0100");
}

#[tokio::test]
async fn people_that_nobody_said_were_all_are_completed_before_their_numbers_and_before_the_commit() {
    let (phone, mut device) = empty(CONTACTS).await;
    let open_ended = |writes: Vec<Write>| Batch {
        completes: false,
        more: true,
        ..batch(writes)
    };
    let ann = create("ann", person("Ann"));
    assert_eq!(device.write(open_ended(vec![ann.clone()])).await.unwrap(), []);
    let number = create("number", phone_number(&ann.engine.to_string()));
    let outcomes = device.write(open_ended(vec![number.clone()])).await.unwrap();
    assert_eq!(natives(&outcomes).len(), 2, "{outcomes:?}");
    device.commit().await.unwrap();
    Host::default().open(&mut device, true).await.unwrap();
    read(&mut device).await;
    let bo = create("bo", person("Bo"));
    assert_eq!(device.write(open_ended(vec![bo.clone()])).await.unwrap(), []);
    let committed = device.commit().await.unwrap();
    assert_eq!(natives(&committed.outcomes).len(), 1);
    assert_eq!(phone.sync().records(&CONTACTS).len(), 3);
}

#[tokio::test]
async fn what_the_phone_does_not_name_was_not_accepted() {
    for (fault, accepted) in [
        (None, 3),
        (Some(SyncFault::OmitRemap), 2),
        (Some(SyncFault::NoRemap), 0),
        (Some(SyncFault::StrayRemap), 3),
    ] {
        let (phone, mut device) = empty(CONTACTS).await;
        if let Some(fault) = &fault {
            phone.sync().push_fault(fault.clone());
        }
        let writes = ["Ann", "Bo", "Cy"].map(|name| create(name, person(name)));
        let outcomes = device.write(batch(writes)).await.unwrap();
        let refused = outcomes
            .iter()
            .filter(|(_, outcome)| *outcome == Outcome::NotAccepted)
            .count();
        assert_eq!(
            (natives(&outcomes).len(), refused),
            (accepted, 3 - accepted),
            "{fault:?}"
        );
        assert_eq!(
            device.commit().await.unwrap().outcomes,
            [],
            "{fault:?}: nothing is told twice"
        );
    }
}

#[tokio::test]
async fn an_update_and_a_deletion_are_done_under_the_identifier_they_have() {
    let (phone, mut device) = empty(CONTACTS).await;
    let ann = phone.sync().add(&CONTACTS, person("Ann")).unwrap();
    let bo = phone.sync().add(&CONTACTS, person("Bo")).unwrap();
    device.abort("the phone was edited").await.unwrap();
    Host::default().open(&mut device, true).await.unwrap();
    read(&mut device).await;
    let update = update("ann", &ann, person("Anna"), &["name"]);
    let delete = Write {
        change: Change::Delete,
        groups: Vec::new(),
        ..super::update("bo", &bo, person("Bo"), &[])
    };
    // A record that was gone comes back under another identifier, which is told.
    let stale = super::update("gone", &id("999999"), person("Cy"), &["name"]);
    let writes = [update.clone(), delete.clone(), stale.clone()];
    let outcomes = device.write(batch(writes)).await.unwrap();
    let nothing = Outcome::Done { native: None };
    assert!(outcomes.contains(&(update.engine, nothing.clone())), "{outcomes:?}");
    assert!(outcomes.contains(&(delete.engine, nothing)), "{outcomes:?}");
    let new = natives(&outcomes)[&stale.engine].clone();
    device.commit().await.unwrap();
    let records = phone.sync().records(&CONTACTS);
    assert_eq!(records.keys().cloned().collect::<Vec<_>>(), [ann.clone(), new]);
    assert_eq!(text(&records[&ann], "first name"), "Anna");
}

#[tokio::test]
async fn bookmarks_keep_the_identifiers_of_the_computer() {
    let (phone, mut device) = empty(BOOKMARKS).await;
    let page = create("page", Record::new(entity::BOOKMARK).with("url", "https://example.org"));
    let outcomes = device.write(batch([page.clone()])).await.unwrap();
    assert_eq!(outcomes, [(page.engine, done(&page.id))]);
    assert_eq!(device.commit().await.unwrap().outcomes, []);
    assert_eq!(
        phone.sync().records(&BOOKMARKS).into_keys().collect::<Vec<_>>(),
        [page.id]
    );
}

#[tokio::test]
async fn a_picture_stays_unless_it_is_what_changed() {
    let (old, new, large) = (vec![1; 100], vec![2; 100], vec![3; 768_001]);
    let picture = |bytes: &Vec<u8>| Value::Data(bytes.clone());
    let cases = [
        // What is written, the groups that change, and what the phone has afterwards.
        (Some(&old), vec!["name"], Some(&old)),
        (None, vec!["name"], Some(&old)),
        (Some(&new), vec!["image"], Some(&new)),
        (None, vec!["image"], None),
        (Some(&large), vec!["image"], Some(&old)),
    ];
    for (written, groups, after) in cases {
        let phone = Phone::builder().empty().build().unwrap();
        let ann = phone
            .sync()
            .add(&CONTACTS, person("Ann").with("image", picture(&old)))
            .unwrap();
        let mut device = device(&phone, CONTACTS).await;
        Host::default().open(&mut device, true).await.unwrap();
        read(&mut device).await;
        let mut record = person("Anna");
        if let Some(written) = written {
            record = record.with("image", picture(written));
        }
        device
            .write(batch([update("ann", &ann, record, &groups)]))
            .await
            .unwrap();
        device.commit().await.unwrap();
        let record = phone.sync().records(&CONTACTS).remove(&ann).unwrap();
        assert_eq!(text(&record, "first name"), "Anna");
        assert_eq!(
            record.attributes.get("image"),
            after.map(picture).as_ref(),
            "{groups:?}"
        );
        assert_eq!(record.attributes.get("SDImageUnchangedMarker"), None);
    }
}

#[tokio::test]
async fn many_large_pictures_go_in_several_messages_and_all_arrive() {
    let (phone, mut device) = empty(CONTACTS).await;
    let people = (0..12).map(|n| {
        let image = Value::Data(vec![u8::try_from(n).unwrap(); 400_000]);
        create(&n.to_string(), person(&n.to_string()).with("image", image))
    });
    let outcomes = device.write(batch(people)).await.unwrap();
    assert_eq!(natives(&outcomes).len(), 12);
    device.commit().await.unwrap();
    assert_eq!(phone.sync().records(&CONTACTS).len(), 12);
    let messages = phone.log().count(sync::NAME, "SDMessageProcessChanges");
    assert_eq!(messages, 6, "two pictures each");
}

#[tokio::test]
async fn a_clear_takes_effect_with_what_is_written_after_it() {
    let phone = phone();
    let mut device = device(&phone, CALENDARS).await;
    Host::default().open(&mut device, true).await.unwrap();
    read(&mut device).await;
    device.clear().await.unwrap();
    let calendar = create("home", Record::new(entity::CALENDAR).with("title", "Home"));
    let outcomes = device.write(batch([calendar.clone()])).await.unwrap();
    assert!(phone.sync().records(&CALENDARS).len() > 1, "not before the commit");
    device.commit().await.unwrap();
    let left: Vec<RecordId> = phone.sync().records(&CALENDARS).into_keys().collect();
    assert_eq!(left, [natives(&outcomes)[&calendar.engine].clone()]);
}

/// Devices give people and groups their identifiers in one step, once a session: a group that comes after a full batch
/// of people must not come too late.
#[tokio::test]
async fn a_group_after_exactly_one_batch_of_people_is_made_with_its_members() {
    let (phone, mut device) = empty(CONTACTS).await;
    let told = Report::new(Extent::Everything, Standing::Own);
    let mut reports = Reports::new(told.clone(), told);
    let people = (0..500).map(|n| (id(&format!("{n}.vcf")), Change::Upsert(person(&n.to_string()))));
    let members = (0..500).map(|n| format!("{n}.vcf").into()).collect();
    let group = Record::new(entity::GROUP)
        .with("name", "Friends")
        .with("members", Value::Array(members));
    reports.add(Side::Computer, people.collect());
    reports.add(
        Side::Computer,
        [(id("friends"), Change::Upsert(group))].into_iter().collect(),
    );
    let mut inputs = Inputs::new(SessionId([7; 16]));
    inputs.policy = Policy::default().first_sync(FirstSync::Merge);
    inputs.capabilities.device = device.capabilities();
    let mut execution = Execution::new(plan(PairState::new(CONTACTS), reports, &inputs));
    while let Some(batch) = execution.next_batch(Side::Device) {
        let outcomes = device.write(batch).await.unwrap();
        execution.handle_outcomes(Side::Device, outcomes);
    }
    execution.handle_outcomes(Side::Device, device.commit().await.unwrap().outcomes);
    assert_eq!(execution.failed(Side::Device), 0);
    let records = phone.sync().records(&CONTACTS);
    let group = records
        .values()
        .find(|record| record.entity.as_deref() == Some(entity::GROUP));
    assert_eq!(group.unwrap().related("members").unwrap().len(), 500);
    assert_eq!(records.len(), 501);
}
