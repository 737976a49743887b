//! What libFuzzer drives of the target `fuzz::edges`.

#![no_main]

fuzz::target!(edges);
