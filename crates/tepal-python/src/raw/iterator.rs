//! The iterators that `await` drives, a future's and a native coroutine's: how C is told of a step, and what their types share.

use super::native_type::slot;
use super::raised::Raised;
use super::{Object, call, enter_hot, stop_iteration};
use pyo3::exceptions::{PyDeprecationWarning, PyStopIteration, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use pyo3::{PyResult, Python, ffi};
use std::ffi::{CStr, c_int, c_void};
use std::ptr::null_mut;

/// What an iterator does next.
pub(crate) enum Step<'py> {
    /// It waits for a future of ours.
    Wait(Bound<'py, PyAny>),
    /// It lets the others have a turn.
    Pass,
    /// It is over.
    End(Bound<'py, PyAny>),
}

/// What a step answers.
pub(crate) type Resumed<'py> = Result<Step<'py>, Raised>;

impl<'py> Step<'py> {
    /// What `tp_iternext` answers.
    #[inline]
    pub(crate) fn into_next(self, py: Python<'py>) -> Object {
        match self {
            Self::Wait(future) => future.into_ptr(),
            Self::Pass => py.None().into_ptr(),
            Self::End(value) => stop_iteration::stop_with(value),
        }
    }

    /// What the method `send` answers, whose caller may well look at the exception.
    ///
    /// # Errors
    ///
    /// StopIteration at the end.
    pub(crate) fn into_sent(self, py: Python<'py>) -> PyResult<Object> {
        match self {
            Self::Wait(future) => Ok(future.into_ptr()),
            Self::Pass => Ok(py.None().into_ptr()),
            Self::End(value) => Err(PyStopIteration::new_err((value.unbind(),))),
        }
    }
}

/// The body of `am_send`.
///
/// # Safety
///
/// `result` is C's place for an object.
#[inline]
pub(crate) unsafe fn send_to(
    result: *mut Object,
    advance: impl for<'py> FnOnce(Python<'py>) -> Resumed<'py>,
) -> ffi::PySendResult {
    let mut sent = ffi::PySendResult::PYGEN_ERROR;
    let object = enter_hot(|py| {
        let step = advance(py)?;
        sent = match &step {
            Step::End(_) => ffi::PySendResult::PYGEN_RETURN,
            Step::Wait(_) | Step::Pass => ffi::PySendResult::PYGEN_NEXT,
        };
        Ok(match step {
            Step::Wait(value) | Step::End(value) => value.into_ptr(),
            Step::Pass => py.None().into_ptr(),
        })
    });
    // SAFETY: the caller's promise; C's convention: null with PYGEN_ERROR.
    unsafe { *result = object };
    sent
}

/// What the interpreter's own generators say of more than one argument.
#[cold]
fn warn_of_signature(py: Python<'_>) -> PyResult<()> {
    PyErr::warn(
        py,
        &py.get_type::<PyDeprecationWarning>(),
        c"the (type, exc, tb) signature of throw() is deprecated, use the single-arg signature instead.",
        1,
    )
}

/// The exception that the arguments of `throw` stand for, checked as generators check theirs.
///
/// # Errors
///
/// TypeError for what cannot be thrown; DeprecationWarning where that is an error.
pub(crate) fn thrown(arguments: &Bound<'_, PyTuple>) -> PyResult<PyErr> {
    if arguments.is_empty() || arguments.len() > 3 {
        return Err(PyTypeError::new_err(format!(
            "throw expected 1 to 3 arguments, got {}",
            arguments.len()
        )));
    }
    if cfg!(Py_3_12) && arguments.len() > 1 {
        warn_of_signature(arguments.py())?;
    }
    let kind = arguments.get_item(0)?;
    let value = arguments.get_item(1).ok().filter(|value| !value.is_none());
    let traceback = arguments.get_item(2).ok().filter(|trace| !trace.is_none());
    // SAFETY: rule 1.
    let (is_class, is_instance) = unsafe {
        (
            ffi::PyExceptionClass_Check(kind.as_ptr()) != 0,
            ffi::PyExceptionInstance_Check(kind.as_ptr()) != 0,
        )
    };
    if let Some(traceback) = &traceback
        && !traceback.is_instance_of::<pyo3::types::PyTraceback>()
    {
        return Err(PyTypeError::new_err(
            "throw() third argument must be a traceback",
        ));
    }
    let exception = if is_class {
        match value {
            Some(value) if value.is_instance(&kind)? => value,
            Some(value) => match value.cast_into::<PyTuple>() {
                Ok(values) => kind.call1(values)?,
                Err(error) => kind.call1((error.into_inner(),))?,
            },
            None => kind.call0()?,
        }
    } else if is_instance {
        if value.is_some() {
            return Err(PyTypeError::new_err(
                "instance exception may not have a separate value",
            ));
        }
        kind
    } else {
        return Err(PyTypeError::new_err(format!(
            "exceptions must be classes or instances deriving from BaseException, not {}",
            kind.get_type().name()?
        )));
    };
    if let Some(traceback) = traceback {
        exception.call_method1("with_traceback", (traceback,))?;
    }
    Ok(PyErr::from_value(exception))
}

/// What an iterator, and a coroutine that is awaited, answers: itself.
pub(crate) unsafe extern "C" fn itself(object: Object) -> Object {
    // SAFETY: rule 1.
    unsafe { ffi::Py_NewRef(object) }
}

/// Makes the type of such an iterator, and registers it as a `collections.abc.Coroutine`, as the interpreter's own are.
///
/// # Errors
///
/// What making a type raises.
///
/// # Safety
///
/// `slots` are as `native_type::make` wants them (that an iterator is its own is added here), for instances of `size` bytes.
pub(crate) unsafe fn make_type(
    py: Python<'_>,
    name: &'static CStr,
    size: usize,
    slots: &[ffi::PyType_Slot],
) -> PyResult<*mut ffi::PyTypeObject> {
    let mut slots = slots.to_vec();
    slots.push(slot(ffi::Py_tp_iter, itself as *mut c_void));
    slots.push(slot(0, null_mut()));
    let mut spec = ffi::PyType_Spec {
        name: name.as_ptr(),
        basicsize: size as c_int,
        itemsize: 0,
        flags: (ffi::Py_TPFLAGS_DEFAULT
            | ffi::Py_TPFLAGS_HAVE_GC
            | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION
            | ffi::Py_TPFLAGS_IMMUTABLETYPE) as std::ffi::c_uint,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: rule 1; the spec outlives the call, which copies it; method tables are static.
    let class = unsafe { call::owned(py, ffi::PyType_FromSpec(&raw mut spec))? };
    py.import("collections.abc")?
        .getattr("Coroutine")?
        .call_method1("register", (&class,))?;
    Ok(class.into_ptr().cast())
}
