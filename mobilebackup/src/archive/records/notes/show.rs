//! Notes for people to read.
