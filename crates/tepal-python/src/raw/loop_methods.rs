//! The loop's hot methods, with C's fast calling convention: no tuple, no dict, arguments straight into the handle.
//!
//! They are put into `Loop` as ordinary method descriptors, so subclasses override them and instances shadow them.

use super::anyio;
use super::create_task;
use super::handle::{self, Purpose};
use super::method_table::method;
use super::{Object, context, enter, enter_hot, fetch, future, shared_context};
use crate::event_loop::{Job, Loop, from_raw};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};
use pyo3::{PyResult, Python, ffi};
use std::ffi::CStr;
use std::ptr::null_mut;

pub(crate) type Arguments = *const Object;

/// The positional arguments and the `context` of a call.
struct Call {
    arguments: Arguments,
    count: usize,
    /// Borrowed; null when none was given.
    context: Object,
}

/// Sorts a call's arguments.
///
/// # Errors
///
/// TypeError for too few arguments and for keywords other than `context`.
///
/// # Safety
///
/// The pointers are what C passes to a METH_FASTCALL | METH_KEYWORDS function.
#[inline]
unsafe fn sort(
    py: Python<'_>,
    name: &str,
    needed: &[&str],
    arguments: Arguments,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> PyResult<Call> {
    let count = count as usize;
    // SAFETY: the caller's promise.
    let context = unsafe { only_keyword(py, name, "context", arguments, count, keywords)? };
    if count < needed.len() {
        return Err(missing(name, &needed[count..]));
    }
    Ok(Call {
        arguments,
        count,
        context,
    })
}

/// The value (borrowed) of the only keyword that a method takes; null when it is not given, or given as None.
///
/// # Errors
///
/// TypeError for another keyword.
///
/// # Safety
///
/// The pointers are what C passes to a METH_FASTCALL | METH_KEYWORDS function, `count` of them by position.
#[inline]
pub(crate) unsafe fn only_keyword(
    py: Python<'_>,
    method: &str,
    wanted: &str,
    arguments: Arguments,
    count: usize,
    keywords: Object,
) -> PyResult<Object> {
    let mut found = null_mut();
    if keywords.is_null() {
        return Ok(found);
    }
    // SAFETY: the caller's promise: a tuple of strings, whose values follow the positional arguments.
    unsafe {
        let names = Bound::from_borrowed_ptr(py, keywords).cast_into_unchecked::<PyTuple>();
        for (index, keyword) in names.iter_borrowed().enumerate() {
            let keyword = keyword.cast::<PyString>()?;
            if keyword.to_cow()? != wanted {
                return Err(PyTypeError::new_err(format!(
                    "{method}() got an unexpected keyword argument '{}'",
                    keyword.to_cow()?
                )));
            }
            let given = *arguments.add(count + index);
            if given != ffi::Py_None() {
                found = given;
            }
        }
    }
    Ok(found)
}

#[cold]
fn missing(name: &str, names: &[&str]) -> PyErr {
    let quoted: Vec<_> = names.iter().map(|name| format!("'{name}'")).collect();
    let plural = if names.len() == 1 { "" } else { "s" };
    PyTypeError::new_err(format!(
        "{name}() missing {} required positional argument{plural}: {}",
        names.len(),
        quoted.join(" and ")
    ))
}

/// A handle for `call`, whose callback stands at `at`.
///
/// # Safety
///
/// `event_loop` is a [`Loop`]; `call` is of this very call.
#[inline]
unsafe fn new_handle(
    py: Python<'_>,
    purpose: &Purpose,
    name: &str,
    event_loop: Object,
    call: &Call,
    at: usize,
) -> PyResult<Object> {
    // SAFETY: the caller's promise; `sort` made sure that the callback is there.
    unsafe {
        let callback = *call.arguments.add(at);
        let this = from_raw(py, &event_loop).get();
        this.check_open()?;
        if this.debug() {
            let threadsafe = matches!(purpose, Purpose::SoonThreadsafe);
            let method = Bound::from_borrowed_ptr(py, event_loop).getattr("_check_call")?;
            method.call1((Bound::from_borrowed_ptr(py, callback), name, !threadsafe))?;
        }
        // What runs in the coming turn is soon rid of its context; what waits longer shares it.
        let shares = call.context.is_null()
            && !matches!(purpose, Purpose::Soon)
            && shared_context::is_on()
            && this.is_running_now();
        let context = if shares {
            let copy = Bound::from_owned_ptr(py, context::copy_current(py)?).unbind();
            let (context, rest) = this.with(py, |state| state.shared_context.exchange(py, copy));
            drop(rest);
            context.into_ptr()
        } else if call.context.is_null() {
            context::copy_current(py)?
        } else {
            context::check(Bound::ref_from_ptr(py, &call.context))?;
            ffi::Py_INCREF(call.context);
            call.context
        };
        let handle = handle::new(
            py,
            purpose,
            event_loop,
            callback,
            call.arguments.add(at + 1),
            call.count - at - 1,
            context,
        )?;
        if shares {
            handle::set_shares_context(handle);
        }
        if this.debug() {
            let module = py.import("asyncio.format_helpers")?;
            handle::set_source_traceback(handle, module.call_method0("extract_stack")?);
        }
        Ok(handle)
    }
}

unsafe extern "C" fn call_soon(
    slf: Object,
    arguments: Arguments,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> Object {
    enter_hot(|py| {
        // SAFETY: C's calling convention; the method belongs to `Loop`.
        unsafe {
            let call = sort(py, "call_soon", &["callback"], arguments, count, keywords)?;
            let handle = new_handle(py, &Purpose::Soon, "call_soon", slf, &call, 0)?;
            let this = from_raw(py, &slf).get();
            if !this.is_running_now() {
                handle::track(handle);
            }
            let job = Job::Handle(Bound::from_borrowed_ptr(py, handle).unbind());
            if anyio::is_delivery(py, *arguments) {
                this.with(py, |state| state.turn.schedule_looker(job));
            } else {
                this.schedule(py, job);
            }
            Ok(handle)
        }
    })
}

unsafe extern "C" fn call_soon_threadsafe(
    slf: Object,
    arguments: Arguments,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> Object {
    enter(|py| {
        // SAFETY: as above.
        unsafe {
            let call = sort(
                py,
                "call_soon_threadsafe",
                &["callback"],
                arguments,
                count,
                keywords,
            )?;
            let handle = new_handle(
                py,
                &Purpose::SoonThreadsafe,
                "call_soon_threadsafe",
                slf,
                &call,
                0,
            )?;
            let this = from_raw(py, &slf).get();
            // Without a GIL another thread may run and drop it before we return: it is complete by now.
            if !this.is_running_now() {
                handle::track(handle);
            }
            let handle = Bound::from_owned_ptr(py, handle).unbind();
            this.schedule(py, Job::Handle(handle.clone_ref(py)));
            this.wake(py)?;
            Ok(handle.into_ptr())
        }
    })
}

/// Schedules `call`, whose callback stands second, for `when`.
///
/// # Safety
///
/// As [`new_handle`].
#[inline]
unsafe fn schedule_at(
    py: Python<'_>,
    name: &str,
    slf: Object,
    call: &Call,
    when: f64,
) -> PyResult<Object> {
    // SAFETY: the caller's promise.
    unsafe {
        let handle = new_handle(py, &Purpose::At(when), name, slf, call, 1)?;
        let this = from_raw(py, &slf).get();
        if !this.is_running_now() {
            handle::track(handle);
        }
        let job = Job::Handle(Bound::from_borrowed_ptr(py, handle).unbind());
        // Inside: another thread's loop cannot take the job out before its key is known.
        this.with(py, |state| {
            let key = state.turn.schedule_at(when, job);
            handle::set_timer(handle, key);
        });
        Ok(handle)
    }
}

/// Seconds from a Python number.
///
/// # Safety
///
/// `number` is live.
#[inline]
unsafe fn seconds(py: Python<'_>, number: Object) -> PyResult<f64> {
    // SAFETY: rule 1.
    let seconds = unsafe { ffi::PyFloat_AsDouble(number) };
    // SAFETY: rule 1.
    if seconds == -1.0 && !unsafe { ffi::PyErr_Occurred() }.is_null() {
        return Err(fetch(py));
    }
    Ok(seconds)
}

unsafe extern "C" fn call_later(
    slf: Object,
    arguments: Arguments,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> Object {
    enter_hot(|py| {
        // SAFETY: as above.
        unsafe {
            let call = sort(
                py,
                "call_later",
                &["delay", "callback"],
                arguments,
                count,
                keywords,
            )?;
            if *arguments == ffi::Py_None() {
                return Err(PyTypeError::new_err("delay must not be None"));
            }
            if from_raw(py, &slf).get().is_time_foreign() {
                let method = Bound::from_borrowed_ptr(py, slf).getattr("_call_later")?;
                let made =
                    ffi::PyObject_Vectorcall(method.as_ptr(), arguments, call.count, keywords);
                return if made.is_null() {
                    Err(fetch(py))
                } else {
                    Ok(made)
                };
            }
            let delay = seconds(py, *arguments)?;
            let when = Loop::now(from_raw(py, &slf))? + delay;
            schedule_at(py, "call_later", slf, &call, when)
        }
    })
}

unsafe extern "C" fn call_at(
    slf: Object,
    arguments: Arguments,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> Object {
    enter_hot(|py| {
        // SAFETY: as above.
        unsafe {
            let call = sort(
                py,
                "call_at",
                &["when", "callback"],
                arguments,
                count,
                keywords,
            )?;
            if *arguments == ffi::Py_None() {
                return Err(PyTypeError::new_err("when cannot be None"));
            }
            let when = seconds(py, *arguments)?;
            let handle = schedule_at(py, "call_at", slf, &call, when)?;
            if ffi::PyLong_Check(*arguments) != 0 {
                handle::set_whole(handle);
            }
            Ok(handle)
        }
    })
}

unsafe extern "C" fn time(_slf: Object, _unused: Object) -> Object {
    // SAFETY: rule 1.
    unsafe { ffi::PyFloat_FromDouble(tepal_sys::clock::now()) }
}

unsafe extern "C" fn create_future(slf: Object, _unused: Object) -> Object {
    enter_hot(|py| {
        // SAFETY: the method belongs to `Loop`.
        let event_loop = unsafe { from_raw(py, &slf) };
        let Some(class) = replaced(py, Module::Futures)? else {
            return future::new(event_loop).map(Bound::into_ptr);
        };
        let keywords = PyDict::new(py);
        keywords.set_item(pyo3::intern!(py, "loop"), event_loop)?;
        Ok(class.call((), Some(&keywords))?.into_ptr())
    })
}

/// The modules of asyncio in which classes are looked up.
#[derive(Clone, Copy)]
pub(super) enum Module {
    Futures,
    Tasks,
}

/// The class that somebody has put into asyncio's module in the place of the standard one, which ours stands for. Looked up at each
/// call: programs and tests replace it there at any time.
#[inline]
pub(super) fn replaced(py: Python<'_>, module: Module) -> PyResult<Option<Bound<'_, PyAny>>> {
    type Watched = (Py<PyDict>, Py<PyAny>);
    static WATCHED: PyOnceLock<[Watched; 2]> = PyOnceLock::new();
    const NAMES: [(&str, &str); 2] = [("asyncio.futures", "Future"), ("asyncio.tasks", "Task")];
    let watched = WATCHED.get_or_try_init(py, || {
        let watch = |(module, name)| {
            let standard = py.import("_asyncio")?.getattr(name)?.unbind();
            PyResult::Ok((py.import(module)?.dict().unbind(), standard))
        };
        PyResult::Ok([watch(NAMES[0])?, watch(NAMES[1])?])
    })?;
    let (names, standard) = &watched[module as usize];
    let name = match module {
        Module::Futures => pyo3::intern!(py, "Future"),
        Module::Tasks => pyo3::intern!(py, "Task"),
    };
    let found = names.bind(py).get_item(name)?;
    Ok(found.filter(|found| !found.is(standard)))
}

pub(crate) type FastKeywords =
    unsafe extern "C" fn(Object, Arguments, ffi::Py_ssize_t, Object) -> Object;

/// An entry for C's fast calling convention.
pub(crate) const fn fast(
    name: &'static CStr,
    function: FastKeywords,
    doc: &'static CStr,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunctionFastWithKeywords: function,
        },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: doc.as_ptr(),
    }
}

static mut METHODS: [ffi::PyMethodDef; 7] = [
    fast(
        c"call_soon",
        call_soon,
        c"call_soon($self, callback, *args, context=None)\n--\n\nCall a callback in the coming turn; a Handle.",
    ),
    fast(
        c"call_soon_threadsafe",
        call_soon_threadsafe,
        c"call_soon_threadsafe($self, callback, *args, context=None)\n--\n\nAs call_soon, from any thread.",
    ),
    fast(
        c"call_later",
        call_later,
        c"call_later($self, delay, callback, *args, context=None)\n--\n\nCall a callback after a delay in seconds; a TimerHandle.",
    ),
    fast(
        c"call_at",
        call_at,
        c"call_at($self, when, callback, *args, context=None)\n--\n\nCall a callback at a time on the loop's clock; a TimerHandle.",
    ),
    fast(
        c"create_task",
        create_task::by_loop,
        c"create_task($self, coro, *, name=None, context=None, eager_start=False)\n--\n\nRun a coroutine in a task.",
    ),
    method(
        c"create_future",
        create_future,
        ffi::METH_NOARGS,
        c"create_future($self)\n--\n\nA future of this loop.",
    ),
    method(
        c"time",
        time,
        ffi::METH_NOARGS,
        c"time($self)\n--\n\nSeconds on the loop's clock, as time.monotonic().",
    ),
];

/// Puts the methods into `Loop`.
///
/// # Errors
///
/// MemoryError.
pub(crate) fn register(py: Python<'_>) -> PyResult<()> {
    // SAFETY: the functions take a `Loop`; the table is static and never written.
    unsafe { add_methods(&py.get_type::<Loop>(), &raw mut METHODS) }
}

/// Puts methods into a class as ordinary descriptors.
///
/// # Errors
///
/// MemoryError.
///
/// # Safety
///
/// The table is static and never written (descriptors keep pointers into it), and its functions treat their receivers as instances of
/// the class.
pub(super) unsafe fn add_methods<const COUNT: usize>(
    class: &Bound<'_, PyType>,
    table: *mut [ffi::PyMethodDef; COUNT],
) -> PyResult<()> {
    for index in 0..COUNT {
        // SAFETY: the caller's promise.
        unsafe {
            let definition = table.cast::<ffi::PyMethodDef>().add(index);
            let name = CStr::from_ptr((*definition).ml_name)
                .to_str()
                .unwrap_or_default();
            let descriptor = ffi::PyDescr_NewMethod(class.as_type_ptr(), definition);
            class.setattr(name, Bound::from_owned_ptr_or_err(class.py(), descriptor)?)?;
        }
    }
    Ok(())
}
