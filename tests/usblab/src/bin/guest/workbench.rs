//! A virtual phone with a few more open ports than phones have: what comes in goes out again, and data on demand.

use cabled::virtualdevice::Phone;
use cabled::wire::ids::Udid;
use cabled::wire::io::{BoxFuture, BoxStream, Connect, ConnectError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Sends back what comes in.
pub const ECHO: u16 = 7;
/// Reads a length (four bytes, little-endian), sends so many bytes of [`pattern`] in one go, and starts over.
pub const SOURCE: u16 = 19;
/// Reads a length (eight bytes, little-endian), then so many bytes, then sends one byte, and starts over.
pub const SINK: u16 = 9;
/// Bytes that a connection holds in each direction.
const PIPE: usize = 1 << 20;
/// The longest answer of [`SOURCE`] that is made in one go.
const ONE_GO: usize = 256 << 10;

/// The phone.
#[derive(Clone, Debug)]
pub struct Workbench {
    phone: Phone,
}

impl Workbench {
    /// This phone with more ports.
    pub fn new(phone: Phone) -> Self {
        Self { phone }
    }
}

/// A byte of every stream, by its place: a byte lost, doubled or moved shows.
pub fn pattern(at: u64) -> u8 {
    let mixed = at.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 56) as u8
}

/// Bytes of every stream from a place on.
pub fn patterns(from: u64, length: usize) -> Vec<u8> {
    (from..).take(length).map(pattern).collect()
}

impl Connect for Workbench {
    fn connect(&self, port: u16) -> BoxFuture<'_, Result<BoxStream, ConnectError>> {
        let (near, far) = tokio::io::duplex(PIPE);
        let near: BoxStream = Box::new(near);
        match port {
            ECHO => drop(tokio::spawn(echo(Box::new(far)))),
            SOURCE => drop(tokio::spawn(source(Box::new(far)))),
            SINK => drop(tokio::spawn(sink(Box::new(far)))),
            other => return self.phone.connect(other),
        }
        Box::pin(async move { Ok(near) })
    }

    fn udid(&self) -> Option<&Udid> {
        self.phone.udid().into()
    }
}

async fn echo(mut stream: BoxStream) -> std::io::Result<()> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(buffer.get(..length).unwrap_or_default()).await?;
    }
}

async fn source(mut stream: BoxStream) -> std::io::Result<()> {
    let block = patterns(0, ONE_GO);
    loop {
        let mut left = stream.read_u32_le().await? as usize;
        while left > 0 {
            let part = block.get(..left.min(ONE_GO)).unwrap_or_default();
            stream.write_all(part).await?;
            left -= part.len();
        }
    }
}

async fn sink(mut stream: BoxStream) -> std::io::Result<()> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        let mut left = stream.read_u64_le().await?;
        while left > 0 {
            let room = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let length = stream.read(buffer.get_mut(..room).unwrap_or_default()).await?;
            if length == 0 {
                return Ok(());
            }
            left -= length as u64;
        }
        stream.write_u8(1).await?;
    }
}
