use bytes::{Bytes, BytesMut};
use cabled_wire::{Reader, WireError};

use super::{FileHandle, Header, LinkKind, LockOp, OpenMode, Operation, PacketError, Status, Whence, WirePath};

/// Everything an AFC peer can say, requests and replies alike. Field order is wire order; lengths and positions are in
/// bytes. Spec: afc 3.
///
/// Operations whose layout no open client confirms ([`Packet::ConnectionOptions`] and those marked so) decode to their
/// likely layout, or to [`Packet::Unknown`] where they have another.
///
/// The fields bear the same names everywhere: `handle`, an open file or folder; `path`, from the root of the service;
/// `data`, the payload; `len` and `size`, bytes; `offset` and `position`, bytes from the start of the file (in
/// [`Packet::FileSeek`], from `whence`); `fields` and `payload`, the two parts of what is kept whole.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are explained once, in the docs of the enum")]
pub enum Packet {
    /// `0x01`, reply: done, or why not.
    Status(Status),
    /// `0x02`, reply: file bytes, names, an information list or a hash. Empty at the end of a file; without a payload
    /// also a way of saying done.
    Data(Bytes),
    /// `0x03`: list a folder. Reply: [`Packet::Data`], see [`super::DirectoryListing`].
    ReadDir { path: WirePath },
    /// `0x04`: read a whole file.
    ReadFile { path: WirePath },
    /// `0x05`: write a whole file.
    WriteFile { path: WirePath, data: Bytes },
    /// `0x06`: write into a file.
    WritePart { offset: u64, path: WirePath, data: Bytes },
    /// `0x07`: cut a file, or extend it with zeros.
    Truncate { len: u64, path: WirePath },
    /// `0x08`: remove a file, a link or an empty folder.
    RemovePath { path: WirePath },
    /// `0x09`: make a folder with its parents; done when it exists.
    MakeDir { path: WirePath },
    /// `0x0a`: describe a path, not following a link. Reply: [`Packet::Data`], see [`super::InfoList`].
    FileInfo { path: WirePath },
    /// `0x0b`: describe the file system. Reply: [`Packet::Data`], see [`super::InfoList`].
    DeviceInfo,
    /// `0x0c`: write a whole file under another name, then rename it.
    WriteFileAtomic { path: WirePath, data: Bytes },
    /// `0x0d`: open a file. Reply: [`Packet::FileOpenResult`].
    FileOpen { mode: OpenMode, path: WirePath },
    /// `0x0e`, reply: the new handle, never 0.
    FileOpenResult { handle: FileHandle },
    /// `0x0f`: read up to `len` bytes at the handle's position. Reply: [`Packet::Data`].
    FileRead { handle: FileHandle, len: u64 },
    /// `0x10`: write at the handle's position.
    FileWrite { handle: FileHandle, data: Bytes },
    /// `0x11`: move the handle's position.
    FileSeek {
        handle: FileHandle,
        whence: Whence,
        offset: i64,
    },
    /// `0x12`: ask for the handle's position. Reply: [`Packet::FileTellResult`].
    FileTell { handle: FileHandle },
    /// `0x13`, reply: the handle's position.
    FileTellResult { position: u64 },
    /// `0x14`: close a handle; its locks end.
    FileClose { handle: FileHandle },
    /// `0x15`: cut a file, or extend it with zeros.
    FileSetSize { handle: FileHandle, len: u64 },
    /// `0x16`: describe the connection. Reply: [`Packet::Data`]; its keys are not known.
    ConnectionInfo,
    /// `0x17`: layout unknown, kept whole.
    ConnectionOptions { fields: Bytes, payload: Bytes },
    /// `0x18`: rename or move; an existing target file is replaced.
    RenamePath { from: WirePath, to: WirePath },
    /// `0x19`: the block size for the file system.
    SetFsBlockSize { size: u64 },
    /// `0x1a`: the block size for the connection.
    SetSocketBlockSize { size: u64 },
    /// `0x1b`: take or give back the lock of a file.
    FileLock { handle: FileHandle, op: LockOp },
    /// `0x1c`: make a link; the target comes first.
    MakeLink {
        kind: LinkKind,
        target: WirePath,
        link: WirePath,
    },
    /// `0x1d`: ask for a file's hash. Reply: [`Packet::Data`], raw bytes.
    FileHash { path: WirePath },
    /// `0x1e`: set a file's modification time, nanoseconds since 1970-01-01 UTC.
    SetModTime { mtime: i64, path: WirePath },
    /// `0x1f`, layout unconfirmed: the hash of a part of a file.
    FileHashRange { start: u64, end: u64, path: WirePath },
    /// `0x20`, layout unconfirmed: a hint that the file will not change.
    SetImmutableHint { handle: FileHandle, hint: u64 },
    /// `0x21`: the size of a folder's contents. Reply: [`Packet::Data`], content unconfirmed.
    SizeOfPathContents { path: WirePath },
    /// `0x22`: remove a path and all below it.
    RemovePathAndContents { path: WirePath },
    /// `0x23`: open a folder. Reply: [`Packet::DirOpenResult`].
    DirOpen { path: WirePath },
    /// `0x24`, reply: the new handle.
    DirOpenResult { handle: FileHandle },
    /// `0x25`: read from an opened folder. Reply: [`Packet::Data`].
    DirRead { handle: FileHandle },
    /// `0x26`: close an opened folder.
    DirClose { handle: FileHandle },
    /// `0x27`, layout unconfirmed: read at an offset. Reply: [`Packet::Data`].
    FileReadOffset { handle: FileHandle, offset: u64, len: u64 },
    /// `0x28`, layout unconfirmed: write at an offset.
    FileWriteOffset {
        handle: FileHandle,
        offset: u64,
        data: Bytes,
    },
    /// An operation this version does not know, kept whole.
    Unknown {
        operation: u64,
        fields: Bytes,
        payload: Bytes,
    },
}

