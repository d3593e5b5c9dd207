//! What the process's allocator is used to.
//!
//! glibc gives the end of the heap back whenever 128 KiB of it are free, until it has seen a larger block come and go; from then on it
//! keeps twice that block's size, and takes blocks up to that size from the heap (mallopt(3), "dynamic mmap threshold"). Where the user
//! has set the thresholds himself (`MALLOC_TRIM_THRESHOLD_`, `MALLOC_MMAP_THRESHOLD_`) it learns nothing, and other allocators have
//! ways of their own; both see a block come and go, and no more.

use std::hint::black_box;

/// The largest block that glibc learns from: its `DEFAULT_MMAP_THRESHOLD_MAX`, less the two pages that it may add.
const MOST: usize = (32 << 20) - 2 * 4096;

/// Lets the allocator see that a block of `size` bytes, or of 32 MiB if that is less, comes and goes. No page of it is touched, and where
/// there is no room for it nothing happens.
pub fn teach(size: usize) {
    let mut block: Vec<u8> = Vec::new();
    if block.try_reserve_exact(size.min(MOST)).is_ok() {
        // Otherwise the compiler sees that nobody uses the block, and leaves it out.
        drop(black_box(block));
    }
}
