//! The entries of a backup as a tree.
