//! How the phone stands, by what it answers.

use cabled_syncproto::engine::{Extent, Standing};
use cabled_syncproto::msg::SyncType;
use cabled_syncproto::record::Change;
use cabled_virtualdevice::sync::SyncFault;

use super::*;

#[tokio::test]
async fn a_first_session_is_a_reset_and_tells_all_that_is_on_the_phone() {
    for class in [CONTACTS, CALENDARS, BOOKMARKS] {
        let phone = phone();
        let mut host = Host::default();
        let mut device = device(&phone, class.clone()).await;
        let opened = host.open(&mut device, false).await.unwrap();
        assert_eq!((opened.standing, opened.extent), (Standing::Reset, Extent::Everything));
        assert_eq!(opened.build, Some(format!("18.1 (22B83), {class} {}", class.version())));
        assert_eq!(records(read(&mut device).await), phone.sync().records(&class));
        device.commit().await.unwrap();
    }
}

#[tokio::test]
async fn after_a_commit_changes_are_told_and_everything_only_where_it_is_asked_for() {
    for class in [CONTACTS, CALENDARS] {
        let phone = phone();
        let mut host = Host::default();
        host.session(&phone, class.clone()).await;
        let roots = phone.sync().records(&class).into_iter();
        let roots =
            roots.filter(|(_, record)| matches!(record.entity.as_deref(), Some(entity::CONTACT | entity::EVENT)));
        let ids: Vec<RecordId> = roots.map(|(id, _)| id).take(2).collect();
        assert!(phone.sync().edit(&class, &ids[0], |record| {
            record.attributes.insert("first name".into(), "Bo".into());
        }));
        assert!(phone.sync().delete(&class, &ids[1]));
        let mut device = device(&phone, class.clone()).await;
        let opened = host.open(&mut device, false).await.unwrap();
        assert_eq!(
            (opened.standing, opened.extent),
            (Standing::Own, Extent::Changes),
            "{class}"
        );
        let told = read(&mut device).await;
        assert!(matches!(told.get(&ids[0]), Some(Change::Upsert(_))));
        assert_eq!(told.get(&ids[1]), Some(&Change::Delete));
        host.commit(&mut device, opened).await;
        let opened = host.open(&mut device, true).await.unwrap();
        assert_eq!((opened.standing, opened.extent), (Standing::Own, Extent::Everything));
        assert_eq!(records(read(&mut device).await), phone.sync().records(&class));
    }
}

#[tokio::test]
async fn a_session_that_was_cut_makes_the_next_one_slow_and_still_our_own() {
    let phone = phone();
    let mut host = Host::default();
    host.session(&phone, CONTACTS).await;
    let mut cut = device(&phone, CONTACTS).await;
    host.open(&mut cut, false).await.unwrap();
    read(&mut cut).await;
    drop(cut);
    let mut device = device(&phone, CONTACTS).await;
    let opened = host.open(&mut device, false).await.unwrap();
    assert_eq!((opened.standing, opened.extent), (Standing::Own, Extent::Everything));
}

#[tokio::test]
async fn what_another_computer_committed_is_foreign_even_where_the_phone_says_fast() {
    for class in [CONTACTS, CALENDARS, BOOKMARKS] {
        let phone = phone();
        let (mut one, mut two) = (Host::default(), Host::default());
        one.session(&phone, class.clone()).await;
        two.session(&phone, class.clone()).await;
        let mut device = device(&phone, class.clone()).await;
        let opened = one.open(&mut device, false).await.unwrap();
        assert_eq!(
            (opened.standing, opened.extent),
            (Standing::Foreign, Extent::Everything),
            "{class}"
        );
        assert_eq!(records(read(&mut device).await), phone.sync().records(&class));
    }
}

#[tokio::test]
async fn the_phones_word_counts_no_more_than_the_anchor_it_remembers() {
    let phone = phone();
    let (mut one, mut two) = (Host::default(), Host::default());
    one.session(&phone, CONTACTS).await;
    two.session(&phone, CONTACTS).await;
    let said = [
        (SyncType::Fast, Standing::Foreign),
        (SyncType::Slow, Standing::Foreign),
        (SyncType::Reset, Standing::Reset),
    ];
    let mut device = device(&phone, CONTACTS).await;
    for (sync_type, standing) in said {
        phone.sync().push_fault(SyncFault::SayType { sync_type });
        let opened = one.open(&mut device, false).await.unwrap();
        assert_eq!((opened.standing, opened.extent), (standing, Extent::Everything));
        device.abort("enough").await.unwrap();
    }
    phone.sync().push_fault(SyncFault::SayType {
        sync_type: SyncType::Reset,
    });
    let opened = two.open(&mut device, false).await.unwrap();
    assert_eq!(
        opened.standing,
        Standing::Reset,
        "a phone that starts afresh is believed"
    );
}

