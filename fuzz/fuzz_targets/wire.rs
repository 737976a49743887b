//! What libFuzzer drives of the target `fuzz::wire`.

#![no_main]

fuzz::target!(wire);
