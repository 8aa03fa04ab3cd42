//! What each request does to the phone's files. No stream here: requests in, answers out.

use std::collections::HashMap;

use bytes::Bytes;
use cabled_afc::msg::{DirectoryListing, FileHandle, LinkKind, OpenMode, Packet, Status, Whence, WirePath};

use super::root::{Place, Root, status};
use super::state::Owner;
use super::{AfcQuirks, info};
use crate::fs::{Content, Entry, FsError};
use crate::phone::Phone;

/// One connection's view of the phone: its root and its open files.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) phone: Phone,
    pub(super) root: Root,
    pub(super) files: HashMap<FileHandle, OpenFile>,
    connection: u64,
    next_handle: u64,
}

/// A file that is open. It stays the same file while it is renamed on this connection, and can still be read when it
/// was removed.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) place: Place,
    pub(super) mode: OpenMode,
    pub(super) position: u64,
    inode: u64,
    /// As last seen, for a file that is gone.
    content: Content,
}

/// What is sent back.
#[derive(Debug)]
pub(super) enum Answer {
    Packet(Packet),
    /// File data, taken from the content as it is sent.
    Content {
        content: Content,
        offset: u64,
        len: u64,
    },
}

const DONE: Answer = Answer::Packet(Packet::Status(Status::Success));

impl Session {
    pub(super) fn new(phone: Phone, root: Root) -> Self {
        let connection = phone.afc().new_connection();
        // 0 is no handle for two clients (afc 13).
        Self {
            phone,
            root,
            files: HashMap::new(),
            connection,
            next_handle: 1,
        }
    }

    /// Carries out a request without bulk.
    pub(super) fn answer(&mut self, packet: &Packet, quirks: &AfcQuirks) -> Answer {
        let scripted = self.phone.afc().take_status(packet.operation());
        let answer = match scripted {
            Some(status) => Err(status),
            None => self.carry_out(packet, quirks),
        };
        answer.unwrap_or_else(|status| Answer::Packet(Packet::Status(status)))
    }

    fn carry_out(&mut self, packet: &Packet, quirks: &AfcQuirks) -> Result<Answer, Status> {
        match packet {
            Packet::ReadDir { path } => self.list(path, quirks),
            Packet::FileInfo { path } => self.describe(path, quirks),
            Packet::DeviceInfo => Ok(Answer::Packet(Packet::Data(info::of_device(&self.phone).encode()))),
            Packet::FileOpen { mode, path } => self.open(*mode, path, quirks),
            Packet::FileRead { handle, len } => self.read(*handle, *len, quirks),
            Packet::FileSeek { handle, whence, offset } => self.seek(*handle, *whence, *offset),
            Packet::FileTell { handle } => {
                let position = self.file(*handle)?.position;
                Ok(Answer::Packet(Packet::FileTellResult { position }))
            }
            Packet::FileClose { handle } => {
                self.files.remove(handle).ok_or(Status::InvalidArgument)?;
                self.phone.afc().release(self.owner(*handle));
                Ok(DONE)
            }
            Packet::FileSetSize { handle, len } => {
                let place = self.writable(*handle)?;
                self.done(self.phone.fs().set_len(&place.domain, &place.path, *len))
            }
            Packet::FileLock { handle, op } => {
                let inode = self.file(*handle)?.inode;
                self.phone.afc().lock(inode, self.owner(*handle), *op)?;
                Ok(DONE)
            }
            Packet::Truncate { len, path } => {
                let place = self.root.target(self.phone.fs(), path)?;
                self.unprotected(&place)?;
                self.done(self.phone.fs().set_len(&place.domain, &place.path, *len))
            }
            Packet::SetModTime { mtime, path } => {
                let place = self.root.target(self.phone.fs(), path)?;
                let set = |meta: &mut crate::fs::Meta| meta.mtime = *mtime;
                self.done(self.phone.fs().update_meta(&place.domain, &place.path, set))
            }
            Packet::MakeDir { path } => self.make_dir(path),
            Packet::RemovePath { path } => self.remove(path, false),
            Packet::RemovePathAndContents { path } if quirks.removes_contents => self.remove(path, true),
            Packet::RenamePath { from, to } => self.rename(from, to, quirks),
            Packet::MakeLink { kind, target, link } => self.link(*kind, target, link),
            Packet::FileHash { path } => self.hash(path),
            Packet::ReadFile { path } => self.read_file(path),
            // Hints, which change nothing here.
            Packet::SetFsBlockSize { .. } | Packet::SetSocketBlockSize { .. } => Ok(DONE),
            // What was answered for most media paths (afc 3).
            Packet::SizeOfPathContents { .. } => Err(Status::ObjectNotFound),
            _ => Err(Status::OperationNotSupported),
        }
    }

