//! What libFuzzer drives of the target `fuzz::template`.

#![no_main]

fuzz::target!(template);
