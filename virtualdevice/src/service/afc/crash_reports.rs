//! Crash reports: a service that gathers them, and AFC to copy them. Spec: lockdown 12.7.

use cabled_wire::io::BoxStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Root;
use crate::phone::Phone;
use crate::service::{IDLE, ServeError};

/// The service that moves crash reports to where they can be copied.
pub const MOVE: &str = "com.apple.crashreportmover";
/// The service that shows them.
pub const COPY: &str = "com.apple.crashreportcopymobile";

/// Says the five bytes that mean all reports are in place, and waits for the host to close.
///
/// # Errors
/// [`ServeError::Io`] when the link breaks.
pub async fn serve_mover(phone: Phone, mut stream: BoxStream) -> Result<(), ServeError> {
    phone.log().record(MOVE, "move", "");
    stream.write_all(b"ping\0").await?;
    stream.flush().await?;
    // Hosts say nothing here; whatever comes, the end of the stream is what counts.
    let mut ignored = [0; 64];
    while let Ok(Ok(1..)) = tokio::time::timeout(IDLE, stream.read(&mut ignored)).await {}
    Ok(())
}

/// Serves AFC over the crash reports.
///
/// # Errors
/// As [`super::serve`].
pub async fn serve_copy(phone: Phone, stream: BoxStream) -> Result<(), ServeError> {
    super::serve(phone, Root::CrashReports, stream).await
}
