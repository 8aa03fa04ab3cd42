//! Offers phones over TCP, for the import commands of other systems.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use cabled_wire::io::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, Semaphore};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::msg::{Exported, Operation, Refusal, reply_import, reply_list};
use super::serve::{Served, UsbipError, serve};
use super::speed_code;
use crate::usb::{UsbPhone, VENDOR};

/// How long a host may take to say what it wants, and to take the answer.
const OPERATION_LIMIT: Duration = Duration::from_secs(10);
/// Hosts at one time; more wait in the system's queue.
const MAX_HOSTS: usize = 64;
/// The bus that phones are said to be on.
const BUS: u32 = 1;

/// One phone and what a list says about it, which stays the same while a host has it.
struct Export {
    listed: Mutex<Exported>,
    phone: Arc<AsyncMutex<UsbPhone>>,
}

impl Export {
    fn listed(&self) -> MutexGuard<'_, Exported> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A phone that a host has, until this is dropped.
struct Import {
    export: Arc<Export>,
    phone: OwnedMutexGuard<UsbPhone>,
}

/// Phones that other systems may plug in, one host each at a time. Cheap to clone.
///
/// A host finds the phone as it comes out of the box: unconfigured, in the mode it was last told to go to, and with the
/// cable in, even if that was pulled in the conversation before.
///
/// ```
/// use std::sync::Arc;
///
/// use cabled_virtualdevice::Phone;
/// use cabled_virtualdevice::usb::{UsbOptions, UsbPhone};
/// use cabled_virtualdevice::usbip::UsbipServer;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = UsbipServer::new();
/// let phone = Phone::builder().seed(7).build()?;
/// let bus_id = server.export(UsbPhone::new(Arc::new(phone), UsbOptions::default())?);
/// let serving = server.serve_tcp("127.0.0.1:0".parse()?).await?;
/// println!("usbip attach -r {} -b {bus_id}", serving.addr().ip());
/// # assert_eq!(bus_id, "1-1");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct UsbipServer {
    exports: Arc<Mutex<Vec<Arc<Export>>>>,
}

impl UsbipServer {
    /// A server without phones.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn exports(&self) -> MutexGuard<'_, Vec<Arc<Export>>> {
        self.exports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Offers a phone, and gives its bus id, for `usbip attach -b`.
    #[must_use = "hosts ask for the phone by this id"]
    pub fn export(&self, phone: UsbPhone) -> String {
        let mut exports = self.exports();
        let number = u32::try_from(exports.len()).unwrap_or(u32::MAX).saturating_add(1);
        let bus_id = format!("{BUS}-{number}");
        let listed = describe(&phone, bus_id.clone(), number);
        exports.push(Arc::new(Export {
            listed: Mutex::new(listed),
            phone: Arc::new(AsyncMutex::new(phone)),
        }));
        bus_id
    }

    /// Serves hosts at a TCP address; they expect port 3240. Port 0 lets the system choose.
    ///
    /// # Errors
    /// When the address is in use or not ours.
    pub async fn serve_tcp(&self, address: SocketAddr) -> io::Result<UsbipServing> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(accept(self.clone(), listener)).abort_handle();
        Ok(UsbipServing { address, task })
    }

    /// Serves one host over any byte stream: lists and an import, then the transfers of the phone it imported.
    ///
    /// `None` when it only asked for a list. Dropping the future is pulling the cable.
    ///
    /// # Errors
    /// [`UsbipError`].
    pub async fn serve(&self, mut stream: impl Stream) -> Result<Option<Served>, UsbipError> {
        let conversation = self.operations(&mut stream);
        let imported = timeout(OPERATION_LIMIT, conversation)
            .await
            .map_err(|_| UsbipError::Slow(OPERATION_LIMIT))??;
        let Some(Import { export, mut phone }) = imported else {
            return Ok(None);
        };
        let served = serve(stream, &mut phone).await;
        // A phone that went to another mode is offered in that one.
        phone.replug();
        let mut listed = export.listed();
        *listed = describe(&phone, listed.bus_id.clone(), listed.number);
        served.map(Some)
    }

    /// Answers until a phone is imported, or the host has heard what it wanted.
    async fn operations(&self, stream: &mut impl Stream) -> Result<Option<Import>, UsbipError> {
        let mut header = [0; Operation::HEADER];
        match stream.read_exact(&mut header).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            result => result?,
        };
        let mut body = vec![0; Operation::body(header)?];
        stream.read_exact(&mut body).await?;
        let mut out = BytesMut::new();
        let mut imported = None;
        match Operation::decode(&body) {
            Operation::List => {
                let listed: Vec<_> = self.exports().iter().map(|export| export.listed().clone()).collect();
                reply_list(&mut out, &listed);
            }
            Operation::Import { bus_id } => {
                let known = self
                    .exports()
                    .iter()
                    .find(|export| export.listed().bus_id == bus_id)
                    .cloned();
                let free = known.map(|export| (Arc::clone(&export.phone).try_lock_owned(), export));
                match free {
                    None => reply_import(&mut out, Err(Refusal::NoDevice)),
                    Some((Err(_), _)) => reply_import(&mut out, Err(Refusal::Busy)),
                    Some((Ok(mut phone), export)) => {
                        // The host before may have been cut off in the middle.
                        phone.replug();
                        reply_import(&mut out, Ok(&export.listed()));
                        imported = Some(Import { export, phone });
                    }
                }
            }
        }
        stream.write_all_buf(&mut out).await?;
        stream.flush().await?;
        Ok(imported)
    }
}

impl fmt::Debug for UsbipServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exports = self.exports();
        let ids: Vec<_> = exports.iter().map(|export| export.listed().bus_id.clone()).collect();
        f.debug_struct("UsbipServer").field("exports", &ids).finish()
    }
}

fn describe(phone: &UsbPhone, bus_id: String, number: u32) -> Exported {
    let options = phone.options();
    Exported {
        bus_id,
        bus: BUS,
        number,
        speed: speed_code(options.speed),
        vendor: VENDOR,
        product: options.product,
        release: options.release,
        configuration: phone.configuration(),
        configurations: phone.configurations(),
        interfaces: phone.interface_classes(),
    }
}

/// A [`UsbipServer`] at work. Dropping it ends the service and pulls all cables.
#[derive(Debug)]
#[must_use = "dropping it ends the service"]
pub struct UsbipServing {
    address: SocketAddr,
    task: AbortHandle,
}

impl UsbipServing {
    /// Where hosts find it.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for UsbipServing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(server: UsbipServer, listener: TcpListener) {
    let seats = Arc::new(Semaphore::new(MAX_HOSTS));
    // Ends with this task, and so do the conversations in it.
    let mut hosts = JoinSet::new();
    loop {
        let Ok(seat) = Arc::clone(&seats).acquire_owned().await else {
            return;
        };
        let (stream, host) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: it passes.
                tracing::warn!(%error, "no host could be let in");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let server = server.clone();
        hosts.spawn(async move {
            let _seat = seat;
            match serve_host(&server, stream).await {
                Ok(served) => tracing::debug!(%host, ?served, "a host is through"),
                Err(error) => tracing::warn!(%host, %error, "a host was turned away"),
            }
        });
        while hosts.try_join_next().is_some() {}
    }
}

async fn serve_host(server: &UsbipServer, stream: TcpStream) -> Result<Option<Served>, UsbipError> {
    stream.set_nodelay(true)?;
    server.serve(stream).await
}
