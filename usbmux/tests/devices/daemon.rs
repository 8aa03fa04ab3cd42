//! A daemon as a source.
