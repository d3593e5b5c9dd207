//! `create_task`, the loop's and a task group's: the same arguments, and the same task in the end.

use super::loop_methods::{Arguments, Module, add_methods, fast, replaced};
use super::task::{self, Begin, Making};
use super::{Object, call, enter_hot};
use crate::event_loop::{Loop, from_raw};
use crate::sync::TaskGroup;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple};
use pyo3::{PyResult, Python, ffi};

/// What C passes to a METH_FASTCALL | METH_KEYWORDS function.
#[derive(Clone, Copy)]
pub(super) struct Call {
    arguments: Arguments,
    /// How many of them by position.
    count: usize,
    keywords: Object,
}

impl Call {
    pub(super) const fn new(
        arguments: Arguments,
        count: ffi::Py_ssize_t,
        keywords: Object,
    ) -> Self {
        Self {
            arguments,
            count: count as usize,
            keywords,
        }
    }
}

/// `loop.create_task(coro, *, name=None, context=None, eager_start=False)`.
pub(super) unsafe extern "C" fn by_loop(
    slf: Object,
    arguments: Arguments,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> Object {
    enter_hot(|py| {
        let call = Call::new(arguments, count, keywords);
        // SAFETY: C's calling convention; the method belongs to `Loop`.
        unsafe { create(from_raw(py, &slf), call).map(Bound::into_ptr) }
    })
}

/// `group.create_task(coro, *, name=None, context=None, **keywords)`.
unsafe extern "C" fn by_group(
    slf: Object,
    arguments: Arguments,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> Object {
    enter_hot(|py| {
        let call = Call::new(arguments, count, keywords);
        // SAFETY: C's calling convention; the method belongs to `TaskGroup`.
        unsafe {
            let group = Bound::ref_from_ptr(py, &slf).cast_unchecked::<TaskGroup>();
            let event_loop = TaskGroup::admit(group, coroutine(py, call)?)?;
            let event_loop = event_loop.bind(py);
            let task = if event_loop.get().is_create_task_foreign() {
                by_name(event_loop, call)?
            } else {
                create(event_loop, call)?
            };
            TaskGroup::adopt(group, &task)?;
            Ok(task.into_ptr())
        }
    })
}

static mut GROUP_METHODS: [ffi::PyMethodDef; 1] = [fast(
    c"create_task",
    by_group,
    c"create_task($self, coro, *, name=None, context=None, **keywords)\n--\n\nRun a coroutine in a task of the group.",
)];

/// `asyncio.eager_task_factory`, where there is one (3.12 and newer), as it was when tepal was imported.
static EAGER_FACTORY: PyOnceLock<Option<Py<PyAny>>> = PyOnceLock::new();

/// Whether a task factory is asyncio's own eager one. It makes asyncio's own tasks begin at once; with it ours do.
pub(crate) fn is_eager_factory(factory: &Bound<'_, PyAny>) -> bool {
    let known = EAGER_FACTORY.get(factory.py()).and_then(Option::as_ref);
    known.is_some_and(|known| known.is(factory))
}

/// Puts its `create_task` into `TaskGroup`.
///
/// # Errors
///
/// MemoryError; what importing asyncio raises.
pub(crate) fn register(py: Python<'_>) -> PyResult<()> {
    EAGER_FACTORY.get_or_try_init(py, || {
        let found = py
            .import("asyncio.tasks")?
            .getattr_opt("eager_task_factory")?;
        PyResult::Ok(found.map(Bound::unbind))
    })?;
    // SAFETY: the function takes a `TaskGroup`; the table is static and never written.
    unsafe { add_methods(&py.get_type::<TaskGroup>(), &raw mut GROUP_METHODS) }
}

/// The coroutine among the arguments: the only one by position, or by its name.
///
/// # Errors
///
/// TypeError when there is none, or more than one by position.
///
/// # Safety
///
/// The call is as C passes it; the result lives as long as it.
#[inline]
unsafe fn coroutine<'a, 'py>(py: Python<'py>, call: Call) -> PyResult<&'a Bound<'py, PyAny>> {
    // SAFETY: the caller's promise: a tuple of strings, whose values follow the positional arguments.
    unsafe {
        if call.count == 1 {
            return Ok(Bound::ref_from_ptr(py, &*call.arguments));
        }
        if call.count == 0 && !call.keywords.is_null() {
            let names =
                Bound::from_borrowed_ptr(py, call.keywords).cast_into_unchecked::<PyTuple>();
            for (index, keyword) in names.iter_borrowed().enumerate() {
                if *keyword.cast::<PyString>()?.to_cow()? == *"coro" {
                    return Ok(Bound::ref_from_ptr(py, &*call.arguments.add(index)));
                }
            }
        }
    }
    Err(PyTypeError::new_err(
        "create_task() takes one positional argument, the coroutine",
    ))
}

/// The task of a call of the loop's own method.
///
/// # Errors
///
/// As [`task::new`]; TypeError for wrong arguments; what a task factory raises.
///
/// # Safety
///
/// The call is as C passes it.
#[inline]
unsafe fn create<'py>(event_loop: &Bound<'py, Loop>, call: Call) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    let this = event_loop.get();
    this.check_open()?;
    // SAFETY: the caller's promise.
    unsafe {
        let eager = this.makes_eager_tasks();
        if !eager {
            if this.task_factory_is_set(py) {
                return by_factory(event_loop, call);
            }
            if let Some(class) = replaced(py, Module::Tasks)? {
                return by_class(&class, event_loop, call);
            }
        }
        let begin = if eager { Begin::Eagerly } else { Begin::Soon };
        task::new(event_loop, &making(py, call, begin)?)
    }
}

