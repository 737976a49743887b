//! What libFuzzer drives of the target `fuzz::server_api`.

#![no_main]

fuzz::target!(server_api, 1 << 30);
