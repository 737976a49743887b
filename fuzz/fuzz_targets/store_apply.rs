//! What libFuzzer drives of the target `fuzz::store_apply`.

#![no_main]

fuzz::target!(store_apply);
