//! Writes: the only requests with bulk, which is stored piece by piece as it comes.

use cabled_afc::msg::{FileHandle, Operation, Packet, Status};

use super::AfcQuirks;
use super::root::{Place, status};
use super::session::Session;

/// Where the bytes of one write go.
#[derive(Debug)]
pub(super) struct Sink {
    place: Place,
    offset: u64,
    /// Moves on with the bytes.
    handle: Option<FileHandle>,
    /// Written beside it first.
    rename_to: Option<Place>,
}

/// Whether a request may carry bulk.
pub(super) fn carries_bulk(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::FileWrite
            | Operation::WriteFile
            | Operation::WritePart
            | Operation::WriteFileAtomic
            | Operation::FileWriteOffset
    )
}

impl Session {
    /// Looks at a write before its bytes come, `len` of them.
    pub(super) fn begin_write(&mut self, packet: &Packet, len: u64, quirks: &AfcQuirks) -> Result<Sink, Status> {
        if let Some(status) = self.phone.afc().take_status(packet.operation()) {
            return Err(status);
        }
        if quirks.max_request.is_some_and(|most| len > most) {
            return Err(Status::TooMuchData);
        }
        match packet {
            Packet::FileWrite { handle, .. } => {
                let place = self.writable(*handle)?.clone();
                let end = self.content(*handle)?.len();
                let file = self.file(*handle)?;
                let offset = if file.mode.appends() { end } else { file.position };
                Ok(Sink {
                    place,
                    offset,
                    handle: Some(*handle),
                    rename_to: None,
                })
            }
            Packet::WriteFile { path, .. } => {
                let place = self.root.target(self.phone.fs(), path)?;
                self.open_entry(&place, true, true)?;
                Ok(Sink {
                    place,
                    offset: 0,
                    handle: None,
                    rename_to: None,
                })
            }
            Packet::WritePart { path, offset, .. } => {
                let place = self.root.target(self.phone.fs(), path)?;
                self.open_entry(&place, true, false)?;
                Ok(Sink {
                    place,
                    offset: *offset,
                    handle: None,
                    rename_to: None,
                })
            }
            Packet::WriteFileAtomic { path, .. } => {
                let target = self.root.target(self.phone.fs(), path)?;
                let place = Place {
                    domain: target.domain.clone(),
                    path: format!("{}.afc-atomic", target.path),
                };
                self.open_entry(&place, true, true)?;
                Ok(Sink {
                    place,
                    offset: 0,
                    handle: None,
                    rename_to: Some(target),
                })
            }
            _ => Err(Status::OperationNotSupported),
        }
    }

    /// Stores the next bytes of a write.
    pub(super) fn write_piece(&mut self, sink: &mut Sink, piece: &[u8]) -> Result<(), Status> {
        let Place { domain, path } = &sink.place;
        self.phone
            .fs()
            .write_at(domain, path, sink.offset, piece)
            .map_err(|error| status(&error))?;
        sink.offset = sink.offset.saturating_add(piece.len() as u64);
        if let Some(file) = sink.handle.and_then(|handle| self.files.get_mut(&handle)) {
            file.position = sink.offset;
        }
        Ok(())
    }

    /// Ends a write whose bytes are all stored.
    pub(super) fn end_write(&mut self, sink: Sink) -> Result<(), Status> {
        let Some(to) = sink.rename_to else { return Ok(()) };
        let from = sink.place;
        self.phone
            .fs()
            .rename(&from.domain, &from.path, &to.domain, &to.path)
            .map_err(|error| status(&error))
    }
}
