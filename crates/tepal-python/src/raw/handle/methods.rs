//! The handle types as Python sees them: methods, descriptors, and the types themselves.

use super::memory::{clear_for_collector, dealloc, traverse};
use super::{
    HANDLE, HandleBody, MORE, Notes, OFFSET, Object, Outcome, Purpose, SLOTS, THREADSAFE_HANDLE,
    TIMER_HANDLE, TUPLE, TimerBody, WHOLE, body, cancel, is_cancelled, locked, new, own_context,
    run, timer_body, track, wait_while_running,
};
use crate::event_loop::Loop;
use crate::raw::method_table::{NO_ATTRIBUTE, attribute, descriptor, method};
use crate::raw::native_type::{self, body_offset, overlay_offset, slot};
use crate::raw::{context, enter, enter_status, fetch};
use pyo3::exceptions::{PyAttributeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};
use pyo3::{PyResult, ffi};
use std::ffi::{CStr, c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

unsafe extern "C" fn py_new(
    kind: *mut ffi::PyTypeObject,
    arguments: Object,
    keywords: Object,
) -> Object {
    enter(|py| {
        // SAFETY: rule 1; tp_new gets a tuple and a dict or null.
        let (arguments, keywords) = unsafe {
            (
                Bound::from_borrowed_ptr(py, arguments).cast_into_unchecked::<PyTuple>(),
                Bound::from_borrowed_ptr_or_opt(py, keywords),
            )
        };
        if keywords.is_some_and(|keywords| keywords.len().unwrap_or(0) > 0) {
            return Err(PyTypeError::new_err(
                "Handle takes its arguments by position",
            ));
        }
        let timer = kind == TIMER_HANDLE.load(Relaxed);
        let skip = usize::from(timer);
        if arguments.len() < skip + 3 || arguments.len() > skip + 4 {
            return Err(PyTypeError::new_err(
                "expected ([when,] callback, args, loop, context=None)",
            ));
        }
        let callback = arguments.get_item(skip)?;
        let call_arguments = arguments
            .get_item(skip + 1)?
            .try_iter()?
            .collect::<PyResult<Vec<_>>>()?;
        let event_loop = arguments.get_item(skip + 2)?.cast_into::<Loop>()?;
        let context = match arguments.get_item(skip + 3) {
            Ok(context) if !context.is_none() => context.into_ptr(),
            _ => context::copy_current(py)?,
        };
        let purpose = if timer {
            Purpose::At(arguments.get_item(0)?.extract()?)
        } else {
            Purpose::Soon
        };
        let pointers: Vec<Object> = call_arguments.iter().map(Bound::as_ptr).collect();
        // SAFETY: all borrowed objects live through the call; `context` is strong.
        unsafe {
            let handle = new(
                py,
                &purpose,
                event_loop.as_ptr(),
                callback.as_ptr(),
                pointers.as_ptr(),
                pointers.len(),
                context,
            )?;
            track(handle);
            Ok(handle)
        }
    })
}

unsafe extern "C" fn py_init(_handle: Object, _arguments: Object, _keywords: Object) -> c_int {
    0
}

unsafe extern "C" fn py_cancel(handle: Object, _unused: Object) -> Object {
    // SAFETY: the method table belongs to our types.
    enter(|py| unsafe { cancel(py, handle) }.map(|()| py.None().into_ptr()))
}

unsafe extern "C" fn py_cancelled(handle: Object, _unused: Object) -> Object {
    enter(|py| {
        // SAFETY: as above.
        let cancelled = unsafe {
            wait_while_running(py, handle)?;
            is_cancelled(handle)
        };
        // SAFETY: rule 1.
        Ok(unsafe { ffi::PyBool_FromLong(cancelled.into()) })
    })
}

unsafe extern "C" fn py_when(handle: Object, _unused: Object) -> Object {
    // SAFETY: as above.
    let (when, whole) = unsafe {
        let whole = (*body(handle))
            .state
            .load(std::sync::atomic::Ordering::Relaxed)
            & WHOLE
            != 0;
        (timer_body(handle).map(|timer| (*timer).when), whole)
    };
    match when {
        // SAFETY: rule 1.
        Some(when) if whole => unsafe { ffi::PyLong_FromDouble(when) },
        // SAFETY: rule 1.
        Some(when) => unsafe { ffi::PyFloat_FromDouble(when) },
        None => enter(|_py| {
            Err(PyAttributeError::new_err(
                "'tepal.Handle' object has no attribute 'when'",
            ))
        }),
    }
}

unsafe extern "C" fn py_get_context(handle: Object, _unused: Object) -> Object {
    enter(|py| {
        // SAFETY: as above.
        unsafe {
            own_context(py, body(handle))?;
            Ok(strong_or_none((*body(handle)).context))
        }
    })
}

unsafe extern "C" fn get_context(handle: Object, _closure: *mut c_void) -> Object {
    // SAFETY: the descriptor belongs to our types.
    unsafe { py_get_context(handle, null_mut()) }
}

unsafe extern "C" fn py_run(handle: Object, _unused: Object) -> Object {
    enter(|py| {
        let mut entered = context::Entered::none();
        // SAFETY: the method table belongs to our types; the caller holds a reference.
        let outcome = unsafe { run(py, Some(&mut entered), handle) };
        let error = (outcome != Outcome::Done).then(|| fetch(py));
        entered.leave(py)?;
        if let Some(error) = error {
            // It could not even be begun: that is said to who asked, as the loop itself does.
            if outcome == Outcome::Refused {
                return Err(error);
            }
            // SAFETY: as above.
            let (handle, event_loop) = unsafe {
                (
                    Bound::from_borrowed_ptr(py, handle),
                    Bound::from_borrowed_ptr(py, (*body(handle)).event_loop),
                )
            };
            crate::errors::report_callback(event_loop.cast::<Loop>()?, &handle, error)?;
        }
        Ok(py.None().into_ptr())
    })
}

fn strong_or_none(object: Object) -> Object {
    // SAFETY: rule 1; the object is a live field, or null.
    unsafe {
        let object = if object.is_null() {
            ffi::Py_None()
        } else {
            object
        };
        ffi::Py_INCREF(object);
        object
    }
}

macro_rules! getter {
    ($name:ident, $field:ident) => {
        unsafe extern "C" fn $name(handle: Object, _closure: *mut c_void) -> Object {
            // SAFETY: the descriptor belongs to our types.
            unsafe { locked(handle, |this| strong_or_none((*this).$field)) }
        }
    };
}

getter!(get_callback, callback);
// (It never changes; the lock costs nobody anything here.)
getter!(get_loop, event_loop);

unsafe extern "C" fn get_source_traceback(handle: Object, _closure: *mut c_void) -> Object {
    noted(handle, |notes| notes.source_traceback)
}

unsafe extern "C" fn get_repr(handle: Object, _closure: *mut c_void) -> Object {
    noted(handle, |notes| notes.frozen_repr)
}

fn noted(handle: Object, which: impl FnOnce(&Notes) -> Object) -> Object {
    // SAFETY: the callers' descriptors belong to our types.
    unsafe {
        locked(handle, |this| {
            let notes = (*this).notes.as_deref();
            strong_or_none(notes.map_or(null_mut(), which))
        })
    }
}

unsafe extern "C" fn get_arguments(handle: Object, _closure: *mut c_void) -> Object {
    enter(|py| {
        // SAFETY: as above. Strong references are taken under the lock, the tuple is made of them outside.
        let taken = unsafe {
            locked(handle, |this| {
                let strong = |index: usize| Bound::from_borrowed_ptr(py, (*this).inline[index + 1]);
                match (*this).count {
                    _ if (*this).callback.is_null() => Err(py.None().into_bound(py)),
                    TUPLE => Err(strong(0)),
                    count => Ok((0..count as usize).map(strong).collect::<Vec<_>>()),
                }
            })
        };
        Ok(match taken {
            Ok(arguments) => PyTuple::new(py, arguments)?.into_any(),
            Err(whole) => whole,
        }
        .into_ptr())
    })
}

unsafe extern "C" fn get_cancelled(handle: Object, _closure: *mut c_void) -> Object {
    // SAFETY: as above.
    unsafe { py_cancelled(handle, null_mut()) }
}

unsafe extern "C" fn get_when(handle: Object, _closure: *mut c_void) -> Object {
    // SAFETY: as above.
    unsafe { py_when(handle, null_mut()) }
}

unsafe extern "C" fn get_scheduled(handle: Object, _closure: *mut c_void) -> Object {
    enter(|py| {
        // SAFETY: as above.
        let scheduled = unsafe {
            let this = body(handle);
            let event_loop = Bound::from_borrowed_ptr(py, (*this).event_loop);
            match timer_body(handle).and_then(|timer| locked(handle, |_| (*timer).key)) {
                Some(key) => event_loop.cast::<Loop>()?.get().is_scheduled(py, key),
                None => false,
            }
        };
        Ok(scheduled
            .into_pyobject(py)?
            .to_owned()
            .into_any()
            .unbind()
            .into_ptr())
    })
}

/// asyncio trims the last entry of a handle's traceback; nothing else writes to a handle from outside.
unsafe extern "C" fn set_traceback_attribute(
    handle: Object,
    value: Object,
    _closure: *mut c_void,
) -> c_int {
    enter_status(|_py| {
        // SAFETY: as above; the new reference is made before the old one is dropped.
        unsafe {
            ffi::Py_XINCREF(value);
            let old = locked(handle, |this| {
                std::mem::replace(&mut (*this).notes().source_traceback, value)
            });
            ffi::Py_XDECREF(old);
        }
        Ok(())
    })
}

struct Tables {
    methods: [ffi::PyMethodDef; 6],
    descriptors: [ffi::PyGetSetDef; 10],
}

// SAFETY: the tables hold pointers to static names and functions and are never written after they are made.
unsafe impl Sync for Tables {}
// SAFETY: as above.
unsafe impl Send for Tables {}

static mut TABLES: Tables = Tables {
    methods: [
        method(
            c"cancel",
            py_cancel,
            ffi::METH_NOARGS,
            c"Cancel the callback; cancelling again does nothing.",
        ),
        method(
            c"cancelled",
            py_cancelled,
            ffi::METH_NOARGS,
            c"Whether the handle was cancelled.",
        ),
        method(
            c"when",
            py_when,
            ffi::METH_NOARGS,
            c"The scheduled time, in seconds on the loop's clock.",
        ),
        method(
            c"get_context",
            py_get_context,
            ffi::METH_NOARGS,
            c"The contextvars.Context in which the callback runs.",
        ),
        method(
            c"_run",
            py_run,
            ffi::METH_NOARGS,
            c"Run the callback now, as the loop does.",
        ),
        // SAFETY: a table ends with a zeroed entry.
        unsafe { std::mem::zeroed() },
    ],
    descriptors: [
        descriptor(c"_callback", get_callback),
        descriptor(c"_args", get_arguments),
        descriptor(c"_context", get_context),
        descriptor(c"_loop", get_loop),
        descriptor(c"_cancelled", get_cancelled),
        attribute(
            c"_source_traceback",
            get_source_traceback,
            Some(set_traceback_attribute),
        ),
        descriptor(c"_repr", get_repr),
        descriptor(c"_when", get_when),
        descriptor(c"_scheduled", get_scheduled),
        NO_ATTRIBUTE,
    ],
};

/// Makes both types and puts them into the module.
///
/// # Errors
///
/// What importing asyncio or making a type raises.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let events = py.import("asyncio.events")?;
    let handle_base = events.getattr("Handle")?.cast_into::<PyType>()?;
    let timer_base = events.getattr("TimerHandle")?.cast_into::<PyType>()?;
    // CPython 3.14 tells the handles of `call_soon_threadsafe` apart by their type, and so do its tests.
    let threadsafe_base = match events.getattr("_ThreadSafeHandle") {
        Ok(base) => base.cast_into::<PyType>()?,
        Err(_) => handle_base.clone(),
    };
    let bases = [&handle_base, &threadsafe_base, &timer_base];
    let over = overlay_offset(&bases, SLOTS, MORE);
    let offset = over.unwrap_or_else(|| body_offset(&bases));
    OFFSET.store(offset, Relaxed);
    let slots = [
        slot(
            ffi::Py_tp_doc,
            c"A callback that waits for its turn (see asyncio.Handle).".as_ptr() as *mut c_void,
        ),
        slot(ffi::Py_tp_new, py_new as *mut c_void),
        slot(ffi::Py_tp_init, py_init as *mut c_void),
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(ffi::Py_tp_clear, clear_for_collector as *mut c_void),
        slot(ffi::Py_tp_methods, {
            // SAFETY: only the address of a static is taken.
            unsafe { (&raw mut TABLES.methods).cast::<c_void>() }
        }),
        slot(ffi::Py_tp_getset, {
            // SAFETY: only the address of a static is taken.
            unsafe { (&raw mut TABLES.descriptors).cast::<c_void>() }
        }),
    ];
    let made = |base: &Bound<'_, PyType>,
                name: &'static CStr,
                size: usize,
                place: &AtomicPtr<ffi::PyTypeObject>| {
        // SAFETY: the functions above treat their instances as what `make` is told here.
        let kind = unsafe { native_type::make(base, name, offset, size, 0, &slots)? };
        // The raw pointer is a reference of its own: types live as long as the process.
        place.store(kind.clone().into_ptr().cast(), Relaxed);
        module.add(kind.name()?, &kind)
    };
    made(
        &handle_base,
        c"tepal.Handle",
        size_of::<HandleBody>(),
        &HANDLE,
    )?;
    made(
        &threadsafe_base,
        c"tepal._ThreadSafeHandle",
        size_of::<HandleBody>(),
        &THREADSAFE_HANDLE,
    )?;
    made(
        &timer_base,
        c"tepal.TimerHandle",
        size_of::<TimerBody>(),
        &TIMER_HANDLE,
    )
}
