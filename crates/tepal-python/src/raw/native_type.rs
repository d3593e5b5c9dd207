//! Native types that derive from Python classes.
//!
//! asyncio's `Handle` and `Transport` are Python classes with slots, so their instances' size is known only at run
//! time. A native type over one is made from a type spec whose `basicsize` is the base's, read at import, plus ours;
//! our part (the *body*) lies behind the base's. The base's `__init__` never runs and its part stays zeroed:
//! attributes that would live there are shadowed by our descriptors. (Where a million objects may wait, their body lies
//! over the base's part instead, see [`overlay_offset`].)

use super::{Object, fetch};
use pyo3::prelude::*;
use pyo3::types::PyType;
use pyo3::{Bound, PyResult, ffi};
use std::ffi::{CStr, c_int, c_void};

/// Alignment that `PyObject_GC_New` grants and bodies may ask for.
const ALIGN: usize = align_of::<usize>();

/// Where the body of an instance lies when it derives from `bases`: behind the largest.
pub(crate) fn body_offset(bases: &[&Bound<'_, PyType>]) -> usize {
    let largest = bases
        .iter()
        // SAFETY: a bound type object is a live PyTypeObject.
        .map(|base| unsafe { (*base.as_type_ptr()).tp_basicsize } as usize)
        .max()
        .unwrap_or(size_of::<ffi::PyObject>());
    largest.next_multiple_of(ALIGN)
}

/// Where a body may lie *over* its bases' slots, which are never filled: such objects are as small as if they had no base. The body
/// begins with `slots` references (strong or null, so that whoever asks a base's own descriptor gets an object and no wild
/// pointer) and leaves `more` words behind them to what the largest base adds, a list of weak references first. (From 3.12 on that
/// list stands before the object's head, and the word stays empty.)
///
/// `None` when the bases are not of that shape: their layout is theirs to change.
pub(crate) fn overlay_offset(
    bases: &[&Bound<'_, PyType>],
    slots: usize,
    more: usize,
) -> Option<usize> {
    let header = size_of::<ffi::PyObject>();
    let references = header + slots * size_of::<Object>();
    let largest = references + more * size_of::<Object>();
    let fits = bases.iter().all(|base| {
        // SAFETY: a bound type object is a live PyTypeObject.
        let kind = unsafe { &*base.as_type_ptr() };
        let weak_references = kind.tp_weaklistoffset;
        (weak_references < 0 || weak_references == references as isize)
            && kind.tp_dictoffset == 0
            && (references..=largest).contains(&(kind.tp_basicsize as usize))
    });
    fits.then_some(header)
}

/// Makes a type named `name` over `base`, with a body of `body_size` bytes at `offset`.
///
/// # Errors
///
/// What type creation raises.
///
/// # Safety
///
/// `slots` are what the C API asks of each slot id, and end without the terminating null (added here). Functions in
/// them treat instances as `base` with such a body.
pub(crate) unsafe fn make<'py>(
    base: &Bound<'py, PyType>,
    name: &'static CStr,
    offset: usize,
    body_size: usize,
    flags: std::ffi::c_ulong,
    slots: &[ffi::PyType_Slot],
) -> PyResult<Bound<'py, PyType>> {
    let py = base.py();
    let mut slots = slots.to_vec();
    slots.push(slot(0, std::ptr::null_mut()));
    let mut spec = ffi::PyType_Spec {
        name: name.as_ptr(),
        basicsize: (offset + body_size) as c_int,
        itemsize: 0,
        flags: (ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_HAVE_GC | flags) as std::ffi::c_uint,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: rule 1; the spec and its slots outlive the call, which copies them; method tables are static.
    unsafe {
        let made = ffi::PyType_FromSpecWithBases(&raw mut spec, base.as_ptr());
        if made.is_null() {
            return Err(fetch(py));
        }
        Ok(Bound::from_owned_ptr(py, made).cast_into_unchecked())
    }
}

/// One entry of a type spec.
pub(crate) fn slot(id: c_int, value: *mut c_void) -> ffi::PyType_Slot {
    ffi::PyType_Slot {
        slot: id,
        pfunc: value,
    }
}

/// The body of an instance.
///
/// # Safety
///
/// `object` is an instance of a type made with this `offset` and a body of `B`.
#[inline]
pub(crate) unsafe fn body<B>(object: Object, offset: usize) -> *mut B {
    // SAFETY: the caller's promise: the body lies inside the object, aligned (`body_offset`).
    unsafe { object.cast::<u8>().add(offset).cast::<B>() }
}

/// Visits a strong reference for the collector and returns from the traverse function when it says so.
macro_rules! visit {
    ($visit:expr, $arg:expr, $($object:expr),+ $(,)?) => {$(
        let object: $crate::raw::Object = $object;
        if !object.is_null() {
            // SAFETY: the collector gave `visit` and `arg`, and the object is alive: its owner holds a reference.
            let status = unsafe { $visit(object, $arg) };
            if status != 0 {
                return status;
            }
        }
    )+};
}
pub(crate) use visit;
