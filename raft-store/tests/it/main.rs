//! The store as the server uses it: through its public interface, on a real disk.

mod fixture;
mod open;
