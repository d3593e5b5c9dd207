//! `TaskGroup`: asyncio's of Python 3.15, on every Python.

use super::Routine;
use super::any_future::{self, End};
use super::inbox::{Inbox, Told};
use super::waiters::{show, wake, woken};
use crate::event_loop::{self, Job, Loop};
use crate::names;
use crate::owned::Owned;
use crate::raw::coroutine::{self, Resume};
use crate::raw::future::{Callback, FutureRef};
use crate::raw::iterator::{Resumed, Step};
use crate::raw::raised::Raised;
use crate::raw::task::{self, note_end_of_wait, note_wait};
use crate::raw::{Object, future};
use pyo3::exceptions::{
    PyBaseExceptionGroup, PyGeneratorExit, PyKeyboardInterrupt, PyRuntimeError, PySystemExit,
};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PySet, PyTuple};
use std::ffi::c_int;
use tepal_core::nursery::{ChildKey, Nursery as Children};

struct State {
    /// The tasks that have not ended, and the stages of the block. (What an end means is asyncio's here, not the nursery's.)
    children: Children<Py<PyAny>>,
    ended: Inbox<ChildKey>,
    aborting: bool,
    cancel_on_enter: bool,
    /// The parent was cancelled for the group's sake; that is taken back at the end.
    parent_cancel_requested: bool,
    event_loop: Option<Py<Loop>>,
    parent: Option<Py<PyAny>>,
    errors: Vec<Py<PyAny>>,
    base_error: Option<Py<PyAny>>,
    /// What the way out waits for, while it does.
    completed: Option<Py<PyAny>>,
}

/// The native half of `tepal.TaskGroup`.
#[pyclass(subclass, frozen, module = "tepal._tepal")]
pub(crate) struct TaskGroup {
    state: Owned<State>,
}

impl TaskGroup {
    fn with<R>(&self, py: Python<'_>, act: impl FnOnce(&mut State) -> R) -> R {
        self.state.with(py, act)
    }

