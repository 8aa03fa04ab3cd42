//! One class of a device and a place on the computer, brought together.