impl Packet {
    /// What the packet is.
    #[must_use]
    pub fn operation(&self) -> Operation {
        match self {
            Self::Status(_) => Operation::Status,
            Self::Data(_) => Operation::Data,
            Self::ReadDir { .. } => Operation::ReadDir,
            Self::ReadFile { .. } => Operation::ReadFile,
            Self::WriteFile { .. } => Operation::WriteFile,
            Self::WritePart { .. } => Operation::WritePart,
            Self::Truncate { .. } => Operation::Truncate,
            Self::RemovePath { .. } => Operation::RemovePath,
            Self::MakeDir { .. } => Operation::MakeDir,
            Self::FileInfo { .. } => Operation::FileInfo,
            Self::DeviceInfo => Operation::DeviceInfo,
            Self::WriteFileAtomic { .. } => Operation::WriteFileAtomic,
            Self::FileOpen { .. } => Operation::FileOpen,
            Self::FileOpenResult { .. } => Operation::FileOpenResult,
            Self::FileRead { .. } => Operation::FileRead,
            Self::FileWrite { .. } => Operation::FileWrite,
            Self::FileSeek { .. } => Operation::FileSeek,
            Self::FileTell { .. } => Operation::FileTell,
            Self::FileTellResult { .. } => Operation::FileTellResult,
            Self::FileClose { .. } => Operation::FileClose,
            Self::FileSetSize { .. } => Operation::FileSetSize,
            Self::ConnectionInfo => Operation::ConnectionInfo,
            Self::ConnectionOptions { .. } => Operation::ConnectionOptions,
            Self::RenamePath { .. } => Operation::RenamePath,
            Self::SetFsBlockSize { .. } => Operation::SetFsBlockSize,
            Self::SetSocketBlockSize { .. } => Operation::SetSocketBlockSize,
            Self::FileLock { .. } => Operation::FileLock,
            Self::MakeLink { .. } => Operation::MakeLink,
            Self::FileHash { .. } => Operation::FileHash,
            Self::SetModTime { .. } => Operation::SetModTime,
            Self::FileHashRange { .. } => Operation::FileHashRange,
            Self::SetImmutableHint { .. } => Operation::SetImmutableHint,
            Self::SizeOfPathContents { .. } => Operation::SizeOfPathContents,
            Self::RemovePathAndContents { .. } => Operation::RemovePathAndContents,
            Self::DirOpen { .. } => Operation::DirOpen,
            Self::DirOpenResult { .. } => Operation::DirOpenResult,
            Self::DirRead { .. } => Operation::DirRead,
            Self::DirClose { .. } => Operation::DirClose,
            Self::FileReadOffset { .. } => Operation::FileReadOffset,
            Self::FileWriteOffset { .. } => Operation::FileWriteOffset,
            Self::Unknown { operation, .. } => Operation::from_code(*operation),
        }
    }