#[tokio::test]
async fn a_phone_that_promises_more_than_it_tells_was_not_read_to_the_end() {
    let phone = phone();
    phone.sync().push_fault(SyncFault::PromiseMore);
    let mut device = device(&phone, CONTACTS).await;
    Host::default().open(&mut device, true).await.unwrap();
    let end = loop {
        if let Told::End(end) = device.read().await.unwrap() {
            break end;
        }
    };
    assert!(!end.complete);
}

#[tokio::test]
async fn bookmarks_that_nobody_touched_are_told_as_no_changes() {
    let phone = phone();
    let mut host = Host::default();
    host.session(&phone, BOOKMARKS).await;
    let mut device = device(&phone, BOOKMARKS).await;
    let opened = host.open(&mut device, false).await.unwrap();
    assert_eq!((opened.standing, opened.extent), (Standing::Own, Extent::Changes));
    assert!(read(&mut device).await.is_empty());
}

/// Whether the commit was done shows in the next opening, in the first session as in any other.
#[tokio::test]
async fn a_commit_without_an_answer_is_found_out_in_the_next_session() {
    for (sessions, committed) in [(0, true), (0, false), (1, true), (1, false)] {
        for class in [CONTACTS, BOOKMARKS] {
            let phone = phone();
            let mut host = Host::default();
            for _ in 0..sessions {
                host.session(&phone, class.clone()).await;
            }
            let mut cut = device(&phone, class.clone()).await;
            let opened = host.open(&mut cut, false).await.unwrap();
            read(&mut cut).await;
            phone.sync().push_fault(match committed {
                true => SyncFault::CloseBefore {
                    answer: "SDMessageDeviceFinishedSession".into(),
                },
                false => SyncFault::CloseOnReceipt {
                    request: "SDMessageFinishSessionOnDevice".into(),
                },
            });
            assert!(matches!(cut.commit().await, Err(ReplicaError::Broken(_))));
            host.doubtful = opened.token;
            let mut device = device(&phone, class.clone()).await;
            let opened = host.open(&mut device, false).await.unwrap();
            let standing = match (committed, sessions) {
                (true, _) => Standing::Doubtful,
                (false, 0) if class == BOOKMARKS => Standing::Reset,
                (false, 0) => Standing::Foreign,
                (false, _) => Standing::Own,
            };
            assert_eq!(opened.standing, standing, "{class} {sessions} {committed}");
            let all = opened.extent == Extent::Everything;
            // The pull of the cut session moved the anchor of contacts; bookmarks have none.
            assert!(all || (class == BOOKMARKS && standing == Standing::Own));
        }
    }
}

#[tokio::test]
async fn an_erased_phone_starts_afresh_and_a_token_of_somebody_elses_counts_as_none() {
    let phone = phone();
    let mut host = Host::default();
    host.session(&phone, CONTACTS).await;
    let mut stranger = Host {
        token: Some("no token of ours".into()),
        ..Host::default()
    };
    let mut first = device(&phone, CONTACTS).await;
    let opened = stranger.open(&mut first, false).await.unwrap();
    assert_eq!(
        (opened.standing, opened.extent),
        (Standing::Foreign, Extent::Everything)
    );
    first.abort("enough").await.unwrap();
    phone.sync().renumber();
    let opened = host.open(&mut first, false).await.unwrap();
    assert_eq!((opened.standing, opened.extent), (Standing::Reset, Extent::Everything));
}

#[tokio::test]
async fn accounts_are_never_told_and_never_missed() {
    let phone = phone();
    let mut host = Host::default();
    let mut device = device(&phone, DataClass::MailAccounts).await;
    let opened = host.open(&mut device, false).await.unwrap();
    assert_eq!(opened.extent, Extent::Changes);
    assert!(read(&mut device).await.is_empty());
    let account = Record::new(entity::MAIL_ACCOUNT)
        .with("AccountType", "IMAP")
        .with("Username", "ann")
        .with("Hostname", "mail.example.org");
    let write = create("account", account);
    let outcomes = device.write(batch([write.clone()])).await.unwrap();
    assert_eq!(outcomes, [(write.engine, done(&write.id))]);
    assert_eq!(device.commit().await.unwrap().outcomes, []);
    assert!(phone.sync().records(&DataClass::MailAccounts).contains_key(&write.id));
}
