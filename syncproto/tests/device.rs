//! A class on a device as one side of a sync, against the virtual phone.
#![cfg(all(feature = "pair", feature = "session"))]
#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod standings {
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
}

mod refusals {
    use cabled_syncproto::session::{Refusal, RefusalKind};
    use cabled_wire::plist::Dictionary;

    use super::*;

    fn kind(error: &ReplicaError) -> RefusalKind {
        let ReplicaError::Refused { source, reason, .. } = error else {
            panic!("{error:?}")
        };
        let refusal = source.as_ref().unwrap().downcast_ref::<Refusal>().unwrap();
        assert!(reason.contains(&refusal.text), "{reason}");
        refusal.kind
    }

    #[tokio::test]
    async fn a_refusal_has_its_kind_and_leaves_the_connection_for_the_next_class() {
        let phone = phone();
        let mut off = Dictionary::new();
        off.insert("DisableTethered".to_owned(), Value::Boolean(true));
        phone.set_value(Some("com.apple.mobile.tethered_sync"), "Contacts", off);
        let mut link = None;
        for (class, wanted) in [
            (CONTACTS, RefusalKind::DisabledOnDevice),
            (DataClass::Notes, RefusalKind::NoDataStore),
        ] {
            let mut device = match link.take() {
                Some(link) => Device::new(link, class),
                None => device(&phone, class).await,
            };
            let error = Host::default().open(&mut device, false).await.unwrap_err();
            assert_eq!(kind(&error), wanted);
            assert!(device.is_connected() && device.opening().is_none());
            link = device.into_link();
        }
        let mut calendars = Device::new(link.unwrap(), CALENDARS);
        Host::default().open(&mut calendars, false).await.unwrap();
        assert_eq!(records(read(&mut calendars).await), phone.sync().records(&CALENDARS));
    }

    #[tokio::test]
    async fn a_version_that_is_too_old_is_raised_once() {
        let phone = phone();
        let asked = || phone.log().count(sync::NAME, "SDMessageSyncDataClassWithDevice");
        let mut device = device(&phone, BOOKMARKS).await.with_version(50);
        Host::default().open(&mut device, false).await.unwrap();
        assert_eq!(asked(), 2);
        device.abort("enough").await.unwrap();
        let mut options = phone.sync().options();
        options.versions.insert(BOOKMARKS, 2_000);
        phone.sync().set_options(options);
        let mut device = device.with_version(50);
        // 999 is above what the phone accepts of old computers, so nothing is refused for ever.
        Host::default().open(&mut device, false).await.unwrap();
        assert_eq!(asked(), 4);
    }
}

mod ends {
    use cabled_syncproto::replica::NoConnection;
    use cabled_virtualdevice::sync::SyncFault;

    use super::*;

    const REQUESTS: [&str; 6] = [
        "SDMessageSyncDataClassWithDevice",
        "SDMessageGetAllRecordsFromDevice",
        "SDMessageAcknowledgeChangesFromDevice",
        "SDMessageClearAllRecordsOnDevice",
        "SDMessageProcessChanges",
        "SDMessageFinishSessionOnDevice",
    ];

    /// A whole session that clears and writes, up to the first error.
    async fn whole(device: &mut Device) -> Result<(), ReplicaError> {
        Host::default().open(device, true).await?;
        while let Told::Batch(_) = device.read().await? {}
        device.clear().await?;
        device.write(batch([create("ann", person("Ann"))])).await?;
        device.commit().await.map(drop)
    }

    #[tokio::test]
    async fn a_session_that_the_phone_gives_up_leaves_the_records_and_the_connection() {
        for request in REQUESTS {
            let phone = phone();
            let before = phone.sync().records(&CONTACTS);
            phone.sync().push_fault(SyncFault::Cancel {
                request: request.into(),
                reason: "somebody pressed a button".into(),
            });
            let mut device = device(&phone, CONTACTS).await;
            let error = whole(&mut device).await.unwrap_err();
            let ReplicaError::GaveUp { reason } = &error else {
                panic!("{request}: {error:?}")
            };
            assert!(reason.contains("somebody pressed a button"), "{reason}");
            assert_eq!(phone.sync().records(&CONTACTS), before, "{request}");
            whole(&mut device).await.unwrap();
            assert_eq!(phone.sync().records(&CONTACTS).len(), 1, "{request}");
        }
    }

