//! SQLite databases inside a backup, opened with their write-ahead log and without exporting them.
