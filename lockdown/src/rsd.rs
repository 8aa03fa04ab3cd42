//! The check-in of services that are reached through a tunnel.

use cabled_wire::io::BoxStream;
use cabled_wire::secret::SecretBytes;

use crate::client::{Channel, wrong_reply};
use crate::error::Error;
use crate::link::LinkError;
use crate::msg::{Message, Reply, ReplyBody, RequestBody};
use crate::options::Options;

/// Opens a `.shim.remote` service: `RSDCheckin`, its echo, and the device's own `StartService`.
///
/// For transports that reach services of iOS 17 and later through a tunnel: the stream comes from the port that the
/// tunnel's service list names, and speaks the service's protocol in plain afterwards. Dropping the future closes it.
///
/// # Errors
/// [`Error::Refused`] with `ServiceProhibited` and others, [`Error::WrongReply`], [`Error::Link`].
///
/// Spec: lockdown 11.2.
pub async fn rsd_checkin(
    stream: BoxStream,
    options: Options,
    escrow_bag: Option<SecretBytes>,
) -> Result<BoxStream, Error> {
    let phase = "checking in to a service";
    let limit = options.reply_limit;
    let mut channel = Channel::new(stream, options);
    let request = RequestBody::RsdCheckin {
        protocol_version: Some("2".to_owned()),
        escrow_bag,
    };
    channel.call(request).await?;
    let body = channel.link.receive_within(phase, limit).await?;
    let started = Reply::decode(&body).map_err(|source| LinkError::Wire { phase, source })?;
    match (started.request.as_deref(), started.body) {
        (_, ReplyBody::Failed { code, detail, .. }) => Err(Error::Refused {
            request: "StartService".to_owned(),
            code,
            detail,
        }),
        (Some("StartService"), _) => Ok(channel.link.into_started_stream()?),
        _ => Err(wrong_reply("RSDCheckin")),
    }
}
