//! What libFuzzer drives of the target `fuzz::store_codec`.

#![no_main]

fuzz::target!(store_codec);
