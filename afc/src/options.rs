use std::time::Duration;

/// How a client uses its connection.
#[derive(Clone, Debug)]
pub struct AfcOptions {
    pub(crate) timeout: Duration,
    pub(crate) read_size: u32,
    pub(crate) write_size: u32,
    pub(crate) max_listing: u64,
    pub(crate) open_files: usize,
}

impl AfcOptions {
    /// The smallest and the largest request for file data, in bytes. Above 4 MiB no device is known to gain, and a
    /// long write blocks all other operations of its connection (afc 9).
    pub const REQUEST_SIZES: std::ops::RangeInclusive<u32> = 4096..=4 << 20;

    /// How long the device may be silent before an operation fails; 60 seconds unless set. Removing large trees, and
    /// the first access after a start of the device, can take most of that.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Bytes asked for in one read; 1 MiB unless set, moved into [`AfcOptions::REQUEST_SIZES`].
    #[must_use]
    pub fn read_size(mut self, bytes: u32) -> Self {
        self.read_size = bytes.clamp(*Self::REQUEST_SIZES.start(), *Self::REQUEST_SIZES.end());
        self
    }

    /// Bytes sent in one write; 1 MiB unless set, moved into [`AfcOptions::REQUEST_SIZES`]. 256 KiB is advised below
    /// iOS 5.
    #[must_use]
    pub fn write_size(mut self, bytes: u32) -> Self {
        self.write_size = bytes.clamp(*Self::REQUEST_SIZES.start(), *Self::REQUEST_SIZES.end());
        self
    }

    /// The longest listing or information list taken, in bytes; 64 MiB unless set.
    #[must_use]
    pub fn max_listing(mut self, bytes: u64) -> Self {
        self.max_listing = bytes;
        self
    }

    /// How many files may be open at a time; 16 unless set, at least 1. Devices have a limit of their own, which is
    /// not known; [`crate::Afc::open`] waits for a free place.
    #[must_use]
    pub fn open_files(mut self, files: usize) -> Self {
        self.open_files = files.clamp(1, 1024);
        self
    }
}

impl Default for AfcOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(60),
            read_size: 1 << 20,
            write_size: 1 << 20,
            max_listing: crate::msg::MAX_PACKET,
            open_files: 16,
        }
    }
}
