//! What libFuzzer drives of the target `fuzz::web`.

#![no_main]

fuzz::target!(web);
