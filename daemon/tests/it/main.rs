//! What takes a process of its own: signals reach every test that runs beside the one that sends them.

mod supervisor;
