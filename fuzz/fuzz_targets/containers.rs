//! What libFuzzer drives of the target `fuzz::containers`.

#![no_main]

fuzz::target!(containers);