    /// The task whose block it is.
    pub(crate) fn parent<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let parent = self.with(py, |state| {
            state.parent.as_ref().map(|task| task.clone_ref(py))
        });
        parent.map(|parent| parent.into_bound(py))
    }

    fn is_empty(&self, py: Python<'_>) -> bool {
        self.with(py, |state| state.children.is_empty())
    }

    fn is_aborting(&self, py: Python<'_>) -> bool {
        self.with(py, |state| state.aborting)
    }

    fn enter(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        if this.with(py, |state| state.children.has_begun()) {
            let message = format!("TaskGroup {} has already been entered", slf.repr()?);
            return Err(PyRuntimeError::new_err(message));
        }
        let running = event_loop::running(py)?;
        let Some(parent) = task::current(py)? else {
            let message = format!("TaskGroup {} cannot determine the parent task", slf.repr()?);
            return Err(PyRuntimeError::new_err(message));
        };
        let cancel = this.with(py, |state| {
            let _first: bool = state.children.open();
            // There were none: it is entered once.
            state.event_loop = Some(running.unbind());
            state.parent = Some(parent.unbind());
            state.cancel_on_enter
        });
        if cancel {
            Self::cancel(slf)?;
        }
        Ok(())
    }

    /// Cancels all tasks that have not ended.
    fn abort(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, |state| state.aborting = true);
        // A list: what a cancellation runs may add to them or take from them.
        for task in self.tasks(py) {
            let task = task.bind(py);
            if !any_future::is_done(task)? {
                task::cancel_awaited(task, None)?;
            }
        }
        Ok(())
    }

    fn note_error(&self, exception: &Bound<'_, PyAny>) {
        let py = exception.py();
        let is_base = is_base_error(exception);
        let (error, base) = (exception.clone().unbind(), exception.clone().unbind());
        let left = self.with(py, |state| {
            state.errors.push(error);
            if is_base && state.base_error.is_none() {
                state.base_error = Some(base);
                None
            } else {
                Some(base)
            }
        });
        drop(left);
    }

    /// A task of the group has ended, a turn ago.
    ///
    /// # Errors
    ///
    /// What a foreign task raises when it is asked.
    fn note_end(slf: &Bound<'_, Self>, key: ChildKey) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let (ended, completed) = this.with(py, |state| {
            let ended = state.children.handle_end(key, false);
            let waits = state.completed.as_ref();
            let waits = waits.filter(|_| state.children.is_empty());
            (ended, waits.map(|completed| completed.clone_ref(py)))
        });
        let Some(ended) = ended else {
            return Ok(());
        };
        let task = &ended.child.into_bound(py);
        if cfg!(Py_3_14)
            && let Some(parent) = this.parent(py)
        {
            note_end_of_wait(task, &parent)?;
        }
        if let Some(completed) = completed {
            let _woken: bool = wake(py, &completed, true)?;
        }
        let End::Raised(exception) = any_future::end(task)? else {
            return Ok(());
        };
        this.note_error(&exception);
        let Some(parent) = this.parent(py) else {
            return Ok(());
        };
        if any_future::is_done(&parent)? {
            return this.tell_orphan(py, &exception, task, &parent);
        }
        let aborts = this.with(py, |state| {
            !state.aborting && !state.parent_cancel_requested
        });
        if aborts {
            // The parent is not being cancelled by others: it is made to leave what it waits for inside the block, and that
            // is taken back at the end of it.
            this.abort(py)?;
            this.with(py, |state| state.parent_cancel_requested = true);
            task::request_cancel(&parent)?;
        }
        Ok(())
    }

    #[cold]
    fn tell_orphan<'py>(
        &self,
        py: Python<'py>,
        exception: &Bound<'py, PyAny>,
        task: &Bound<'py, PyAny>,
        parent: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let told = PyDict::new(py);
        let message = format!(
            "Task {} has errored out but its parent task {} is already completed",
            task.repr()?,
            parent.str()?
        );
        told.set_item("message", message)?;
        told.set_item("exception", exception)?;
        told.set_item("task", task)?;
        let event_loop = self.with(py, |state| {
            state.event_loop.as_ref().map(|held| held.clone_ref(py))
        });
        match event_loop {
            Some(event_loop) => event_loop
                .bind(py)
                .as_any()
                .call_method1(names::call_exception_handler(py), (told,))
                .map(drop),
            None => Ok(()),
        }
    }

    /// Whether another task may be made, and of which loop.
    ///
    /// # Errors
    ///
    /// RuntimeError when none may; from Python 3.13 on the coroutine is then closed.
    #[inline]
    pub(crate) fn admit(slf: &Bound<'_, Self>, coro: &Bound<'_, PyAny>) -> PyResult<Py<Loop>> {
        let (py, this) = (slf.py(), slf.get());
        let (event_loop, finished, aborting) = this.with(py, |state| {
            let event_loop = state.event_loop.as_ref();
            (
                event_loop.map(|held| held.clone_ref(py)),
                state.children.is_joined(),
                state.aborting,
            )
        });
        let Some(event_loop) = event_loop else {
            return Err(Self::refuse(slf, coro, "has not been entered"));
        };
        if finished {
            return Err(Self::refuse(slf, coro, "is finished"));
        }
        if aborting {
            return Err(Self::refuse(slf, coro, "is shutting down"));
        }
        Ok(event_loop)
    }

    /// A task was made for the group.
    ///
    /// # Errors
    ///
    /// What a foreign task raises when it is asked.
    #[inline]
    pub(crate) fn adopt<'py>(slf: &Bound<'py, Self>, task: &Bound<'py, PyAny>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let child = task.clone().unbind();
        let (key, _) = this.with(py, |state| state.children.add(child));
        Self::watch(slf, task, key)?;
        if this.is_aborting(py) && !any_future::is_done(task)? {
            // It began eagerly, and ended the group before it belonged to it.
            task::cancel_awaited(task, None)?;
        }
        Ok(())
    }

    #[inline]
    fn watch<'py>(slf: &Bound<'py, Self>, task: &Bound<'py, PyAny>, key: ChildKey) -> PyResult<()> {
        let py = slf.py();
        if cfg!(Py_3_14)
            && let Some(parent) = slf.get().parent(py)
        {
            note_wait(task, &parent)?;
        }
        if let Some(future) = FutureRef::exact(task) {
            return future.add(Callback::Member(slf.clone().unbind(), key));
        }
        task.call_method1(
            pyo3::intern!(py, "add_done_callback"),
            (Self::callback(slf, key)?,),
        )
        .map(drop)
    }

    /// What tells the group of a task's end where a function is needed.
    ///
    /// # Errors
    ///
    /// MemoryError.
    pub(crate) fn callback<'py>(
        slf: &Bound<'py, Self>,
        key: ChildKey,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let tells = slf.as_any().getattr(pyo3::intern!(py, "_task_ended"))?;
        py.import("functools")?
            .call_method1("partial", (tells, key.get()))
    }

    fn tasks(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.with(py, |state| {
            let children = state.children.iter();
            children.map(|(_, task)| task.clone_ref(py)).collect()
        })
    }

    #[cold]
    fn refuse(slf: &Bound<'_, Self>, coro: &Bound<'_, PyAny>, why: &str) -> PyErr {
        // As asyncio does from 3.13 on; before, the caller could still await it.
        let closed = if cfg!(Py_3_13) {
            coro.call_method0(pyo3::intern!(slf.py(), "close"))
                .map(drop)
        } else {
            Ok(())
        };
        match closed.and_then(|()| slf.repr()) {
            Ok(shown) => PyRuntimeError::new_err(format!("TaskGroup {shown} {why}")),
            Err(error) => error,
        }
    }

    /// The end of it: lets go of everything that could be part of a cycle.
    fn finish(&self, py: Python<'_>) {
        let held = self.with(py, |state| {
            let errors = std::mem::take(&mut state.errors);
            (state.parent.take(), errors, state.base_error.take())
        });
        drop(held);
    }
}

