//! One client, from its first byte to its last.

use std::sync::Arc;

use bytes::Bytes;
use cabled_wire::ids::DeviceId;
use cabled_wire::io::{BoxStream, ConnectError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

use super::tunnel::{self, ClientSocket};
use super::{Shared, listen, records};
use crate::msg::{
    Call, ClientInfo, DeviceList, Form, Header, MAX_MESSAGE, MessageDecoder, Reply, Request, ResultCode, number,
};
use crate::source::SourceEvent;

/// A client in command mode.
pub(super) struct Client<S> {
    pub(super) shared: Arc<Shared>,
    /// Counts clients, for the list of listeners.
    pub(super) number: u64,
    pub(super) stream: S,
    decoder: MessageDecoder,
    /// Binary until the first message 8, then property lists for ever.
    pub(super) form: Form,
}

/// What to do after a request.
enum Next {
    Command,
    Listen(ClientInfo),
    Tunnel(Tunnel),
    Close,
}

/// A connection to a device, with what tells that the device is gone.
struct Tunnel {
    device: DeviceId,
    stream: BoxStream,
    events: broadcast::Receiver<SourceEvent>,
}

pub(super) async fn serve<S: ClientSocket>(shared: Arc<Shared>, number: u64, stream: S) {
    let decoder = MessageDecoder::new(MAX_MESSAGE);
    let mut client = Client {
        shared,
        number,
        stream,
        decoder,
        form: Form::Binary,
    };
    while let Some((header, payload)) = client.next().await {
        match client.handle(&header, &payload).await {
            Next::Command => {}
            Next::Close => return,
            Next::Listen(info) => return listen::run(client, info).await,
            Next::Tunnel(Tunnel { device, stream, events }) => {
                let gone = unplugged(&client.shared, device, events);
                return tunnel::pump(client.stream, stream, gone).await;
            }
        }
    }
}

/// Ends when the device is gone.
async fn unplugged(shared: &Shared, device: DeviceId, mut events: broadcast::Receiver<SourceEvent>) {
    loop {
        match events.recv().await {
            Ok(SourceEvent::Detached(id)) if id == device => return,
            Err(RecvError::Lagged(_)) if !shared.is_attached(device) => return,
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            // A source without news: its streams have to tell.
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}

impl<S: ClientSocket> Client<S> {
    /// The next message, or `None` when the connection is to be closed.
    async fn next(&mut self) -> Option<(Header, Bytes)> {
        loop {
            match self.decoder.next() {
                Ok(Some(message)) => return Some(message),
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(%error, "client dropped");
                    return None;
                }
            }
            let limit = self.shared.options.message_limit;
            let started = !self.decoder.is_empty();
            let buffer = self.decoder.buffer_mut();
            buffer.reserve(4096);
            let read = self.stream.read_buf(buffer);
            // A client may be idle for as long as it likes, but not in the middle of a message.
            let read = if started {
                timeout(limit, read).await.ok()?
            } else {
                read.await
            };
            if read.ok()? == 0 {
                return None;
            }
        }
    }

    async fn handle(&mut self, header: &Header, payload: &[u8]) -> Next {
        if header.version <= 1 && header.message == number::PLIST {
            self.form = Form::Plist;
        }
        let Call { request, client } = match Request::decode(header, payload) {
            Ok(call) => call,
            Err(refusal) => {
                tracing::debug!(%refusal, "request refused");
                return self.result(header.tag, refusal.code).await;
            }
        };
        tracing::debug!(request = request.name(), program = client.program, "request");
        let reply = match request {
            Request::Listen => return self.listen(header.tag, client).await,
            Request::Connect { device, port } => return self.connect(header.tag, device, port).await,
            Request::ListDevices => Reply::DeviceList(DeviceList {
                devices: self.shared.devices(),
                unreadable: 0,
            }),
            Request::ListListeners => Reply::ListenerList(self.shared.listener_list()),
            Request::ReadBuid => match self.shared.store.system_buid().await {
                Ok(buid) => Reply::Buid(buid.to_string()),
                Err(error) => records::failed(&error),
            },
            Request::ReadPairRecord { id } => self.shared.read_record(&id).await,
            Request::SavePairRecord { id, data, device } => match self.shared.save_record(&id, &data).await {
                Ok(()) => {
                    self.shared.announce_paired(&id, device);
                    Reply::Result(ResultCode::Ok)
                }
                Err(reply) => reply,
            },
            Request::DeletePairRecord { id } => self.shared.delete_record(&id).await,
        };
        self.reply(header.tag, &reply).await
    }

    async fn result(&mut self, tag: u32, code: ResultCode) -> Next {
        self.reply(tag, &Reply::Result(code)).await
    }

    async fn reply(&mut self, tag: u32, reply: &Reply) -> Next {
        // Data answers go only to those who asked with a property list, and that has set the form.
        let Some(bytes) = reply.encode(self.form, tag) else {
            return Next::Close;
        };
        if self.send(&bytes).await {
            Next::Command
        } else {
            Next::Close
        }
    }

    /// Says whether the client took it; one that does not read is dropped after a while, so that it frees its place.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> bool {
        let limit = self.shared.options.send_limit;
        let send = async { self.stream.write_all(bytes).await.is_ok() && self.stream.flush().await.is_ok() };
        timeout(limit, send).await.unwrap_or_else(|_| {
            tracing::debug!(number = self.number, "client dropped: it does not read");
            false
        })
    }

    async fn listen(&mut self, tag: u32, client: ClientInfo) -> Next {
        match self.result(tag, ResultCode::Ok).await {
            // A command behind Listen ends the connection.
            Next::Command if self.decoder.is_empty() => Next::Listen(client),
            _ => Next::Close,
        }
    }

    /// Answers within four seconds whatever the device does: libusbmuxd waits no longer than five.
    async fn connect(&mut self, tag: u32, device: DeviceId, port: u16) -> Next {
        let shared = Arc::clone(&self.shared);
        // Before the device is looked for, so that its end is not missed.
        let events = shared.source.watch();
        if !shared.is_attached(device) {
            return self.result(tag, ResultCode::BadDevice).await;
        }
        if !self.decoder.is_empty() {
            return Next::Close; // spoke before the answer, as below
        }
        let connecting = timeout(shared.options.connect_limit, shared.source.connect(device, port));
        let mut early = [0];
        let connected = tokio::select! {
            connected = connecting => connected,
            // Gone; or it said something before the answer, which the reference daemon answers by closing, too.
            _ = self.stream.read(&mut early) => return Next::Close,
        };
        let code = match connected {
            Ok(Ok(stream)) => {
                return match self.result(tag, ResultCode::Ok).await {
                    Next::Command => Next::Tunnel(Tunnel { device, stream, events }),
                    other => other,
                };
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, %device, port, "no connection");
                match error {
                    // Never 0: the client would take what follows for the device's stream.
                    ConnectError::Daemon { code: code @ 1.. } => ResultCode::from(code),
                    _ => ResultCode::ConnectionRefused,
                }
            }
            Err(_) => ResultCode::ConnectionRefused,
        };
        self.result(tag, code).await
    }
}
