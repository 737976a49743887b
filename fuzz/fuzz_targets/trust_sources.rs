//! What libFuzzer drives of the target `fuzz::trust_sources`.

#![no_main]

fuzz::target!(trust_sources);
