//! What libFuzzer drives of the target `fuzz::jwks`.

#![no_main]

fuzz::target!(jwks);
