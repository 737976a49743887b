//! What libFuzzer drives of the target `fuzz::agent_storage`.

#![no_main]

fuzz::target!(agent_storage);
