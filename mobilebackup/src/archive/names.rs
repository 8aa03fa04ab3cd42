//! Names of a backup as names on this computer, reversibly (spec backup-format, 15).
