//! What the AFC connections of one phone share.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;

use cabled_afc::msg::{FileHandle, LockOp, Operation, Status};

use super::AfcQuirks;
use crate::phone::locked;

/// Quirks, scripted answers and file locks of a phone's AFC, the same for all its connections. Got by
/// [`Phone::afc`](crate::Phone::afc).
#[derive(Debug)]
pub struct AfcState {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    quirks: AfcQuirks,
    statuses: VecDeque<(Operation, Status)>,
    blocked_locks: u32,
    cut_payload_after: Option<u64>,
    locks: HashMap<u64, Vec<Lock>>,
    connections: u64,
}

/// Who holds a lock: a file opened on a connection, as with `flock`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) connection: u64,
    pub(super) handle: FileHandle,
}

#[derive(Debug)]
struct Lock {
    owner: Owner,
    exclusive: bool,
}

impl AfcState {
    pub(crate) fn new(quirks: AfcQuirks) -> Self {
        let inner = Inner {
            quirks,
            statuses: VecDeque::new(),
            blocked_locks: 0,
            cut_payload_after: None,
            locks: HashMap::new(),
            connections: 0,
        };
        Self {
            inner: Mutex::new(inner),
        }
    }

    /// How AFC behaves now; at first as [`Profile::afc`](crate::Profile) says.
    #[must_use]
    pub fn quirks(&self) -> AfcQuirks {
        locked(&self.inner).quirks.clone()
    }

    /// Changes how AFC behaves, from the next request on, on open connections as well.
    pub fn set_quirks(&self, quirks: AfcQuirks) {
        locked(&self.inner).quirks = quirks;
    }

    /// The next request of this kind, on whichever connection, is not carried out but answered with `status`. Scripts
    /// of the same kind are used up in order.
    pub fn script_status(&self, operation: Operation, status: Status) {
        locked(&self.inner).statuses.push_back((operation, status));
    }

    /// The next `times` attempts to take a lock find it held by somebody else (code 19).
    pub fn script_held_lock(&self, times: u32) {
        locked(&self.inner).blocked_locks = times;
    }

    /// The next answer whose payload has more than `after` bytes ends there, and its connection with it.
    pub fn script_cut_payload(&self, after: u64) {
        locked(&self.inner).cut_payload_after = Some(after);
    }

    /// How many files are locked now.
    #[must_use]
    pub fn locked_files(&self) -> usize {
        locked(&self.inner).locks.len()
    }

    pub(super) fn new_connection(&self) -> u64 {
        let mut inner = locked(&self.inner);
        inner.connections = inner.connections.wrapping_add(1);
        inner.connections
    }

    pub(super) fn take_status(&self, operation: Operation) -> Option<Status> {
        let mut inner = locked(&self.inner);
        let at = inner.statuses.iter().position(|(scripted, _)| *scripted == operation)?;
        inner.statuses.remove(at).map(|(_, status)| status)
    }

    pub(super) fn take_cut(&self, payload_len: u64) -> Option<u64> {
        let mut inner = locked(&self.inner);
        inner.cut_payload_after.take_if(|after| *after < payload_len)
    }

    /// Takes, changes or gives back the lock of the file with this inode.
    pub(super) fn lock(&self, inode: u64, owner: Owner, op: LockOp) -> Result<(), Status> {
        let exclusive = match op {
            LockOp::Shared => false,
            LockOp::Exclusive => true,
            LockOp::Unlock => {
                self.release_where(|lock| lock.owner == owner);
                return Ok(());
            }
            _ => return Err(Status::InvalidArgument),
        };
        let mut inner = locked(&self.inner);
        if let Some(left) = inner.blocked_locks.checked_sub(1) {
            inner.blocked_locks = left;
            return Err(Status::OperationWouldBlock);
        }
        let locks = inner.locks.entry(inode).or_default();
        if locks
            .iter()
            .any(|lock| lock.owner != owner && (exclusive || lock.exclusive))
        {
            return Err(Status::OperationWouldBlock);
        }
        locks.retain(|lock| lock.owner != owner);
        locks.push(Lock { owner, exclusive });
        Ok(())
    }

    pub(super) fn release(&self, owner: Owner) {
        self.release_where(|lock| lock.owner == owner);
    }

    pub(super) fn release_connection(&self, connection: u64) {
        self.release_where(|lock| lock.owner.connection == connection);
    }

    fn release_where(&self, ended: impl Fn(&Lock) -> bool) {
        locked(&self.inner).locks.retain(|_, locks| {
            locks.retain(|lock| !ended(lock));
            !locks.is_empty()
        });
    }
}
