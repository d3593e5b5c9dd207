//! `nursery.start_soon(async_fn, *args, name=None, context=None)`.

use super::create_task::{Call, make, making};
use super::loop_methods::{Arguments, add_methods, fast};
use super::task::{Begin, Making, is_coroutine};
use super::{Object, call, enter_hot};
use crate::nursery::Nursery;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};
use pyo3::{PyResult, Python, ffi};
use tepal_core::nursery;

unsafe extern "C" fn start_soon(
    slf: Object,
    arguments: Arguments,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> Object {
    enter_hot(|py| {
        // SAFETY: C's calling convention; the method belongs to `Nursery`.
        unsafe {
            let nursery = Bound::ref_from_ptr(py, &slf).cast_unchecked::<Nursery>();
            let count = count as usize;
            if count == 0 {
                return Err(PyTypeError::new_err(
                    "start_soon() needs an async function, and its arguments",
                ));
            }
            let function = Bound::ref_from_ptr(py, &*arguments);
            let (event_loop, begin) = Nursery::admit(nursery)?;
            let coro = coroutine(function, arguments.add(1), count - 1)?;
            let held = begin == nursery::Begin::Held;
            let mut making = Making::of(&coro);
            if held {
                making.begin = Begin::Later;
            }
            if !keywords.is_null() {
                let names = Bound::from_borrowed_ptr(py, keywords).cast_into_unchecked::<PyTuple>();
                for (index, keyword) in names.iter_borrowed().enumerate() {
                    let given = Bound::ref_from_ptr(py, &*arguments.add(count + index));
                    let given = Some(given).filter(|given| !given.is_none());
                    match &*keyword.cast::<PyString>()?.to_cow()? {
                        "name" => making.name = given,
                        "context" => making.context = given,
                        other => {
                            close(&coro)?;
                            return Err(unexpected(other));
                        }
                    }
                }
            }
            let task = make(&event_loop, &making)?;
            Nursery::adopt(nursery, &event_loop, &task, held)?;
            Ok(task.into_ptr())
        }
    })
}

/// `nursery.create_task(coro, *, name=None, context=None)`, for a supervisor.
unsafe extern "C" fn create_task(
    slf: Object,
    arguments: Arguments,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> Object {
    enter_hot(|py| {
        // SAFETY: C's calling convention; the method belongs to `Nursery`.
        unsafe {
            let nursery = Bound::ref_from_ptr(py, &slf).cast_unchecked::<Nursery>();
            let call = Call::new(arguments, count, keywords);
            let (event_loop, begin) = Nursery::admit(nursery)?;
            let held = begin == nursery::Begin::Held;
            let begin = if held { Begin::Later } else { Begin::Soon };
            let task = make(&event_loop, &making(py, call, begin)?)?;
            Nursery::adopt(nursery, &event_loop, &task, held)?;
            Ok(task.into_ptr())
        }
    })
}

/// What the async function returns.
///
/// # Errors
///
/// What it raises; TypeError for what is no async function.
///
/// # Safety
///
/// `count` arguments, as C passes them.
#[inline]
unsafe fn coroutine<'py>(
    function: &Bound<'py, PyAny>,
    arguments: Arguments,
    count: usize,
) -> PyResult<Bound<'py, PyAny>> {
    if !function.is_callable() {
        return Err(not_a_function(function));
    }
    let py = function.py();
    // SAFETY: the caller's promise.
    let coro = unsafe {
        let made =
            ffi::PyObject_Vectorcall(function.as_ptr(), arguments, count, std::ptr::null_mut());
        call::owned(py, made)?
    };
    if !is_coroutine(&coro)? {
        return Err(no_coroutine(function, &coro));
    }
    Ok(coro)
}

#[cold]
fn not_a_function(given: &Bound<'_, PyAny>) -> PyErr {
    match is_coroutine(given) {
        Ok(true) => match close(given) {
            Ok(()) => PyTypeError::new_err(
                "start_soon() takes an async function and its arguments, and got a coroutine: \
                 write nursery.start_soon(f, x), not nursery.start_soon(f(x))",
            ),
            Err(error) => error,
        },
        Ok(false) => match given.get_type().name() {
            Ok(kind) => PyTypeError::new_err(format!(
                "start_soon() takes an async function, not an object of type {kind}"
            )),
            Err(error) => error,
        },
        Err(error) => error,
    }
}

#[cold]
fn no_coroutine(function: &Bound<'_, PyAny>, made: &Bound<'_, PyAny>) -> PyErr {
    match (function.repr(), made.get_type().name()) {
        (Ok(function), Ok(kind)) => PyTypeError::new_err(format!(
            "start_soon() takes an async function, and {function} returned an object of type {kind}, which is no coroutine"
        )),
        (Err(error), _) | (_, Err(error)) => error,
    }
}

#[cold]
fn unexpected(keyword: &str) -> PyErr {
    PyTypeError::new_err(format!(
        "start_soon() got an unexpected keyword argument '{keyword}': pass keyword arguments of the function by functools.partial"
    ))
}

#[cold]
fn close(coro: &Bound<'_, PyAny>) -> PyResult<()> {
    coro.call_method0(pyo3::intern!(coro.py(), "close"))
        .map(drop)
}

static mut METHODS: [ffi::PyMethodDef; 2] = [
    fast(
        c"_create_task",
        create_task,
        c"_create_task($self, coro, *, name=None, context=None)\n--\n\nRun a coroutine in a task of the nursery.",
    ),
    fast(
    c"start_soon",
    start_soon,
    c"start_soon($self, async_fn, /, *args, name=None, context=None)\n--\n\n\
      Run an async function in a task of the nursery, from the next turn on.\n\n\
      Args:\n    async_fn: The function; it is called at once, and its coroutine is run.\n    args: Its arguments.\n    \
      name: The task's name.\n    context: The contextvars.Context that it runs in; a copy of the current one, if none.\n\n\
      Returns:\n    The task: its result is there when it has ended. Its failure is the nursery's, too.\n\n\
      Raises:\n    RuntimeError: The nursery is not open.\n    TypeError: That is no async function.\n\n\
      Not a checkpoint.",
),
];

/// Puts the method into `Nursery`.
///
/// # Errors
///
/// MemoryError.
pub(crate) fn register(py: Python<'_>) -> PyResult<()> {
    // SAFETY: the function takes a `Nursery`; the table is static and never written.
    unsafe { add_methods(&py.get_type::<Nursery>(), &raw mut METHODS) }
}
