//! Places where a crash would hurt most, by name, so that tests can crash there.
//!
//! Outside of tests this is nothing.

/// Ends the process here if a test asked for it.
#[cfg(test)]
pub(crate) fn point(name: &str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static WANTED: LazyLock<Option<(String, u64)>> = LazyLock::new(|| {
        let wanted = std::env::var(VARIABLE).ok()?;
        let (name, pass) = wanted.rsplit_once(':')?;
        Some((name.to_owned(), pass.parse().ok()?))
    });
    static PASSES: AtomicU64 = AtomicU64::new(0);

    if let Some((wanted, pass)) = &*WANTED
        && wanted == name
        && PASSES.fetch_add(1, Ordering::SeqCst) + 1 == *pass
    {
        std::process::abort();
    }
}

/// `<point>:<pass>`, counted from one.
#[cfg(test)]
pub(crate) const VARIABLE: &str = "RAFT_STORE_CRASH_AT";

/// Nothing.
#[cfg(not(test))]
#[inline]
pub(crate) const fn point(_name: &str) {}
