//! What libFuzzer drives of the target `fuzz::attestation`.

#![no_main]

fuzz::target!(attestation);
