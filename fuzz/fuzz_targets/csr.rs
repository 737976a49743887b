//! What libFuzzer drives of the target `fuzz::csr`.

#![no_main]

fuzz::target!(csr);
