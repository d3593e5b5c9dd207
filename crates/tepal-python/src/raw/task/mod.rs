//! `tepal.Task`: a coroutine that the loop runs from pause to pause.
//!
//! Derives from the interpreter's `_asyncio.Task` as a future does from its `Future` (`raw/future`), whose state it has in front. A task
//! that is to run stands in the ready queue itself: there is no handle, no bound method and no call from Python in between.
//!
//! `step.rs` runs a task to its next pause, `scoped.rs` breaks it off for a cancel scope's sake, `registry.rs` tells asyncio which task
//! runs and which there are, `wakeup.rs` is the function
//! that stands for a task where one is needed (a future of another kind, a loop of another kind, debug mode), `methods.rs` what
//! Python calls, `published.rs` what tools read from outside the process.
//!
//! **How a task stands.** Exactly one of: *scheduled* (a job or a callback will step it; `waiter` is null or has ended), *waiting* (`waiter`
//! is pending and has the task among its callbacks), *running* (`step` is on the stack), *done*.
//!
//! **Who keeps it.** Its loop does until it is done (`Loop::keep`), so that a task nobody refers to cannot vanish at a collection, as
//! asyncio's can. What waits for ever on a loop that is thrown away is found with the loop.

mod methods;
mod published;
mod registry;
mod scoped;
mod step;
mod wakeup;

pub(crate) use methods::register;
pub(crate) use published::set_published_layout;
pub(crate) use registry::{Current, current, note_end_of_wait, note_wait};
pub(crate) use scoped::{Scoped, Seat, deliver};
pub(crate) use step::{After, run, step_again};
pub(crate) use wakeup::wakeup;

use super::free_list::FreeList;
use super::future::{Body, DEPTH, FutureRef, FutureState, Kind, Status, allocate, body};
use super::{Object, context};
use crate::event_loop::{Job, Loop};
use crate::owned::Owned;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use pyo3::{PyResult, Python, ffi};
use scoped::Flight;
use std::ffi::c_int;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering::Relaxed};
use tepal_core::task::Cancellation;

/// What a task has beyond a future.
struct TaskState {
    /// `None` before `__init__`, and when it ended in its eager first step.
    coro: Option<Py<PyAny>>,
    context: Option<Py<PyAny>>,
    /// What it awaits, until the step that follows.
    waiter: Option<Py<PyAny>>,
    /// What its next step throws.
    thrown: Option<Py<PyAny>>,
    name: Name,
    cancellation: Cancellation,
    scoped: Scoped,
    kept: Kept,
    log_destroy_pending: bool,
}

/// A name is made of a number when somebody asks for it.
enum Name {
    Number(u64),
    Text(Py<PyString>),
}

/// Where a task stands among those that are pending.
#[derive(Clone, Copy)]
enum Kept {
    Nowhere,
    /// In its loop, under this key.
    ByLoop(usize),
    /// Only in asyncio's own lists, which keep nothing: its loop is none of ours.
    ByAsyncio,
}

impl TaskState {
    const fn empty() -> Self {
        Self {
            coro: None,
            context: None,
            waiter: None,
            thrown: None,
            name: Name::Number(0),
            cancellation: Cancellation::new(),
            scoped: Scoped::none(),
            kept: Kept::Nowhere,
            log_destroy_pending: true,
        }
    }
}

impl TaskState {
    /// As `Body::release`.
    #[inline]
    fn release(&mut self, py: Python<'_>) {
        let held = [
            &mut self.coro,
            &mut self.context,
            &mut self.waiter,
            &mut self.thrown,
        ];
        for held in held {
            drop(held.take().map(|held| held.into_bound(py)));
        }
        if let Name::Text(text) = std::mem::replace(&mut self.name, Name::Number(0)) {
            drop(text.into_bound(py));
        }
        drop(self.scoped.scope.take().map(|scope| scope.into_bound(py)));
    }
}

pub(crate) struct TaskBody {
    future: Owned<FutureState>,
    task: Owned<TaskState>,
}

pub(crate) struct TaskKind;

static CLASS: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(null_mut());
static BASE: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(null_mut());
static OFFSET: AtomicUsize = AtomicUsize::new(0);
static FREE: FreeList = FreeList::new(DEPTH);

impl Kind for TaskKind {
    type Body = TaskBody;
    const CLASS: &'static AtomicPtr<ffi::PyTypeObject> = &CLASS;
    const BASE: &'static AtomicPtr<ffi::PyTypeObject> = &BASE;
    const OFFSET: &'static AtomicUsize = &OFFSET;
    const FREE: &'static FreeList = &FREE;
}

impl Body for TaskBody {
    fn empty() -> Self {
        Self {
            future: Owned::new(FutureState::empty()),
            task: Owned::new(TaskState::empty()),
        }
    }

