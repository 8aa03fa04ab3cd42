//! What a phone offers on the bus: modes, configurations, functions and their endpoints.

/// How fast the phone talks. The size of its packets follows from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Speed {
    /// 12 Mbit/s, bulk packets of 64 bytes.
    Full,
    /// 480 Mbit/s, bulk packets of 512 bytes: USB 2, what most phones speak.
    #[default]
    High,
    /// 5 Gbit/s, bulk packets of 1024 bytes: USB 3.
    Super,
}

impl Speed {
    /// `wMaxPacketSize` of bulk endpoints, in bytes.
    #[must_use]
    pub const fn bulk_packet(self) -> u16 {
        match self {
            Self::Full => 64,
            Self::High => 512,
            Self::Super => 1024,
        }
    }
}

/// What a phone was switched to with vendor request `0x52`. Spec: usbmux, section 7.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Mode {
    /// 1: four configurations, as it comes out of the box.
    #[default]
    Initial,
    /// 2: five, the last with screen capture ("Valeria").
    ScreenCapture,
    /// 3: five, the last with CDC-NCM.
    Ncm,
    /// 4, from iOS 16: six, the last with both kinds of Ethernet.
    EthernetAndNcm,
    /// 5, from iOS 17: one configuration with CDC-NCM and no multiplexer.
    NcmOnly,
}

impl Mode {
    /// The number in the request.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::Initial => 1,
            Self::ScreenCapture => 2,
            Self::Ncm => 3,
            Self::EthernetAndNcm => 4,
            Self::NcmOnly => 5,
        }
    }

    /// The mode with this number.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        [
            Self::Initial,
            Self::ScreenCapture,
            Self::Ncm,
            Self::EthernetAndNcm,
            Self::NcmOnly,
        ]
        .into_iter()
        .find(|mode| mode.number() == number)
    }

    /// The functions of each configuration, the first of which has value 1.
    #[must_use]
    pub fn configurations(self) -> Vec<Vec<Function>> {
        use Function::{Accessory, Ethernet, Mux, Ncm, Ptp, ScreenCapture};
        let base = [vec![Ptp], vec![Accessory], vec![Ptp, Mux], vec![Ptp, Mux, Ethernet]];
        let mut all: Vec<Vec<Function>> = base.into();
        match self {
            Self::Initial => {}
            // The video interface comes first: a host that compares classes carelessly takes it for the multiplexer.
            Self::ScreenCapture => all.push(vec![Ptp, ScreenCapture, Mux]),
            Self::Ncm => all.push(vec![Ptp, Mux, Ncm]),
            Self::EthernetAndNcm => all.extend([vec![Ptp, Mux, Ncm], vec![Ptp, Ethernet, Ncm, Mux]]),
            Self::NcmOnly => all = vec![vec![Ncm]],
        }
        all
    }
}

/// One thing a configuration offers; each has endpoint addresses of its own, so that any go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Function {
    /// The camera: class 6/1/1. Present, but it answers nothing.
    Ptp,
    /// Stands for what accessories use: a HID interface without reports.
    Accessory,
    /// The multiplexer: class ff/fe/02, OUT 0x04, IN 0x85.
    Mux,
    /// The older USB Ethernet: class ff/fd/01, with its endpoints in alternate setting 1. It does not work.
    Ethernet,
    /// Screen capture: class ff/2a/ff. It does not work.
    ScreenCapture,
    /// CDC-NCM: class 02/0d and a data interface. It does not work.
    Ncm,
}

impl Function {
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Ptp => "PTP",
            Self::Accessory => "iPod USB Interface",
            Self::Mux => "Apple Mobile Device",
            Self::Ethernet => "Apple USB Ethernet",
            Self::ScreenCapture => "Valeria",
            Self::Ncm => "NCM",
        }
    }

    pub(super) const fn interfaces(self) -> &'static [Interface] {
        match self {
            Self::Ptp => &[PTP],
            Self::Accessory => &[ACCESSORY],
            Self::Mux => &[MUX],
            Self::Ethernet => &[ETHERNET],
            Self::ScreenCapture => &[SCREEN_CAPTURE],
            Self::Ncm => &[NCM_CONTROL, NCM_DATA],
        }
    }
}

/// How an endpoint transfers; there is no isochronous one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transfer {
    Bulk,
    Interrupt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) address: u8,
    pub(super) transfer: Transfer,
}

/// Class-specific descriptors behind an interface's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extra {
    None,
    Hid,
    Ncm,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Interface {
    pub(super) class: [u8; 3],
    pub(super) name: &'static str,
    pub(super) extra: Extra,
    /// Endpoints of each alternate setting.
    pub(super) settings: &'static [&'static [Endpoint]],
}

/// Bit of an endpoint address that says "towards the host".
pub(super) const IN: u8 = 0x80;
/// Endpoints of the multiplexer.
pub(super) const MUX_OUT: u8 = 0x04;
pub(super) const MUX_IN: u8 = 0x85;

const fn bulk(address: u8) -> Endpoint {
    Endpoint {
        address,
        transfer: Transfer::Bulk,
    }
}

const fn interrupt(address: u8) -> Endpoint {
    Endpoint {
        address,
        transfer: Transfer::Interrupt,
    }
}

const PTP: Interface = Interface {
    class: [0x06, 0x01, 0x01],
    name: "PTP",
    extra: Extra::None,
    settings: &[&[bulk(0x02), bulk(0x81), interrupt(0x83)]],
};
const ACCESSORY: Interface = Interface {
    class: [0x03, 0x00, 0x00],
    name: "iAP Interface",
    extra: Extra::Hid,
    settings: &[&[interrupt(0x8a)]],
};
const MUX: Interface = Interface {
    class: [0xff, 0xfe, 0x02],
    name: "Apple USB Multiplexor",
    extra: Extra::None,
    settings: &[&[bulk(MUX_OUT), bulk(MUX_IN)]],
};
const ETHERNET: Interface = Interface {
    class: [0xff, 0xfd, 0x01],
    name: "Apple USB Ethernet",
    extra: Extra::None,
    settings: &[&[], &[bulk(0x86), bulk(0x05)]],
};
const SCREEN_CAPTURE: Interface = Interface {
    class: [0xff, 0x2a, 0xff],
    name: "Valeria",
    extra: Extra::None,
    settings: &[&[bulk(0x87), bulk(0x07)]],
};
const NCM_CONTROL: Interface = Interface {
    class: [0x02, 0x0d, 0x00],
    name: "NCM Control",
    extra: Extra::Ncm,
    settings: &[&[interrupt(0x88)]],
};
const NCM_DATA: Interface = Interface {
    class: [0x0a, 0x00, 0x01],
    name: "NCM Data",
    extra: Extra::None,
    settings: &[&[], &[bulk(0x89), bulk(0x06)]],
};
