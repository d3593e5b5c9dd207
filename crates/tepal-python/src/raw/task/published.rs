//! What external tools read of a task in the memory of a process: `python -m asyncio ps` and `pstree` (Python 3.14 and newer).
//!
//! The interpreter publishes where in a `_asyncio.Task` they find its name, its coroutine, and who awaits it (`python/tepal/_published.py`
//! reads that). There, in the base's part of an instance, our tasks and futures put references of their own to the same objects. The
//! base's functions look after them: its `tp_traverse` shows them to the collector, its `tp_clear`, which our dealloc calls,
//! lets go of them. Without a published layout the base's part stays zeroed, and the tools see tasks without names.

use super::{Name, TaskRef, registry};
use crate::raw::Object;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::{PyResult, ffi};
use std::sync::OnceLock;

/// Where the fields lie, in bytes from the beginning of an instance.
struct Layout {
    name: usize,
    coro: usize,
    /// A byte: whether it is a task, and no mere future.
    is_task: usize,
    awaited_by: usize,
    /// A byte: whether `awaited_by` is a set of those who do.
    awaited_by_is_set: usize,
}

static LAYOUT: OnceLock<Layout> = OnceLock::new();

#[inline]
fn layout() -> Option<&'static Layout> {
    if cfg!(Py_3_14) { LAYOUT.get() } else { None }
}

/// Says where the fields lie; for good.
#[pyfunction]
pub(crate) fn set_published_layout(
    py: Python<'_>,
    size: usize,
    name: usize,
    awaited_by: usize,
    is_task: usize,
    awaited_by_is_set: usize,
    coro: usize,
) -> PyResult<()> {
    let base = py.import("_asyncio")?.getattr("Task")?;
    let pointers = [name, awaited_by, coro];
    let fits = base.getattr("__basicsize__")?.extract::<usize>()? == size
        && pointers
            .iter()
            .all(|place| place % size_of::<Object>() == 0)
        && pointers
            .iter()
            .chain([&is_task, &awaited_by_is_set])
            .all(|&place| {
                place >= size_of::<ffi::PyObject>() && place + size_of::<Object>() <= size
            });
    if !fits {
        let message = "the published layout of tasks is not that of this interpreter";
        return Err(PyValueError::new_err(message));
    }
    // (A second time it is the same: it is this process's interpreter's.)
    let _known: Result<(), Layout> = LAYOUT.set(Layout {
        name,
        coro,
        is_task,
        awaited_by,
        awaited_by_is_set,
    });
    Ok(())
}

/// # Safety
///
/// A task or future of ours, of whose base's part this is an offset.
#[inline]
unsafe fn field<T>(object: &Bound<'_, PyAny>, offset: usize) -> *mut T {
    // SAFETY: the caller's promise, and `set_published_layout` has compared it with the base's size.
    unsafe { object.as_ptr().cast::<u8>().add(offset).cast() }
}

/// Puts an object (or nothing) into a field, and lets go of what was there.
///
/// # Safety
///
/// As [`field`], for one that owns a reference.
#[inline]
unsafe fn put(place: *mut Object, object: Option<Bound<'_, PyAny>>) {
    // SAFETY: the caller's promise; the field is written before the old reference is dropped.
    unsafe {
        let new = object.map_or(std::ptr::null_mut(), Bound::into_ptr);
        let old = place.replace(new);
        ffi::Py_XDECREF(old);
    }
}

/// A task begins.
///
/// # Errors
///
/// MemoryError.
#[inline]
pub(super) fn publish(task: TaskRef<'_, '_>) -> PyResult<()> {
    let Some(layout) = layout() else {
        return Ok(());
    };
    let py = task.py();
    let coro = task.with(|state| state.coro.as_ref().map(|coro| coro.clone_ref(py)));
    // SAFETY: a task of ours.
    unsafe {
        put(
            field(task.object(), layout.coro),
            coro.map(|coro| coro.into_bound(py)),
        );
        field::<u8>(task.object(), layout.is_task).write(1);
    }
    rename(task)
}

/// A task has got another name.
///
/// # Errors
///
/// MemoryError.
pub(super) fn rename(task: TaskRef<'_, '_>) -> PyResult<()> {
    let Some(layout) = layout() else {
        return Ok(());
    };
    let py = task.py();
    // asyncio, too, has the number there until somebody asks for the name.
    let name = task.with(|state| match &state.name {
        Name::Number(number) => Err(*number),
        Name::Text(text) => Ok(text.clone_ref(py)),
    });
    let name = match name {
        Ok(text) => text.into_bound(py).into_any(),
        Err(number) => number.into_pyobject(py)?.into_any(),
    };
    // SAFETY: a task of ours.
    unsafe { put(field(task.object(), layout.name), Some(name)) };
    Ok(())
}

/// A task has let go of its coroutine.
pub(super) fn withdraw(task: TaskRef<'_, '_>) {
    if let Some(layout) = layout() {
        // SAFETY: a task of ours.
        unsafe { put(field(task.object(), layout.coro), None) };
    }
}

/// Notes on a future of ours that a task awaits it.
///
/// # Errors
///
/// MemoryError.
///
/// # Safety
///
/// `awaited` is a future or task of ours.
#[inline]
pub(super) unsafe fn note_wait(
    awaited: &Bound<'_, PyAny>,
    task: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let Some(layout) = layout() else {
        return Ok(());
    };
    // SAFETY: the caller's promise.
    unsafe {
        let place = field::<Object>(awaited, layout.awaited_by);
        if (*place).is_null() {
            field::<u8>(awaited, layout.awaited_by_is_set).write(0);
            put(place, Some(task.clone()));
            return Ok(());
        }
    }
    registry::add_to_awaited_by(awaited, task)
}

/// Undoes [`note_wait`].
///
/// # Errors
///
/// As that.
///
/// # Safety
///
/// As that.
#[inline]
pub(super) unsafe fn note_end_of_wait(
    awaited: &Bound<'_, PyAny>,
    task: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let Some(layout) = layout() else {
        return Ok(());
    };
    // SAFETY: the caller's promise.
    unsafe {
        let place = field::<Object>(awaited, layout.awaited_by);
        if (*place).is_null() {
            return Ok(());
        }
        if *field::<u8>(awaited, layout.awaited_by_is_set) == 0 {
            if *place == task.as_ptr() {
                put(place, None);
            }
            return Ok(());
        }
    }
    registry::discard_from_awaited_by(awaited, task)
}