    fn future(&self) -> &Owned<FutureState> {
        &self.future
    }

    fn show(&self, see: &mut dyn FnMut(Object) -> c_int) -> c_int {
        let answer = self.future.show(see);
        if answer != 0 {
            return answer;
        }
        let shown = self.task.try_with(|state| {
            let held = [&state.coro, &state.context, &state.waiter, &state.thrown];
            let scope = state.scoped.scope.as_ref().map(Py::as_any);
            super::native_state::show_all(held.into_iter().flatten().chain(scope), see)
        });
        shown.unwrap_or(0)
    }

    fn take(&self, py: Python<'_>) -> Self {
        let task = self.task.with(py, |state| {
            let left = TaskState {
                cancellation: state.cancellation,
                ..TaskState::empty()
            };
            std::mem::replace(state, left)
        });
        Self {
            future: self.future.take(py),
            task: Owned::new(task),
        }
    }

    fn release(&mut self, py: Python<'_>) {
        self.task.get_mut().release(py);
        self.future.get_mut().release(py);
    }

    fn finalize(future: FutureRef<'_, '_>) -> PyResult<()> {
        // SAFETY: `TaskKind` is whose body this is.
        let task = unsafe { TaskRef::of(future.object) };
        let (kept, tells) = task.with(|state| (state.kept, state.log_destroy_pending));
        let pending = task.future.status() == Status::Pending;
        if pending && !matches!(kept, Kept::Nowhere) {
            registry::forget(task)?;
        }
        if pending && tells && task.with(|state| state.coro.is_some()) {
            future.report("task", "Task was destroyed but it is pending!", None)?;
        }
        future.tell_unseen_exception()
    }

    fn wants_finalizer(&self, py: Python<'_>) -> bool {
        self.future.wants_finalizer(py)
            || self.future.with(py, |state| {
                state.status == Status::Pending && state.event_loop.is_some()
            })
    }
}

/// A task of ours.
#[derive(Clone, Copy)]
struct TaskRef<'a, 'py> {
    future: FutureRef<'a, 'py>,
    state: &'a Owned<TaskState>,
}

impl<'a, 'py> TaskRef<'a, 'py> {
    /// # Safety
    ///
    /// `object` is an instance of our type or of a subclass.
    #[inline]
    unsafe fn of(object: &'a Bound<'py, PyAny>) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            Self {
                future: FutureRef::of::<TaskKind>(object),
                state: &body::<TaskKind>(object).task,
            }
        }
    }

    /// The object, if its type is ours and no subclass.
    #[inline]
    fn exact(object: &'a Bound<'py, PyAny>) -> Option<Self> {
        // SAFETY: the type is looked at first.
        (object.get_type_ptr() == CLASS.load(Relaxed)).then(|| unsafe { Self::of(object) })
    }

    /// The object, if its type is ours or a subclass.
    #[inline]
    fn any(object: &'a Bound<'py, PyAny>) -> Option<Self> {
        let is_ours = object.get_type_ptr() == CLASS.load(Relaxed) || {
            // SAFETY: both are types.
            unsafe { ffi::PyType_IsSubtype(object.get_type_ptr(), CLASS.load(Relaxed)) != 0 }
        };
        // SAFETY: just looked at.
        is_ours.then(|| unsafe { Self::of(object) })
    }

    fn py(&self) -> Python<'py> {
        self.future.py()
    }

    /// Under which its loop keeps it.
    ///
    /// # Errors
    ///
    /// RuntimeError when it is done, or its loop is none of ours.
    fn kept_key(&self) -> PyResult<usize> {
        match self.with(|state| state.kept) {
            Kept::ByLoop(key) => Ok(key),
            Kept::Nowhere | Kept::ByAsyncio => Err(pyo3::exceptions::PyRuntimeError::new_err(
                "this task does not run on an event loop of tepal's",
            )),
        }
    }

    fn object(&self) -> &'a Bound<'py, PyAny> {
        self.future.object
    }

    /// Borrows the state; see [`Owned`] for the rule.
    #[inline]
    fn with<R>(&self, act: impl FnOnce(&mut TaskState) -> R) -> R {
        self.state.with(self.py(), act)
    }

    /// Requests its cancellation, as `Task.cancel` does; whether it was pending.
    ///
    /// # Errors
    ///
    /// What cancelling something foreign that it waits for raises.
    fn cancel(&self, message: Option<Bound<'py, PyAny>>) -> PyResult<bool> {
        let py = self.py();
        self.future.forget_traceback_log();
        if self.future.status() != Status::Pending {
            return Ok(false);
        }
        let waiter = self.with(|state| {
            state.cancellation.request();
            state.waiter.as_ref().map(|waiter| waiter.clone_ref(py))
        });
        if let Some(waiter) = waiter
            && cancel_awaited(&waiter.into_bound(py), message.as_ref())?
        {
            // The waiter stays: it may be a task that ignores this, and then it must be possible to cancel it again.
            self.with(|state| state.scoped.flight = Flight::Request);
            return Ok(true);
        }
        // So a step of it is scheduled, or on the stack.
        self.future.set_cancel_message(message);
        self.with(|state| state.cancellation.defer());
        Ok(true)
    }

    /// Throws an exception at the task's next step, which is scheduled by this.
    ///
    /// # Errors
    ///
    /// What the loop's `call_soon` raises.
    fn step_soon(&self, thrown: Option<PyErr>) -> PyResult<()> {
        let py = self.py();
        if let Some(thrown) = thrown {
            let thrown = thrown.into_value(py).into_any();
            let old = self.with(|state| state.thrown.replace(thrown));
            drop(old);
        }
        let event_loop = self.future.event_loop()?;
        if self.future.with(|state| state.native) {
            // SAFETY: noted with the loop.
            let native = unsafe { event_loop.cast_unchecked::<Loop>() }.get();
            if native.is_plain() {
                native.schedule(py, Job::Task(self.object().clone().unbind()));
                return Ok(());
            }
        }
        let context = context(self.object())?;
        let step = wakeup::step(self.object().clone())?;
        super::future::call_soon_by_name(&event_loop, (step,), &context)
    }
}

