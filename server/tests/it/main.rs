//! The server as its clients see it.

mod dev;
mod golden;
