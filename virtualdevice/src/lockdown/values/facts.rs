//! Made-up facts of one phone: numbers that look right and belong to nobody.

use sha1::{Digest, Sha1};
use sha2::Sha256;

use crate::profile::{Profile, UdidStyle};

/// The numbers of one phone, all from its seed and model.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(super) serial: String,
    pub(super) ecid: u64,
    pub(super) wifi: String,
    pub(super) bluetooth: String,
    pub(super) ethernet: String,
    pub(super) imei: String,
    pub(super) imei2: String,
    pub(super) meid: String,
    pub(super) iccid: String,
    pub(super) imsi: String,
    pub(super) phone_number: String,
    pub(super) mlb_serial: String,
    pub(super) die_id: u64,
    pub(super) nonce: [u8; 32],
}

/// Letters of serial numbers: no vowels, nothing that looks like a digit.
const LETTERS: &[u8] = b"CDFGHJKLMNPQRTVWXY0123456789";

fn bytes(seed: u64, label: &str, model: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(seed.to_be_bytes());
    hash.update(model.as_bytes());
    hash.update([0]);
    hash.update(label.as_bytes());
    hash.finalize().into()
}

fn number(bytes: [u8; 32]) -> u64 {
    bytes.iter().take(8).fold(0, |n, byte| (n << 8) | u64::from(*byte))
}

fn letters(bytes: [u8; 32], len: usize) -> String {
    let pick = |byte: &u8| LETTERS.iter().cycle().nth(usize::from(*byte)).copied().unwrap_or(b'C');
    bytes.iter().take(len).map(|byte| char::from(pick(byte))).collect()
}

fn digits(bytes: [u8; 32], len: usize) -> String {
    bytes
        .iter()
        .take(len)
        .map(|byte| char::from(b'0'.saturating_add(*byte % 10)))
        .collect()
}

/// An address of a made-up vendor: the bit for local administration is set.
fn mac(bytes: [u8; 32]) -> String {
    let [a, b, c, d, e, f, ..] = bytes;
    format!("{:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}", (a & 0xfc) | 0x02)
}

/// Appends the check digit of IMEI and ICCID numbers.
fn with_luhn(mut body: String) -> String {
    let double = |digit: u32| {
        if digit > 4 {
            digit.saturating_mul(2).saturating_sub(9)
        } else {
            digit << 1
        }
    };
    let digits = body.chars().rev().filter_map(|c| c.to_digit(10));
    let sum: u32 = digits
        .enumerate()
        .map(|(i, digit)| if i % 2 == 0 { double(digit) } else { digit })
        .sum();
    let check = u8::try_from(sum % 10).unwrap_or_default();
    body.push(char::from(b'0'.saturating_add(10_u8.saturating_sub(check) % 10)));
    body
}

impl Facts {
    pub(crate) fn new(profile: &Profile, seed: u64) -> Self {
        let of = |label: &str| bytes(seed, label, &profile.model.product_type);
        let serial_len = if profile.model.udid_style == UdidStyle::Hex40 {
            12
        } else {
            10
        };
        let line = digits(of("phone number"), 2);
        Self {
            serial: letters(of("serial"), serial_len),
            ecid: number(of("ecid")) & 0x001f_ffff_ffff_ffff,
            wifi: mac(of("wifi")),
            bluetooth: mac(of("bluetooth")),
            ethernet: mac(of("ethernet")),
            imei: with_luhn(format!("35{}", digits(of("imei"), 12))),
            imei2: with_luhn(format!("35{}", digits(of("imei2"), 12))),
            meid: format!("35{}", digits(of("meid"), 12)),
            iccid: with_luhn(format!("8901{}", digits(of("iccid"), 15))),
            imsi: format!("00101{}", digits(of("imsi"), 10)),
            // 555-0100 to 555-0199 belong to nobody.
            phone_number: format!("+1 (555) 555-01{line}"),
            mlb_serial: letters(of("mlb"), 17),
            die_id: number(of("die")) >> 1,
            nonce: of("nonce"),
        }
    }

    /// The UDID as this generation spells it; the old form is the SHA-1 of four of the facts.
    pub(crate) fn udid(&self, profile: &Profile) -> String {
        match profile.model.udid_style {
            UdidStyle::Hex40 => {
                let mut hash = Sha1::new();
                hash.update(format!("{}{}{}{}", self.serial, self.ecid, self.wifi, self.bluetooth));
                hex::encode(hash.finalize())
            }
            UdidStyle::ChipAndEcid => format!("{:08X}-{:016X}", profile.model.chip_id, self.ecid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_depend_on_the_seed_and_the_model_alone() {
        let (old, new) = (Profile::ios_10_3(), Profile::ios_26());
        assert_eq!(Facts::new(&old, 1).udid(&old), Facts::new(&old, 1).udid(&old));
        assert_ne!(Facts::new(&old, 1).udid(&old), Facts::new(&old, 2).udid(&old));
        assert_eq!(Facts::new(&old, 1).udid(&old).len(), 40);
        assert!(Facts::new(&new, 1).udid(&new).starts_with("00008150-00"));
        assert_ne!(Facts::new(&old, 1).serial, Facts::new(&new, 1).serial);
    }

    #[test]
    fn the_check_digit_is_luhns() {
        assert_eq!(with_luhn("7992739871".to_owned()), "79927398713");
        assert_eq!(Facts::new(&Profile::ios_18(), 3).imei.len(), 15);
    }
}
