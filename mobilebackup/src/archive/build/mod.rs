//! Making backups: synthetic ones from nothing, and the writers that every change goes through.