    /// The bulk that follows the fixed part; empty for most packets. Cheap: the bytes are shared.
    #[must_use]
    pub fn payload(&self) -> Bytes {
        match self {
            Self::Data(data)
            | Self::WriteFile { data, .. }
            | Self::WritePart { data, .. }
            | Self::WriteFileAtomic { data, .. }
            | Self::FileWrite { data, .. }
            | Self::FileWriteOffset { data, .. }
            | Self::ConnectionOptions { payload: data, .. }
            | Self::Unknown { payload: data, .. } => data.clone(),
            _ => Bytes::new(),
        }
    }

    /// Header and fixed part, all but the payload: a writer sends both in one call and copies no bulk.
    #[must_use]
    pub fn encode_head(&self, packet_num: u64) -> Bytes {
        let mut out = vec![0; Header::LEN];
        self.encode_fields(&mut out);
        let fields_len = out.len().saturating_sub(Header::LEN);
        let header = Header::new(self.operation(), packet_num, fields_len, self.payload().len());
        if let Some(space) = out.first_chunk_mut::<{ Header::LEN }>() {
            *space = header.encode();
        }
        Bytes::from(out)
    }

    /// The whole packet in one buffer. Copies the payload; see [`Packet::encode_head`].
    #[must_use]
    pub fn encode(&self, packet_num: u64) -> Bytes {
        let (head, payload) = (self.encode_head(packet_num), self.payload());
        if payload.is_empty() {
            return head;
        }
        let mut out = BytesMut::with_capacity(head.len().saturating_add(payload.len()));
        out.extend_from_slice(&head);
        out.extend_from_slice(&payload);
        out.freeze()
    }

    /// Reads one whole packet of at most `limit` bytes, and its number. The payload shares the frame's memory.
    ///
    /// # Errors
    /// Those of [`Header::decode`], [`PacketError::Length`] if the frame is shorter or longer than its header says, and
    /// [`PacketError::Fields`].
    pub fn decode(frame: &Bytes, limit: u64) -> Result<(u64, Self), PacketError> {
        let found = frame.len();
        let entire = Header::LEN as u64;
        let head = frame
            .first_chunk::<{ Header::LEN }>()
            .ok_or(PacketError::Length { entire, found })?;
        let header = Header::decode(head, limit)?;
        let entire = header.body_len().saturating_add(Header::LEN as u64);
        let fields_end = usize::try_from(header.fields_len())
            .ok()
            .and_then(|len| len.checked_add(Header::LEN));
        match fields_end {
            Some(end) if usize::try_from(entire) == Ok(found) => {
                let packet = Self::from_parts(&header, &frame.slice(Header::LEN..end), frame.slice(end..))?;
                Ok((header.packet_num, packet))
            }
            _ => Err(PacketError::Length { entire, found }),
        }
    }

    /// Reads a packet whose parts came separately. A receiver that streams the payload of a write passes none here.
    ///
    /// In replies, and in requests that are all path, the two parts are read as one: some senders put everything into
    /// the first.
    ///
    /// # Errors
    /// [`PacketError::Fields`].
    pub fn from_parts(header: &Header, fields: &Bytes, payload: Bytes) -> Result<Self, PacketError> {
        let parsed = Self::parse(header.operation, fields, payload.clone());
        match (header.operation, parsed) {
            (
                operation @ (Operation::FileHashRange
                | Operation::SetImmutableHint
                | Operation::FileReadOffset
                | Operation::FileWriteOffset),
                Err(_),
            ) => Ok(Self::Unknown {
                operation: operation.code(),
                fields: fields.clone(),
                payload,
            }),
            (_, Ok(packet)) => Ok(packet),
            (operation, Err(source)) => Err(PacketError::Fields { operation, source }),
        }
    }

