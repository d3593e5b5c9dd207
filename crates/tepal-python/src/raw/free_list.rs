//! Objects that were freed, kept for the next ones of their type: allocation is much of what a handle, a task or an await costs, and
//! each new object brings the next collection nearer (benches: call_soon chain, threadsafe flood, 2026-11).
//!
//! Only under a GIL, which is the lock of these lists. Without one there is none: allocation goes to the interpreter's allocator, which
//! is a thread's own.

use super::Object;
use pyo3::ffi;
#[cfg(not(Py_GIL_DISABLED))]
use std::cell::UnsafeCell;

/// The freed objects of one type.
pub(crate) struct FreeList {
    #[cfg(not(Py_GIL_DISABLED))]
    objects: UnsafeCell<Vec<Object>>,
    #[cfg(not(Py_GIL_DISABLED))]
    depth: usize,
}

// SAFETY: `objects` is reached only by `allocate` and `free`, whose callers hold the GIL; neither runs Python code while it
// is borrowed.
#[cfg(not(Py_GIL_DISABLED))]
unsafe impl Sync for FreeList {}

impl FreeList {
    /// A list of at most `depth` objects.
    #[cfg_attr(Py_GIL_DISABLED, expect(unused_variables))]
    pub(crate) const fn new(depth: usize) -> Self {
        Self {
            #[cfg(not(Py_GIL_DISABLED))]
            objects: UnsafeCell::new(Vec::new()),
            #[cfg(not(Py_GIL_DISABLED))]
            depth,
        }
    }

    /// An object of `kind` (strong), which the collector does not see yet: one that was freed, or a new one, zeroed behind its
    /// header. Null with MemoryError set.
    ///
    /// # Safety
    ///
    /// Rule 1. `kind` is the type whose objects this list is given, with the collector's header.
    #[inline]
    pub(crate) unsafe fn allocate(&self, kind: *mut ffi::PyTypeObject) -> Object {
        // SAFETY: the caller's promise. What `free` kept is untracked and of this very type.
        unsafe {
            #[cfg(not(Py_GIL_DISABLED))]
            if let Some(object) = (*self.objects.get()).pop() {
                return ffi::PyObject_Init(object, kind);
            }
            let object = ffi::PyObject_GC_New::<ffi::PyObject>(kind);
            if !object.is_null() {
                let header = size_of::<ffi::PyObject>();
                let rest = (*kind).tp_basicsize as usize - header;
                object.cast::<u8>().add(header).write_bytes(0, rest);
            }
            object
        }
    }

    /// Frees an object of the list's type: keeps it for the next, or gives its memory back.
    ///
    /// # Safety
    ///
    /// Rule 1. The object is untracked, all that it held was let go, and nobody uses it again. (Its reference to its type is the
    /// caller's to drop.)
    #[inline]
    pub(crate) unsafe fn free(&self, object: Object) {
        // SAFETY: the caller's promise.
        unsafe {
            #[cfg(not(Py_GIL_DISABLED))]
            {
                let objects = &mut *self.objects.get();
                if objects.len() < self.depth {
                    objects.push(object);
                    return;
                }
            }
            ffi::PyObject_GC_Del(object.cast());
        }
    }

    /// As [`FreeList::free`], for a type with a finalizer: an object that was finalized is not kept, for it would not be
    /// finalized again.
    ///
    /// # Safety
    ///
    /// As [`FreeList::free`].
    #[inline]
    pub(crate) unsafe fn free_finalizable(&self, object: Object) {
        // SAFETY: the caller's promise.
        unsafe {
            if ffi::PyObject_GC_IsFinalized(object) == 0 {
                self.free(object);
            } else {
                ffi::PyObject_GC_Del(object.cast());
            }
        }
    }
}
