//! Native types whose body is one Rust value, in a cell that the collector can look into.
//!
//! What every such type needs of the C API is here, once: making an instance, freeing it, showing it to the collector.
//! `native_type.rs` makes the types themselves.

use super::native_type::{self, slot, visit};
use super::{Object, attached, fetch};
use crate::owned::Owned;
use pyo3::prelude::*;
use pyo3::types::PyType;
use pyo3::{PyResult, ffi};
use std::ffi::{CStr, c_int, c_void};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A value that is the body of a native type.
pub(crate) trait NativeState: Sized + 'static {
    /// Where the body lies in an instance; set before the type is made.
    const OFFSET: &'static AtomicUsize;

    /// Shows every Python object that is held to `see`, until it answers other than 0; that is then the result.
    fn show(&self, see: &mut dyn FnMut(Object) -> c_int) -> c_int;
}

/// `None` only before [`set`] and after the collector cleared it.
struct Body<T>(Owned<Option<T>>);

/// The slots that all such types share.
fn slots<T: NativeState>() -> [ffi::PyType_Slot; 5] {
    [
        slot(ffi::Py_tp_new, new::<T> as *mut c_void),
        slot(ffi::Py_tp_init, init as *mut c_void),
        slot(ffi::Py_tp_dealloc, dealloc::<T> as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse::<T> as *mut c_void),
        slot(ffi::Py_tp_clear, clear::<T> as *mut c_void),
    ]
}

/// A native type to be made.
pub(crate) struct Kind {
    /// The name in the module.
    pub(crate) name: &'static str,
    /// The name with its module.
    pub(crate) full_name: &'static CStr,
    pub(crate) doc: &'static CStr,
    /// A table that ends with a zeroed entry and lives for ever, as does the next.
    pub(crate) methods: *mut ffi::PyMethodDef,
    /// As above, or null.
    pub(crate) attributes: *mut ffi::PyGetSetDef,
}

/// Makes native types over classes of `asyncio.transports`, all with the state `T`, and puts them into the module.
///
/// # Errors
///
/// What importing asyncio or making a type raises.
///
/// # Safety
///
/// The tables' functions treat their receivers as instances with a state `T`.
pub(crate) unsafe fn register<T: NativeState>(
    module: &Bound<'_, PyModule>,
    kinds: &[(&str, Kind)],
) -> PyResult<()> {
    let transports = module.py().import("asyncio.transports")?;
    let mut bases = Vec::new();
    for (base, _) in kinds {
        bases.push(transports.getattr(*base)?.cast_into::<PyType>()?);
    }
    let offset = native_type::body_offset(&bases.iter().collect::<Vec<_>>());
    T::OFFSET.store(offset, Relaxed);
    for ((_, kind), base) in kinds.iter().zip(&bases) {
        let mut slots = slots::<T>().to_vec();
        slots.push(slot(ffi::Py_tp_doc, kind.doc.as_ptr() as *mut c_void));
        slots.push(slot(ffi::Py_tp_methods, kind.methods.cast()));
        if !kind.attributes.is_null() {
            slots.push(slot(ffi::Py_tp_getset, kind.attributes.cast()));
        }
        let size = size_of::<Body<T>>();
        let flags = ffi::Py_TPFLAGS_BASETYPE;
        // SAFETY: the caller's promise, and the slots are those of such a body.
        let made = unsafe { native_type::make(base, kind.full_name, offset, size, flags, &slots)? };
        module.add(kind.name, made)?;
    }
    Ok(())
}

/// Shows every object of a list to the collector's visitor, until it says stop; what `NativeState::show` does.
pub(crate) fn show_all<'a>(
    objects: impl IntoIterator<Item = &'a Py<PyAny>>,
    see: &mut dyn FnMut(Object) -> c_int,
) -> c_int {
    for object in objects {
        let answer = see(object.as_ptr());
        if answer != 0 {
            return answer;
        }
    }
    0
}