    fn parse(operation: Operation, fields: &Bytes, payload: Bytes) -> Result<Self, WireError> {
        if let Some(packet) = Self::parse_path_only(operation, fields, &payload) {
            return Ok(packet);
        }
        let mut r = Reader::new(fields);
        let packet = match operation {
            Operation::Status | Operation::FileOpenResult | Operation::FileTellResult | Operation::DirOpenResult => {
                return Self::parse_number_reply(operation, &joined(fields, &payload));
            }
            Operation::Data => return Ok(Self::Data(joined(fields, &payload))),
            Operation::DeviceInfo => return Ok(Self::DeviceInfo),
            Operation::ConnectionInfo => return Ok(Self::ConnectionInfo),
            Operation::ConnectionOptions => {
                return Ok(Self::ConnectionOptions {
                    fields: fields.clone(),
                    payload,
                });
            }
            Operation::WriteFile => Self::WriteFile {
                path: path(fields, &mut r),
                data: payload,
            },
            Operation::WriteFileAtomic => Self::WriteFileAtomic {
                path: path(fields, &mut r),
                data: payload,
            },
            Operation::WritePart => Self::WritePart {
                offset: r.u64_le("offset")?,
                path: path(fields, &mut r),
                data: payload,
            },
            Operation::Truncate => Self::Truncate {
                len: r.u64_le("size")?,
                path: path(fields, &mut r),
            },
            Operation::FileOpen => Self::FileOpen {
                mode: OpenMode::from_code(r.u64_le("mode")?),
                path: path(fields, &mut r),
            },
            Operation::FileRead => Self::FileRead {
                handle: handle(&mut r)?,
                len: r.u64_le("size")?,
            },
            Operation::FileWrite => Self::FileWrite {
                handle: handle(&mut r)?,
                data: payload,
            },
            Operation::FileSeek => Self::FileSeek {
                handle: handle(&mut r)?,
                whence: Whence::from_code(r.u64_le("whence")?),
                offset: r.u64_le("offset")?.cast_signed(),
            },
            Operation::FileTell => Self::FileTell {
                handle: handle(&mut r)?,
            },
            Operation::FileClose => Self::FileClose {
                handle: handle(&mut r)?,
            },
            Operation::FileSetSize => Self::FileSetSize {
                handle: handle(&mut r)?,
                len: r.u64_le("size")?,
            },
            Operation::RenamePath => {
                let (from, to) = two_paths(fields, &mut r)?;
                Self::RenamePath { from, to }
            }
            Operation::SetFsBlockSize => Self::SetFsBlockSize {
                size: r.u64_le("size")?,
            },
            Operation::SetSocketBlockSize => Self::SetSocketBlockSize {
                size: r.u64_le("size")?,
            },
            Operation::FileLock => Self::FileLock {
                handle: handle(&mut r)?,
                op: LockOp::from_code(r.u64_le("op")?),
            },
            Operation::MakeLink => {
                let kind = LinkKind::from_code(r.u64_le("type")?);
                let (target, link) = two_paths(fields, &mut r)?;
                Self::MakeLink { kind, target, link }
            }
            Operation::SetModTime => Self::SetModTime {
                mtime: r.u64_le("time")?.cast_signed(),
                path: path(fields, &mut r),
            },
            Operation::FileHashRange => Self::FileHashRange {
                start: r.u64_le("start")?,
                end: r.u64_le("end")?,
                path: path(fields, &mut r),
            },
            Operation::SetImmutableHint => Self::SetImmutableHint {
                handle: handle(&mut r)?,
                hint: r.u64_le("hint")?,
            },
            Operation::DirRead => Self::DirRead {
                handle: handle(&mut r)?,
            },
            Operation::DirClose => Self::DirClose {
                handle: handle(&mut r)?,
            },
            Operation::FileReadOffset => Self::FileReadOffset {
                handle: handle(&mut r)?,
                offset: r.u64_le("offset")?,
                len: r.u64_le("size")?,
            },
            Operation::FileWriteOffset => Self::FileWriteOffset {
                handle: handle(&mut r)?,
                offset: r.u64_le("offset")?,
                data: payload,
            },
            other => {
                return Ok(Self::Unknown {
                    operation: other.code(),
                    fields: fields.clone(),
                    payload,
                });
            }
        };
        r.finish("the fixed part")?;
        Ok(packet)
    }

    fn parse_path_only(operation: Operation, fields: &Bytes, payload: &Bytes) -> Option<Self> {
        let make: fn(WirePath) -> Self = match operation {
            Operation::ReadDir => |path| Self::ReadDir { path },
            Operation::ReadFile => |path| Self::ReadFile { path },
            Operation::RemovePath => |path| Self::RemovePath { path },
            Operation::MakeDir => |path| Self::MakeDir { path },
            Operation::FileInfo => |path| Self::FileInfo { path },
            Operation::FileHash => |path| Self::FileHash { path },
            Operation::SizeOfPathContents => |path| Self::SizeOfPathContents { path },
            Operation::RemovePathAndContents => |path| Self::RemovePathAndContents { path },
            Operation::DirOpen => |path| Self::DirOpen { path },
            _ => return None,
        };
        Some(make(WirePath::split(&joined(fields, payload)).0))
    }

