//! Plugins as processes: what holds whatever they do.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod agent_side;
mod containment;
mod start;
mod upstream;
mod verdicts;
mod world;
