//! Futures as Python sees them: the tables that both types share, and what is `Future`'s alone.

use super::{FutureKind, FutureRef, Kind, Status, awaiting};
use crate::raw::loop_methods::{Arguments, fast, only_keyword};
use crate::raw::method_table::{NO_ATTRIBUTE, attribute, descriptor, method, nothing, value};
use crate::raw::native_type::slot;
use crate::raw::{Object, enter, enter_hot, enter_status};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};
use pyo3::{PyResult, Python, ffi};
use std::ffi::{c_int, c_void};

/// The body of an entry point whose receiver is a `K`: attached as `$enter` has it.
macro_rules! on {
    ($enter:ident, $kind:ident, $object:ident, |$py:ident, $future:ident| $act:expr) => {
        $enter(|$py| {
            // SAFETY: the table belongs to `K`'s type, and the caller holds a reference.
            let $future = unsafe { Bound::ref_from_ptr($py, &$object) };
            // SAFETY: as above.
            let $future = unsafe { FutureRef::of::<$kind>($future) };
            $act
        })
    };
}

unsafe extern "C" fn result<K: Kind>(object: Object, _unused: Object) -> Object {
    on!(enter_hot, K, object, |_py, future| future
        .result()
        .map(Bound::into_ptr))
}

unsafe extern "C" fn exception<K: Kind>(object: Object, _unused: Object) -> Object {
    on!(enter, K, object, |_py, future| future
        .exception()
        .map(Bound::into_ptr))
}

unsafe extern "C" fn done<K: Kind>(object: Object, _unused: Object) -> Object {
    on!(enter_hot, K, object, |py, future| value(
        py,
        future.status() != Status::Pending
    ))
}

unsafe extern "C" fn cancelled<K: Kind>(object: Object, _unused: Object) -> Object {
    on!(enter_hot, K, object, |py, future| value(
        py,
        future.status() == Status::Cancelled
    ))
}

unsafe extern "C" fn get_loop<K: Kind>(object: Object, _unused: Object) -> Object {
    on!(enter_hot, K, object, |_py, future| future
        .event_loop()
        .map(Bound::into_ptr))
}

unsafe extern "C" fn add_done_callback<K: Kind>(
    object: Object,
    arguments: Arguments,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> Object {
    on!(enter_hot, K, object, |py, future| {
        // SAFETY: C's calling convention.
        let context = unsafe {
            keyword(
                py,
                "add_done_callback",
                "context",
                arguments,
                count,
                keywords,
            )?
        };
        if count != 1 {
            return Err(PyTypeError::new_err(format!(
                "add_done_callback() takes exactly 1 positional argument ({count} given)"
            )));
        }
        // SAFETY: as above.
        let function = unsafe { Bound::ref_from_ptr(py, &*arguments) };
        nothing(py, future.add_done_callback(function, context))
    })
}

unsafe extern "C" fn remove_done_callback<K: Kind>(object: Object, function: Object) -> Object {
    on!(enter, K, object, |py, future| {
        // SAFETY: borrowed from the caller.
        let function = unsafe { Bound::ref_from_ptr(py, &function) };
        value(py, future.remove_done_callback(function)?)
    })
}

unsafe extern "C" fn make_cancelled_error<K: Kind>(object: Object, _unused: Object) -> Object {
    on!(enter, K, object, |_py, future| future
        .make_cancelled_error()
        .map(Bound::into_ptr))
}

unsafe extern "C" fn iterate<K: Kind>(object: Object) -> Object {
    on!(enter_hot, K, object, |_py, future| awaiting::new(&future))
}

/// Whether this is the method `set_result` of a future of ours.
///
/// # Safety
///
/// A live object.
#[cfg(not(Py_GIL_DISABLED))]
#[inline]
pub(crate) unsafe fn is_set_result(callback: Object) -> bool {
    // SAFETY: rule 1 and the caller's promise; a method's receiver lives as long as it.
    unsafe {
        if ffi::PyCFunction_CheckExact(callback) == 0 {
            return false;
        }
        let function = ffi::PyCFunction_GetFunction(callback);
        let receiver = ffi::PyCFunction_GetSelf(callback);
        function.is_some_and(|function| function as usize == set_result as *const () as usize)
            && !receiver.is_null()
            && ffi::Py_TYPE(receiver)
                == FutureKind::CLASS.load(std::sync::atomic::Ordering::Relaxed)
    }
}

unsafe extern "C" fn set_result(object: Object, result: Object) -> Object {
    on!(enter_hot, FutureKind, object, |py, future| {
        // SAFETY: borrowed from the caller.
        let result = unsafe { Bound::from_borrowed_ptr(py, result) };
        nothing(py, future.set_result(result))
    })
}

unsafe extern "C" fn set_exception(object: Object, exception: Object) -> Object {
    on!(enter, FutureKind, object, |py, future| {
        // SAFETY: borrowed from the caller.
        let exception = unsafe { Bound::ref_from_ptr(py, &exception) };
        nothing(py, future.set_exception(exception))
    })
}

unsafe extern "C" fn cancel(
    object: Object,
    arguments: Arguments,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> Object {
    on!(enter, FutureKind, object, |py, future| {
        // SAFETY: C's calling convention.
        let message = unsafe { message(py, arguments, count, keywords)? };
        value(py, future.cancel(message)?)
    })
}

/// The message in the arguments of `cancel(msg=None)`.
///
/// # Errors
///
/// TypeError for other arguments.
///
/// # Safety
///
/// As [`keyword`].
pub(crate) unsafe fn message<'py>(
    py: Python<'py>,
    arguments: Arguments,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    // SAFETY: the caller's promise.
    let named = unsafe { keyword(py, "cancel", "msg", arguments, count, keywords)? };
    match count {
        0 => Ok(named),
        // SAFETY: as above.
        1 => Ok(Some(unsafe { Bound::from_borrowed_ptr(py, *arguments) })
            .filter(|given| !given.is_none())),
        _ => Err(PyTypeError::new_err(format!(
            "cancel() takes at most 1 argument ({count} given)"
        ))),
    }
}

/// As [`only_keyword`], with a reference of its own.
///
/// # Errors
///
/// As that.
///
/// # Safety
///
/// As that.
#[inline]
unsafe fn keyword<'py>(
    py: Python<'py>,
    method: &str,
    wanted: &str,
    arguments: Arguments,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    // SAFETY: the caller's promise; the value is borrowed from the call, or null.
    unsafe {
        let given = only_keyword(py, method, wanted, arguments, count as usize, keywords)?;
        Ok(Bound::from_borrowed_ptr_or_opt(py, given))
    }
}

