//! What libFuzzer drives of the target `fuzz::command_line`.

#![no_main]

fuzz::target!(command_line);
