//! What a backup does not contain, and why (spec backup-format, 12).
