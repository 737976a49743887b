//! What libFuzzer drives of the target `fuzz::federation`.

#![no_main]

fuzz::target!(federation);
