//! A relay, seen from its operator: the process that keeps it running, what it says to the system's manager,
//! the unit for that, and the questions to its depot.

pub mod depot;
pub mod notify;
pub mod run;
pub mod unit;
