//! What libFuzzer drives of the target `fuzz::certificate`.

#![no_main]

fuzz::target!(certificate);
