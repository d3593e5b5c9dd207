//! Tasks as Python sees them: the type, and what is a task's alone.

use super::{Begin, Making, Name, TaskKind, TaskRef, start};
use crate::raw::future::{self, FutureRef, set_attribute};
use crate::raw::loop_methods::{Arguments, fast};
use crate::raw::method_table::{attribute, descriptor, method, value};
use crate::raw::native_type::slot;
use crate::raw::{Object, enter, enter_status};
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use pyo3::{PyResult, ffi};
use std::ffi::{c_int, c_void};

/// The body of an entry point of `Task`.
macro_rules! on {
    ($object:ident, |$py:ident, $task:ident| $act:expr) => {
        enter(|$py| {
            // SAFETY: the table belongs to our type, and the caller holds a reference.
            let $task = unsafe { Bound::ref_from_ptr($py, &$object) };
            // SAFETY: as above.
            let $task = unsafe { TaskRef::of($task) };
            $act
        })
    };
}

/// `Task(coro, *, loop=None, name=None, context=None, eager_start=False)`.
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
        if arguments.len() > 1 {
            return Err(PyTypeError::new_err(format!(
                "Task() takes at most 1 positional argument ({} given)",
                arguments.len()
            )));
        }
        let mut coro = arguments.get_item(0).ok();
        let (mut event_loop, mut name, mut context, mut eager) = (None, None, None, false);
        if let Some(keywords) = keywords {
            for (keyword, given) in keywords.cast_into::<PyDict>()? {
                let given_or_none = Some(&given).filter(|given| !given.is_none()).cloned();
                match &*keyword.cast::<PyString>()?.to_cow()? {
                    "coro" if coro.is_none() => coro = Some(given),
                    "loop" => event_loop = given_or_none,
                    "name" => name = given_or_none,
                    "context" => context = given_or_none,
                    "eager_start" => eager = given.is_truthy()?,
                    other => {
                        return Err(PyTypeError::new_err(format!(
                            "Task() got an unexpected keyword argument '{other}'"
                        )));
                    }
                }
            }
        }
        let Some(coro) = coro else {
            return Err(PyTypeError::new_err(
                "Task() missing required argument 'coro' (pos 1)",
            ));
        };
        let making = Making {
            coro: &coro,
            name: name.as_ref(),
            context: context.as_ref(),
            begin: if eager { Begin::Eagerly } else { Begin::Soon },
        };
        // SAFETY: the slot belongs to our type.
        let task = unsafe { TaskRef::of(object) };
        // The future's part first: what a failed `Task()` leaves behind must have a loop, and not say that it was pending.
        task.future.begin(event_loop)?;
        let old = task.with(|state| std::mem::replace(state, super::TaskState::empty()));
        drop(old);
        let state = making.state()?;
        let old = task.with(|held| std::mem::replace(held, state));
        drop(old);
        start(task, making.begin)
    })
}

unsafe extern "C" fn repr(object: Object) -> Object {
    enter(|py| {
        // SAFETY: a live instance.
        let object = unsafe { Bound::ref_from_ptr(py, &object) };
        let shown = py.import("asyncio.base_tasks")?;
        Ok(shown.call_method1("_task_repr", (object,))?.into_ptr())
    })
}

unsafe extern "C" fn get_coro(object: Object, _unused: Object) -> Object {
    on!(object, |py, task| value(
        py,
        task.with(|state| state.coro.as_ref().map(|held| held.clone_ref(py)))
    ))
}

unsafe extern "C" fn get_context(object: Object, _unused: Object) -> Object {
    on!(object, |py, task| value(
        py,
        task.with(|state| state.context.as_ref().map(|held| held.clone_ref(py)))
    ))
}

unsafe extern "C" fn get_name(object: Object, _unused: Object) -> Object {
    on!(object, |py, task| {
        let (text, number) = task.with(|state| match &state.name {
            Name::Text(text) => (Some(text.clone_ref(py)), 0),
            Name::Number(number) => (None, *number),
        });
        let Some(text) = text else {
            let text = PyString::new(py, &format!("Task-{number}"));
            let name = Name::Text(text.clone().unbind());
            let old = task.with(|state| std::mem::replace(&mut state.name, name));
            drop(old);
            return Ok(text.into_ptr());
        };
        Ok(text.into_ptr())
    })
}

unsafe extern "C" fn set_name(object: Object, name: Object) -> Object {
    on!(object, |py, task| {
        // SAFETY: borrowed from the caller.
        let name = unsafe { Bound::ref_from_ptr(py, &name) }.str()?;
        let name = Name::Text(name.unbind());
        let old = task.with(|state| std::mem::replace(&mut state.name, name));
        drop(old);
        super::published::rename(task)?;
        Ok(py.None().into_ptr())
    })
}

