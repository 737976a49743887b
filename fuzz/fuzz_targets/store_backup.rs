//! What libFuzzer drives of the target `fuzz::store_backup`.

#![no_main]

fuzz::target!(store_backup, 64 << 20);
