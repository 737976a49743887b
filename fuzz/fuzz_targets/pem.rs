//! What libFuzzer drives of the target `fuzz::pem`.

#![no_main]

fuzz::target!(pem);