/// `Future(*, loop=None)`.
unsafe extern "C" fn init(object: Object, arguments: Object, keywords: Object) -> c_int {
    enter_status(|py| {
        // SAFETY: tp_init gets an instance, a tuple, and a dict or null.
        let (object, arguments, keywords) = unsafe {
            (
                Bound::ref_from_ptr(py, &object),
                Bound::from_borrowed_ptr(py, arguments).cast_into_unchecked::<PyTuple>(),
                Bound::from_borrowed_ptr_or_opt(py, keywords),
            )
        };
        if !arguments.is_empty() {
            return Err(PyTypeError::new_err(format!(
                "Future() takes no positional arguments ({} given)",
                arguments.len()
            )));
        }
        let mut event_loop = None;
        if let Some(keywords) = keywords {
            for (name, given) in keywords.cast_into::<PyDict>()? {
                if name.cast::<PyString>()?.to_cow()? != "loop" {
                    return Err(PyTypeError::new_err(format!(
                        "Future() got an unexpected keyword argument {}",
                        name.repr()?
                    )));
                }
                event_loop = Some(given).filter(|given| !given.is_none());
            }
        }
        // SAFETY: the slot belongs to `FutureKind`.
        unsafe { FutureRef::of::<FutureKind>(object) }.begin(event_loop)
    })
}

unsafe extern "C" fn repr(object: Object) -> Object {
    enter(|py| {
        // SAFETY: a live instance.
        let object = unsafe { Bound::ref_from_ptr(py, &object) };
        let shown = py.import("asyncio.base_futures")?;
        Ok(shown.call_method1("_future_repr", (object,))?.into_ptr())
    })
}

// --- attributes, by the names that asyncio's own code, tests and tools read -----------------------------------------------

unsafe extern "C" fn get_state<K: Kind>(object: Object, _closure: *mut c_void) -> Object {
    on!(enter, K, object, |py, future| value(
        py,
        match future.status() {
            Status::Pending => "PENDING",
            Status::Cancelled => "CANCELLED",
            Status::Returned | Status::Raised => "FINISHED",
        }
    ))
}

unsafe extern "C" fn get_result<K: Kind>(object: Object, _closure: *mut c_void) -> Object {
    on!(enter, K, object, |py, future| value(
        py,
        future.value(Status::Returned)
    ))
}

unsafe extern "C" fn get_exception<K: Kind>(object: Object, _closure: *mut c_void) -> Object {
    on!(enter, K, object, |py, future| value(
        py,
        future.value(Status::Raised)
    ))
}

unsafe extern "C" fn get_event_loop<K: Kind>(object: Object, _closure: *mut c_void) -> Object {
    on!(enter, K, object, |py, future| value(
        py,
        future.event_loop().ok()
    ))
}

