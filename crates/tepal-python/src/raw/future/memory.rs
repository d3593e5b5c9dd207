//! Where futures and tasks come from and go to: allocation, free lists, the collector, and the last word.

use super::{FutureRef, FutureState, Kind, body};
use crate::owned::Owned;
use crate::raw::native_type::{self, slot, visit};
use crate::raw::{Object, attached, fetch};
use pyo3::prelude::*;
use pyo3::{PyResult, Python, ffi};
use std::ffi::{c_int, c_void};
use std::sync::atomic::Ordering::Relaxed;

/// What lies behind the base's part of an instance.
pub(crate) trait Body: Sized {
    /// As it is before `__init__`.
    fn empty() -> Self;

    fn future(&self) -> &Owned<FutureState>;

    /// As `NativeState::show`.
    fn show(&self, see: &mut dyn FnMut(Object) -> c_int) -> c_int;

    /// Everything Python in it, taken out; what stays is as good as empty.
    #[must_use]
    fn take(&self, py: Python<'_>) -> Self;

    /// Lets go of everything in it, so that nothing is left to drop. (To drop it would be the same, but for the question at each reference
    /// whether we are attached.)
    fn release(&mut self, py: Python<'_>);

    /// The last word.
    ///
    /// # Errors
    ///
    /// What the loop's exception handler raises.
    fn finalize(future: FutureRef<'_, '_>) -> PyResult<()>;

    /// Whether there is a last word. (A finalizer leaves its mark on an object, which then cannot be used again.)
    fn wants_finalizer(&self, py: Python<'_>) -> bool;
}

/// A new instance (strong) of `kind`, which the collector sees.
///
/// # Errors
///
/// MemoryError.
///
/// # Safety
///
/// `kind` is `K`'s type or a subclass.
#[inline]
pub(crate) unsafe fn allocate<K: Kind>(
    py: Python<'_>,
    kind: *mut ffi::PyTypeObject,
    fresh: K::Body,
) -> PyResult<Object> {
    let exact = kind == K::CLASS.load(Relaxed);
    // SAFETY: rule 1. An object from the free list is of this very type, untracked, its body empty and its base's part
    // cleared; any other is zeroed here. `PyType_GenericAlloc` shows the object to the collector before the body is written, but
    // nothing that could start a collection happens in between.
    unsafe {
        let object = if exact {
            K::FREE.allocate(kind)
        } else {
            ffi::PyType_GenericAlloc(kind, 0)
        };
        if object.is_null() {
            return Err(fetch(py));
        }
        native_type::body::<K::Body>(object, K::OFFSET.load(Relaxed)).write(fresh);
        if exact {
            ffi::PyObject_GC_Track(object.cast());
        }
        Ok(object)
    }
}

/// The slots that both types share.
pub(crate) fn type_slots<K: Kind>() -> [ffi::PyType_Slot; 5] {
    [
        slot(ffi::Py_tp_new, new::<K> as *mut c_void),
        slot(ffi::Py_tp_dealloc, dealloc::<K> as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse::<K> as *mut c_void),
        slot(ffi::Py_tp_clear, clear::<K> as *mut c_void),
        slot(ffi::Py_tp_finalize, finalize::<K> as *mut c_void),
    ]
}

unsafe extern "C" fn new<K: Kind>(
    kind: *mut ffi::PyTypeObject,
    _arguments: Object,
    _keywords: Object,
) -> Object {
    // SAFETY: `tp_new` is called with our type or a subclass.
    super::super::enter(|py| unsafe { allocate::<K>(py, kind, K::Body::empty()) })
}

unsafe extern "C" fn dealloc<K: Kind>(object: Object) {
    // SAFETY: C calls this with the last reference gone. A subclass's own dealloc has called the finalizer and seen to its own part.
    // The pointer stays valid until the memory is given up at the end.
    unsafe {
        let py = Python::assume_attached();
        let kind = ffi::Py_TYPE(object);
        let exact = kind == K::CLASS.load(Relaxed);
        let place = native_type::body::<K::Body>(object, K::OFFSET.load(Relaxed));
        if exact
            && (*place).wants_finalizer(py)
            && ffi::PyObject_CallFinalizerFromDealloc(object) < 0
        {
            return; // resurrected
        }
        ffi::PyObject_GC_UnTrack(object.cast());
        ffi::PyObject_ClearWeakRefs(object);
        // Nobody can reach the body any more.
        (*place).release(py);
        clear_base::<K>(object);
        if exact {
            K::FREE.free_finalizable(object);
        } else if let Some(free) = (*kind).tp_free {
            free(object.cast());
        }
        ffi::Py_DECREF(kind.cast());
    }
}

unsafe extern "C" fn traverse<K: Kind>(
    object: Object,
    visitor: ffi::visitproc,
    argument: *mut c_void,
) -> c_int {
    let base = K::BASE.load(Relaxed);
    // SAFETY: the collector calls this with a live instance; the base lives as long as the process.
    let (kind, traverse, is_heap_type, body) = unsafe {
        (
            ffi::Py_TYPE(object),
            (*base).tp_traverse,
            ffi::PyType_HasFeature(base, ffi::Py_TPFLAGS_HEAPTYPE) != 0,
            &*native_type::body::<K::Body>(object, K::OFFSET.load(Relaxed)),
        )
    };
    // The base's function visits the base's part, which is empty but for the instance's dict, and the type, if the base is a
    // heap type (3.12 and newer).
    // SAFETY: as above.
    let status = traverse.map_or(0, |traverse| unsafe { traverse(object, visitor, argument) });
    if status != 0 {
        return status;
    }
    if !is_heap_type {
        visit!(visitor, argument, kind.cast());
    }
    // SAFETY: the collector gave both, and what is shown is alive: the body holds a reference.
    body.show(&mut |held| unsafe { visitor(held, argument) })
}

unsafe extern "C" fn clear<K: Kind>(object: Object) -> c_int {
    attached(|py| {
        // SAFETY: C calls this with a live instance.
        unsafe {
            let body = &*native_type::body::<K::Body>(object, K::OFFSET.load(Relaxed));
            body.take(py).release(py);
            clear_base::<K>(object);
        }
    });
    0
}

/// The base's function clears the base's part.
///
/// # Safety
///
/// A live instance of `K`'s type or a subclass.
#[inline]
unsafe fn clear_base<K: Kind>(object: Object) {
    // SAFETY: the caller's promise; the base lives as long as the process.
    unsafe {
        if let Some(clear) = (*K::BASE.load(Relaxed)).tp_clear {
            clear(object);
        }
    }
}

unsafe extern "C" fn finalize<K: Kind>(object: Object) {
    attached(|py| {
        // SAFETY: C calls this with a live instance.
        let object = unsafe { Bound::ref_from_ptr(py, &object) };
        // SAFETY: as above.
        let (future, wants) = unsafe {
            (
                FutureRef::of::<K>(object),
                body::<K>(object).wants_finalizer(py),
            )
        };
        if !wants {
            return;
        }
        // Whatever is on its way through the interpreter stays so.
        let raised = PyErr::take(py);
        if let Err(error) = K::Body::finalize(future) {
            error.write_unraisable(py, Some(object));
        }
        if let Some(error) = raised {
            error.restore(py);
        }
    });
}
