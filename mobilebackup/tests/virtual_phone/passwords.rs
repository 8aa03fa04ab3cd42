use cabled_mobilebackup::archive::Archive;
use cabled_mobilebackup::live::{
    BackupError, BackupOptions, ChangePassword, DeviceErrorKind, PasswordChange, RequestOptions, will_encrypt,
};
use cabled_virtualdevice::Profile;

use super::{Bench, phone};

async fn change(bench: &Bench, change: PasswordChange) -> Result<(), BackupError> {
    let job = ChangePassword::new(&bench.paired);
    job.run(change, RequestOptions::default(), &mut bench.folder(), &mut ())
        .await
        .map(drop)
}

#[tokio::test]
async fn encryption_is_turned_on_changed_and_turned_off_and_each_backup_opens() {
    let bench = Bench::new(phone(Profile::ios_17_7())).await;
    let (first, second) = ("first ü password", "second");
    let old = |password: &str| PasswordChange::Disable { old: password.into() };
    assert!(matches!(
        change(&bench, old(first)).await,
        Err(BackupError::NotEncrypted)
    ));
    let empty = change(&bench, PasswordChange::Enable { new: "".into() }).await;
    assert!(matches!(empty, Err(BackupError::EmptyPassword)));

    change(&bench, PasswordChange::Enable { new: first.into() })
        .await
        .unwrap();
    assert!(will_encrypt(&bench.paired).await.unwrap());
    let twice = change(&bench, PasswordChange::Enable { new: second.into() }).await;
    assert!(matches!(twice, Err(BackupError::AlreadyEncrypted)));
    assert!(bench.backup(BackupOptions::default()).await.unwrap().encrypted);
    bench.verify(Some(first));
    assert!(Archive::open(bench.device()).unwrap().unlock("wrong").is_err());

    let wrong = change(
        &bench,
        PasswordChange::Change {
            old: "wrong".into(),
            new: second.into(),
        },
    )
    .await
    .unwrap_err();
    assert!(
        matches!(&wrong, BackupError::Device(error) if error.kind == DeviceErrorKind::WrongPassword),
        "{wrong:?}"
    );
    change(
        &bench,
        PasswordChange::Change {
            old: first.into(),
            new: second.into(),
        },
    )
    .await
    .unwrap();
    bench.backup(BackupOptions::default()).await.unwrap();
    bench.verify(Some(second));

    change(&bench, old(second)).await.unwrap();
    assert!(!bench.backup(BackupOptions::default()).await.unwrap().encrypted);
    bench.verify(None);
}
