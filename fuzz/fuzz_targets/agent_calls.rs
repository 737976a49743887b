//! What libFuzzer drives of the target `fuzz::agent_calls`.

#![no_main]

fuzz::target!(agent_calls);
