//! What we know of anyio: how its cancel scopes tell their tasks.
//!
//! Such a scope looks at its tasks in a callback that schedules itself again, with `call_soon`, until they have left: a task that resists, or
//! that waits in a thread, has the loop turn as fast as it can until then. On our loop that callback has its place in the queue, too, but
//! stands aside when it would run alone and nobody has run since it looked last: a task that has parked has run. anyio sees what it
//! would see, in the order in which it would, and the loop sleeps meanwhile (`tests/scopes/test_anyio.py`, and anyio's own tests).

use super::Object;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;
use pyo3::{Python, ffi};

unsafe extern "C" {
    static mut PyMethod_Type: ffi::PyTypeObject;
    fn PyMethod_Function(method: Object) -> Object;
}

const MODULE: &str = "anyio._backends._asyncio";

/// Whether a callback is that one.
///
/// # Safety
///
/// A live object.
#[inline]
pub(super) unsafe fn is_delivery(py: Python<'_>, callback: Object) -> bool {
    // SAFETY: the caller's promise; each type is looked at before its fields are.
    unsafe {
        if ffi::Py_TYPE(callback) != &raw mut PyMethod_Type {
            return false;
        }
        let function = PyMethod_Function(callback);
        if ffi::Py_TYPE(function) != &raw mut ffi::PyFunction_Type {
            return false;
        }
        let name = (*function.cast::<ffi::PyFunctionObject>()).func_name;
        // Both are interned, so they are the same object if they are equal.
        name == pyo3::intern!(py, "_deliver_cancellation").as_ptr() && is_anyios(py, function)
    }
}

#[cold]
fn is_anyios(py: Python<'_>, function: Object) -> bool {
    static NAME: PyOnceLock<Py<PyString>> = PyOnceLock::new();
    let name = NAME.get_or_init(py, || PyString::new(py, MODULE).unbind());
    // SAFETY: borrowed from the callback, which lives.
    let function = unsafe { Bound::from_borrowed_ptr(py, function) };
    function
        .getattr(pyo3::intern!(py, "__module__"))
        .is_ok_and(|module| module.eq(name).unwrap_or(false))
}
