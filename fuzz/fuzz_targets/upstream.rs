//! What libFuzzer drives of the target `fuzz::upstream`.

#![no_main]

fuzz::target!(upstream);
