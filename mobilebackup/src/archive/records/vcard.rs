//! Contacts as vCard.

/// The version of vCard that is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VcardVersion {
    /// 4.0 (RFC 6350).
    #[default]
    V4,
    /// 3.0 (RFC 2426), which older address books take.
    V3,
}
