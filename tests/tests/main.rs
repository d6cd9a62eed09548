//! Stories of Fieldbook's users and its enemies, told to the real program.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod answers;
mod backup;
mod browser;
mod bucket;
mod bundles;
mod carriers;
mod conventions;
mod convergence;
mod crash;
mod demo;
mod disks;
mod doctor;
mod forensics;
mod formats;
mod image;
mod integrity;
mod interop;
mod links;
mod live;
mod making;
mod need;
mod network;
mod pairing;
mod progress;
mod reading;
mod recovery;
mod redaction;
mod relay;
mod sealing;
mod seed;
mod sticks;
mod stories;
mod team;
mod wayback;
mod words;
