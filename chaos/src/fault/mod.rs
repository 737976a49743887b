//! Faults beyond signals: the network between members, and the processor under them.

pub mod network;
pub mod spinners;
