//! Writing the contents of a backup to somewhere else: a folder, a tar or a zip.