    fn list(&self, path: &WirePath, quirks: &AfcQuirks) -> Result<Answer, Status> {
        let place = self.root.target(self.phone.fs(), path)?;
        if !self.lookup(&place)?.is_dir() {
            return Err(Status::ReadError);
        }
        let names = self.root.names(self.phone.fs(), &place)?;
        let dots: &[&str] = if quirks.dots_in_listing { &[".", ".."] } else { &[] };
        let all = dots.iter().copied().chain(names.iter().map(String::as_str));
        Ok(Answer::Packet(Packet::Data(DirectoryListing::encode(all))))
    }

    fn describe(&self, path: &WirePath, quirks: &AfcQuirks) -> Result<Answer, Status> {
        let place = self.root.entry(self.phone.fs(), path)?;
        let entry = self.lookup(&place)?;
        let info = info::of_entry(&self.phone, &self.root, &place, &entry, quirks);
        Ok(Answer::Packet(Packet::Data(info.encode())))
    }

    fn open(&mut self, mode: OpenMode, path: &WirePath, quirks: &AfcQuirks) -> Result<Answer, Status> {
        if !(mode.reads() || mode.writes()) {
            return Err(Status::InvalidArgument);
        }
        if self.files.len() >= quirks.max_open_files {
            return Err(Status::NoResources);
        }
        let place = self.root.target(self.phone.fs(), path)?;
        let entry = self.open_entry(&place, mode.creates(), mode.truncates())?;
        let content = entry.content().cloned().unwrap_or_else(Content::empty);
        let handle = FileHandle::new(self.next_handle);
        self.next_handle = self.next_handle.wrapping_add(1);
        self.files.insert(
            handle,
            OpenFile {
                place,
                mode,
                position: 0,
                inode: entry.meta.inode,
                content,
            },
        );
        Ok(Answer::Packet(Packet::FileOpenResult { handle }))
    }

    /// The file at a place, made or emptied first if so wanted.
    pub(super) fn open_entry(
        &self,
        place: &Place,
        create: bool,
        truncate: bool,
    ) -> Result<std::sync::Arc<Entry>, Status> {
        let fs = self.phone.fs();
        match fs.lookup(&place.domain, &place.path) {
            Ok(entry) if entry.is_dir() => return Err(Status::ObjectIsDirectory),
            Ok(_) => self.unprotected(place)?,
            Err(FsError::NotFound) if create => {
                return fs
                    .create_file(&place.domain, &place.path)
                    .map_err(|error| status(&error));
            }
            Err(error) => return Err(status(&error)),
        }
        if truncate {
            fs.set_len(&place.domain, &place.path, 0)
                .map_err(|error| status(&error))?;
        }
        self.lookup(place)
    }

    fn read(&mut self, handle: FileHandle, len: u64, quirks: &AfcQuirks) -> Result<Answer, Status> {
        if quirks.max_request.is_some_and(|most| len > most) {
            return Err(Status::TooMuchData);
        }
        let content = self.content(handle)?;
        let file = self.files.get_mut(&handle).ok_or(Status::InvalidArgument)?;
        if !file.mode.reads() {
            // What devices say here is not known (afc 16).
            return Err(Status::ReadError);
        }
        let left = content.len().saturating_sub(file.position);
        let len = len.min(left).min(quirks.max_read.unwrap_or(u64::MAX));
        let offset = file.position;
        file.position = offset.saturating_add(len);
        Ok(Answer::Content { content, offset, len })
    }

    /// The content of an open file as it is now; as it last was if the file is gone.
    pub(super) fn content(&mut self, handle: FileHandle) -> Result<Content, Status> {
        let fs = self.phone.fs().clone();
        let file = self.files.get(&handle).ok_or(Status::InvalidArgument)?;
        let entry = fs
            .get(&file.place.domain, &file.place.path)
            .filter(|entry| entry.meta.inode == file.inode);
        if let Some(entry) = entry {
            if self.is_protected(&entry) {
                // Locked while the file was open: the storage fails (afc 14, trap 14).
                return Err(Status::IoError);
            }
            if let (Some(content), Some(file)) = (entry.content(), self.files.get_mut(&handle)) {
                file.content = content.clone();
            }
        }
        Ok(self.file(handle)?.content.clone())
    }

    fn seek(&mut self, handle: FileHandle, whence: Whence, offset: i64) -> Result<Answer, Status> {
        let end = self.content(handle)?.len();
        let file = self.files.get_mut(&handle).ok_or(Status::InvalidArgument)?;
        let base = match whence {
            Whence::Start => 0,
            Whence::Current => file.position,
            Whence::End => end,
            _ => return Err(Status::InvalidArgument),
        };
        file.position = base.checked_add_signed(offset).ok_or(Status::InvalidArgument)?;
        Ok(DONE)
    }

    fn make_dir(&self, path: &WirePath) -> Result<Answer, Status> {
        let place = self.root.target(self.phone.fs(), path)?;
        match self.phone.fs().create_dir_all(&place.domain, &place.path) {
            // Devices say so for a regular file anywhere on the way (afc 5).
            Err(FsError::NotADirectory | FsError::Exists) => Err(Status::ObjectExists),
            made => self.done(made),
        }
    }

