//! What libFuzzer drives of the target `fuzz::store_snapshot`.

#![no_main]

fuzz::target!(store_snapshot);