/// Cancels what a task awaits; whether that could be.
///
/// # Errors
///
/// What a foreign `cancel` raises.
pub(crate) fn cancel_awaited<'py>(
    awaited: &Bound<'py, PyAny>,
    message: Option<&Bound<'py, PyAny>>,
) -> PyResult<bool> {
    if let Some(task) = TaskRef::exact(awaited) {
        return task.cancel(message.cloned());
    }
    if let Some(future) = FutureRef::exact(awaited) {
        return future.cancel(message.cloned());
    }
    let py = awaited.py();
    let keywords = PyDict::new(py);
    keywords.set_item(pyo3::intern!(py, "msg"), message)?;
    let cancelled = awaited.call_method(pyo3::intern!(py, "cancel"), (), Some(&keywords))?;
    cancelled.is_truthy()
}

/// Requests a task's cancellation, of whatever kind it is.
///
/// # Errors
///
/// What a foreign `cancel` raises.
pub(crate) fn request_cancel(task: &Bound<'_, PyAny>) -> PyResult<()> {
    match TaskRef::exact(task) {
        Some(task) => task.cancel(None).map(drop),
        None => task
            .call_method0(pyo3::intern!(task.py(), "cancel"))
            .map(drop),
    }
}

/// How many requests for its cancellation stand, for a task of whatever kind.
///
/// # Errors
///
/// What a foreign `cancelling` raises.
pub(crate) fn requests(task: &Bound<'_, PyAny>) -> PyResult<u32> {
    match TaskRef::exact(task) {
        Some(task) => Ok(task.with(|state| state.cancellation.requests())),
        None => task
            .call_method0(pyo3::intern!(task.py(), "cancelling"))?
            .extract(),
    }
}

/// Takes one request back; how many are left.
///
/// # Errors
///
/// What a foreign `uncancel` raises.
pub(crate) fn withdraw(task: &Bound<'_, PyAny>) -> PyResult<u32> {
    match TaskRef::exact(task) {
        Some(task) => Ok(task.with(|state| state.cancellation.withdraw(cfg!(Py_3_13)))),
        None => task
            .call_method0(pyo3::intern!(task.py(), "uncancel"))?
            .extract(),
    }
}

/// Has nobody told when a task is destroyed while it is pending, whatever kind of future it is.
///
/// # Errors
///
/// What a foreign attribute raises.
pub(crate) fn silence(task: &Bound<'_, PyAny>) -> PyResult<()> {
    match TaskRef::exact(task) {
        Some(task) => {
            task.with(|state| state.log_destroy_pending = false);
            Ok(())
        }
        None => task.setattr(pyo3::intern!(task.py(), "_log_destroy_pending"), false),
    }
}

/// The context that a task runs in.
///
/// # Errors
///
/// RuntimeError before `__init__`.
pub(crate) fn context<'py>(task: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = task.py();
    // SAFETY: only tasks are asked (`Callback::Wake`, this room).
    let task = unsafe { TaskRef::of(task) };
    let context = task.with(|state| state.context.as_ref().map(|held| held.clone_ref(py)));
    context
        .map(|held| held.into_bound(py))
        .ok_or_else(uninitialized)
}

#[cold]
fn uninitialized() -> PyErr {
    pyo3::exceptions::PyRuntimeError::new_err("uninitialized Task object")
}

