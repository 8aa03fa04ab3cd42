//! Tests against a scripted host.
