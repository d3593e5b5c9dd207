//! An awaitable that is over already: what `async with` is given where there is nothing to wait for.
//!
//! The work is done when `__aexit__` (a lock's `__aenter__`, too) is called, a moment before it would be done by awaiting what they return,
//! and nobody comes in between. A coroutine for each would cost more than the work (benches: timeout, lock_contended, 2026-11).

use super::free_list::FreeList;
use super::future::DEPTH;
use super::iterator::{self, Step};
use super::method_table::method;
use super::native_type::{slot, visit};
use super::{Object, enter, enter_hot, fetch};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use pyo3::{PyResult, Python, ffi};
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

#[repr(C)]
struct Ready {
    head: ffi::PyObject,
    /// Strong; null when the collector has cleared it.
    value: Object,
}

static CLASS: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(null_mut());
static FREE: FreeList = FreeList::new(DEPTH);

/// One that brings this value (strong).
///
/// # Errors
///
/// MemoryError.
#[inline]
pub(crate) fn ready(value: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyAny>> {
    let py = value.py();
    // SAFETY: rule 1. What is on the free list is of this type and untracked; the field is written before it is tracked.
    unsafe {
        let object = FREE.allocate(CLASS.load(Relaxed));
        if object.is_null() {
            return Err(fetch(py));
        }
        (*object.cast::<Ready>()).value = value.into_ptr();
        ffi::PyObject_GC_Track(object.cast());
        Ok(Bound::from_owned_ptr(py, object))
    }
}

fn step(py: Python<'_>, object: Object) -> Step<'_> {
    // SAFETY: C calls with a live instance.
    let value = unsafe { Bound::from_borrowed_ptr_or_opt(py, (*object.cast::<Ready>()).value) };
    Step::End(value.unwrap_or_else(|| py.None().into_bound(py)))
}

unsafe extern "C" fn next(object: Object) -> Object {
    enter_hot(|py| Ok(step(py, object).into_next(py)))
}

unsafe extern "C" fn send_slot(
    object: Object,
    _value: Object,
    result: *mut Object,
) -> ffi::PySendResult {
    // SAFETY: C's calling convention.
    unsafe { iterator::send_to(result, |py| Ok(step(py, object))) }
}

unsafe extern "C" fn send(object: Object, _value: Object) -> Object {
    enter(|py| step(py, object).into_sent(py))
}

unsafe extern "C" fn throw(_object: Object, arguments: Object) -> Object {
    enter(|py| {
        // SAFETY: METH_VARARGS gives a tuple.
        let arguments = unsafe { Bound::from_borrowed_ptr(py, arguments) };
        Err(iterator::thrown(&arguments.cast_into::<PyTuple>()?)?)
    })
}

unsafe extern "C" fn close(_object: Object, _unused: Object) -> Object {
    enter(|py| Ok(py.None().into_ptr()))
}

unsafe extern "C" fn dealloc(object: Object) {
    // SAFETY: C calls this with the last reference gone.
    unsafe {
        ffi::PyObject_GC_UnTrack(object.cast());
        clear(object);
        let kind = ffi::Py_TYPE(object);
        FREE.free(object);
        ffi::Py_DECREF(kind.cast());
    }
}

unsafe extern "C" fn traverse(
    object: Object,
    visitor: ffi::visitproc,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: the collector calls this with a live instance.
    let (kind, value) = unsafe { (ffi::Py_TYPE(object).cast(), (*object.cast::<Ready>()).value) };
    visit!(visitor, argument, kind, value);
    0
}

unsafe extern "C" fn clear(object: Object) -> c_int {
    // SAFETY: C calls this with a live instance; the field is empty before the reference is dropped.
    unsafe {
        let value = std::mem::replace(&mut (*object.cast::<Ready>()).value, null_mut());
        ffi::Py_XDECREF(value);
    }
    0
}

static mut METHODS: [ffi::PyMethodDef; 4] = [
    method(c"send", send, ffi::METH_O, c"As a coroutine's."),
    method(c"throw", throw, ffi::METH_VARARGS, c"As a coroutine's."),
    method(c"close", close, ffi::METH_NOARGS, c"As a coroutine's."),
    ffi::PyMethodDef::zeroed(),
];

/// Makes the type.
///
/// # Errors
///
/// What making a type raises.
pub(crate) fn register(py: Python<'_>) -> PyResult<()> {
    let slots = [
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(ffi::Py_tp_clear, clear as *mut c_void),
        slot(ffi::Py_tp_iternext, next as *mut c_void),
        slot(ffi::Py_am_await, iterator::itself as *mut c_void),
        slot(ffi::Py_am_send, send_slot as *mut c_void),
        slot(ffi::Py_tp_methods, (&raw mut METHODS).cast()),
    ];
    // SAFETY: the slots' functions take such instances.
    let class =
        unsafe { iterator::make_type(py, c"tepal._tepal.ready", size_of::<Ready>(), &slots)? };
    CLASS.store(class, Relaxed);
    Ok(())
}