impl Told for TaskGroup {
    type Ended = ChildKey;

    fn inbox<R>(&self, py: Python<'_>, act: impl FnOnce(&mut Inbox<ChildKey>) -> R) -> R {
        self.with(py, |state| act(&mut state.ended))
    }

    fn job(this: Py<Self>) -> Job {
        Job::Member(this)
    }

    fn is_told_by(this: &Py<Self>, job: &Job) -> bool {
        matches!(job, Job::Member(told) if told.is(this))
    }

    fn handle_end(slf: &Bound<'_, Self>, ended: ChildKey) -> PyResult<()> {
        Self::note_end(slf, ended)
    }
}

/// Whether an exception ends the loop, and not only a task.
pub(crate) fn is_base_error(exception: &Bound<'_, PyAny>) -> bool {
    exception.is_instance_of::<PySystemExit>() || exception.is_instance_of::<PyKeyboardInterrupt>()
}

#[pymethods]
impl TaskGroup {
    /// Arguments are `__init__`'s: a subclass may have other ones.
    #[new]
    #[pyo3(signature = (*_arguments, **_keywords))]
    fn new(_arguments: &Bound<'_, PyTuple>, _keywords: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            state: Owned::new(State {
                children: Children::new(usize::MAX),
                ended: Inbox::new(),
                aborting: false,
                cancel_on_enter: false,
                parent_cancel_requested: false,
                event_loop: None,
                parent: None,
                errors: Vec::new(),
                base_error: None,
                completed: None,
            }),
        }
    }

    fn __aenter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let routine = Enter {
            group: slf.clone().unbind(),
        };
        coroutine::new(slf.py(), Routine::EnterGroup(routine))
    }

    fn __aexit__<'py>(
        slf: &Bound<'py, Self>,
        _kind: &Bound<'py, PyAny>,
        exception: Option<Bound<'py, PyAny>>,
        _traceback: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let routine = Exit {
            group: slf.clone().unbind(),
            exception: exception.map(Bound::unbind),
            propagate: None,
            pending: None,
            waiter: None,
            begun: false,
        };
        coroutine::new(slf.py(), Routine::ExitGroup(routine))
    }

    /// End the group without an error: its tasks and its block are cancelled (as asyncio's from Python 3.15 on).
    ///
    /// Before the block it takes effect at its beginning, after it not at all. Not a checkpoint.
    fn cancel(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let (entered, finished, aborting) = this.with(py, |state| {
            let children = &state.children;
            (children.has_begun(), children.is_joined(), state.aborting)
        });
        if !entered {
            this.with(py, |state| state.cancel_on_enter = true);
            return Ok(());
        }
        if finished || aborting {
            return Ok(());
        }
        this.abort(py)?;
        if let Some(parent) = this.parent(py)
            && !this.with(py, |state| {
                std::mem::replace(&mut state.parent_cancel_requested, true)
            })
        {
            task::request_cancel(&parent)?;
        }
        Ok(())
    }

    #[getter(_entered)]
    fn entered_attribute(&self, py: Python<'_>) -> bool {
        self.with(py, |state| state.children.has_begun())
    }

    #[getter(_exiting)]
    fn exiting_attribute(&self, py: Python<'_>) -> bool {
        self.with(py, |state| state.children.has_block_ended())
    }

    #[getter(_aborting)]
    fn aborting_attribute(&self, py: Python<'_>) -> bool {
        self.is_aborting(py)
    }

    #[getter(_parent_cancel_requested)]
    fn parent_cancel_requested_attribute(&self, py: Python<'_>) -> bool {
        self.with(py, |state| state.parent_cancel_requested)
    }

    #[getter(_loop)]
    fn loop_attribute(&self, py: Python<'_>) -> Option<Py<Loop>> {
        self.with(py, |state| {
            state.event_loop.as_ref().map(|held| held.clone_ref(py))
        })
    }

    #[getter(_parent_task)]
    fn parent_attribute<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.parent(py)
    }

    #[getter(_tasks)]
    fn tasks_attribute<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PySet>> {
        PySet::new(py, self.tasks(py))
    }

    fn _task_ended(slf: &Bound<'_, Self>, key: u32, _task: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::note_end(slf, ChildKey::from(key))
    }

    /// The errors so far (a snapshot).
    #[getter(_errors)]
    fn errors_attribute(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.with(py, |state| {
            state
                .errors
                .iter()
                .map(|error| error.clone_ref(py))
                .collect()
        })
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let shown = self.state.try_with(|state| {
            visit.call(&state.event_loop)?;
            visit.call(&state.parent)?;
            for (_, task) in state.children.iter() {
                visit.call(task)?;
            }
            state
                .errors
                .iter()
                .try_for_each(|error| visit.call(error))?;
            visit.call(&state.base_error)?;
            visit.call(&state.completed)
        });
        shown.unwrap_or(Ok(()))
    }

    fn __clear__(&self) {
        crate::raw::attached(|py| {
            self.finish(py);
            let (event_loop, tasks, completed) = self.with(py, |state| {
                (
                    state.event_loop.take(),
                    state.children.take_all(),
                    state.completed.take(),
                )
            });
            drop((event_loop, tasks, completed));
        });
    }
}

