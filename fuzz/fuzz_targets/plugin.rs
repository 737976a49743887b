//! What libFuzzer drives of the target `fuzz::plugin`.

#![no_main]

fuzz::target!(plugin);
