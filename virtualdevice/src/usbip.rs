//! Carries a USB device over USB/IP, to a kernel that then believes it is plugged in.
