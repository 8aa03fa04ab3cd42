//! The three certificates of a pairing, read back by a library that did not write them.
#![expect(clippy::unwrap_used, reason = "test code")]

mod support;

use std::time::{Duration, SystemTime};

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use cabled_lockdown::certificates::{
    CertificateError, Certificates, RsaKey, RsaPublicKey, certificate_der, public_key_of,
};
use sha1::{Digest, Sha1};
use support::{data_file, device_key};
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages, SubjectKeyIdentifier};
use x509_cert::time::Time;
use x509_cert::{Certificate, Version};

fn parse(pem: &[u8]) -> Certificate {
    Certificate::from_der(&certificate_der(pem, "test").unwrap()).unwrap()
}

#[test]
fn new_certificates_have_the_form_that_devices_know() {
    let now = SystemTime::now();
    let made = Certificates::issue(&device_key().public_key(), now).unwrap();
    let root_key = RsaKey::from_pem(made.root_key.expose(), "test").unwrap().public_key();
    for (pem, ca, has_identifier) in [
        (&made.root, true, false),
        (&made.host, false, false),
        (&made.device, false, true),
    ] {
        assert!(pem.starts_with(b"-----BEGIN CERTIFICATE-----\n") && pem.ends_with(b"-----END CERTIFICATE-----\n"));
        let certificate = parse(pem);
        let tbs = certificate.tbs_certificate();
        assert_eq!(tbs.version(), Version::V3);
        assert_eq!(tbs.serial_number().as_bytes(), [1]);
        assert!(tbs.issuer().is_empty() && tbs.subject().is_empty());
        let (critical, constraints) = tbs.get_extension::<BasicConstraints>().unwrap().unwrap();
        assert!(critical && constraints.ca == ca && constraints.path_len_constraint.is_none());
        match tbs.get_extension::<KeyUsage>().unwrap() {
            None => assert!(ca),
            Some((critical, usage)) => {
                assert!(critical && !ca);
                assert_eq!(usage.0, KeyUsages::DigitalSignature | KeyUsages::KeyEncipherment);
            }
        }
        let identifier = tbs.get_extension::<SubjectKeyIdentifier>().unwrap();
        assert_eq!(identifier.is_some(), has_identifier);
        let start = tbs.validity().not_before.to_system_time();
        let day = now.duration_since(start).unwrap().as_secs();
        assert!((86_399..=86_401).contains(&day), "{day}");
        let end = tbs.validity().not_after;
        assert_eq!(
            end.to_system_time().duration_since(start).unwrap(),
            Duration::from_secs(3650 * 86_400)
        );
        assert!(matches!(end, Time::UtcTime(_)), "until 2049");
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, root_key.as_pkcs1_der())
            .verify(&tbs.to_der().unwrap(), certificate.signature().raw_bytes())
            .unwrap();
    }
    let (critical, identifier) = parse(&made.device)
        .tbs_certificate()
        .get_extension::<SubjectKeyIdentifier>()
        .unwrap()
        .unwrap();
    assert!(!critical);
    assert_eq!(
        identifier.0.as_bytes(),
        Sha1::digest(device_key().public_key().as_pkcs1_der()).as_slice()
    );
}

#[test]
fn years_from_2050_on_are_written_in_full() {
    let year_2045 = SystemTime::UNIX_EPOCH + Duration::from_secs(2_367_000_000);
    let made = Certificates::issue(&device_key().public_key(), year_2045).unwrap();
    assert!(matches!(
        parse(&made.device).tbs_certificate().validity().not_after,
        Time::GeneralTime(_)
    ));
}

#[test]
fn keys_are_written_as_pkcs8_and_read_in_both_forms() {
    let made = Certificates::issue(&device_key().public_key(), SystemTime::now()).unwrap();
    for key in [&made.root_key, &made.host_key] {
        assert!(key.expose().starts_with(b"-----BEGIN PRIVATE KEY-----\n") && key.expose().ends_with(b"-----\n"));
    }
    let pkcs1 = RsaKey::from_pem(&data_file("host-pkcs1.key"), "test").unwrap();
    let again = RsaKey::from_pem(pkcs1.to_pkcs8_pem().unwrap().expose(), "test").unwrap();
    assert_eq!(pkcs1.public_key(), again.public_key());
    let certified = certificate_der(&data_file("host-v1-sha1.pem"), "test").unwrap();
    assert_eq!(public_key_of(&certified, "test").unwrap(), pkcs1.public_key());
}

#[test]
fn the_public_key_of_a_device_is_read_leniently_and_written_exactly() {
    let pem = data_file("device-public.pem");
    let key = RsaPublicKey::from_pem(&pem).unwrap();
    assert_eq!(key.to_pem(), pem, "what OpenSSL wrote");
    let text = String::from_utf8(pem.clone()).unwrap();
    for odd in [
        [pem.as_slice(), b"\0"].concat(),
        [pem.as_slice(), b"\0\0\0\n"].concat(),
        text.replace('\n', "\r\n").into_bytes(),
        text.trim_end().as_bytes().to_vec(),
    ] {
        assert_eq!(RsaPublicKey::from_pem(&odd).unwrap(), key);
    }
}

#[test]
fn damaged_keys_and_certificates_are_named_errors() {
    let wrong_kind = RsaPublicKey::from_pem(&data_file("device.key"));
    assert!(matches!(
        wrong_kind,
        Err(CertificateError::Pem {
            what: "DevicePublicKey"
        })
    ));
    assert!(matches!(
        RsaPublicKey::from_pem(&vec![b'x'; 1 << 17]),
        Err(CertificateError::Pem { .. })
    ));
    let short = data_file("device-public.pem");
    let mut lines: Vec<_> = short.split(|byte| *byte == b'\n').collect();
    lines.remove(3);
    assert!(matches!(
        RsaPublicKey::from_pem(&lines.join(&b'\n')),
        Err(CertificateError::Der { .. })
    ));
    let not_a_certificate = certificate_der(&data_file("device.key"), "HostCertificate");
    assert!(matches!(
        not_a_certificate,
        Err(CertificateError::Pem {
            what: "HostCertificate"
        })
    ));
    assert!(matches!(
        public_key_of(b"\x30\x03\x02\x01\x00", "x"),
        Err(CertificateError::Der { what: "x" })
    ));
    assert!(matches!(
        public_key_of(b"", "x"),
        Err(CertificateError::Der { what: "x" })
    ));
}
