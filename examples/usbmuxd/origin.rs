//! Where the devices come from: USB, or virtual phones.

use std::sync::Arc;

use cabled::usbmux::DeviceSource;
use cabled::usbmux::devices::Devices;
use cabled::usbmux::usb::{UsbBus, UsbOptions};
use cabled::virtualdevice::front::Front;
use cabled::virtualdevice::{Pairing, Phone};
use cabled::wire::ids::DeviceId;
use cabled::wire::io::Connect;
use cabled_examples::{Failure, person, phones};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::options::Options;
use crate::system;

/// What the daemon serves.
pub struct Origin {
    usb: Option<UsbBus>,
    phones: Option<VirtualPhones>,
}

impl Origin {
    /// Opens what the options name: USB, unless there are virtual phones and no `--usb`.
    pub async fn open(options: &Options) -> Result<Self, Failure> {
        let phones = match options.virtual_phones.is_empty() {
            true => None,
            false => Some(VirtualPhones::plug_in(options).await?),
        };
        let wants_usb = options.usb || phones.is_none();
        Ok(Self {
            usb: wants_usb.then(|| UsbBus::start(UsbOptions::default())).transpose()?,
            phones,
        })
    }

    /// All of it as one source.
    pub fn source(&self) -> Arc<dyn DeviceSource> {
        let mut sources: Vec<Arc<dyn DeviceSource>> = Vec::new();
        sources.extend(self.usb.clone().map(|bus| Arc::new(bus) as Arc<dyn DeviceSource>));
        sources.extend(self.phones.as_ref().map(|phones| phones.front.source()));
        match sources.pop() {
            Some(only) if sources.is_empty() => only,
            last => {
                let all = sources.into_iter().chain(last);
                Arc::new(
                    all.fold(Devices::builder(), |builder, source| builder.source(source))
                        .start(),
                )
            }
        }
    }

    /// The virtual phones, for whoever plays their user.
    pub fn phones(&self) -> Option<VirtualPhones> {
        self.phones.clone()
    }

    /// Waits until the devices that are there already are known.
    pub async fn settled(&self) {
        if let Some(bus) = &self.usb {
            bus.settled().await;
        }
    }

    /// Lets go of the devices.
    pub async fn close(self) {
        if let Some(bus) = self.usb {
            bus.shutdown().await;
        }
    }
}

/// Phones that are not there, for whoever has none.
#[derive(Clone)]
pub struct VirtualPhones {
    front: Front,
    phones: Vec<Phone>,
}

impl VirtualPhones {
    async fn plug_in(options: &Options) -> Result<Self, Failure> {
        let mut made = Vec::new();
        for (name, seed) in options.virtual_phones.iter().zip(options.phone.seed..) {
            let recipe = options.phone.recipe().seed(seed);
            let phone = phones::phone(phones::profile(name)?, seed, Some(&recipe))?;
            if options.ask {
                phone.set_pairing(Pairing::AskUser);
            }
            made.push(phone);
        }
        // The daemon has a server of its own: the front is only the cable, and its store is not used.
        let front = Front::new(std::env::temp_dir().join("usbmuxd-unused"));
        let phones = Self { front, phones: made };
        for phone in &phones.phones {
            phones.plug(phone).await?;
        }
        Ok(phones)
    }

    async fn plug(&self, phone: &Phone) -> Result<DeviceId, Failure> {
        let device: Arc<dyn Connect> = Arc::new(phone.clone());
        Ok(self.front.add(device).await?)
    }

    /// Does what the lines on standard input say until `quit`; an end of input only ends the lines.
    pub async fn follow_lines(self) -> Result<(), Failure> {
        system::say(&format!("lines to type: {}, unplug, plug, quit", person::LINES));
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        let mut number = 0;
        while let Ok(Some(line)) = lines.next_line().await {
            match line.trim() {
                "quit" => return Ok(()),
                "unplug" => {
                    for device in self.front.devices() {
                        self.front.remove(device.id);
                    }
                }
                "plug" => {
                    for phone in &self.phones {
                        if !self.front.devices().iter().any(|device| device.udid == *phone.udid()) {
                            self.plug(phone).await?;
                        }
                    }
                }
                line => {
                    for phone in &self.phones {
                        system::say(&person::act(phone, line, number)?);
                    }
                }
            }
            number += 1;
        }
        std::future::pending().await
    }
}
