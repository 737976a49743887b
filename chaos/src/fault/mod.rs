//! Faults beyond signals: the network between members, and the processor under them.

pub mod capture;
pub mod damage;
pub mod network;
pub mod spinners;
pub mod tracer;
