use std::fmt;

/// An enum over codes of the wire which keeps the ones it does not know.
macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $code:literal, $text:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$vdoc])* $variant,)+
            /// A code this version does not know, as sent.
            Other(u64),
        }

        impl $name {
            /// The number on the wire.
            #[must_use]
            pub fn code(self) -> u64 {
                match self {
                    $(Self::$variant => $code,)+
                    Self::Other(code) => code,
                }
            }

            /// The meaning of a number from the wire; numbers without one are kept.
            #[must_use]
            pub fn from_code(code: u64) -> Self {
                match code {
                    $($code => Self::$variant,)+
                    code => Self::Other(code),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant => f.write_str($text),)+
                    Self::Other(code) => write!(f, "unknown code {code:#x}"),
                }
            }
        }
    };
}

codes! {
    /// What a packet asks or answers (afc 3). Shown by the name the field uses for it.
    Operation {
        /// Answer: done, or an error code.
        Status = 0x01, "STATUS";
        /// Answer: bytes.
        Data = 0x02, "DATA";
        /// List a folder.
        ReadDir = 0x03, "READ_DIR";
        /// Read a whole file; no open client uses it.
        ReadFile = 0x04, "READ_FILE";
        /// Write a whole file; no open client uses it.
        WriteFile = 0x05, "WRITE_FILE";
        /// Write into a file by path; no open client uses it.
        WritePart = 0x06, "WRITE_PART";
        /// Set a file's length by path.
        Truncate = 0x07, "TRUNCATE";
        /// Remove a file, a link or an empty folder.
        RemovePath = 0x08, "REMOVE_PATH";
        /// Make a folder and its parents.
        MakeDir = 0x09, "MAKE_DIR";
        /// Describe a path.
        FileInfo = 0x0a, "GET_FILE_INFO";
        /// Describe the file system.
        DeviceInfo = 0x0b, "GET_DEVINFO";
        /// Write a whole file by a temporary name; no open client uses it.
        WriteFileAtomic = 0x0c, "WRITE_FILE_ATOM";
        /// Open a file.
        FileOpen = 0x0d, "FILE_OPEN";
        /// Answer: the handle of an opened file.
        FileOpenResult = 0x0e, "FILE_OPEN_RES";
        /// Read at a handle's position.
        FileRead = 0x0f, "FILE_READ";
        /// Write at a handle's position.
        FileWrite = 0x10, "FILE_WRITE";
        /// Move a handle's position.
        FileSeek = 0x11, "FILE_SEEK";
        /// Ask for a handle's position.
        FileTell = 0x12, "FILE_TELL";
        /// Answer: a handle's position.
        FileTellResult = 0x13, "FILE_TELL_RES";
        /// Close a handle.
        FileClose = 0x14, "FILE_CLOSE";
        /// Set a file's length by handle.
        FileSetSize = 0x15, "FILE_SET_SIZE";
        /// Describe the connection.
        ConnectionInfo = 0x16, "GET_CON_INFO";
        /// Set options of the connection; layout unknown.
        ConnectionOptions = 0x17, "SET_CON_OPTIONS";
        /// Rename or move a path.
        RenamePath = 0x18, "RENAME_PATH";
        /// Set the block size for the file system.
        SetFsBlockSize = 0x19, "SET_FS_BLOCK_SIZE";
        /// Set the block size for the connection.
        SetSocketBlockSize = 0x1a, "SET_SOCKET_BLOCK_SIZE";
        /// Lock or unlock a file.
        FileLock = 0x1b, "FILE_LOCK";
        /// Make a hard or symbolic link.
        MakeLink = 0x1c, "MAKE_LINK";
        /// Ask for a file's hash.
        FileHash = 0x1d, "GET_FILE_HASH";
        /// Set a file's modification time.
        SetModTime = 0x1e, "SET_FILE_MOD_TIME";
        /// Ask for the hash of a part of a file; layout unconfirmed.
        FileHashRange = 0x1f, "GET_FILE_HASH_RANGE";
        /// A hint that a file will not change; layout unconfirmed.
        SetImmutableHint = 0x20, "FILE_SET_IMMUTABLE_HINT";
        /// Ask for the size of a folder's contents.
        SizeOfPathContents = 0x21, "GET_SIZE_OF_PATH_CONTENTS";
        /// Remove a path and all below it.
        RemovePathAndContents = 0x22, "REMOVE_PATH_AND_CONTENTS";
        /// Open a folder.
        DirOpen = 0x23, "DIR_OPEN";
        /// Answer: the handle of an opened folder.
        DirOpenResult = 0x24, "DIR_OPEN_RESULT";
        /// Read from an opened folder.
        DirRead = 0x25, "DIR_READ";
        /// Close an opened folder.
        DirClose = 0x26, "DIR_CLOSE";
        /// Read at an offset; layout unconfirmed.
        FileReadOffset = 0x27, "FILE_READ_OFFSET";
        /// Write at an offset; layout unconfirmed.
        FileWriteOffset = 0x28, "FILE_WRITE_OFFSET";
    }
}