/// `async with`'s way in.
pub(crate) struct Enter {
    group: Py<TaskGroup>,
}

impl Resume for Enter {
    const NAME: &'static str = "TaskGroup.__aenter__";

    fn resume<'py>(&mut self, py: Python<'py>, _thrown: Option<Raised>) -> Resumed<'py> {
        let group = self.group.bind(py);
        TaskGroup::enter(group)?;
        Ok(Step::End(group.clone().into_any()))
    }

    fn show(&self, see: &mut dyn FnMut(Object) -> c_int) -> c_int {
        show(&[Some(self.group.as_any())], see)
    }
}

/// `async with`'s way out.
pub(crate) struct Exit {
    group: Py<TaskGroup>,
    /// What the block raised.
    exception: Option<Py<PyAny>>,
    /// The CancelledError that goes on.
    propagate: Option<Py<PyAny>>,
    /// The last CancelledError of a wait: it goes on if not all requests turn out to be the group's own.
    pending: Option<Py<PyAny>>,
    waiter: Option<Py<PyAny>>,
    begun: bool,
}

impl Resume for Exit {
    const NAME: &'static str = "TaskGroup.__aexit__";

    fn resume<'py>(&mut self, py: Python<'py>, thrown: Option<Raised>) -> Resumed<'py> {
        let group = self.group.clone_ref(py).into_bound(py);
        let outcome = self.advance(&group, thrown);
        if !matches!(outcome, Ok(Step::Wait(_))) {
            group.get().finish(py);
        }
        outcome
    }

    fn show(&self, see: &mut dyn FnMut(Object) -> c_int) -> c_int {
        let held = [
            Some(self.group.as_any()),
            self.exception.as_ref(),
            self.propagate.as_ref(),
            self.pending.as_ref(),
            self.waiter.as_ref(),
        ];
        show(&held, see)
    }
}

