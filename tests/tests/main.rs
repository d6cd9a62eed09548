//! Stories of Fieldbook's users and its enemies, told to the real program.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod answers;
mod browser;
mod conventions;
mod convergence;
mod crash;
mod demo;
mod forensics;
mod interop;
mod network;
mod reading;
mod redaction;
mod seed;
mod stories;
