//! What libFuzzer drives of the target `fuzz::join`.

#![no_main]

fuzz::target!(join);
