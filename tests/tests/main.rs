//! Stories of Fieldbook's users and its enemies, told to the real program.

mod convergence;
mod conventions;
mod crash;
mod demo;
mod forensics;
mod interop;
mod network;
mod reading;
mod redaction;
mod seed;
mod stories;
