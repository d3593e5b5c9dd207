//! Method tables of native types: what stands in them, and how an entry is entered.

use super::Object;
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::{PyResult, Python, ffi};
use std::ffi::{CStr, c_int};
use std::ptr::null_mut;

/// What a method without a result answers.
pub(crate) fn nothing(py: Python<'_>, outcome: PyResult<()>) -> PyResult<Object> {
    outcome.map(|()| py.None().into_ptr())
}

/// A method's result as C wants it.
///
/// # Errors
///
/// What the conversion raises.
pub(crate) fn value<'py>(py: Python<'py>, value: impl IntoPyObject<'py>) -> PyResult<Object> {
    Ok(value.into_bound_py_any(py)?.into_ptr())
}

/// An entry of a method table without an argument (`METH_NOARGS`).
macro_rules! plain {
    ($name:ident, |$py:ident, $receiver:ident| $act:expr) => {
        unsafe extern "C" fn $name(
            object: $crate::raw::Object,
            _unused: $crate::raw::Object,
        ) -> $crate::raw::Object {
            $crate::raw::enter(|$py| {
                // SAFETY: the method table belongs to our type, and the caller holds a reference.
                let $receiver = unsafe { pyo3::Bound::ref_from_ptr($py, &object) };
                $act
            })
        }
    };
}
pub(crate) use plain;

/// An entry of a method table with one argument (`METH_O`).
macro_rules! with_argument {
    ($name:ident, |$py:ident, $receiver:ident, $argument:ident| $act:expr) => {
        unsafe extern "C" fn $name(
            object: $crate::raw::Object,
            argument: $crate::raw::Object,
        ) -> $crate::raw::Object {
            $crate::raw::enter(|$py| {
                // SAFETY: as above; the argument is borrowed from the caller.
                let ($receiver, $argument) = unsafe {
                    (
                        pyo3::Bound::ref_from_ptr($py, &object),
                        pyo3::Bound::ref_from_ptr($py, &argument),
                    )
                };
                $act
            })
        }
    };
}
pub(crate) use with_argument;

/// One entry of a method table.
pub(crate) const fn method(
    name: &'static CStr,
    function: ffi::PyCFunction,
    flags: c_int,
    doc: &'static CStr,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunction: function,
        },
        ml_flags: flags,
        ml_doc: doc.as_ptr(),
    }
}

/// One attribute of a table of them.
pub(crate) const fn attribute(
    name: &'static CStr,
    get: ffi::getter,
    set: Option<ffi::setter>,
) -> ffi::PyGetSetDef {
    ffi::PyGetSetDef {
        name: name.as_ptr(),
        get: Some(get),
        set,
        doc: std::ptr::null(),
        closure: null_mut(),
    }
}

/// One read-only attribute of a table of them.
pub(crate) const fn descriptor(name: &'static CStr, get: ffi::getter) -> ffi::PyGetSetDef {
    attribute(name, get, None)
}

/// The end of a table of attributes.
pub(crate) const NO_ATTRIBUTE: ffi::PyGetSetDef = ffi::PyGetSetDef {
    name: std::ptr::null(),
    get: None,
    set: None,
    doc: std::ptr::null(),
    closure: null_mut(),
};
