//! What trips a backup tool: names, sizes, owners, attributes and links that real phones have.

use super::builder::Builder;
use super::error::ContentsError;
use crate::fs::{Content, Meta};

/// The domain of the odd things.
pub(super) const DOMAIN: &str = "AppDomain-com.example.oddities";

/// Sizes around the blocks of AES (16), of databases and of the raw file protocol (32 KiB and 256 KiB).
const SIZES: &[u64] = &[0, 1, 15, 16, 17, 4096, 32_767, 32_768, 32_769, 65_536, 262_144, 524_288];

/// Legal on the phone, each a trap somewhere else (spec backup-format 15).
const NAMES: &[&str] = &[
    "emoji 👩‍👩‍👧 🏔.txt",
    "caf\u{e9}.txt",
    "cafe\u{301}.txt",
    "Note.txt",
    "note.txt",
    "NOTE.TXT",
    " leading and  double spaces.txt",
    "trailing space ",
    "trailing dots...",
    "a:b*c?.txt",
    "quote\"less<more>pipe|.txt",
    "back\\slash.txt",
    "percent%20%2F.txt",
    "AUX",
    "con.txt",
    "~$hidden",
    ".hidden",
    "-rf",
    "日本語のファイル名.txt",
    "עברית.txt",
    "tab\there.txt",
];

/// Files of odd sizes, owners, modes and attributes.
pub(super) fn sizes(builder: &mut Builder<'_>) -> Result<(), ContentsError> {
    for &len in SIZES {
        let path = format!("Documents/Sizes/{len}.bin");
        builder.file(DOMAIN, &path, Content::noise(builder.seed.child(&path).value(), len))?;
    }
    // A plaintext that itself ends like padding.
    builder.file(
        DOMAIN,
        "Documents/Sizes/padding.bin",
        Content::bytes([[7; 25].as_slice(), &[16; 16]].concat()),
    )?;
    let owners = [(-2, -2), (0, 0), (25, 25), (33, 33), (64, 64), (501, 20)];
    for (class, (uid, gid)) in (1..=4).cycle().zip(owners) {
        let path = format!("Documents/Owners/{uid}.plist");
        let meta = Meta::file()
            .with_times(builder.time(DOMAIN, &path))
            .with_owner(uid, gid);
        let meta = meta.with_protection_class(class).with_permissions(0o600);
        builder.file_with(
            DOMAIN,
            &path,
            Content::text(builder.seed.child(&path).value(), 300),
            meta,
        )?;
    }
    attributes(builder)?;
    builder.link(DOMAIN, "Documents/link to a file", "/var/mobile/Library/SMS/sms.db")?;
    builder.link(DOMAIN, "Documents/link to nowhere", "/var/mobile/no/such/place")?;
    builder.link(DOMAIN, "Documents/relative link", "Sizes/4096.bin")
}

fn attributes(builder: &mut Builder<'_>) -> Result<(), ContentsError> {
    let path = "Documents/Attributes";
    let meta = Meta::directory().with_times(builder.time(DOMAIN, path));
    let meta = meta.with_xattr(
        "com.apple.metadata:com_apple_cloudBackup_excludeItem",
        b"bplist00\x09\x08".as_slice(),
    );
    builder.directory_with(DOMAIN, path, meta)?;
    let meta = Meta::file()
        .with_times(builder.time(DOMAIN, path))
        .with_permissions(0o640);
    let meta = meta.with_xattr("com.apple.TextEncoding", b"utf-8;134217984".as_slice());
    let meta = meta
        .with_xattr("com.apple.lastuseddate#PS", vec![0, 0xff, 0x80, 0])
        .with_xattr("empty", vec![]);
    builder.file_with(
        DOMAIN,
        "Documents/Attributes/three.txt",
        Content::bytes("three attributes\n"),
        meta,
    )?;
    let path = "Library/com.apple.internal.ck";
    let meta = Meta {
        flags: 128,
        ..Meta::directory().with_times(builder.time("HomeDomain", path))
    };
    builder.directory_with("HomeDomain", path, meta)
}

/// Files with odd names, names of 255 bytes and a deep folder.
pub(super) fn names(builder: &mut Builder<'_>) -> Result<(), ContentsError> {
    for (n, name) in (0_u64..).zip(NAMES) {
        let path = format!("Documents/Names/{name}");
        builder.file(DOMAIN, &path, Content::text(builder.seed.nth(n).value(), 40 + n))?;
    }
    let longest = format!("Documents/{}", "long name ".repeat(26).get(..255).unwrap_or_default());
    builder.file(DOMAIN, &longest, Content::bytes("a name of 255 bytes\n"))?;
    let wide = format!("Documents/{}", "界".repeat(85));
    builder.file(DOMAIN, &wide, Content::bytes("a name of 85 characters and 255 bytes\n"))?;
    let deep = format!("Documents/{}bottom.txt", "deeper/".repeat(40));
    builder.file(DOMAIN, &deep, Content::bytes("41 folders down\n"))?;
    builder.directory(DOMAIN, "Documents/Names/empty folder")
}
