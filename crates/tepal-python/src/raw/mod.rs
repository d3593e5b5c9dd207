//! The raw C-API room: everything that PyO3 cannot say, or cannot say fast enough.
//!
//! Rules of the room, which each `unsafe` block refers to:
//!
//! 1. **Attached.** Every function here runs with the interpreter attached; C enters only through [`enter`].
//! 2. **Owners.** A `*mut PyObject` in a struct is a strong reference, owned by that field, unless its name says
//!    `borrowed`. A function's pointer arguments are borrowed, its returned pointer is strong, null means that a
//!    Python exception is set.
//! 3. **The collector.** A type that owns references visits them all, and its type, in `tp_traverse`.
//! 4. **Panics stop here.** [`enter`] turns one into a Python exception; none unwinds into C.

pub(crate) mod anyio;
pub(crate) mod bytes;
pub(crate) mod call;
pub(crate) mod context;
pub(crate) mod coroutine;
pub(crate) mod create_task;
pub(crate) mod free_list;
pub(crate) mod future;
pub(crate) mod handle;
pub(crate) mod iterator;
pub(crate) mod loop_methods;
pub(crate) mod method_table;
pub(crate) mod native_state;
pub(crate) mod native_type;
pub(crate) mod raised;
pub(crate) mod ready;
pub(crate) mod shared_context;
pub(crate) mod ssl_object;
pub(crate) mod start_soon;
pub(crate) mod stop_iteration;
pub(crate) mod task;
pub(crate) mod type_version;

use pyo3::exceptions::PySystemError;
use pyo3::{PyErr, PyResult, Python, ffi};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;

/// What C calls an object.
pub(crate) type Object = *mut ffi::PyObject;

/// Runs the body of a C entry point: attaches, catches panics, and turns an error into a set exception and null.
#[inline]
pub(crate) fn enter(body: impl for<'py> FnOnce(Python<'py>) -> PyResult<Object>) -> Object {
    match catch_unwind(AssertUnwindSafe(|| {
        attached(|py| body(py).unwrap_or_else(|error| set(py, error)))
    })) {
        Ok(object) => object,
        Err(_) => attached(|py| set(py, panicked())),
    }
}

/// Tells PyO3 that we are attached, as we are: for what C calls, and for what is dropped in the course of it.
///
/// Not `Python::attach`, which first asks whether the interpreter is initialized. While it ends it says no, and yet
/// frees our objects and calls `__del__` methods that may call us (`tests/regressions/test_at_exit.py`).
#[inline]
pub(crate) fn attached<T>(body: impl for<'py> FnOnce(Python<'py>) -> T) -> T {
    // SAFETY: rule 1: C calls us attached, so the interpreter lives.
    unsafe { Python::attach_unchecked(body) }
}

/// As [`enter`], for the loop's hottest methods: it does not count the attachment for PyO3. A `Py` dropped in `body`
/// may therefore be released a little later; everything else is the same.
#[inline]
pub(crate) fn enter_hot(body: impl for<'py> FnOnce(Python<'py>) -> PyResult<Object>) -> Object {
    // SAFETY: rule 1: C calls its methods attached.
    let py = unsafe { Python::assume_attached() };
    match catch_unwind(AssertUnwindSafe(|| {
        body(py).unwrap_or_else(|error| set(py, error))
    })) {
        Ok(object) => object,
        Err(_) => set(py, panicked()),
    }
}

/// As [`enter`], for the entry points that answer 0 or -1.
pub(crate) fn enter_status(
    body: impl for<'py> FnOnce(Python<'py>) -> PyResult<()>,
) -> std::ffi::c_int {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        attached(|py| match body(py) {
            Ok(()) => 0,
            Err(error) => {
                set(py, error);
                -1
            }
        })
    }));
    outcome.unwrap_or_else(|_| {
        attached(|py| set(py, panicked()));
        -1
    })
}

#[cold]
fn set(py: Python<'_>, error: PyErr) -> Object {
    error.restore(py);
    null_mut()
}

#[cold]
fn panicked() -> PyErr {
    PySystemError::new_err(
        "tepal: an internal invariant was broken (a Rust panic; its message is on stderr)",
    )
}

/// The set exception as a value, after a C call answered null.
#[cold]
pub(crate) fn fetch(py: Python<'_>) -> PyErr {
    PyErr::fetch(py)
}