/// What a call of a `create_task` asks for.
///
/// # Errors
///
/// TypeError for wrong arguments.
///
/// # Safety
///
/// The call is as C passes it; the result lives as long as it.
#[inline]
pub(super) unsafe fn making<'a, 'py>(
    py: Python<'py>,
    call: Call,
    begin: Begin,
) -> PyResult<Making<'a, 'py>> {
    // SAFETY: the caller's promise.
    unsafe {
        let mut making = Making::of(coroutine(py, call)?);
        making.begin = begin;
        if !call.keywords.is_null() {
            read_keywords(py, &mut making, call)?;
        }
        Ok(making)
    }
}

/// # Errors
///
/// TypeError for unknown keywords.
///
/// # Safety
///
/// The call is as C passes it, with keywords; the result lives as long as it.
#[inline]
unsafe fn read_keywords<'py>(
    py: Python<'py>,
    making: &mut Making<'_, 'py>,
    call: Call,
) -> PyResult<()> {
    // SAFETY: the caller's promise: a tuple of strings, whose values follow the positional arguments.
    unsafe {
        let names = Bound::from_borrowed_ptr(py, call.keywords).cast_into_unchecked::<PyTuple>();
        for (index, keyword) in names.iter_borrowed().enumerate() {
            let given = Bound::ref_from_ptr(py, &*call.arguments.add(call.count + index));
            let given = Some(given).filter(|given| !given.is_none());
            // Interned on both sides, so mostly the same object.
            if keyword.is(pyo3::intern!(py, "name")) {
                making.name = given;
                continue;
            }
            match &*keyword.cast::<PyString>()?.to_cow()? {
                "coro" => {}
                "name" => making.name = given,
                "context" => making.context = given,
                "eager_start" => {
                    making.begin = match given {
                        Some(given) if given.is_truthy()? => Begin::Eagerly,
                        _ => Begin::Soon,
                    }
                }
                other => {
                    return Err(PyTypeError::new_err(format!(
                        "create_task() got an unexpected keyword argument '{other}'"
                    )));
                }
            }
        }
    }
    Ok(())
}

/// A task of a class that somebody has put in the standard one's place: `class(coro, **keywords, loop=loop)`.
///
/// # Safety
///
/// The call is as C passes it.
#[cold]
unsafe fn by_class<'py>(
    class: &Bound<'py, PyAny>,
    event_loop: &Bound<'py, Loop>,
    call: Call,
) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    let all = PyDict::new(py);
    // SAFETY: the caller's promise.
    let positional = unsafe {
        if !call.keywords.is_null() {
            let names =
                Bound::from_borrowed_ptr(py, call.keywords).cast_into_unchecked::<PyTuple>();
            for (index, name) in names.iter().enumerate() {
                let given = *call.arguments.add(call.count + index);
                all.set_item(name, Bound::from_borrowed_ptr(py, given))?;
            }
        }
        let given =
            (0..call.count).map(|index| Bound::from_borrowed_ptr(py, *call.arguments.add(index)));
        PyTuple::new(py, given.collect::<Vec<_>>())?
    };
    all.set_item("loop", event_loop)?;
    class.call(positional, Some(&all))
}

/// With a task factory: in Python, by this interpreter's own rules.
///
/// # Safety
///
/// The call is as C passes it.
#[cold]
unsafe fn by_factory<'py>(
    event_loop: &Bound<'py, Loop>,
    call: Call,
) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: the caller's promise.
    unsafe { forward(&event_loop.as_any().getattr("_create_task")?, call) }
}

/// By the method that stands in the place of the loop's own.
///
/// # Safety
///
/// The call is as C passes it.
#[cold]
unsafe fn by_name<'py>(event_loop: &Bound<'py, Loop>, call: Call) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: the caller's promise.
    unsafe { forward(&event_loop.as_any().getattr("create_task")?, call) }
}

/// # Safety
///
/// The call is as C passes it.
unsafe fn forward<'py>(method: &Bound<'py, PyAny>, call: Call) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: the caller's promise.
    unsafe {
        let made =
            ffi::PyObject_Vectorcall(method.as_ptr(), call.arguments, call.count, call.keywords);
        call::owned(method.py(), made)
    }
}

/// A task of a loop of ours, made as its `create_task` would, which may be another's; then it begins when that says.
///
/// # Errors
///
/// As [`task::new`]; what a replaced `create_task` or a task factory raises.
#[inline]
pub(crate) fn make<'py>(
    event_loop: &Bound<'py, Loop>,
    making: &Making<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    let this = event_loop.get();
    this.check_open()?;
    let plain = !this.is_create_task_foreign()
        && (this.makes_eager_tasks() || !this.task_factory_is_set(py))
        && replaced(py, Module::Tasks)?.is_none();
    if plain {
        return task::new(event_loop, making);
    }
    let keywords = PyDict::new(py);
    if let Some(name) = making.name {
        keywords.set_item("name", name)?;
    }
    if let Some(context) = making.context {
        keywords.set_item("context", context)?;
    }
    event_loop
        .as_any()
        .call_method("create_task", (making.coro,), Some(&keywords))
}

/// `loop.create_task(coro)`, whatever that is: without a call where the method is ours.
///
/// # Errors
///
/// As [`task::new`]; what a replaced `create_task` or a task factory raises.
#[inline]
pub(crate) fn spawn<'py>(
    event_loop: &Bound<'py, Loop>,
    coro: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let object = coro.as_ptr();
    let call = Call::new(&raw const object, 1, std::ptr::null_mut());
    // SAFETY: one argument and no keywords; both live through the call.
    unsafe {
        if event_loop.get().is_create_task_foreign() {
            by_name(event_loop, call)
        } else {
            create(event_loop, call)
        }
    }
}