unsafe extern "C" fn get_callbacks<K: Kind>(object: Object, _closure: *mut c_void) -> Object {
    on!(enter, K, object, |py, future| {
        let standing: Vec<_> = future.with(|state| {
            let callbacks = state.callbacks.iter();
            callbacks.map(|callback| callback.clone_ref(py)).collect()
        });
        if standing.is_empty() {
            return Ok(py.None().into_ptr());
        }
        let shown = PyList::empty(py);
        for callback in standing {
            shown.append(callback.into_pair(py)?)?;
        }
        Ok(shown.into_ptr())
    })
}

unsafe extern "C" fn get_source_traceback<K: Kind>(
    object: Object,
    _closure: *mut c_void,
) -> Object {
    on!(enter, K, object, |py, future| value(
        py,
        future.source_traceback()
    ))
}

unsafe extern "C" fn get_cancel_message<K: Kind>(object: Object, _closure: *mut c_void) -> Object {
    on!(enter, K, object, |py, future| value(
        py,
        future.cancel_message()
    ))
}

unsafe extern "C" fn set_cancel_message<K: Kind>(
    object: Object,
    given: Object,
    _closure: *mut c_void,
) -> c_int {
    set_attribute::<K>(object, given, |future, given| {
        future.set_cancel_message(Some(given.clone()).filter(|given| !given.is_none()));
        Ok(())
    })
}

unsafe extern "C" fn get_blocking<K: Kind>(object: Object, _closure: *mut c_void) -> Object {
    on!(enter, K, object, |py, future| value(
        py,
        future.with(|state| state.event_loop.is_some() && state.blocking)
    ))
}

unsafe extern "C" fn set_blocking<K: Kind>(
    object: Object,
    given: Object,
    _closure: *mut c_void,
) -> c_int {
    set_attribute::<K>(object, given, |future, given| {
        future.event_loop()?;
        let blocking = given.is_truthy()?;
        future.with(|state| state.blocking = blocking);
        Ok(())
    })
}

unsafe extern "C" fn get_log_traceback<K: Kind>(object: Object, _closure: *mut c_void) -> Object {
    on!(enter, K, object, |py, future| {
        future.event_loop()?;
        value(py, future.logs_traceback())
    })
}

unsafe extern "C" fn set_log_traceback<K: Kind>(
    object: Object,
    given: Object,
    _closure: *mut c_void,
) -> c_int {
    set_attribute::<K>(object, given, |future, given| {
        if given.is_truthy()? {
            return Err(PyValueError::new_err(
                "_log_traceback can only be set to False",
            ));
        }
        future.forget_traceback_log();
        Ok(())
    })
}

/// Who awaits the future, for the call graph (3.14 and newer): the tasks of ours that do, and whom asyncio's own code has named.
unsafe extern "C" fn get_awaited_by<K: Kind>(object: Object, _closure: *mut c_void) -> Object {
    on!(enter, K, object, |py, future| {
        let mut waiting: Vec<Py<PyAny>> = future.with(|state| {
            let tasks = state
                .callbacks
                .iter()
                .filter_map(|callback| match callback {
                    super::Callback::Wake(task) => Some(task.clone_ref(py)),
                    super::Callback::Tell(observer) => observer.get().parent(py),
                    super::Callback::Member(group, _) => group.get().parent(py).map(Bound::unbind),
                    super::Callback::Child(nursery, _) => nursery.get().parent(py),
                    super::Callback::Call { .. } => None,
                });
            tasks.collect()
        });
        // SAFETY: rule 1; the base lives as long as the process.
        let base = unsafe {
            let base = K::BASE.load(std::sync::atomic::Ordering::Relaxed);
            Bound::from_borrowed_ptr(py, base.cast())
        };
        let named = base
            .getattr("_asyncio_awaited_by")?
            .call_method1("__get__", (future.object,))?;
        if !named.is_none() {
            for one in named.try_iter()? {
                waiting.push(one?.unbind());
            }
        }
        if waiting.is_empty() {
            return Ok(py.None().into_ptr());
        }
        Ok(pyo3::types::PyFrozenSet::new(py, waiting)?.into_ptr())
    })
}

