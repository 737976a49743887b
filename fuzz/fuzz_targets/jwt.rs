//! What libFuzzer drives of the target `fuzz::jwt`.

#![no_main]

fuzz::target!(jwt);
