//! The stored form of commands, byte by byte.
