//! How much of what a backup holds.
