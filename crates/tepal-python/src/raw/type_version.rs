//! Whether a class is still what it was when it was last looked at.

use pyo3::prelude::*;
use std::ffi::c_uint;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// What has been found out about classes, by the version of the last one of which it was true. Only truths are kept.
pub(crate) struct Known(AtomicU32);

impl Known {
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Whether it is known of the object's class, and of its bases, as they are now; else `find_out`.
    ///
    /// # Errors
    ///
    /// What `find_out` raises.
    #[inline]
    pub(crate) fn or_else(
        &self,
        object: &Bound<'_, PyAny>,
        find_out: impl FnOnce() -> PyResult<bool>,
    ) -> PyResult<bool> {
        let now = version(object);
        if now != 0 && self.0.load(Relaxed) == now {
            return Ok(true);
        }
        let is_true = find_out()?;
        if is_true {
            // (To look up an attribute gives a class its version.)
            self.0.store(version(object), Relaxed);
        }
        Ok(is_true)
    }
}

/// The version of the object's class: no other class has it or will have it, and it is gone when an attribute of the class or of one of its
/// bases changes. 0: it has none.
#[inline]
fn version(object: &Bound<'_, PyAny>) -> u32 {
    const _: () = assert!(size_of::<c_uint>() == size_of::<u32>());
    // SAFETY: rule 1; a type lives as long as its instance. The interpreter writes the field under a lock of its own, which without a GIL
    // we do not hold: so it is read as an atomic.
    unsafe {
        let version = &raw mut (*object.get_type_ptr()).tp_version_tag;
        AtomicU32::from_ptr(version).load(Relaxed)
    }
}