codes! {
    /// What a device says about an operation (afc 5). Shown as what happened, in words.
    ///
    /// Numbers from 30 on are conditions that some clients made up for themselves; from a device they mean nothing and
    /// stay [`Status::Other`].
    Status {
        /// Done.
        Success = 0, "done";
        /// Also what devices answer when a folder to remove is not empty.
        UnknownError = 1, "it failed for a reason the device does not tell";
        /// The packet's header is wrong.
        OperationHeaderInvalid = 2, "the device found the request malformed";
        /// Also: too many files are open on this connection.
        NoResources = 3, "the device has no resources left, most often because too many files are open";
        /// Also: the path to list or describe runs through a regular file.
        ReadError = 4, "it could not be read";
        /// The write failed.
        WriteError = 5, "it could not be written";
        /// This device is too old for the operation.
        UnknownPacketType = 6, "the device does not know this operation";
        /// Also: the handle is not open.
        InvalidArgument = 7, "the device found an argument invalid";
        /// No such path.
        ObjectNotFound = 8, "it does not exist";
        /// The path is a folder, and the operation wants a file.
        ObjectIsDirectory = 9, "it is a folder";
        /// Outside the permitted folders, or protected while the device is locked.
        PermissionDenied = 10, "the device denies access to it";
        /// The service behind is not there.
        ServiceNotConnected = 11, "the device's file service is not connected";
        /// The device gave up.
        OperationTimedOut = 12, "the device gave up on it";
        /// The request carries or asks too much at once.
        TooMuchData = 13, "it was too much data for one request";
        /// The end was reached.
        EndOfData = 14, "it has no more data";
        /// This device does not have the operation.
        OperationNotSupported = 15, "the device does not support this operation";
        /// The path exists, and must not.
        ObjectExists = 16, "something of that name exists";
        /// The path is in use.
        ObjectBusy = 17, "it is in use on the device";
        /// The device is full.
        NoSpaceLeft = 18, "the device has no space left";
        /// Somebody else holds the lock.
        OperationWouldBlock = 19, "somebody else holds a lock on it";
        /// The device's storage failed, or the file is protected while the device is locked.
        IoError = 20, "the device could not read or write its storage";
        /// The device was interrupted.
        OperationInterrupted = 21, "the device was interrupted";
        /// The same is under way already.
        OperationInProgress = 22, "the same is under way already";
        /// The device failed inside.
        InternalError = 23, "the device failed inside";
    }
}

codes! {
    /// How a file is opened (afc 6).
    OpenMode {
        /// `r`: read only; the file must exist.
        Read = 1, "read";
        /// `r+`: read and write; **creates** a missing file, keeps the content of an existing one.
        ReadWrite = 2, "read and write";
        /// `w`: write only; creates the file or empties it.
        Write = 3, "write";
        /// `w+`: read and write; creates the file or empties it.
        WriteRead = 4, "empty, write and read";
        /// `a`: every write goes to the end; creates a missing file.
        Append = 5, "append";
        /// `a+`: read, and every write goes to the end; creates a missing file.
        ReadAppend = 6, "read and append";
    }
}

codes! {
    /// What to do with the advisory lock of an open file: the values of BSD `flock` with its non-blocking bit, so that a
    /// lock held elsewhere is [`Status::OperationWouldBlock`] at once. A lock ends with its handle or connection (afc 6).
    LockOp {
        /// Share it with other readers.
        Shared = 5, "shared lock";
        /// Hold it alone.
        Exclusive = 6, "exclusive lock";
        /// Give it back.
        Unlock = 12, "unlock";
    }
}

codes! {
    /// What the offset of a seek counts from (afc 3).
    Whence {
        /// The start of the file.
        Start = 0, "start";
        /// The position of the handle.
        Current = 1, "current position";
        /// The end of the file.
        End = 2, "end";
    }
}

codes! {
    /// The kind of a link to make (afc 6).
    LinkKind {
        /// A second name of the same file.
        Hard = 1, "hard link";
        /// A path, followed when opened.
        Symbolic = 2, "symbolic link";
    }
}

impl OpenMode {
    /// Whether a handle of this mode can be read.
    #[must_use]
    pub fn reads(self) -> bool {
        matches!(self, Self::Read | Self::ReadWrite | Self::WriteRead | Self::ReadAppend)
    }

    /// Whether a handle of this mode can be written.
    #[must_use]
    pub fn writes(self) -> bool {
        matches!(
            self,
            Self::ReadWrite | Self::Write | Self::WriteRead | Self::Append | Self::ReadAppend
        )
    }

    /// Whether opening makes a missing file. True of every known mode but [`OpenMode::Read`].
    #[must_use]
    pub fn creates(self) -> bool {
        self.writes()
    }

    /// Whether opening empties the file.
    #[must_use]
    pub fn truncates(self) -> bool {
        matches!(self, Self::Write | Self::WriteRead)
    }

    /// Whether every write goes to the end of the file.
    #[must_use]
    pub fn appends(self) -> bool {
        matches!(self, Self::Append | Self::ReadAppend)
    }
}

/// The number a device gave an open file or folder; it means something on the connection it was made on, and there alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileHandle(u64);

impl FileHandle {
    /// Takes the number as sent.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number as sent.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for FileHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}
