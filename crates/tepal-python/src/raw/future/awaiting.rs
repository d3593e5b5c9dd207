//! What `await future` drives: an iterator that hands the future to the task once, and then ends with its result.
//!
//! There is one for each await of a future, so it has a free list of its own and nothing of a class but what C needs. It is
//! registered as a `collections.abc.Coroutine`, as the interpreter's own is.

use super::{DEPTH, FutureRef, FutureState, Status};
use crate::owned::Owned;
use crate::raw::free_list::FreeList;
use crate::raw::iterator::{self, Step};
use crate::raw::method_table::method;
use crate::raw::native_type::{slot, visit};
use crate::raw::raised::Raised;
use crate::raw::{Object, enter, enter_hot, fetch};
use pyo3::exceptions::{PyRuntimeError, PyStopIteration};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use pyo3::{PyResult, Python, ffi};
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

#[repr(C)]
struct Awaiting {
    head: ffi::PyObject,
    /// Strong; null when it is over.
    future: Object,
    /// Inside `future`, and as long as that.
    state: *const Owned<FutureState>,
}

static CLASS: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(null_mut());
static FREE: FreeList = FreeList::new(DEPTH);

/// The iterator over a future (strong).
///
/// # Errors
///
/// RuntimeError before the future's `__init__`, MemoryError.
#[inline]
pub(super) fn new(future: &FutureRef<'_, '_>) -> PyResult<Object> {
    if future.with(|state| state.event_loop.is_none()) {
        return Err(super::uninitialized());
    }
    let kind = CLASS.load(Relaxed);
    // SAFETY: rule 1. What is on the free list is of this type and untracked; all fields are written before it is tracked.
    unsafe {
        let object = FREE.allocate(kind);
        if object.is_null() {
            return Err(fetch(future.py()));
        }
        let this = object.cast::<Awaiting>();
        (*this).future = future.object.clone().into_ptr();
        (*this).state = std::ptr::from_ref(future.state);
        ffi::PyObject_GC_Track(object.cast());
        Ok(object)
    }
}

/// The next step; `None` when it has ended already.
#[inline]
fn advance(py: Python<'_>, object: Object) -> Result<Option<Step<'_>>, Raised> {
    // SAFETY: C calls with a live iterator of ours; the future is alive as long as the field holds it, so a reference is taken.
    let (held, state) = unsafe {
        let this = object.cast::<Awaiting>();
        if (*this).future.is_null() {
            return Ok(None);
        }
        (
            Bound::from_borrowed_ptr(py, (*this).future),
            &*(*this).state,
        )
    };
    let future = FutureRef {
        object: &held,
        state,
    };
    let (pending, asked) = future.with(|state| {
        let pending = state.status == Status::Pending;
        (
            pending,
            pending && std::mem::replace(&mut state.blocking, true),
        )
    });
    if !pending {
        finish(object);
        return Ok(Some(Step::End(match future.value(Status::Returned) {
            Some(value) => value,
            None => future.result()?,
        })));
    }
    if asked {
        return Err(PyRuntimeError::new_err("await wasn't used with future").into());
    }
    Ok(Some(Step::Wait(held)))
}

/// Lets the future go.
fn finish(object: Object) {
    // SAFETY: as in `advance`; the field is empty before the reference is dropped.
    unsafe {
        let future = std::mem::replace(&mut (*object.cast::<Awaiting>()).future, null_mut());
        ffi::Py_XDECREF(future);
    }
}

unsafe extern "C" fn next(object: Object) -> Object {
    enter_hot(|py| {
        let step = advance(py, object)?;
        Ok(step.map_or(null_mut(), |step| step.into_next(py)))
    })
}

unsafe extern "C" fn send_slot(
    object: Object,
    _value: Object,
    result: *mut Object,
) -> ffi::PySendResult {
    // SAFETY: C's calling convention.
    unsafe {
        iterator::send_to(result, |py| {
            let step = advance(py, object)?;
            Ok(step.unwrap_or_else(|| Step::End(py.None().into_bound(py))))
        })
    }
}

unsafe extern "C" fn send(object: Object, _value: Object) -> Object {
    enter(|py| match advance(py, object)? {
        Some(step) => step.into_sent(py),
        None => Err(PyStopIteration::new_err(())),
    })
}

/// `throw(type[, value[, traceback]])`: the await is over, and the exception is raised.
unsafe extern "C" fn throw(object: Object, arguments: Object) -> Object {
    enter(|py| {
        // SAFETY: METH_VARARGS gives a tuple.
        let arguments = unsafe { Bound::from_borrowed_ptr(py, arguments) };
        let arguments = arguments.cast_into::<PyTuple>()?;
        let error = iterator::thrown(&arguments)?;
        finish(object);
        Err(error)
    })
}

unsafe extern "C" fn close(object: Object, _unused: Object) -> Object {
    enter(|py| {
        finish(object);
        Ok(py.None().into_ptr())
    })
}

unsafe extern "C" fn dealloc(object: Object) {
    // SAFETY: C calls this with the last reference gone.
    unsafe {
        ffi::PyObject_GC_UnTrack(object.cast());
        finish(object);
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
    let (future, kind) = unsafe {
        (
            (*object.cast::<Awaiting>()).future,
            ffi::Py_TYPE(object).cast(),
        )
    };
    visit!(visitor, argument, future, kind);
    0
}

unsafe extern "C" fn clear(object: Object) -> c_int {
    finish(object);
    0
}

static mut METHODS: [ffi::PyMethodDef; 4] = [
    method(c"send", send, ffi::METH_O, c"As a generator's."),
    method(c"throw", throw, ffi::METH_VARARGS, c"As a generator's."),
    method(c"close", close, ffi::METH_NOARGS, c"As a generator's."),
    ffi::PyMethodDef::zeroed(),
];

/// Makes the type.
///
/// # Errors
///
/// What making a type raises.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let slots = [
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(ffi::Py_tp_clear, clear as *mut c_void),
        slot(ffi::Py_tp_iternext, next as *mut c_void),
        slot(ffi::Py_am_send, send_slot as *mut c_void),
        slot(ffi::Py_tp_methods, (&raw mut METHODS).cast()),
    ];
    let name = c"tepal._tepal.FutureIter";
    // SAFETY: the slots' functions take such instances.
    let class = unsafe { iterator::make_type(module.py(), name, size_of::<Awaiting>(), &slots)? };
    CLASS.store(class, Relaxed);
    Ok(())
}
