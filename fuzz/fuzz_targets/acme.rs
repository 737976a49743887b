//! What libFuzzer drives of the target `fuzz::acme`.

#![no_main]

fuzz::target!(acme);