/// A fresh instance of `class`, with this state.
///
/// # Errors
///
/// MemoryError.
///
/// # Safety
///
/// `class` is a type made with [`slots`] of `T`, or a subclass of one whose `__init__` has nothing to do.
pub(crate) unsafe fn make<'py, T: NativeState>(
    class: &Bound<'py, PyType>,
    state: T,
) -> PyResult<Bound<'py, PyAny>> {
    let py = class.py();
    // SAFETY: rule 1, and the caller's promise.
    let object = unsafe { allocate::<T>(class.as_type_ptr()) };
    if object.is_null() {
        return Err(fetch(py));
    }
    // SAFETY: just made, and ours.
    let (object, body) = unsafe { (Bound::from_owned_ptr(py, object), body::<T>(object)) };
    body.0.with(py, |place| *place = Some(state));
    Ok(object)
}

/// Borrows the state of an instance; `None` when it was cleared by the collector, or made by Python and not by us.
/// See [`Owned`] for the rule.
///
/// # Safety
///
/// `object` is an instance of a type made with [`slots`] of `T`, or of a subclass.
#[inline]
pub(crate) unsafe fn with<T: NativeState, R>(
    object: &Bound<'_, PyAny>,
    act: impl FnOnce(Python<'_>, &mut T) -> R,
) -> Option<R> {
    let py = object.py();
    // SAFETY: the caller's promise.
    let body = unsafe { body::<T>(object.as_ptr()) };
    body.0
        .with(py, |state| state.as_mut().map(|state| act(py, state)))
}

/// # Safety
///
/// As [`with`]; the object outlives the result.
#[inline]
unsafe fn body<'a, T: NativeState>(object: Object) -> &'a Body<T> {
    // SAFETY: the caller's promise; the body was written by `allocate` and is dropped by `dealloc`.
    unsafe { &*native_type::body::<Body<T>>(object, T::OFFSET.load(Relaxed)) }
}

/// # Safety
///
/// `kind` is a type made with [`slots`] of `T`, or a subclass.
unsafe fn allocate<T: NativeState>(kind: *mut ffi::PyTypeObject) -> Object {
    // SAFETY: rule 1; the body is written before anybody can see the object.
    unsafe {
        let object = ffi::PyType_GenericAlloc(kind, 0);
        if !object.is_null() {
            let place = native_type::body::<Body<T>>(object, T::OFFSET.load(Relaxed));
            place.write(Body(Owned::new(None)));
        }
        object
    }
}

unsafe extern "C" fn new<T: NativeState>(
    kind: *mut ffi::PyTypeObject,
    _arguments: Object,
    _keywords: Object,
) -> Object {
    // SAFETY: `tp_new` is called with our type or a subclass.
    unsafe { allocate::<T>(kind) }
}

unsafe extern "C" fn init(_object: Object, _arguments: Object, _keywords: Object) -> c_int {
    0
}

unsafe extern "C" fn dealloc<T: NativeState>(object: Object) {
    // SAFETY: C calls this once, with the last reference gone; a subclass's own part is gone already. The base's
    // part holds nothing: its slots are shadowed by attributes of the subclass.
    unsafe {
        ffi::PyObject_GC_UnTrack(object.cast());
        clear::<T>(object);
        native_type::body::<Body<T>>(object, T::OFFSET.load(Relaxed)).drop_in_place();
        let kind = ffi::Py_TYPE(object);
        if let Some(free) = (*kind).tp_free {
            free(object.cast());
        }
        ffi::Py_DECREF(kind.cast());
    }
}

unsafe extern "C" fn traverse<T: NativeState>(
    object: Object,
    visitor: ffi::visitproc,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: the collector calls this with a live instance.
    let (body, kind) = unsafe { (body::<T>(object), ffi::Py_TYPE(object)) };
    visit!(visitor, argument, kind.cast());
    let visited = body.0.try_with(|state| match state {
        // SAFETY: the collector gave both, and what is shown is alive: the state holds a reference.
        Some(state) => state.show(&mut |held| unsafe { visitor(held, argument) }),
        None => 0,
    });
    visited.unwrap_or(0)
}

unsafe extern "C" fn clear<T: NativeState>(object: Object) -> c_int {
    attached(|py| {
        // SAFETY: C calls this with a live instance.
        let state = unsafe { body::<T>(object) }.0.with(py, Option::take);
        drop(state);
    });
    0
}
