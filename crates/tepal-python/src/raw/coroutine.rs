//! Native coroutines: what `lock.acquire()` and its like return.
//!
//! To Python each is a `collections.abc.Coroutine`: it is awaited, made into a task, sent to, thrown into and closed like one that was
//! written with `async def`, warns when nobody awaited it, and cleans up when it is dropped half-way. What it does is a
//! [`Routine`](crate::sync::Routine), a state machine in Rust that says at each step what it waits for.
//!
//! There is one for each call, so it has a free list of its own, and the routine lies inside it.

use super::free_list::FreeList;
use super::future::{DEPTH, FutureRef};
use super::iterator::{self, Step};
use super::method_table::{NO_ATTRIBUTE, descriptor, method, value};
use super::native_type::{slot, visit};
use super::{Object, attached, enter, enter_hot, fetch};
use crate::owned::Owned;
use crate::sync::Routine;
use pyo3::exceptions::{PyRuntimeError, PyRuntimeWarning, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};
use pyo3::{PyResult, Python, ffi};
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

/// A state machine that a coroutine drives.
pub(crate) trait Resume {
    /// What its function is called.
    const NAME: &'static str;

    /// Begins or goes on, with an exception if one is thrown where it waits. It is not resumed again after an end or an error.
    ///
    /// # Errors
    ///
    /// What the coroutine raises: the thrown exception, as a rule.
    fn resume<'py>(&mut self, py: Python<'py>, thrown: Option<PyErr>) -> PyResult<Step<'py>>;

    /// As `NativeState::show`.
    fn show(&self, see: &mut dyn FnMut(Object) -> c_int) -> c_int;
}

enum Stage {
    Fresh(Routine),
    Paused(Routine),
    Running,
    Over,
}

#[repr(C)]
struct Body {
    head: ffi::PyObject,
    stage: Owned<Stage>,
}

static CLASS: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(null_mut());
static FREE: FreeList = FreeList::new(DEPTH);

/// A coroutine that has not begun (strong).
///
/// # Errors
///
/// MemoryError.
#[inline]
pub(crate) fn new(py: Python<'_>, routine: Routine) -> PyResult<Bound<'_, PyAny>> {
    let kind = CLASS.load(Relaxed);
    // SAFETY: rule 1. What is on the free list is of this type, untracked, its stage dropped; the stage is written before the
    // object is tracked.
    unsafe {
        let object = FREE.allocate(kind);
        if object.is_null() {
            return Err(fetch(py));
        }
        let stage = Owned::new(Stage::Fresh(routine));
        (&raw mut (*object.cast::<Body>()).stage).write(stage);
        ffi::PyObject_GC_Track(object.cast());
        Ok(Bound::from_owned_ptr(py, object))
    }
}

/// # Safety
///
/// A live coroutine of ours, which outlives the result.
#[inline]
unsafe fn stage<'a>(object: Object) -> &'a Owned<Stage> {
    // SAFETY: the caller's promise.
    unsafe { &(*object.cast::<Body>()).stage }
}

/// Runs the routine to its next pause.
#[inline]
fn advance<'py>(py: Python<'py>, object: Object, thrown: Option<PyErr>) -> PyResult<Step<'py>> {
    // SAFETY: C calls with a coroutine of ours, and holds it.
    let stage = unsafe { stage(object) };
    let taken = stage.with(py, |stage| match std::mem::replace(stage, Stage::Running) {
        Stage::Fresh(routine) => Ok((routine, true)),
        Stage::Paused(routine) => Ok((routine, false)),
        Stage::Running => Err(PyValueError::new_err("coroutine already executing")),
        Stage::Over => {
            *stage = Stage::Over;
            Err(PyRuntimeError::new_err(
                "cannot reuse already awaited coroutine",
            ))
        }
    });
    let (mut routine, fresh) = taken?;
    let outcome = match thrown {
        // Nothing was begun that would have to be undone.
        Some(thrown) if fresh => Err(thrown),
        thrown => routine.resume(py, thrown),
    };
    let (left, outcome) = match outcome {
        Ok(Step::Wait(future)) => {
            if let Some(future) = FutureRef::exact(&future) {
                future.with(|state| state.blocking = true);
            }
            (Stage::Paused(routine), Ok(Step::Wait(future)))
        }
        Ok(Step::Pass) => (Stage::Paused(routine), Ok(Step::Pass)),
        over => {
            drop(routine);
            (Stage::Over, over)
        }
    };
    // It was `Running`, so nothing is dropped in there.
    stage.with(py, |stage| *stage = left);
    outcome
}

