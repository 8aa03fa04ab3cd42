//! Keychain items of a backup (spec backup-format, 11).