    #[tokio::test]
    async fn a_connection_that_breaks_says_so_once_and_for_all() {
        for request in REQUESTS {
            let phone = phone();
            let before = phone.sync().records(&CONTACTS);
            phone.sync().push_fault(SyncFault::CloseOnReceipt {
                request: request.into(),
            });
            let mut device = device(&phone, CONTACTS).await;
            let error = whole(&mut device).await.unwrap_err();
            let ReplicaError::Broken(source) = error else {
                panic!("{request}: {error:?}")
            };
            assert!(source.downcast_ref::<SessionError>().is_some(), "{source:?}");
            assert!(!device.is_connected() && device.take_link().is_none());
            device.abort("it is over").await.unwrap();
            let Err(ReplicaError::Broken(source)) = whole(&mut device).await else {
                panic!("{request}: no connection is no success")
            };
            assert!(source.downcast_ref::<NoConnection>().is_some(), "{source:?}");
            assert_eq!(phone.sync().records(&CONTACTS), before, "{request}");
        }
    }

    #[tokio::test]
    async fn a_session_is_given_up_at_any_point_and_the_class_opens_again() {
        let phone = phone();
        let before = phone.sync().records(&CONTACTS);
        let mut device = device(&phone, CONTACTS).await;
        for steps in 0..5 {
            Host::default().open(&mut device, true).await.unwrap();
            assert!(device.take_link().is_none(), "a class is open");
            for step in 0..steps {
                match step {
                    0 => assert!(matches!(device.read().await.unwrap(), Told::Batch(_))),
                    1 => while let Told::Batch(_) = device.read().await.unwrap() {},
                    2 => device.clear().await.unwrap(),
                    _ => drop(device.write(batch([create("ann", person("Ann"))])).await.unwrap()),
                }
            }
            device.abort("changed my mind").await.unwrap();
            assert_eq!(phone.sync().records(&CONTACTS), before);
        }
        device.abort("nothing is open").await.unwrap();
        whole(&mut device).await.unwrap();
    }

    #[tokio::test]
    async fn a_call_out_of_turn_changes_nothing() {
        let phone = phone();
        let mut device = device(&phone, CONTACTS).await;
        let out_of_turn = |error: ReplicaError| assert!(matches!(error, ReplicaError::OutOfTurn { .. }), "{error:?}");
        out_of_turn(device.read().await.unwrap_err());
        out_of_turn(device.clear().await.unwrap_err());
        out_of_turn(device.commit().await.unwrap_err());
        Host::default().open(&mut device, true).await.unwrap();
        out_of_turn(Host::default().open(&mut device, true).await.unwrap_err());
        out_of_turn(device.write(batch([create("ann", person("Ann"))])).await.unwrap_err());
        device.read().await.unwrap();
        out_of_turn(device.commit().await.unwrap_err());
        out_of_turn(device.clear().await.unwrap_err());
        read(&mut device).await;
        device.commit().await.unwrap();
        whole(&mut device).await.unwrap();
    }

    #[tokio::test]
    async fn a_future_that_is_dropped_takes_the_connection_with_it() {
        let phone = phone();
        let before = phone.sync().records(&CONTACTS);
        let mut device = device(&phone, CONTACTS).await;
        Host::default().open(&mut device, true).await.unwrap();
        read(&mut device).await;
        {
            let write = device.write(batch([create("ann", person("Ann"))]));
            tokio::select! {
                biased;
                _ = write => panic!("the phone cannot have answered"),
                () = std::future::ready(()) => {}
            }
        }
        assert!(!device.is_connected());
        assert!(matches!(device.commit().await, Err(ReplicaError::Broken(_))));
        assert_eq!(phone.sync().records(&CONTACTS), before);
    }
}

mod writes {
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
}

use std::collections::BTreeMap;

use cabled_syncproto::engine::{Batch, EngineId, Outcome, SessionId, Side, Write};
use cabled_syncproto::record::{Change, Changes, Record, RecordId};
use cabled_syncproto::replica::{Device, OpenRequest, Opened, Replica, ReplicaError, Told};
use cabled_syncproto::session::{SessionError, SessionOptions, SyncLink};
use cabled_syncproto::{DataClass, entity};
use cabled_virtualdevice::{Phone, service, sync};
use cabled_wire::plist::Value;