unsafe extern "C" fn next(object: Object) -> Object {
    enter_hot(|py| Ok(advance(py, object, None)?.into_next(py)))
}

unsafe extern "C" fn send_slot(
    object: Object,
    _value: Object,
    result: *mut Object,
) -> ffi::PySendResult {
    // SAFETY: C's calling convention.
    unsafe { iterator::send_to(result, |py| advance(py, object, None)) }
}

unsafe extern "C" fn send(object: Object, _value: Object) -> Object {
    enter(|py| advance(py, object, None)?.into_sent(py))
}

unsafe extern "C" fn throw(object: Object, arguments: Object) -> Object {
    enter(|py| {
        // SAFETY: METH_VARARGS gives a tuple.
        let arguments = unsafe { Bound::from_borrowed_ptr(py, arguments) };
        let error = iterator::thrown(&arguments.cast_into::<PyTuple>()?)?;
        advance(py, object, Some(error))?.into_sent(py)
    })
}

unsafe extern "C" fn close(object: Object, _unused: Object) -> Object {
    enter(|py| {
        end(py, object)?;
        Ok(py.None().into_ptr())
    })
}

/// Ends it where it stands, as `close()` does.
fn end(py: Python<'_>, object: Object) -> PyResult<()> {
    // SAFETY: C calls with a coroutine of ours.
    let stage = unsafe { stage(object) };
    let paused = stage.with(py, |stage| match stage {
        Stage::Paused(_) => Ok(true),
        Stage::Running => Err(PyValueError::new_err("coroutine already executing")),
        Stage::Fresh(_) | Stage::Over => Ok(false),
    });
    if !paused? {
        let old = stage.with(py, |stage| std::mem::replace(stage, Stage::Over));
        drop(old);
        return Ok(());
    }
    let exit = pyo3::exceptions::PyGeneratorExit::new_err(());
    match advance(py, object, Some(exit)) {
        Ok(Step::End(_)) => Ok(()),
        Ok(Step::Wait(_) | Step::Pass) => {
            Err(PyRuntimeError::new_err("coroutine ignored GeneratorExit"))
        }
        Err(error) if error.is_instance_of::<pyo3::exceptions::PyGeneratorExit>(py) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The last word: one that nobody awaited says so, one that waits cleans up.
unsafe extern "C" fn finalize(object: Object) {
    attached(|py| {
        // SAFETY: C calls with a live coroutine of ours.
        let fresh = unsafe { stage(object) }.try_with(|stage| match stage {
            Stage::Fresh(routine) => Some(routine.name()),
            Stage::Paused(_) | Stage::Running | Stage::Over => None,
        });
        let raised = PyErr::take(py);
        let outcome = match fresh.flatten() {
            Some(name) => warn(py, name),
            None => Ok(()),
        };
        if let Err(error) = outcome.and(end(py, object)) {
            error.write_unraisable(py, None);
        }
        if let Some(error) = raised {
            error.restore(py);
        }
    });
}

#[cold]
fn warn(py: Python<'_>, name: &str) -> PyResult<()> {
    let text = std::ffi::CString::new(format!("coroutine '{name}' was never awaited"))?;
    PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), &text, 1)
}

unsafe extern "C" fn dealloc(object: Object) {
    // SAFETY: C calls this with the last reference gone; the stage is dropped once.
    unsafe {
        let over = attached(|py| stage(object).with(py, |stage| matches!(stage, Stage::Over)));
        if !over && ffi::PyObject_CallFinalizerFromDealloc(object) < 0 {
            return; // resurrected
        }
        ffi::PyObject_GC_UnTrack(object.cast());
        attached(|_py| (&raw mut (*object.cast::<Body>()).stage).drop_in_place());
        let kind = ffi::Py_TYPE(object);
        FREE.free_finalizable(object);
        ffi::Py_DECREF(kind.cast());
    }
}

