//! Room on the host (spec mobilebackup2 4.3 and 4.4).

use cabled_devicelink::msg::{Detail, Message};

use super::super::error::{Outcome, refuse};
use super::super::session::Session;

/// Asks how much room there is, asks for more where this generation does, and ends with 105 if there is too little.
pub(super) async fn make_sure(session: &mut Session, upload: u64) -> Outcome<()> {
    let rule = session.profile().purge_rule;
    let mut asked = false;
    loop {
        let reported = free(session).await?;
        // Exactly what is needed is not enough: measured to the byte.
        if reported > rule.need(upload) {
            return Ok(());
        }
        tracing::debug!(
            upload,
            reported,
            need = rule.need(upload),
            "too little room on the host"
        );
        let purged = rule.asks && !asked && {
            let urgency = i64::try_from(rule.urgency).unwrap_or(4);
            let message = Message::PurgeDiskSpace {
                amount: rule.amount(upload, reported),
                urgency,
            };
            session.link.ask(&message, "the answer to a purge").await?.is_ok()
        };
        if !purged {
            return refuse(
                session.codes().disk_full,
                "Insufficient free disk space on drive to back up",
            );
        }
        asked = true;
    }
}

async fn free(session: &mut Session) -> Outcome<u64> {
    let answer = session.link.ask(&Message::GetFreeDiskSpace, "the free space").await?;
    Ok(match answer.detail {
        Detail::Integer(bytes) if answer.code == 0 => bytes,
        _ => 0,
    })
}