unsafe extern "C" fn cancel(
    object: Object,
    arguments: Arguments,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> Object {
    on!(object, |py, task| {
        // SAFETY: C's calling convention.
        let message = unsafe { future::message(py, arguments, count, keywords)? };
        value(py, task.cancel(message)?)
    })
}

unsafe extern "C" fn cancelling(object: Object, _unused: Object) -> Object {
    on!(object, |py, task| value(
        py,
        task.with(|state| state.cancellation.requests())
    ))
}

unsafe extern "C" fn uncancel(object: Object, _unused: Object) -> Object {
    on!(object, |py, task| value(
        py,
        task.with(|state| state.cancellation.withdraw(cfg!(Py_3_13)))
    ))
}

unsafe extern "C" fn set_result(_object: Object, _result: Object) -> Object {
    enter(|_py| {
        Err(PyRuntimeError::new_err(
            "Task does not support set_result operation",
        ))
    })
}

unsafe extern "C" fn set_exception(_object: Object, _exception: Object) -> Object {
    enter(|_py| {
        Err(PyRuntimeError::new_err(
            "Task does not support set_exception operation",
        ))
    })
}

unsafe extern "C" fn get_coro_attribute(object: Object, _closure: *mut c_void) -> Object {
    // SAFETY: as the method.
    unsafe { get_coro(object, std::ptr::null_mut()) }
}

unsafe extern "C" fn get_waiter(object: Object, _closure: *mut c_void) -> Object {
    on!(object, |py, task| value(
        py,
        task.with(|state| state.waiter.as_ref().map(|held| held.clone_ref(py)))
    ))
}

unsafe extern "C" fn get_must_cancel(object: Object, _closure: *mut c_void) -> Object {
    on!(object, |py, task| value(
        py,
        task.with(|state| state.cancellation.is_due())
    ))
}

unsafe extern "C" fn get_log_destroy_pending(object: Object, _closure: *mut c_void) -> Object {
    on!(object, |py, task| value(
        py,
        task.with(|state| state.log_destroy_pending)
    ))
}

unsafe extern "C" fn set_log_destroy_pending(
    object: Object,
    given: Object,
    _closure: *mut c_void,
) -> c_int {
    set_attribute::<TaskKind>(object, given, |future: FutureRef<'_, '_>, given| {
        let tells = given.is_truthy()?;
        // SAFETY: the table belongs to our type.
        unsafe { TaskRef::of(future.object) }.with(|state| state.log_destroy_pending = tells);
        Ok(())
    })
}

/// Puts `Task` into the module.
///
/// # Errors
///
/// As `future::make_type`.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let mut methods = future::entries::<TaskKind>();
    methods.extend([
        method(
            c"get_coro",
            get_coro,
            ffi::METH_NOARGS,
            c"get_coro($self, /)\n--\n\nThe coroutine; None when it ended in its eager first step.",
        ),
        method(
            c"get_context",
            get_context,
            ffi::METH_NOARGS,
            c"get_context($self, /)\n--\n\nThe context that the coroutine runs in.",
        ),
        method(
            c"get_name",
            get_name,
            ffi::METH_NOARGS,
            c"get_name($self, /)\n--\n\nThe task's name.",
        ),
        method(
            c"set_name",
            set_name,
            ffi::METH_O,
            c"set_name($self, value, /)\n--\n\nName the task; str() is applied.",
        ),
        fast(
            c"cancel",
            cancel,
            c"cancel($self, /, msg=None)\n--\n\nRequest that CancelledError is raised where the task waits; whether it was pending.",
        ),
        method(
            c"cancelling",
            cancelling,
            ffi::METH_NOARGS,
            c"cancelling($self, /)\n--\n\nHow many requests for cancellation are not withdrawn.",
        ),
        method(
            c"uncancel",
            uncancel,
            ffi::METH_NOARGS,
            c"uncancel($self, /)\n--\n\nWithdraw one request; how many are left.",
        ),
        method(
            c"set_result",
            set_result,
            ffi::METH_O,
            c"A task's result is its coroutine's: RuntimeError.",
        ),
        method(
            c"set_exception",
            set_exception,
            ffi::METH_O,
            c"A task's exception is its coroutine's: RuntimeError.",
        ),
        ffi::PyMethodDef::zeroed(),
    ]);
    let mut attributes = vec![
        descriptor(c"_coro", get_coro_attribute),
        descriptor(c"_fut_waiter", get_waiter),
        descriptor(c"_must_cancel", get_must_cancel),
        attribute(
            c"_log_destroy_pending",
            get_log_destroy_pending,
            Some(set_log_destroy_pending),
        ),
    ];
    attributes.extend(future::attributes::<TaskKind>());
    let mut slots = future::await_slots::<TaskKind>().to_vec();
    slots.push(slot(ffi::Py_tp_init, init as *mut c_void));
    slots.push(slot(ffi::Py_tp_repr, repr as *mut c_void));
    // SAFETY: all tables are for `TaskKind`.
    unsafe {
        future::make_type::<TaskKind>(
            module,
            "Task",
            c"tepal.Task",
            c"Task(coro, *, loop=None, name=None, context=None, eager_start=False)\n--\n\nAn asyncio.Task, native: a coroutine that the loop runs.",
            methods,
            attributes,
            &slots,
        )
    }
}
