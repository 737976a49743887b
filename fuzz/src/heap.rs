//! Measures what a decoder holds in memory: no input may make it hold much more than itself.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The system's allocator, counted. The allocator of every target.
#[derive(Debug)]
pub struct Counted;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "an allocator can only be wrapped by one")]
// SAFETY: every call goes to the system's allocator as it came; only sizes are noted.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        taken(new_size);
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

fn taken(len_bytes: usize) {
    let held = HELD.fetch_add(len_bytes, Ordering::Relaxed) + len_bytes;
    PEAK.fetch_max(held, Ordering::Relaxed);
}

/// Runs a decoder on an input of `len_bytes`.
///
/// # Panics
/// It held more than `floor` bytes and [`FACTOR`] times its input.
pub fn bounded(floor: usize, len_bytes: usize, decode: impl FnOnce()) {
    let before = HELD.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    decode();
    let held = PEAK.load(Ordering::Relaxed).saturating_sub(before);
    let allowed = floor + FACTOR * len_bytes;
    assert!(
        held <= allowed,
        "held {held} bytes for an input of {len_bytes}, more than {allowed}"
    );
}

/// What a decoder may hold for each byte of its input: a byte of a packed message can become a record.
const FACTOR: usize = 512;

/// What a decoder may hold for its constants and caches, in bytes.
pub const FLOOR: usize = 8 << 20;
