//! What libFuzzer drives of the target `fuzz::config`.

#![no_main]

fuzz::target!(config);
