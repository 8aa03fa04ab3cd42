//! Read and write files on an iPhone or iPad through AFC, its file conduit.
pub mod msg;
