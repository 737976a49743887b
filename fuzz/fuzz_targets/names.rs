//! What libFuzzer drives of the target `fuzz::names`.

#![no_main]

fuzz::target!(names);