    fn remove(&self, path: &WirePath, contents: bool) -> Result<Answer, Status> {
        if Root::is_root(path)? {
            return Err(Status::PermissionDenied);
        }
        let (fs, place) = (self.phone.fs(), self.root.entry(self.phone.fs(), path)?);
        self.done(if contents {
            fs.remove_all(&place.domain, &place.path)
        } else {
            fs.remove(&place.domain, &place.path)
        })
    }

    fn rename(&mut self, from: &WirePath, to: &WirePath, quirks: &AfcQuirks) -> Result<Answer, Status> {
        if Root::is_root(from)? || Root::is_root(to)? {
            return Err(Status::PermissionDenied);
        }
        let fs = self.phone.fs().clone();
        let (from, to) = (self.root.entry(&fs, from)?, self.root.entry(&fs, to)?);
        self.lookup(&from)?;
        if from == to {
            return Ok(DONE);
        }
        if !quirks.rename_replaces && fs.get(&to.domain, &to.path).is_some() {
            return Err(Status::ObjectExists);
        }
        fs.rename(&from.domain, &from.path, &to.domain, &to.path)
            .map_err(|error| status(&error))?;
        for file in self.files.values_mut() {
            if let Some(rest) = from.strip(&file.place) {
                file.place = Place {
                    domain: to.domain.clone(),
                    path: format!("{}{rest}", to.path),
                };
            }
        }
        Ok(DONE)
    }

    fn link(&self, kind: LinkKind, target: &WirePath, link: &WirePath) -> Result<Answer, Status> {
        let fs = self.phone.fs();
        let place = self.root.entry(fs, link)?;
        match kind {
            LinkKind::Hard => {
                let target = self.root.entry(fs, target)?;
                self.done(fs.link(&target.domain, &target.path, &place.domain, &place.path))
            }
            LinkKind::Symbolic => {
                let target = target
                    .to_str()
                    .filter(|target| !target.is_empty())
                    .ok_or(Status::InvalidArgument)?;
                self.done(fs.symlink(target, &place.domain, &place.path).map(drop))
            }
            _ => Err(Status::InvalidArgument),
        }
    }

    fn hash(&self, path: &WirePath) -> Result<Answer, Status> {
        let content = self.file_content(path)?;
        // SHA-1 is assumed by the operation's age (afc 16).
        let hash = content.sha1().map_err(|_| Status::IoError)?;
        Ok(Answer::Packet(Packet::Data(Bytes::copy_from_slice(&hash))))
    }

    fn read_file(&self, path: &WirePath) -> Result<Answer, Status> {
        let content = self.file_content(path)?;
        let len = content.len();
        Ok(Answer::Content {
            content,
            offset: 0,
            len,
        })
    }

    fn file_content(&self, path: &WirePath) -> Result<Content, Status> {
        let place = self.root.target(self.phone.fs(), path)?;
        let entry = self.open_entry(&place, false, false)?;
        entry.content().cloned().ok_or(Status::ObjectNotFound)
    }

    /// The place of an open file that may be written.
    pub(super) fn writable(&self, handle: FileHandle) -> Result<&Place, Status> {
        let file = self.file(handle)?;
        // What devices say here is not known (afc 16).
        if file.mode.writes() {
            Ok(&file.place)
        } else {
            Err(Status::WriteError)
        }
    }

    pub(super) fn file(&self, handle: FileHandle) -> Result<&OpenFile, Status> {
        self.files.get(&handle).ok_or(Status::InvalidArgument)
    }

    fn lookup(&self, place: &Place) -> Result<std::sync::Arc<Entry>, Status> {
        self.phone
            .fs()
            .lookup(&place.domain, &place.path)
            .map_err(|error| status(&error))
    }

    /// Refuses a file that data protection hides now.
    fn unprotected(&self, place: &Place) -> Result<(), Status> {
        let hidden = self
            .phone
            .fs()
            .get(&place.domain, &place.path)
            .is_some_and(|entry| self.is_protected(&entry));
        if hidden { Err(Status::PermissionDenied) } else { Ok(()) }
    }

    /// Whether data protection hides a file's content: classes 1 and 2 while the screen is locked, 3 until the first
    /// unlock after a start.
    fn is_protected(&self, entry: &Entry) -> bool {
        match entry.meta.protection_class {
            1 | 2 => self.phone.is_locked(),
            3 => !self.phone.unlocked_since_start(),
            _ => false,
        }
    }

    fn owner(&self, handle: FileHandle) -> Owner {
        Owner {
            connection: self.connection,
            handle,
        }
    }

    fn done(&self, result: Result<(), FsError>) -> Result<Answer, Status> {
        result.map(|()| DONE).map_err(|error| status(&error))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.phone.afc().release_connection(self.connection);
    }
}
