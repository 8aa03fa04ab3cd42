//! Backups on this computer, found without opening them (spec backup-format, 18).