const CONTACTS: DataClass = DataClass::Contacts;
const CALENDARS: DataClass = DataClass::Calendars;
const BOOKMARKS: DataClass = DataClass::Bookmarks;

fn phone() -> Phone {
    Phone::builder().seed(7).build().unwrap()
}

fn id(text: &str) -> RecordId {
    RecordId::new(text).unwrap()
}

fn text<'a>(record: &'a Record, key: &str) -> &'a str {
    let value = record.attributes.get(key);
    value.and_then(|value| value.as_string()).unwrap_or_default()
}

fn person(name: &str) -> Record {
    Record::new(entity::CONTACT)
        .with("first name", name)
        .with("display as company", "person")
}

/// A class over a new connection to the phone's sync service, without lockdown and TLS.
async fn device(phone: &Phone, class: DataClass) -> Device {
    let (host, stream) = tokio::io::duplex(256 << 10);
    let phone = phone.clone();
    tokio::spawn(async move { service::dispatch(phone, sync::NAME, Box::new(stream), None).await });
    let link = SyncLink::connect(Box::new(host), SessionOptions::default());
    Device::new(link.await.unwrap(), class).with_build("18.1 (22B83)")
}

/// What a computer keeps of a class between sessions.
#[derive(Default)]
struct Host {
    token: Option<String>,
    doubtful: Option<String>,
}

impl Host {
    async fn open(&mut self, device: &mut Device, full: bool) -> Result<Opened, ReplicaError> {
        let session = SessionId(*uuid::Uuid::new_v4().as_bytes());
        let request = OpenRequest::new(session)
            .token(self.token.as_deref())
            .doubtful(self.doubtful.as_deref())
            .full(full);
        device.open(request).await
    }

    async fn commit(&mut self, device: &mut Device, opened: Opened) {
        assert_eq!(device.commit().await.unwrap().token, None);
        self.token = opened.token;
    }

    /// A whole session that writes nothing.
    async fn session(&mut self, phone: &Phone, class: DataClass) {
        let mut device = device(phone, class).await;
        let opened = self.open(&mut device, false).await.unwrap();
        read(&mut device).await;
        self.commit(&mut device, opened).await;
    }
}

/// Everything that is told from here on.
async fn read(device: &mut Device) -> Changes {
    let mut all = Changes::new();
    loop {
        match device.read().await.unwrap() {
            Told::Batch(changes) => changes
                .into_iter()
                .for_each(|(id, change)| drop(all.insert(id, change))),
            Told::End(end) => {
                assert!(end.complete && end.unreadable.is_empty());
                return all;
            }
            other => panic!("{other:?}"),
        }
    }
}

fn records(changes: Changes) -> BTreeMap<RecordId, Record> {
    let record = |(id, change)| match change {
        Change::Upsert(record) => (id, record),
        Change::Delete => panic!("{id} was deleted"),
    };
    changes.into_iter().map(record).collect()
}

fn create(name: &str, record: Record) -> Write {
    let engine = EngineId::derive(&SessionId([9; 16]), Side::Computer, name);
    Write {
        engine,
        id: id(&engine.to_string()),
        new: true,
        entity: record.entity.clone().unwrap(),
        groups: Vec::new(),
        change: Change::Upsert(record),
    }
}

fn update(name: &str, native: &RecordId, record: Record, groups: &[&str]) -> Write {
    Write {
        id: native.clone(),
        new: false,
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        ..create(name, record)
    }
}

/// The last batch, and the only one.
fn batch(writes: impl IntoIterator<Item = Write>) -> Batch {
    let writes: Vec<Write> = writes.into_iter().collect();
    Batch {
        entities: writes.iter().map(|write| write.entity.clone()).collect(),
        writes,
        completes: true,
        more: false,
    }
}

fn done(native: &RecordId) -> Outcome {
    Outcome::Done {
        native: Some(native.clone()),
    }
}

/// The identifiers that the phone gave.
fn natives(outcomes: &[(EngineId, Outcome)]) -> BTreeMap<EngineId, RecordId> {
    let native = |(id, outcome): &(EngineId, Outcome)| match outcome {
        Outcome::Done { native: Some(native) } => Some((*id, native.clone())),
        _ => None,
    };
    outcomes.iter().filter_map(native).collect()
}
