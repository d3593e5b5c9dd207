//! What `await future` drives: an iterator that hands the future to the task once, and then ends with its result.
//!
//! There is one for each await of a future, so it has a free list of its own and nothing of a class but what C needs. It is
//! registered as a `collections.abc.Coroutine`, as the interpreter's own is.

use super::memory::FreeList;
use super::{FutureRef, FutureState, Status};
use crate::owned::Owned;
use crate::raw::method_table::method;
use crate::raw::native_type::{slot, visit};
use crate::raw::{Object, enter, enter_hot, fetch, stop_iteration};
use pyo3::exceptions::{PyDeprecationWarning, PyRuntimeError, PyStopIteration, PyTypeError};
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
static FREE: FreeList = FreeList::new();

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
        let object = match FREE.take() {
            Some(object) => ffi::PyObject_Init(object, kind),
            None => ffi::PyObject_GC_New::<ffi::PyObject>(kind),
        };
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

/// The next step: the future, to be waited for, or null: an exception is set, or the future had None.
#[inline]
fn advance(py: Python<'_>, object: Object) -> PyResult<Step<'_>> {
    // SAFETY: C calls with a live iterator of ours; the future is alive as long as the field holds it, so a reference is taken.
    let (held, state) = unsafe {
        let this = object.cast::<Awaiting>();
        if (*this).future.is_null() {
            return Ok(Step::Over);
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
        return future.result().map(Step::Ended);
    }
    if asked {
        return Err(PyRuntimeError::new_err("await wasn't used with future"));
    }
    Ok(Step::Wait(held))
}

enum Step<'py> {
    Wait(Bound<'py, PyAny>),
    Ended(Bound<'py, PyAny>),
    Over,
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
        Ok(match advance(py, object)? {
            Step::Wait(future) => future.into_ptr(),
            Step::Ended(value) => stop_iteration::stop_with(value),
            Step::Over => null_mut(),
        })
    })
}

unsafe extern "C" fn send_slot(
    object: Object,
    _value: Object,
    result: *mut Object,
) -> ffi::PySendResult {
    let mut sent = ffi::PySendResult::PYGEN_ERROR;
    let object = enter_hot(|py| {
        Ok(match advance(py, object)? {
            Step::Wait(future) => {
                sent = ffi::PySendResult::PYGEN_NEXT;
                future.into_ptr()
            }
            Step::Ended(value) => {
                sent = ffi::PySendResult::PYGEN_RETURN;
                value.into_ptr()
            }
            Step::Over => {
                sent = ffi::PySendResult::PYGEN_RETURN;
                py.None().into_ptr()
            }
        })
    });
    // SAFETY: C's convention: null with PYGEN_ERROR.
    unsafe { *result = object };
    sent
}

unsafe extern "C" fn send(object: Object, _value: Object) -> Object {
    enter(|py| match advance(py, object)? {
        Step::Wait(future) => Ok(future.into_ptr()),
        // Who calls this method may well look at the exception.
        Step::Ended(value) => Err(PyStopIteration::new_err((value.unbind(),))),
        Step::Over => Err(PyStopIteration::new_err(())),
    })
}

/// `throw(type[, value[, traceback]])`: the await is over, and the exception is raised.
unsafe extern "C" fn throw(object: Object, arguments: Object) -> Object {
    enter(|py| {
        // SAFETY: METH_VARARGS gives a tuple.
        let arguments = unsafe { Bound::from_borrowed_ptr(py, arguments) };
        let arguments = arguments.cast_into::<PyTuple>()?;
        if cfg!(Py_3_12) && arguments.len() > 1 {
            warn_of_signature(py)?;
        }
        let error = thrown(&arguments)?;
        finish(object);
        Err(error)
    })
}

/// What the interpreter's own generators say of more than one argument.
#[cold]
fn warn_of_signature(py: Python<'_>) -> PyResult<()> {
    PyErr::warn(
        py,
        &py.get_type::<PyDeprecationWarning>(),
        c"the (type, exc, tb) signature of throw() is deprecated, use the single-arg signature instead.",
        1,
    )
}

/// The exception that the arguments of `throw` stand for, checked as generators check theirs.
///
/// # Errors
///
/// TypeError for what cannot be thrown.
pub(crate) fn thrown(arguments: &Bound<'_, PyTuple>) -> PyResult<PyErr> {
    if arguments.is_empty() || arguments.len() > 3 {
        return Err(PyTypeError::new_err(format!(
            "throw expected 1 to 3 arguments, got {}",
            arguments.len()
        )));
    }
    let kind = arguments.get_item(0)?;
    let value = arguments.get_item(1).ok().filter(|value| !value.is_none());
    let traceback = arguments.get_item(2).ok().filter(|trace| !trace.is_none());
    // SAFETY: rule 1.
    let (is_class, is_instance) = unsafe {
        (
            ffi::PyExceptionClass_Check(kind.as_ptr()) != 0,
            ffi::PyExceptionInstance_Check(kind.as_ptr()) != 0,
        )
    };
    if let Some(traceback) = &traceback
        && !traceback.is_instance_of::<pyo3::types::PyTraceback>()
    {
        return Err(PyTypeError::new_err(
            "throw() third argument must be a traceback",
        ));
    }
    let exception = if is_class {
        match value {
            Some(value) if value.is_instance(&kind)? => value,
            Some(value) => match value.cast_into::<PyTuple>() {
                Ok(values) => kind.call1(values)?,
                Err(error) => kind.call1((error.into_inner(),))?,
            },
            None => kind.call0()?,
        }
    } else if is_instance {
        if value.is_some() {
            return Err(PyTypeError::new_err(
                "instance exception may not have a separate value",
            ));
        }
        kind
    } else {
        return Err(PyTypeError::new_err(format!(
            "exceptions must be classes or instances deriving from BaseException, not {}",
            kind.get_type().name()?
        )));
    };
    if let Some(traceback) = traceback {
        exception.call_method1("with_traceback", (traceback,))?;
    }
    Ok(PyErr::from_value(exception))
}

unsafe extern "C" fn close(object: Object, _unused: Object) -> Object {
    enter(|py| {
        finish(object);
        Ok(py.None().into_ptr())
    })
}

unsafe extern "C" fn itself(object: Object) -> Object {
    // SAFETY: rule 1.
    unsafe { ffi::Py_NewRef(object) }
}

unsafe extern "C" fn dealloc(object: Object) {
    // SAFETY: C calls this with the last reference gone.
    unsafe {
        ffi::PyObject_GC_UnTrack(object.cast());
        finish(object);
        let kind = ffi::Py_TYPE(object);
        if !FREE.keep(object) {
            ffi::PyObject_GC_Del(object.cast());
        }
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
    let py = module.py();
    let mut slots = [
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(ffi::Py_tp_clear, clear as *mut c_void),
        slot(ffi::Py_tp_iter, itself as *mut c_void),
        slot(ffi::Py_tp_iternext, next as *mut c_void),
        slot(ffi::Py_am_send, send_slot as *mut c_void),
        slot(ffi::Py_tp_methods, (&raw mut METHODS).cast()),
        slot(0, null_mut()),
    ];
    let mut spec = ffi::PyType_Spec {
        name: c"tepal._tepal.FutureIter".as_ptr(),
        basicsize: size_of::<Awaiting>() as c_int,
        itemsize: 0,
        flags: (ffi::Py_TPFLAGS_DEFAULT
            | ffi::Py_TPFLAGS_HAVE_GC
            | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION
            | ffi::Py_TPFLAGS_IMMUTABLETYPE) as std::ffi::c_uint,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: rule 1; the spec outlives the call, which copies it; the method table is static.
    let class = unsafe { crate::raw::call::owned(py, ffi::PyType_FromSpec(&raw mut spec))? };
    py.import("collections.abc")?
        .getattr("Coroutine")?
        .call_method1("register", (&class,))?;
    CLASS.store(class.into_ptr().cast(), Relaxed);
    Ok(())
}
