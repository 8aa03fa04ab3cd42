//! Messages, contacts, calls, notes, calendars, Safari and photos as typed records, and their export.
