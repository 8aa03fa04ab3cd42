//! Changing backups offline: files, passwords, smaller copies. Never in place: the result is a new folder beside the old one.
