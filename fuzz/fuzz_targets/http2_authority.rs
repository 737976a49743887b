//! What libFuzzer drives of the target `fuzz::http2_authority`.

#![no_main]

fuzz::target!(http2_authority);