/// A setter's body; deleting an attribute is refused.
pub(crate) fn set_attribute<K: Kind>(
    object: Object,
    given: Object,
    set: impl FnOnce(FutureRef<'_, '_>, &Bound<'_, PyAny>) -> PyResult<()>,
) -> c_int {
    enter_status(|py| {
        if given.is_null() {
            return Err(pyo3::exceptions::PyAttributeError::new_err(
                "cannot delete attribute",
            ));
        }
        // SAFETY: a live instance of `K`, and a live value.
        let (object, given) = unsafe {
            (
                Bound::ref_from_ptr(py, &object),
                Bound::ref_from_ptr(py, &given),
            )
        };
        // SAFETY: as above.
        set(unsafe { FutureRef::of::<K>(object) }, given)
    })
}

/// The attributes of both types, with the end of the table.
pub(crate) fn attributes<K: Kind>() -> Vec<ffi::PyGetSetDef> {
    let mut table = vec![
        descriptor(c"_state", get_state::<K>),
        descriptor(c"_result", get_result::<K>),
        descriptor(c"_exception", get_exception::<K>),
        descriptor(c"_loop", get_event_loop::<K>),
        descriptor(c"_callbacks", get_callbacks::<K>),
        descriptor(c"_source_traceback", get_source_traceback::<K>),
        attribute(
            c"_cancel_message",
            get_cancel_message::<K>,
            Some(set_cancel_message::<K>),
        ),
        attribute(
            c"_asyncio_future_blocking",
            get_blocking::<K>,
            Some(set_blocking::<K>),
        ),
        attribute(
            c"_log_traceback",
            get_log_traceback::<K>,
            Some(set_log_traceback::<K>),
        ),
    ];
    if cfg!(Py_3_14) {
        table.push(descriptor(c"_asyncio_awaited_by", get_awaited_by::<K>));
    }
    table.push(NO_ATTRIBUTE);
    table
}

/// The methods of both types.
pub(crate) fn entries<K: Kind>() -> Vec<ffi::PyMethodDef> {
    vec![
        method(
            c"result",
            result::<K>,
            ffi::METH_NOARGS,
            c"result($self, /)\n--\n\nThe result; raises the exception, CancelledError, or InvalidStateError while pending.",
        ),
        method(
            c"exception",
            exception::<K>,
            ffi::METH_NOARGS,
            c"exception($self, /)\n--\n\nThe exception, or None; raises CancelledError, or InvalidStateError while pending.",
        ),
        method(
            c"done",
            done::<K>,
            ffi::METH_NOARGS,
            c"done($self, /)\n--\n\nWhether it has ended.",
        ),
        method(
            c"cancelled",
            cancelled::<K>,
            ffi::METH_NOARGS,
            c"cancelled($self, /)\n--\n\nWhether it ended by being cancelled.",
        ),
        method(
            c"get_loop",
            get_loop::<K>,
            ffi::METH_NOARGS,
            c"get_loop($self, /)\n--\n\nThe loop it belongs to.",
        ),
        fast(
            c"add_done_callback",
            add_done_callback::<K>,
            c"add_done_callback($self, fn, /, *, context=None)\n--\n\nCall a function with the future when it has ended.",
        ),
        method(
            c"remove_done_callback",
            remove_done_callback::<K>,
            ffi::METH_O,
            c"remove_done_callback($self, fn, /)\n--\n\nTake a function off the list; how often it stood there.",
        ),
        method(
            c"_make_cancelled_error",
            make_cancelled_error::<K>,
            ffi::METH_NOARGS,
            c"The CancelledError to raise.",
        ),
    ]
}

/// The slots of `await` and `yield from`.
pub(crate) fn await_slots<K: Kind>() -> [ffi::PyType_Slot; 2] {
    [
        slot(ffi::Py_am_await, iterate::<K> as *mut c_void),
        slot(ffi::Py_tp_iter, iterate::<K> as *mut c_void),
    ]
}

/// The methods of `Future` alone, with the end of the table.
pub(super) fn own_entries() -> Vec<ffi::PyMethodDef> {
    vec![
        method(
            c"set_result",
            set_result,
            ffi::METH_O,
            c"set_result($self, result, /)\n--\n\nEnd it with a result; InvalidStateError if it has ended.",
        ),
        method(
            c"set_exception",
            set_exception,
            ffi::METH_O,
            c"set_exception($self, exception, /)\n--\n\nEnd it with an exception; InvalidStateError if it has ended.",
        ),
        fast(
            c"cancel",
            cancel,
            c"cancel($self, /, msg=None)\n--\n\nEnd it as cancelled; whether it was pending.",
        ),
        ffi::PyMethodDef::zeroed(),
    ]
}

/// The slots of `Future` alone.
pub(super) fn own_slots() -> Vec<ffi::PyType_Slot> {
    let mut slots = await_slots::<FutureKind>().to_vec();
    slots.push(slot(ffi::Py_tp_init, init as *mut c_void));
    slots.push(slot(ffi::Py_tp_repr, repr as *mut c_void));
    slots
}
