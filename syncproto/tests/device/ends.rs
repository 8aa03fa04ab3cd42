//! Sessions that end before their commit.

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
