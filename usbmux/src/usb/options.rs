//! What a bus looks for and how it treats it.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::mux::MuxOptions;

/// Apple.
pub(super) const VENDOR: u16 = 0x05ac;
/// Products that speak the protocol: iPhone, iPad and iPod touch, T2 coprocessors, Macs in restore.
const PRODUCTS: [RangeInclusive<u16>; 3] = [0x1290..=0x12af, 0x8600..=0x8600, 0x1901..=0x1905];

/// Which mode a device is asked for when no configuration of its present mode has the multiplexer.
///
/// A device that has the multiplexer already is never asked: that could end somebody's screen capture or network link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum UsbMode {
    /// 1: as a device starts, with up to four configurations.
    Initial,
    /// 3: the multiplexer and a CDC-NCM network function.
    #[default]
    Ncm,
    /// Never asked; the device is reported as [`Trouble::NoMultiplexer`](crate::Trouble::NoMultiplexer).
    Unchanged,
}

impl UsbMode {
    /// `wIndex` of the request.
    pub(super) fn number(self) -> Option<u16> {
        match self {
            Self::Initial => Some(1),
            Self::Ncm => Some(3),
            Self::Unchanged => None,
        }
    }
}

/// What a [`UsbBus`](super::UsbBus) looks for and how it treats it; the defaults suit every device of Apple's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UsbOptions {
    /// `idVendor` of devices that are opened.
    pub vendor: u16,
    /// Ranges of `idProduct` of devices that are opened.
    pub products: Vec<RangeInclusive<u16>>,
    /// The multiplexer of each device.
    pub mux: MuxOptions,
    /// Transfers from the device that wait at one time.
    pub transfers_in: usize,
    /// Transfers to the device that wait at one time.
    pub transfers_out: usize,
    /// Size of a transfer from the device in bytes, rounded up to whole packets.
    pub transfer_size: usize,
    /// Time between two listings of the bus.
    pub poll_interval: Duration,
    /// Mode asked for when a device has no multiplexer.
    pub mode: UsbMode,
    /// How long a device that was just plugged in may refuse to be opened.
    pub open_retry: Duration,
    /// Time between two tries to claim an interface that another program holds.
    pub busy_delay: Duration,
    /// How often that is tried before it is reported.
    pub busy_tries: u32,
    /// Time between two tries to open a device that is in trouble; 0 for never.
    pub trouble_retry: Duration,
}

impl Default for UsbOptions {
    fn default() -> Self {
        Self {
            vendor: VENDOR,
            products: PRODUCTS.to_vec(),
            mux: MuxOptions::default(),
            transfers_in: 4,
            transfers_out: 4,
            transfer_size: 32 << 10,
            poll_interval: Duration::from_secs(1),
            mode: UsbMode::default(),
            open_retry: Duration::from_secs(3),
            busy_delay: Duration::from_secs(1),
            busy_tries: 5,
            trouble_retry: Duration::from_secs(5),
        }
    }
}

impl UsbOptions {
    /// Sets the vendor of devices that are opened (default 0x05ac, Apple).
    #[must_use]
    pub fn with_vendor(mut self, vendor: u16) -> Self {
        self.vendor = vendor;
        self
    }

    /// Sets the products that are opened (default 0x1290 to 0x12af, 0x8600, 0x1901 to 0x1905).
    #[must_use]
    pub fn with_products(mut self, products: impl IntoIterator<Item = RangeInclusive<u16>>) -> Self {
        self.products = products.into_iter().collect();
        self
    }

    /// Sets the options of each device's multiplexer.
    #[must_use]
    pub fn with_mux(mut self, mux: MuxOptions) -> Self {
        self.mux = mux;
        self
    }

    /// Sets how many transfers wait at one time, from the device (default 4) and to it (default 4); each held between 1
    /// and 16.
    #[must_use]
    pub fn with_transfers(mut self, from_device: usize, to_device: usize) -> Self {
        self.transfers_in = from_device.clamp(1, 16);
        self.transfers_out = to_device.clamp(1, 16);
        self
    }

    /// Sets the size of a transfer from the device in bytes (default 32 KiB); held between 1 KiB and 1 MiB.
    #[must_use]
    pub fn with_transfer_size(mut self, bytes: usize) -> Self {
        self.transfer_size = bytes.clamp(1 << 10, 1 << 20);
        self
    }

    /// Sets the time between two listings of the bus (default 1 s; never under 100 ms). Once the system has proved that
    /// it reports arrivals, listings are ten times rarer.
    #[must_use]
    pub fn with_poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval.max(Duration::from_millis(100));
        self
    }

    /// Sets the mode asked for when a device has no multiplexer (default [`UsbMode::Ncm`]).
    #[must_use]
    pub fn with_mode(mut self, mode: UsbMode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets how long a device may refuse to be opened (default 3 s).
    #[must_use]
    pub fn with_open_retry(mut self, limit: Duration) -> Self {
        self.open_retry = limit;
        self
    }

    /// Sets how often a busy interface is tried (default 5; at least once) and how long to wait between (default 1 s).
    #[must_use]
    pub fn with_busy_retry(mut self, tries: u32, delay: Duration) -> Self {
        self.busy_tries = tries.max(1);
        self.busy_delay = delay;
        self
    }

    /// Sets the time between two tries to open a device that is in trouble (default 5 s; 0 for never). With it a device
    /// comes up when the daemon that held it is stopped, or once the udev rule is installed, without a re-plug.
    #[must_use]
    pub fn with_trouble_retry(mut self, interval: Duration) -> Self {
        self.trouble_retry = interval;
        self
    }

    /// What to make of a device with these ids.
    pub(super) fn kind_of(&self, vendor: u16, product: u16) -> Kind {
        match product {
            _ if vendor != self.vendor => Kind::Foreign,
            product if self.products.iter().any(|range| range.contains(&product)) => Kind::Multiplexer,
            0x1280..=0x1283 if vendor == VENDOR => Kind::WrongMode("recovery"),
            0x1227 if vendor == VENDOR => Kind::WrongMode("DFU"),
            _ => Kind::Foreign,
        }
    }
}

/// What a device is, by its ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It should have the multiplexer.
    Multiplexer,
    /// It is a device of ours in a mode that has none.
    WrongMode(&'static str),
    /// None of ours.
    Foreign,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_told_apart_by_their_ids() {
        let options = UsbOptions::default();
        for product in [0x1290, 0x12a8, 0x12af, 0x8600, 0x1901, 0x1905] {
            assert_eq!(options.kind_of(VENDOR, product), Kind::Multiplexer, "{product:#06x}");
        }
        for product in [0x128f, 0x12b0, 0x8601, 0x1900, 0x1906, 0x024f] {
            assert_eq!(options.kind_of(VENDOR, product), Kind::Foreign, "{product:#06x}");
        }
        assert_eq!(options.kind_of(VENDOR, 0x1281), Kind::WrongMode("recovery"));
        assert_eq!(options.kind_of(VENDOR, 0x1227), Kind::WrongMode("DFU"));
        assert_eq!(options.kind_of(0x1d6b, 0x12a8), Kind::Foreign);
    }
}