impl Exit {
    fn advance<'py>(
        &mut self,
        group: &Bound<'py, TaskGroup>,
        thrown: Option<Raised>,
    ) -> Resumed<'py> {
        let (py, this) = (group.py(), group.get());
        if self.begun {
            self.handle_woken(this, py, thrown)?;
        } else {
            self.begun = true;
            self.begin(this, py)?;
        }
        if this.is_empty(py) {
            return self.end(this, py);
        }
        let running = event_loop::running(py)?;
        let completed = future::new(&running)?;
        let kept = completed.clone().unbind();
        let old = this.with(py, |state| state.completed.replace(kept));
        drop(old);
        self.waiter = Some(completed.clone().unbind());
        Ok(Step::Wait(completed))
    }

    fn begin(&mut self, this: &TaskGroup, py: Python<'_>) -> PyResult<()> {
        this.with(py, |state| state.children.handle_block_end());
        let Some(exception) = self.exception.as_ref() else {
            return Ok(());
        };
        let exception = exception.bind(py);
        if is_base_error(exception) {
            let base = exception.clone().unbind();
            let left = this.with(py, |state| match &state.base_error {
                Some(_) => Some(base),
                None => state.base_error.replace(base),
            });
            drop(left);
        }
        if future::is_cancelled_error(exception)? {
            self.propagate = Some(exception.clone().unbind());
        }
        if !this.is_aborting(py) {
            this.abort(py)?;
        }
        Ok(())
    }

    /// All tasks have ended, or the parent was cancelled, perhaps once more.
    fn handle_woken(
        &mut self,
        this: &TaskGroup,
        py: Python<'_>,
        thrown: Option<Raised>,
    ) -> Result<(), Raised> {
        let completed = this.with(py, |state| state.completed.take());
        drop(completed);
        let Some(waiter) = self.waiter.take() else {
            return Ok(());
        };
        let Err(error) = woken(py, &waiter, thrown) else {
            return Ok(());
        };
        let raised = error.get(py);
        if !future::is_cancelled_error(raised)? {
            return Err(error);
        }
        self.pending = Some(raised.clone().unbind());
        if !this.is_aborting(py) {
            self.propagate = Some(raised.clone().unbind());
            this.abort(py)?;
        }
        Ok(())
    }

    /// No task is left.
    fn end<'py>(&mut self, this: &TaskGroup, py: Python<'py>) -> Resumed<'py> {
        let raise = |exception: Py<PyAny>| Err(PyErr::from_value(exception.into_bound(py)).into());
        if let Some(base_error) = this.with(py, |state| state.base_error.take()) {
            return raise(base_error);
        }
        let parent = this.parent(py);
        if let Some(parent) = &parent
            && this.with(py, |state| state.parent_cancel_requested)
        {
            if task::withdraw(parent)? == 0 {
                self.propagate = None;
            } else if self.propagate.is_none() {
                self.propagate = self.pending.take();
            }
        }
        let mut errors = this.with(py, |state| std::mem::take(&mut state.errors));
        if let Some(propagate) = self.propagate.take()
            && errors.is_empty()
        {
            return raise(propagate);
        }
        let exception = self.exception.take();
        if let Some(exception) = &exception
            && !future::is_cancelled_error(exception.bind(py))?
        {
            errors.push(exception.clone_ref(py));
        }
        if errors.is_empty() {
            // What is swallowed here is the cancellation that the group asked for.
            let swallows = pyo3::types::PyBool::new(py, true);
            return Ok(Step::End(swallows.to_owned().into_any()));
        }
        if let Some(parent) = &parent
            && task::requests(parent)? > 0
        {
            // Cancelled from outside as well: it must hear of it at its next wait, and the count stays as it was.
            task::withdraw(parent)?;
            task::request_cancel(parent)?;
        }
        if errors.len() == 1
            && let Some(exception) = &exception
            && exception.bind(py).is_instance_of::<PyGeneratorExit>()
        {
            return raise(exception.clone_ref(py));
        }
        let errors = PyList::new(py, errors)?;
        let group = py
            .get_type::<PyBaseExceptionGroup>()
            .call1(("unhandled errors in a TaskGroup", errors))?;
        if let Some(exception) = exception {
            group.setattr("__context__", exception)?;
        }
        let error = PyErr::from_value(group);
        error.set_cause(py, None);
        Err(error.into())
    }
}
