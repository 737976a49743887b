//! Claims about apply that need more than one step.
