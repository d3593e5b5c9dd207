//! Where handles come from and go to: the free lists, and what the collector asks.

use super::{CANCELLED, Object, THREADSAFE, TIMER, TUPLE, body, clear, release_call};
use crate::raw::free_list::FreeList;
use crate::raw::native_type::visit;
use pyo3::ffi;
use std::ffi::{c_int, c_void};
use std::ptr::addr_of_mut;
use std::sync::atomic::Ordering::Relaxed;

/// So many of each type are kept: what a burst schedules in one turn, or another thread while it holds the GIL. Memory that goes back
/// to the kernel between bursts comes back page by page, which was a third of the burst (benches: call_soon_fan, 2026-11). At
/// most 10 MB a type, and only in a process that had so many at once.
const DEPTH: usize = 65_536;

static FREE: [FreeList; 3] = [const { FreeList::new(DEPTH) }; 3];

/// Which list, by the flags that tell the types apart.
#[inline]
fn free_list(state: u8) -> &'static FreeList {
    match state & (TIMER | THREADSAFE) {
        TIMER => &FREE[0],
        THREADSAFE => &FREE[1],
        _ => &FREE[2],
    }
}

#[inline]
pub(super) fn allocate(kind: *mut ffi::PyTypeObject, state: u8) -> Object {
    // SAFETY: rule 1; `state` and `kind` belong together, and `dealloc` finds the same list.
    unsafe { free_list(state).allocate(kind) }
}

pub(super) unsafe extern "C" fn dealloc(handle: Object) {
    // SAFETY: C calls this once, with the last reference gone. The base's part holds nothing: its slots are shadowed
    // and never filled, its weak references are cleared here.
    unsafe {
        ffi::PyObject_GC_UnTrack(handle.cast());
        ffi::PyObject_ClearWeakRefs(handle);
        clear_body(handle);
        let kind = ffi::Py_TYPE(handle);
        free_list((*body(handle)).state.load(Relaxed)).free(handle);
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
