//! Native coroutines: what `lock.acquire()` and its like return.
//!
//! To Python each is a `collections.abc.Coroutine`: it is awaited, made into a task, sent to, thrown into and closed like one that was
//! written with `async def`, warns when nobody awaited it, and cleans up when it is dropped half-way. What it does is a
//! [`Routine`](crate::sync::Routine), a state machine in Rust that says at each step what it waits for.
//!
//! There is one for each call, so it has a free list of its own, and the routine lies inside it.

use super::free_list::FreeList;
use super::future::{DEPTH, FutureRef};
use super::iterator::{self, Resumed, Step};
use super::method_table::{NO_ATTRIBUTE, descriptor, method, value};
use super::native_type::{slot, visit};
use super::raised::Raised;
use super::{Object, attached, enter, enter_hot, fetch};
use crate::owned::Owned;
use crate::sync::Routine;
use pyo3::exceptions::{PyRuntimeError, PyRuntimeWarning, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};
use pyo3::{PyResult, Python, ffi};
use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
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
    fn resume<'py>(&mut self, py: Python<'py>, thrown: Option<Raised>) -> Resumed<'py>;

    /// What this very coroutine is called.
    fn name(&self) -> &'static str {
        Self::NAME
    }

    /// As `NativeState::show`.
    fn show(&self, see: &mut dyn FnMut(Object) -> c_int) -> c_int;
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Fresh,
    Paused,
    Running,
    Over,
}

/// The routine stays where it is, for to move it at each step would cost as much as the step. Whoever makes the stage `Running` has it
/// for himself until he changes the stage again; else it may be looked at inside the stage's closures. It is there unless the stage
/// is `Over`.
#[repr(C)]
struct Body {
    head: ffi::PyObject,
    stage: Owned<Stage>,
    routine: UnsafeCell<MaybeUninit<Routine>>,
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
    // SAFETY: rule 1. What is on the free list is of this type, untracked, its routine dropped; both fields are written before
    // the object is tracked.
    unsafe {
        let object = FREE.allocate(kind);
        if object.is_null() {
            return Err(fetch(py));
        }
        let body = object.cast::<Body>();
        (&raw mut (*body).routine).write(UnsafeCell::new(MaybeUninit::new(routine)));
        (&raw mut (*body).stage).write(Owned::new(Stage::Fresh));
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

/// # Safety
///
/// A live coroutine of ours.
#[inline]
unsafe fn routine(object: Object) -> *mut Routine {
    // SAFETY: the caller's promise.
    unsafe { (*object.cast::<Body>()).routine.get().cast() }
}

/// Looks at the routine where it waits; `None` while it runs and when it is over.
///
/// # Safety
///
/// A live coroutine of ours; `look` runs nothing of Python's.
unsafe fn look<T>(object: Object, look: impl FnOnce(Stage, &Routine) -> T) -> Option<T> {
    // SAFETY: the caller's promise; the routine is there at these stages, and nobody makes it run inside the closure.
    unsafe {
        let looked = stage(object).try_with(|stage| match stage {
            Stage::Fresh | Stage::Paused => Some(look(*stage, &*routine(object))),
            Stage::Running | Stage::Over => None,
        });
        looked.flatten()
    }
}

/// Makes it run, which gives the caller the routine; the stage it was at.
///
/// # Errors
///
/// ValueError while it runs, RuntimeError when it is over.
#[inline]
fn claim(py: Python<'_>, object: Object) -> Result<Stage, Raised> {
    // SAFETY: C calls with a coroutine of ours, and holds it.
    let before = unsafe { stage(object) }.with(py, |stage| {
        let before = *stage;
        if before != Stage::Over {
            *stage = Stage::Running;
        }
        before
    });
    match before {
        Stage::Fresh | Stage::Paused => Ok(before),
        Stage::Running => Err(PyValueError::new_err("coroutine already executing").into()),
        Stage::Over => {
            Err(PyRuntimeError::new_err("cannot reuse already awaited coroutine").into())
        }
    }
}

/// Ends what was claimed.
#[inline]
fn finish(py: Python<'_>, object: Object) {
    // SAFETY: the caller has claimed it; it is dropped once, for then the stage is `Over`.
    unsafe {
        routine(object).drop_in_place();
        stage(object).with(py, |stage| *stage = Stage::Over);
    }
}

/// Runs the routine to its next pause.
#[inline]
fn advance<'py>(py: Python<'py>, object: Object, thrown: Option<Raised>) -> Resumed<'py> {
    let before = claim(py, object)?;
    let outcome = match thrown {
        // Nothing was begun that would have to be undone.
        Some(thrown) if before == Stage::Fresh => Err(thrown),
        // SAFETY: just claimed.
        thrown => unsafe { &mut *routine(object) }.resume(py, thrown),
    };
    match &outcome {
        Ok(Step::Wait(future)) => {
            if let Some(future) = FutureRef::exact(future) {
                future.with(|state| state.blocking = true);
            }
        }
        Ok(Step::Pass) => {}
        Ok(Step::End(_)) | Err(_) => {
            finish(py, object);
            return outcome;
        }
    }
    // SAFETY: as above.
    unsafe { stage(object) }.with(py, |stage| *stage = Stage::Paused);
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
        advance(py, object, Some(error.into()))?.into_sent(py)
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
    match unsafe { stage(object) }.with(py, |stage| *stage) {
        Stage::Over => return Ok(()),
        Stage::Fresh => {
            claim(py, object)?;
            finish(py, object);
            return Ok(());
        }
        Stage::Paused | Stage::Running => {}
    }
    let exit = pyo3::exceptions::PyGeneratorExit::new_err(());
    match advance(py, object, Some(exit.into())).map_err(PyErr::from) {
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
        let fresh = unsafe {
            look(object, |stage, routine| {
                (stage == Stage::Fresh).then(|| routine.name())
            })
        };
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
    // SAFETY: C calls this with the last reference gone, so nobody runs it; what has not ended is ended here.
    unsafe {
        let is_over =
            || stage(object).with(Python::assume_attached(), |stage| *stage == Stage::Over);
        if !is_over() && ffi::PyObject_CallFinalizerFromDealloc(object) < 0 {
            return; // resurrected
        }
        ffi::PyObject_GC_UnTrack(object.cast());
        if !is_over() {
            attached(|py| finish(py, object));
        }
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
    let kind = unsafe { ffi::Py_TYPE(object).cast() };
    visit!(visitor, argument, kind);
    // SAFETY: the collector gave both, and what is shown is alive: the routine holds a reference.
    let see = &mut |held| unsafe { visitor(held, argument) };
    // SAFETY: as above.
    unsafe { look(object, |_, routine| routine.show(see)) }.unwrap_or(0)
}

unsafe extern "C" fn clear(object: Object) -> c_int {
    attached(|py| {
        // One that runs is ended by whoever runs it.
        if claim(py, object).is_ok() {
            finish(py, object);
        }
    });
    0
}

unsafe extern "C" fn name(object: Object, _closure: *mut c_void) -> Object {
    enter(|py| {
        // SAFETY: a live coroutine of ours.
        let name = unsafe { look(object, |_, routine| routine.name()) };
        Ok(PyString::new(py, name.unwrap_or("coroutine"))
            .into_any()
            .into_ptr())
    })
}

unsafe extern "C" fn is_running(object: Object, _closure: *mut c_void) -> Object {
    enter(|py| {
        // SAFETY: a live coroutine of ours.
        let running = unsafe { stage(object) }.with(py, |stage| *stage == Stage::Running);
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