unsafe extern "C" fn traverse(
    object: Object,
    visitor: ffi::visitproc,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: the collector calls this with a live instance.
    let (stage, kind) = unsafe { (stage(object), ffi::Py_TYPE(object).cast()) };
    visit!(visitor, argument, kind);
    let shown = stage.try_with(|stage| match stage {
        Stage::Fresh(routine) | Stage::Paused(routine) => {
            // SAFETY: the collector gave both, and what is shown is alive: the routine holds a reference.
            routine.show(&mut |held| unsafe { visitor(held, argument) })
        }
        Stage::Running | Stage::Over => 0,
    });
    shown.unwrap_or(0)
}

unsafe extern "C" fn clear(object: Object) -> c_int {
    attached(|py| {
        // SAFETY: as above.
        let old = unsafe { stage(object) }.with(py, |stage| match stage {
            Stage::Running => Stage::Over, // the stack holds what it has
            _ => std::mem::replace(stage, Stage::Over),
        });
        drop(old);
    });
    0
}

unsafe extern "C" fn name(object: Object, _closure: *mut c_void) -> Object {
    enter(|py| {
        // SAFETY: a live coroutine of ours.
        let name = unsafe { stage(object) }.with(py, |stage| match stage {
            Stage::Fresh(routine) | Stage::Paused(routine) => routine.name(),
            Stage::Running | Stage::Over => "coroutine",
        });
        Ok(PyString::new(py, name).into_any().into_ptr())
    })
}

unsafe extern "C" fn is_running(object: Object, _closure: *mut c_void) -> Object {
    enter(|py| {
        // SAFETY: a live coroutine of ours.
        let running = unsafe { stage(object) }.with(py, |stage| matches!(stage, Stage::Running));
        value(py, running)
    })
}

unsafe extern "C" fn repr(object: Object) -> Object {
    enter(|py| {
        // SAFETY: a live coroutine of ours.
        let object = unsafe { Bound::from_borrowed_ptr(py, object) };
        let text = format!(
            "<tepal coroutine {} at {:?}>",
            object.getattr("__qualname__")?.extract::<String>()?,
            object.as_ptr()
        );
        Ok(PyString::new(py, &text).into_any().into_ptr())
    })
}

static mut METHODS: [ffi::PyMethodDef; 4] = [
    method(c"send", send, ffi::METH_O, c"As a coroutine's."),
    method(c"throw", throw, ffi::METH_VARARGS, c"As a coroutine's."),
    method(c"close", close, ffi::METH_NOARGS, c"As a coroutine's."),
    ffi::PyMethodDef::zeroed(),
];

static mut ATTRIBUTES: [ffi::PyGetSetDef; 4] = [
    descriptor(c"__name__", name),
    descriptor(c"__qualname__", name),
    descriptor(c"cr_running", is_running),
    NO_ATTRIBUTE,
];

/// Makes the type.
///
/// # Errors
///
/// What making a type raises.
pub(crate) fn register(py: Python<'_>) -> PyResult<()> {
    let slots = [
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_finalize, finalize as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(ffi::Py_tp_clear, clear as *mut c_void),
        slot(ffi::Py_tp_iternext, next as *mut c_void),
        slot(ffi::Py_am_await, iterator::itself as *mut c_void),
        slot(ffi::Py_am_send, send_slot as *mut c_void),
        slot(ffi::Py_tp_repr, repr as *mut c_void),
        slot(ffi::Py_tp_methods, (&raw mut METHODS).cast()),
        slot(ffi::Py_tp_getset, (&raw mut ATTRIBUTES).cast()),
    ];
    let name = c"tepal._tepal.coroutine";
    // SAFETY: the slots' functions take such instances.
    let class = unsafe { iterator::make_type(py, name, size_of::<Body>(), &slots)? };
    CLASS.store(class, Relaxed);
    Ok(())
}
