//! Reading what is left of a damaged backup (spec backup-format, 20 and Annex B).
