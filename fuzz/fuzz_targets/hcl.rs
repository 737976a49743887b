//! What libFuzzer drives of the target `fuzz::hcl`.

#![no_main]

fuzz::target!(hcl);
