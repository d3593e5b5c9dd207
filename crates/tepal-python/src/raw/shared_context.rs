//! One context for many callbacks, until they run.
//!
//! A callback runs in a copy of the context in which it was scheduled. Copies that were made of the same context and that nobody has
//! entered are alike, so the timers set in one turn, and what a thread schedules meanwhile, share one; each gets a copy of its own when
//! it runs or when somebody asks for it. Most timers are cancelled and never do. Of a million that wait, the contexts were a fifth of the
//! memory, and nearly all that the collector had to look at (benches: timer_million_add, 2026-11).
//!
//! **Whether two contexts are alike** is told by their variables, an immutable map behind a pointer: setting a variable puts another map
//! in its place, and a copy has the map of its model. Two contexts with the same map, both alive, are the same to whoever runs in them.
//! Where the pointer lies is the interpreter's own business, so [`register`] tries it out, and if a context does not
//! behave like that nothing is shared. The pointer is compared and never followed.
//!
//! Only under a GIL: a context that one alone holds needs no copy, and only there does a count of one prove it.

use super::{Object, fetch};
use pyo3::prelude::*;
use pyo3::types::PyType;
use pyo3::{PyResult, Python, ffi};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Where a context's map lies, behind `ctx_prev`.
const VARIABLES: usize = size_of::<ffi::PyObject>() + size_of::<Object>();

/// Whether that was found to be so.
static IS_ON: AtomicBool = AtomicBool::new(false);

/// The context that the callbacks scheduled in this turn share. A turn's and no longer: it keeps the values of its variables.
#[derive(Debug, Default)]
pub(crate) struct SharedContext(Option<Py<PyAny>>);

impl SharedContext {
    /// Takes in a copy of the current context (strong) that nobody has seen yet. Gives a context (strong) that is like it, not to be
    /// entered before [`own`], and what is to be dropped outside.
    #[inline]
    pub(crate) fn exchange(
        &mut self,
        py: Python<'_>,
        copy: Py<PyAny>,
    ) -> (Py<PyAny>, Option<Py<PyAny>>) {
        match &self.0 {
            // SAFETY: both are contexts, and alive.
            Some(shared) if unsafe { variables(shared.as_ptr()) == variables(copy.as_ptr()) } => {
                (shared.clone_ref(py), Some(copy))
            }
            _ => {
                let old = self.0.replace(copy.clone_ref(py));
                (copy, old)
            }
        }
    }

    /// The turn is over: the context, to be dropped outside.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<Py<PyAny>> {
        self.0.take()
    }

    /// For the collector.
    pub(crate) fn get(&self) -> Option<&Py<PyAny>> {
        self.0.as_ref()
    }
}

/// Whether contexts are shared at all.
#[inline]
pub(crate) fn is_on() -> bool {
    IS_ON.load(Relaxed)
}

/// Makes the shared context in `field` its holder's own.
///
/// # Errors
///
/// MemoryError; the field is as it was.
///
/// # Safety
///
/// Rule 1. `field` holds a strong reference to a context that came from [`SharedContext::exchange`] and was not entered since.
#[inline]
pub(crate) unsafe fn own(py: Python<'_>, field: *mut Object) -> PyResult<()> {
    // SAFETY: the caller's promise. Others who hold the old context keep it alive, so that dropping our reference runs no code.
    unsafe {
        if ffi::Py_REFCNT(*field) > 1 {
            let copy = ffi::PyContext_Copy(*field);
            if copy.is_null() {
                return Err(fetch(py));
            }
            let shared = std::mem::replace(&mut *field, copy);
            ffi::Py_DECREF(shared);
        }
    }
    Ok(())
}

/// The map of a context's variables.
///
/// # Safety
///
/// `context` is a live `contextvars.Context`, and [`register`] has found out where its map lies.
#[inline]
unsafe fn variables(context: Object) -> usize {
    // SAFETY: the caller's promise: the word lies inside the object (`register`), and a pointer is always initialized there.
    unsafe { context.cast::<u8>().add(VARIABLES).cast::<usize>().read() }
}

/// Finds out whether contexts are what they are taken for here.
///
/// # Errors
///
/// What `contextvars` raises.
pub(crate) fn register(py: Python<'_>) -> PyResult<()> {
    let module = py.import("contextvars")?;
    let class = module.getattr("Context")?.cast_into::<PyType>()?;
    // SAFETY: a bound type object is a live PyTypeObject.
    let size = unsafe { (*class.as_type_ptr()).tp_basicsize } as usize;
    if size < VARIABLES + size_of::<usize>() || cfg!(Py_GIL_DISABLED) {
        return Ok(());
    }
    // SAFETY: the word lies inside the object, whose memory is initialized when it is made.
    let map = |context: &Bound<'_, PyAny>| unsafe { variables(context.as_ptr()) };
    let variable = module.getattr("ContextVar")?.call1(("tepal",))?;
    let context = class.call0()?;
    // All are kept, so that no two maps can have lain at one place.
    let mut copies = Vec::new();
    for value in 0..4 {
        let copy = context.call_method0("copy")?;
        let before = map(&copy);
        let is_alike = map(&context) == before;
        context.call_method1("run", (variable.getattr("set")?, value))?;
        copies.push(copy);
        let is_new = copies.iter().all(|copy| map(copy) != map(&context));
        let is_untouched = copies.last().is_some_and(|copy| map(copy) == before);
        if !(is_alike && is_new && is_untouched) {
            return Ok(());
        }
    }
    IS_ON.store(true, Relaxed);
    Ok(())
}
