//! What a caller wants of a sync.

use std::fmt;
use std::str::FromStr;

use crate::engine::{Choices, PlanHash, Policy, SessionId};

/// What a caller wants of a sync. Defaults: [`Policy::default`], which asks before the first sync, and no approval.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub(super) policy: Policy,
    pub(super) choices: Choices,
    pub(super) approval: Option<Approval>,
    pub(super) preview: bool,
}

impl Request {
    /// What the user wants. [`Policy::default`].
    #[must_use]
    pub fn policy(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    /// Answers to conflicts. None.
    #[must_use]
    pub fn choices(self, choices: Choices) -> Self {
        Self { choices, ..self }
    }

    /// A plan that somebody looked at and approved of, although it stops. None.
    #[must_use]
    pub fn approval(self, approval: Approval) -> Self {
        Self {
            approval: Some(approval),
            ..self
        }
    }

    /// Only plan, write nothing. No. The device is asked for its records, so its next sync reads everything.
    #[must_use]
    pub fn preview(self, preview: bool) -> Self {
        Self { preview, ..self }
    }
}

/// An approval of one plan: when both sides are read again and the plan is another one meanwhile, it stops again. As text, 32
/// and 64 hexadecimal digits with a hyphen between, to be kept or handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Approval {
    /// The session in which the plan was made; new identifiers in the plan come of it.
    pub session: SessionId,
    /// The plan.
    pub hash: PlanHash,
}

impl fmt::Display for Approval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.session.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, "-{}", self.hash)
    }
}

/// A text is no approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an approval is 32 and 64 hexadecimal digits with a hyphen between, as a preview prints it")]
pub struct NotAnApproval;

impl FromStr for Approval {
    type Err = NotAnApproval;

    fn from_str(text: &str) -> Result<Self, NotAnApproval> {
        let (session, hash) = text.split_once('-').ok_or(NotAnApproval)?;
        Ok(Self {
            session: SessionId(bytes(session)?),
            hash: PlanHash(bytes(hash)?),
        })
    }
}

fn bytes<const N: usize>(text: &str) -> Result<[u8; N], NotAnApproval> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(c.to_digit(16)?).ok()).collect();
    let digits = digits
        .filter(|digits| digits.len() == N.saturating_mul(2))
        .ok_or(NotAnApproval)?;
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair.iter().fold(0, |byte, digit| (byte << 4) | digit);
    }
    Ok(bytes)
}
