//! The sockets.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// A backlog of 5 gave refused connections under load.
const BACKLOG: i32 = 256;

/// A TCP socket for [`super::Server::serve_tcp`]; port 0 lets the system choose one.
///
/// # Errors
/// When the address is in use or not ours.
pub fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of the last run that linger must not keep us from starting. On Windows this would mean something else.
    if cfg!(unix) {
        socket.set_reuse_address(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

#[cfg(unix)]
pub use unix::{UnixSocket, bind_unix};

#[cfg(unix)]
mod unix {
    use std::fs::{self, File, Permissions};
    use std::io;
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
    use std::path::{Path, PathBuf};

    use socket2::{Domain, SockAddr, Socket, Type};
    use tokio::net::{UnixListener, UnixStream};

    use super::BACKLOG;

    /// A UNIX socket that is ours; its file is removed when it is dropped.
    #[derive(Debug)]
    pub struct UnixSocket {
        listener: UnixListener,
        path: PathBuf,
        /// Device and inode of the socket's file: what else may lie there later is not ours to remove.
        identity: (u64, u64),
        /// Held as long as we listen, so that two servers do not take each other's socket for a leftover.
        _lock: File,
    }

    impl UnixSocket {
        /// Where it is.
        #[must_use]
        pub fn path(&self) -> &Path {
            &self.path
        }

        pub(crate) async fn accept(&self) -> io::Result<UnixStream> {
            self.listener.accept().await.map(|(stream, _)| stream)
        }
    }

    impl Drop for UnixSocket {
        fn drop(&mut self) {
            let ours = fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.identity);
            if ours && let Err(error) = fs::remove_file(&self.path) {
                tracing::debug!(%error, "the socket's file could not be removed");
            }
        }
    }

    /// A UNIX socket for [`super::super::Server::serve_unix`], open to every user (mode 0666) as the daemon's is.
    ///
    /// A leftover of a daemon that is gone is replaced. `<path>.lock` stays behind.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] when another daemon serves the socket, which is left alone;
    /// [`io::ErrorKind::AlreadyExists`] when something else lies there.
    pub fn bind_unix(path: impl Into<PathBuf>) -> io::Result<UnixSocket> {
        let path = path.into();
        let lock = lock(&path)?;
        remove_leftover(&path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        let address = SockAddr::unix(&path).map_err(|error| cannot("use", &path, &error))?;
        socket
            .bind(&address)
            .map_err(|error| cannot("make the socket", &path, &error))?;
        fs::set_permissions(&path, Permissions::from_mode(0o666))?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let found = fs::symlink_metadata(&path)?;
        let listener = UnixListener::from_std(socket.into())?;
        Ok(UnixSocket {
            listener,
            path,
            identity: (found.dev(), found.ino()),
            _lock: lock,
        })
    }

    fn in_use(path: &Path) -> io::Error {
        let path = path.display();
        let text = format!("another daemon serves {path}; stop it, or choose another path for this one");
        io::Error::new(io::ErrorKind::AddrInUse, text)
    }

    /// The system's error, with what could not be done.
    fn cannot(what: &str, path: &Path, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("cannot {what} {}: {error}", path.display()))
    }

    fn lock(path: &Path) -> io::Result<File> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let name = PathBuf::from(name);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&name)
            .map_err(|error| cannot("open the lock", &name, &error))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(fs::TryLockError::WouldBlock) => Err(in_use(path)),
            Err(fs::TryLockError::Error(error)) => Err(cannot("lock", &name, &error)),
        }
    }

    /// A socket file that nobody answers on is a leftover; anything else stays.
    fn remove_leftover(path: &Path) -> io::Result<()> {
        let found = match fs::symlink_metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(cannot("look at", path, &error)),
        };
        if !found.file_type().is_socket() {
            let text = format!("{} is there and is no socket", path.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // A daemon that hangs, with its backlog full, would make us hang as well.
        probe.set_nonblocking(true)?;
        match probe.connect(&SockAddr::unix(path)?) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(|error| cannot("remove the leftover", path, &error))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            // Served, or served by somebody who does not let us in.
            _ => Err(in_use(path)),
        }
    }
}