/// What a task is made of, all borrowed.
pub(crate) struct Making<'a, 'py> {
    pub(crate) coro: &'a Bound<'py, PyAny>,
    pub(crate) name: Option<&'a Bound<'py, PyAny>>,
    pub(crate) context: Option<&'a Bound<'py, PyAny>>,
    pub(crate) begin: Begin,
}

/// When a new task takes its first step.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    /// In the next turn.
    Soon,
    /// At once, if the loop runs.
    Eagerly,
    /// When [`begin`] says so.
    Later,
}

static COUNT: AtomicU64 = AtomicU64::new(0);

impl<'a, 'py> Making<'a, 'py> {
    /// A task of this coroutine, with nothing else said.
    pub(crate) const fn of(coro: &'a Bound<'py, PyAny>) -> Self {
        Self {
            coro,
            name: None,
            context: None,
            begin: Begin::Soon,
        }
    }

    /// # Errors
    ///
    /// TypeError for what is no coroutine or no context; what `str(name)` raises.
    #[inline]
    fn state(&self) -> PyResult<TaskState> {
        let py = self.coro.py();
        if !is_coroutine(self.coro)? {
            return Err(PyTypeError::new_err(format!(
                "a coroutine was expected, got {}",
                self.coro.repr()?
            )));
        }
        let name = match self.name {
            None => Name::Number(COUNT.fetch_add(1, Relaxed) + 1),
            Some(name) => Name::Text(name.str()?.unbind()),
        };
        let context = context::given_or_current(py, self.context.cloned())?;
        Ok(TaskState {
            coro: Some(self.coro.clone().unbind()),
            context: Some(context.unbind()),
            name,
            ..TaskState::empty()
        })
    }
}

/// Whether this is what an `async def` function returns.
#[inline]
pub(crate) fn is_plain_coroutine(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: rule 1.
    unsafe { ffi::PyCoro_CheckExact(object.as_ptr()) != 0 }
}

/// Whether asyncio takes this for a coroutine.
///
/// # Errors
///
/// What `asyncio.iscoroutine` raises.
#[inline]
pub(crate) fn is_coroutine(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    if is_plain_coroutine(object) {
        return Ok(true);
    }
    let coroutines = object.py().import("asyncio.coroutines")?;
    coroutines
        .call_method1("iscoroutine", (object,))?
        .is_truthy()
}

/// A new task of a loop of ours (strong), on its way.
///
/// # Errors
///
/// TypeError as [`Making`] has it; RuntimeError when the loop is closed; with `eager`, KeyboardInterrupt and SystemExit from the coroutine.
#[inline]
pub(crate) fn new<'py>(
    event_loop: &Bound<'py, Loop>,
    making: &Making<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    let fresh = TaskBody {
        task: Owned::new(making.state()?),
        future: Owned::new(FutureState::new(event_loop.as_any(), true)),
    };
    // SAFETY: the type is `TaskKind`'s; then, a new strong reference.
    let object = unsafe {
        let object = allocate::<TaskKind>(py, CLASS.load(Relaxed), fresh)?;
        Bound::from_owned_ptr(py, object)
    };
    // SAFETY: just made.
    let task = unsafe { TaskRef::of(&object) };
    if event_loop.get().debug() {
        task.future.note_source()?;
    }
    let this = event_loop.get();
    if making.begin == Begin::Soon && this.is_plain() {
        published::publish(task)?;
        let key = this.begin_task(&object);
        task.with(|state| state.kept = Kept::ByLoop(key));
        registry::register(task)?;
    } else {
        start(task, making.begin)?;
    }
    Ok(object)
}

/// Lets a new task begin, when it is to.
fn start(task: TaskRef<'_, '_>, begin: Begin) -> PyResult<()> {
    published::publish(task)?;
    if begin == Begin::Eagerly && is_running(task)? {
        registry::keep(task)?;
        return step::run_eagerly(task);
    }
    if begin != Begin::Later {
        task.step_soon(None)?;
    }
    registry::keep(task)
}

/// Lets a task that was made to begin later take its first step in the next turn.
///
/// # Errors
///
/// What the loop's `call_soon` raises.
pub(crate) fn begin(task: &Bound<'_, PyAny>) -> PyResult<()> {
    match TaskRef::any(task) {
        Some(task) if task.future.status() == Status::Pending => task.step_soon(None),
        _ => Ok(()),
    }
}

fn is_running(task: TaskRef<'_, '_>) -> PyResult<bool> {
    let event_loop = task.future.event_loop()?;
    match event_loop.cast::<Loop>() {
        Ok(native) => Ok(native.get().is_running_now()),
        Err(_) => event_loop.call_method0("is_running")?.is_truthy(),
    }
}
