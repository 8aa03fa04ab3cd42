//! `com.apple.mobile.notification_proxy`: posts and relays. Spec: lockdown, section 12.1.

use std::collections::BTreeSet;
use std::sync::Mutex;

use cabled_lockdown::services::notification_proxy::{Command, Event};
use cabled_wire::io::BoxStream;
use tokio::io::AsyncRead;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, oneshot};

use super::{IDLE, ServeError, read_message, write_message};
use crate::phone::{Phone, locked};

/// The service's name.
pub const NAME: &str = "com.apple.mobile.notification_proxy";

/// Names one connection may observe.
const MAX_NAMES: usize = 256;
/// Bytes of a notification's name.
const MAX_NAME: usize = 255;

/// Serves one connection; `name` says which of the two services it is.
pub(super) async fn serve(phone: Phone, name: &str, stream: BoxStream) -> Result<(), ServeError> {
    let notifications = phone.notifications();
    let observed = Mutex::new(BTreeSet::new());
    let (mut reader, mut writer) = tokio::io::split(stream);
    let (end, ended) = oneshot::channel();
    let commands = async {
        let result = commands(&phone, name, &mut reader, &observed).await;
        if result.is_ok() {
            // Shutdown was asked for: the writer answers it and ends us both.
            let _ = end.send(());
            std::future::pending::<()>().await;
        }
        result
    };
    let relay = relay(&phone, &mut writer, &observed, notifications, ended);
    tokio::select! {
        result = commands => result,
        result = relay => result,
    }
}

/// Takes commands until Shutdown.
async fn commands(
    phone: &Phone,
    service: &str,
    reader: &mut (impl AsyncRead + Unpin + Send),
    observed: &Mutex<BTreeSet<String>>,
) -> Result<(), ServeError> {
    loop {
        match read_message(reader, IDLE).await? {
            Command::Post { name } if name.len() <= MAX_NAME => {
                phone.log().record(service, "PostNotification", name.as_str());
                phone.notify(&name);
            }
            Command::Observe { name } if name.len() <= MAX_NAME => {
                phone.log().record(service, "ObserveNotification", name.as_str());
                let mut observed = locked(observed);
                if observed.len() < MAX_NAMES {
                    observed.insert(name);
                }
            }
            Command::Shutdown => {
                phone.log().record(service, "Shutdown", "");
                return Ok(());
            }
            // Nothing is answered here, not even what is not understood.
            other => phone.log().record(service, "?", format!("{other:?}")),
        }
    }
}

/// Relays observed notifications until `ended`, then says ProxyDeath.
async fn relay(
    phone: &Phone,
    writer: &mut (impl tokio::io::AsyncWrite + Unpin + Send),
    observed: &Mutex<BTreeSet<String>>,
    mut notifications: broadcast::Receiver<String>,
    mut ended: oneshot::Receiver<()>,
) -> Result<(), ServeError> {
    loop {
        tokio::select! {
            _ = &mut ended => return write_message(phone, writer, &Event::ProxyDeath).await,
            posted = notifications.recv() => match posted {
                Ok(name) if locked(observed).contains(&name) => {
                    write_message(phone, writer, &Event::Relay { name }).await?;
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Ok(()),
            },
        }
    }
}