    fn parse_number_reply(operation: Operation, body: &Bytes) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        Ok(match operation {
            Operation::FileOpenResult => Self::FileOpenResult {
                handle: handle(&mut r)?,
            },
            Operation::DirOpenResult => Self::DirOpenResult {
                handle: handle(&mut r)?,
            },
            Operation::FileTellResult => Self::FileTellResult {
                position: r.u64_le("position")?,
            },
            _ => Self::Status(Status::from_code(r.u64_le("status")?)),
        })
    }

    fn encode_fields(&self, out: &mut Vec<u8>) {
        let mut put = |number: u64| out.extend_from_slice(&number.to_le_bytes());
        match self {
            Self::Status(status) => put(status.code()),
            Self::FileOpenResult { handle }
            | Self::DirOpenResult { handle }
            | Self::FileWrite { handle, .. }
            | Self::FileTell { handle }
            | Self::FileClose { handle }
            | Self::DirRead { handle }
            | Self::DirClose { handle } => put(handle.number()),
            Self::FileTellResult { position } => put(*position),
            Self::FileRead { handle, len } | Self::FileSetSize { handle, len } => {
                [handle.number(), *len].into_iter().for_each(put);
            }
            Self::FileSeek { handle, whence, offset } => {
                [handle.number(), whence.code(), offset.cast_unsigned()]
                    .into_iter()
                    .for_each(put);
            }
            Self::FileLock { handle, op } => [handle.number(), op.code()].into_iter().for_each(put),
            Self::SetImmutableHint { handle, hint } => [handle.number(), *hint].into_iter().for_each(put),
            Self::FileReadOffset { handle, offset, len } => {
                [handle.number(), *offset, *len].into_iter().for_each(put);
            }
            Self::FileWriteOffset { handle, offset, .. } => {
                [handle.number(), *offset].into_iter().for_each(put);
            }
            Self::SetFsBlockSize { size } | Self::SetSocketBlockSize { size } => put(*size),
            Self::Truncate { len: number, .. } | Self::WritePart { offset: number, .. } => put(*number),
            Self::FileOpen { mode, .. } => put(mode.code()),
            Self::MakeLink { kind, .. } => put(kind.code()),
            Self::SetModTime { mtime, .. } => put(mtime.cast_unsigned()),
            Self::FileHashRange { start, end, .. } => [*start, *end].into_iter().for_each(put),
            Self::ConnectionOptions { fields, .. } | Self::Unknown { fields, .. } => out.extend_from_slice(fields),
            _ => {} // no numbers: paths alone, or nothing
        }
        match self {
            Self::ReadDir { path }
            | Self::ReadFile { path }
            | Self::WriteFile { path, .. }
            | Self::WriteFileAtomic { path, .. }
            | Self::WritePart { path, .. }
            | Self::Truncate { path, .. }
            | Self::RemovePath { path }
            | Self::MakeDir { path }
            | Self::FileInfo { path }
            | Self::FileOpen { path, .. }
            | Self::FileHash { path }
            | Self::SetModTime { path, .. }
            | Self::FileHashRange { path, .. }
            | Self::SizeOfPathContents { path }
            | Self::RemovePathAndContents { path }
            | Self::DirOpen { path } => path.encode(out),
            Self::RenamePath {
                from: first,
                to: second,
            }
            | Self::MakeLink {
                target: first,
                link: second,
                ..
            } => {
                first.encode_terminated(out);
                second.encode(out);
            }
            _ => {} // no paths
        }
    }
}

/// Both parts as one; copies only when there are two.
fn joined(fields: &Bytes, payload: &Bytes) -> Bytes {
    match (fields.is_empty(), payload.is_empty()) {
        (true, _) => payload.clone(),
        (_, true) => fields.clone(),
        _ => [fields.as_ref(), payload.as_ref()].concat().into(),
    }
}

fn handle(r: &mut Reader<'_>) -> Result<FileHandle, WireError> {
    r.u64_le("handle").map(FileHandle::new)
}

/// The path that fills the rest of the fixed part.
fn path(fields: &Bytes, r: &mut Reader<'_>) -> WirePath {
    WirePath::split(&fields.slice_ref(r.rest())).0
}

/// Two paths; only the NUL of the second may be left out.
fn two_paths(fields: &Bytes, r: &mut Reader<'_>) -> Result<(WirePath, WirePath), WireError> {
    let (first, rest) = WirePath::split(&fields.slice_ref(r.rest()));
    if !first.is_terminated() {
        return Err(WireError::Text { field: "first path" });
    }
    Ok((first, WirePath::split(&rest).0))
}
