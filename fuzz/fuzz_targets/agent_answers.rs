//! What libFuzzer drives of the target `fuzz::agent_answers`.

#![no_main]

fuzz::target!(agent_answers);
