//! Where handles come from and go to: the free lists, and what the collector asks.

use super::{CANCELLED, Object, TUPLE, body, clear, release_call};
use crate::raw::native_type::visit;
use pyo3::ffi;
use std::ffi::{c_int, c_void};
use std::ptr::addr_of_mut;
#[cfg(not(Py_GIL_DISABLED))]
use std::sync::atomic::Ordering::Relaxed;

#[inline]
pub(super) fn allocate(kind: *mut ffi::PyTypeObject, state: u8) -> Object {
    #[cfg(not(Py_GIL_DISABLED))]
    if let Some(object) = freelist::take(state) {
        // SAFETY: `dealloc` put an untracked object of this very type there, its body cleared.
        return unsafe { ffi::PyObject_Init(object, kind) };
    }
    #[cfg(Py_GIL_DISABLED)]
    let _ = state;
    // SAFETY: rule 1; a new object of `tp_basicsize` bytes, zeroed behind its header.
    unsafe {
        let object = ffi::PyObject_GC_New::<ffi::PyObject>(kind);
        if !object.is_null() {
            let header = size_of::<ffi::PyObject>();
            let rest = (*kind).tp_basicsize as usize - header;
            object.cast::<u8>().add(header).write_bytes(0, rest);
        }
        object
    }
}

pub(super) unsafe extern "C" fn dealloc(handle: Object) {
    // SAFETY: C calls this once, with the last reference gone. The base's part holds nothing: its slots are shadowed
    // and never filled, its weak references are cleared here.
    unsafe {
        ffi::PyObject_GC_UnTrack(handle.cast());
        ffi::PyObject_ClearWeakRefs(handle);
        clear_body(handle);
        let kind = ffi::Py_TYPE(handle);
        #[cfg(not(Py_GIL_DISABLED))]
        let kept = freelist::keep((*body(handle)).state.load(Relaxed), handle);
        #[cfg(Py_GIL_DISABLED)]
        let kept = false;
        if !kept {
            ffi::PyObject_GC_Del(handle.cast());
        }
        ffi::Py_DECREF(kind.cast());
    }
}

unsafe fn clear_body(handle: Object) {
    // SAFETY: rule 2.
    unsafe {
        let this = body(handle);
        release_call(this);
        clear(addr_of_mut!((*this).context));
        if let Some(notes) = (*this).notes.take() {
            ffi::Py_XDECREF(notes.source_traceback);
            ffi::Py_XDECREF(notes.frozen_repr);
        }
        clear(addr_of_mut!((*this).event_loop));
    }
}

pub(super) unsafe extern "C" fn traverse(
    handle: Object,
    visitor: ffi::visitproc,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: the collector calls this with a live handle; nothing runs meanwhile.
    let (this, kind) = unsafe { (&*body(handle), ffi::Py_TYPE(handle)) };
    visit!(
        visitor,
        argument,
        kind.cast(),
        this.callback,
        this.context,
        this.event_loop
    );
    if let Some(notes) = &this.notes {
        visit!(visitor, argument, notes.source_traceback, notes.frozen_repr);
    }
    let count = if this.count == TUPLE {
        1
    } else {
        this.count as usize
    };
    for held in &this.inline[1..=count] {
        visit!(visitor, argument, *held);
    }
    0
}

/// The collector breaks a cycle here. The loop and the context stay: `cancel` and `repr` of a handle that a
/// finalizer resurrects still need them, and neither keeps the handle.
pub(super) unsafe extern "C" fn clear_for_collector(handle: Object) -> c_int {
    // SAFETY: a handle that is running is referenced by the driver and so is not garbage.
    unsafe {
        let this = body(handle);
        (*this).change(|state| state | CANCELLED);
        // Garbage: no other thread has a way to it.
        release_call(this);
    }
    0
}

#[cfg(not(Py_GIL_DISABLED))]
mod freelist {
    //! Handles that were freed, kept for the next ones: allocation is half of what a `call_soon` costs, and each
    //! new object brings the next collection nearer (benches: call_soon chain, threadsafe flood, 2026-11). Only
    //! under a GIL, which is the lock of these lists.

    use super::Object;
    use crate::raw::handle::{THREADSAFE, TIMER};
    use std::cell::UnsafeCell;

    /// So many of each type are kept: what another thread schedules while it holds the GIL (5 ms). At most 1.5 MB a
    /// type, and only in a process that had so many at once.
    const DEPTH: usize = 8192;

    struct List(UnsafeCell<Vec<Object>>);

    // SAFETY: reached only by `take` and `keep`, whose callers hold the GIL; neither runs Python code.
    unsafe impl Sync for List {}

    static LISTS: [List; 3] = [const { List(UnsafeCell::new(Vec::new())) }; 3];

    /// Which list, by the flags that tell the types apart.
    #[inline]
    fn list(state: u8) -> &'static List {
        match state & (TIMER | THREADSAFE) {
            TIMER => &LISTS[0],
            THREADSAFE => &LISTS[1],
            _ => &LISTS[2],
        }
    }

    #[inline]
    pub(super) fn take(state: u8) -> Option<Object> {
        // SAFETY: see `Sync`.
        unsafe { (*list(state).0.get()).pop() }
    }

    #[inline]
    pub(super) fn keep(state: u8, object: Object) -> bool {
        // SAFETY: see `Sync`.
        let objects = unsafe { &mut *list(state).0.get() };
        if objects.len() == DEPTH {
            return false;
        }
        objects.push(object);
        true
    }
}
