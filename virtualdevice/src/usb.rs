//! The phone as a USB device: descriptors, control requests and bulk pipes, whatever carries them.
