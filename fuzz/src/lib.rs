//! What hostile bytes must not do, one function per decoder and per state machine.
//!
//! # Example
//! ```
//! for target in cabled_fuzz::TARGETS {
//!     (target.run)(b"anything at all");
//! }
//! ```
//!
//! # How it fits together
//! Every target is an ordinary function over bytes that panics when a promise is broken: a decoder that panics by
//! itself, a message that decodes to something else after it was encoded, a stream whose meaning depends on how it was
//! cut, a machine that sends more than its peer has room for. [`TARGETS`] lists them all. `fuzz_targets/` hands them to
//! libFuzzer; `tests/corpus.rs` replays the corpora and the golden vectors through them in a plain `cargo test`, and
//! mutates those a little.
//!
//! # Limits
//! None of it reads a clock or a random source: a run depends on its bytes alone.
//!
//! # Features
//! - `libfuzzer` (off): builds `fuzz_targets/`, for `cargo fuzz`.

pub mod afc;
pub mod archive;
pub mod database;
pub mod devicelink;
pub mod keychain;
pub mod lockdown;
pub mod mux;
pub mod names;
pub mod people;
pub mod records;
pub mod script;
pub mod select;
pub mod sessions;
pub mod sync;
pub mod sync_state;
pub mod usbip;
pub mod usbmux;
pub mod wire;

/// One fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name of the binary in `fuzz_targets/` and of the corpus folder.
    pub name: &'static str,
    /// The target itself; panics when a promise is broken.
    pub run: fn(&[u8]),
}

macro_rules! targets {
    ($($module:ident::$name:ident),+ $(,)?) => {
        /// Every target.
        pub const TARGETS: &[Target] = &[$(Target { name: stringify!($name), run: $module::$name }),+];
    };
}

targets! {
    wire::plist_binary,
    wire::plist_xml,
    wire::frame_decoder,
    wire::relative_path,
    usbmux::usbmux_messages,
    mux::mux_frames,
    mux::mux_host,
    mux::mux_device,
    mux::mux_pair,
    usbip::usbip_server,
    lockdown::lockdown_messages,
    lockdown::companion_messages,
    lockdown::pair_record,
    afc::afc_packet,
    afc::afc_listings,
    devicelink::devicelink_message,
    devicelink::transfer_receiver,
    devicelink::devicelink_exchange,
    archive::scope_admit,
    archive::keybag,
    archive::mbdb,
    archive::mbfile,
    archive::backup_plists,
    archive::padding_reader,
    names::export_names,
    select::glob,
    keychain::keychain_item,
    database::sqlite_pages,
    database::sqlite_wal,
    database::archive_open,
    people::typedstream,
    people::records_database,
    records::note_body,
    sync::vcard,
    sync::icalendar,
    sync::bookmarks_html,
    sync::sync_records,
    sync_state::sync_state,
    sessions::sync_session,
    sessions::sync_agent,
}
