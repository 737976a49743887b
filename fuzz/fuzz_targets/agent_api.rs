//! What libFuzzer drives of the target `fuzz::agent_api`.

#![no_main]

fuzz::target!(agent_api, 64 << 20);
