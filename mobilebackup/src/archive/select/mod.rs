//! Choosing entries: by category, by glob, by domain.
