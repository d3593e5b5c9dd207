//! `Nursery`: tasks that end before a block does.
//!
//! Who is a child, who is held back, and what an end means for the others is the core's (`tepal_core::nursery`); here are the tasks, their
//! errors and the scope that they run in. `exit.rs` is the way out of the block.
//!
//! A child that ends tells its nursery at once, in the same step, where `TaskGroup`'s must come in a later turn, as asyncio's do.

mod exit;

pub(crate) use exit::Exit;

use crate::event_loop::Loop;
use crate::names;
use crate::owned::Owned;
use crate::raw::coroutine;
use crate::raw::future::{self, Callback, FutureRef, Status};
use crate::raw::ready::ready;
use crate::raw::task::{self, Seat, note_end_of_wait, note_wait};
use crate::scope::{CancelScope, Options, Source, forget_stranger, is_scopes, tell};
use crate::sync::any_future::{self, End};
use crate::sync::{Routine, is_base_error, wake};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFrozenSet};
use tepal_core::nursery::{Begin, ChildKey, Nursery as Children, Refusal};
use tepal_core::scope::ScopeKey;

struct State {
    children: Children<Py<PyAny>>,
    scope: Py<CancelScope>,
    /// From the entry to the end of the block.
    place: Option<Place>,
    errors: Vec<Py<PyAny>>,
    /// KeyboardInterrupt or SystemExit: it goes before all others.
    base_error: Option<Py<PyAny>>,
    /// What the first failure cancels, if not the scope: a supervisor takes its own way.
    failure_scope: Option<Py<CancelScope>>,
    /// A child was broken off for a scope's sake: if nothing else happens, that goes on through the block.
    broken_off: bool,
    /// What the way out waits for, while it does.
    completed: Option<Py<PyAny>>,
    /// Somebody waits for the moment when there are no children.
    emptied: Option<Py<PyAny>>,
    /// Where those went that are children here no more, by their old keys and their new ones.
    moved: Vec<(ChildKey, Py<Nursery>, ChildKey)>,
}

struct Place {
    event_loop: Py<Loop>,
    parent: Py<PyAny>,
    scope: ScopeKey,
}

/// The native half of `tepal.Nursery`.
#[pyclass(subclass, frozen, weakref, module = "tepal._tepal")]
pub(crate) struct Nursery {
    state: Owned<State>,
}

impl Nursery {
    #[inline]
    fn with<R>(&self, py: Python<'_>, act: impl FnOnce(&mut State) -> R) -> R {
        self.state.with(py, act)
    }

    fn scope<'py>(&self, py: Python<'py>) -> Bound<'py, CancelScope> {
        let scope = self.with(py, |state| state.scope.clone_ref(py));
        scope.into_bound(py)
    }

    fn place<'py>(&self, py: Python<'py>) -> Option<(Bound<'py, Loop>, Bound<'py, PyAny>)> {
        let place = self.with(py, |state| {
            let place = state.place.as_ref()?;
            Some((place.event_loop.clone_ref(py), place.parent.clone_ref(py)))
        });
        place.map(|(event_loop, parent)| (event_loop.into_bound(py), parent.into_bound(py)))
    }

    /// The task whose block it is.
    pub(crate) fn parent(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.with(py, |state| {
            let place = state.place.as_ref()?;
            Some(place.parent.clone_ref(py))
        })
    }

    fn enter(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        if !this.with(py, |state| state.children.open()) {
            return Err(PyRuntimeError::new_err(
                "a nursery may only be used for a single 'async with' block",
            ));
        }
        let scope = this.scope(py);
        CancelScope::enter(&scope)?;
        let (Some((event_loop, key)), Some(parent)) = (scope.get().place(py), task::current(py)?)
        else {
            return Err(PyRuntimeError::new_err("the nursery's scope was exited"));
        };
        this.with(py, |state| {
            state.place = Some(Place {
                event_loop: event_loop.unbind(),
                parent: parent.unbind(),
                scope: key,
            });
        });
        Ok(())
    }

    /// Whether another child may begin: on which loop, and whether at once.
    ///
    /// # Errors
    ///
    /// RuntimeError when it may not.
    #[inline]
    pub(crate) fn admit<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, Loop>, Begin)> {
        let py = slf.py();
        let admitted = slf.get().with(py, |state| {
            state.children.admit()?;
            let place = state.place.as_ref().ok_or(Refusal::Closed)?;
            Ok((place.event_loop.clone_ref(py), state.children.next_begin()))
        });
        match admitted {
            Ok((event_loop, begin)) => Ok((event_loop.into_bound(py), begin)),
            Err(refusal) => Err(refuse(refusal)),
        }
    }

    /// A task was made for the nursery; `held` says that it has not begun.
    ///
    /// # Errors
    ///
    /// What a foreign task raises when it is asked.
    #[inline]
    pub(crate) fn adopt<'py>(
        slf: &Bound<'py, Self>,
        event_loop: &Bound<'py, Loop>,
        task: &Bound<'py, PyAny>,
        held: bool,
    ) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let seat = Seat::of(event_loop, task);
        let kept = seat.key()?;
        let child = task.clone().unbind();
        let (key, begin, scope, place) = this.with(py, |state| {
            let (key, begin) = state.children.add(child);
            let place = state.place.as_ref().map(|place| place.scope);
            (key, begin, state.scope.clone_ref(py), place)
        });
        if let Some(place) = place {
            let (member, cancelled) = event_loop.get().with(py, |state| {
                let member = state.scopes.join(place, kept);
                (member, state.scopes.is_effectively_cancelled(place))
            });
            let none = seat.with(|scoped| {
                scoped.member = Some(member);
                scoped.set_cancelled(cancelled);
                scoped.scope.replace(scope)
            });
            drop(none);
        }
        Self::watch(slf, task, key)?;
        if held && begin == Begin::Now {
            return task::begin(task);
        }
        Ok(())
    }

    #[inline]
    fn watch<'py>(slf: &Bound<'py, Self>, task: &Bound<'py, PyAny>, key: ChildKey) -> PyResult<()> {
        if cfg!(Py_3_14)
            && let Some(parent) = slf.get().parent(slf.py())
        {
            note_wait(task, parent.bind(slf.py()))?;
        }
        if let Some(future) = FutureRef::exact(task) {
            return future.add(Callback::Child(slf.clone().unbind(), key));
        }
        let told = Self::callback(slf, key)?;
        task.call_method1(pyo3::intern!(slf.py(), "add_done_callback"), (told,))
            .map(drop)
    }

    /// What tells the nursery of a child's end where a function is needed.
    ///
    /// # Errors
    ///
    /// MemoryError.
    pub(crate) fn callback<'py>(
        slf: &Bound<'py, Self>,
        key: ChildKey,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let tells = slf.as_any().getattr(pyo3::intern!(py, "_child_ended"))?;
        py.import("functools")?
            .call_method1("partial", (tells, key.get()))
    }

    /// A child has ended.
    ///
    /// # Errors
    ///
    /// What a foreign task raises when it is asked, or cancelled.
    pub(crate) fn handle_end<'py>(
        slf: &Bound<'py, Self>,
        key: ChildKey,
        task: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        if cfg!(Py_3_14)
            && let Some(parent) = this.parent(py)
        {
            note_end_of_wait(task, parent.bind(py))?;
        }
        let failure = match FutureRef::exact(task) {
            Some(future) if future.status() == Status::Returned => None,
            _ => match any_future::end(task)? {
                End::Raised(exception) => Some(exception),
                End::Returned(_) => None,
                End::Cancelled => {
                    this.note_cancelled(task)?;
                    None
                }
            },
        };
        let (ended, completed, emptied) = this.with(py, |state| {
            let ended = state.children.handle_end(key, failure.is_some());
            let waits = state
                .completed
                .as_ref()
                .filter(|_| state.children.is_joined());
            let completed = waits.map(|completed| completed.clone_ref(py));
            let emptied = state.emptied.take_if(|_| state.children.is_empty());
            (ended, completed, emptied)
        });
        let Some(ended) = ended else {
            return this.forward(key, task);
        };
        drop(ended.child);
        if let Some(failure) = failure {
            this.note_error(slf, task, &failure)?;
        }
        if ended.cancels {
            this.cancel_for_failure(py)?;
        }
        if let Some(begins) = ended.begins {
            let next = this.with(py, |state| {
                let next = state.children.child(begins);
                next.map(|next| next.clone_ref(py))
            });
            if let Some(next) = next {
                task::begin(next.bind(py))?;
            }
        }
        for waiter in [completed, emptied].into_iter().flatten() {
            let _woken: bool = wake(py, &waiter, true)?;
        }
        Ok(())
    }

    fn note_cancelled(&self, task: &Bound<'_, PyAny>) -> PyResult<()> {
        let kept = FutureRef::exact(task).and_then(|future| future.kept_cancelled_error());
        if let Some(error) = kept
            && is_scopes(&error)?
        {
            self.with(task.py(), |state| state.broken_off = true);
        }
        Ok(())
    }

    fn cancel_for_failure(&self, py: Python<'_>) -> PyResult<()> {
        let instead = self.with(py, |state| {
            let instead = state.failure_scope.as_ref();
            instead.map(|scope| scope.clone_ref(py))
        });
        let scope = match instead {
            Some(instead) => instead.into_bound(py),
            None => self.scope(py),
        };
        CancelScope::cancel_for(&scope, Source::Nursery, None)
    }

    /// The end of a task that is another nursery's child now.
    #[cold]
    fn forward<'py>(&self, key: ChildKey, task: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = task.py();
        let heir = self.with(py, |state| {
            let place = state.moved.iter().position(|(old, ..)| *old == key)?;
            let (_, heir, key) = state.moved.swap_remove(place);
            Some((heir, key))
        });
        match heir {
            Some((heir, key)) => Self::handle_end(heir.bind(py), key, task),
            None => Ok(()),
        }
    }

    #[cold]
    fn note_error(
        &self,
        slf: &Bound<'_, Self>,
        task: &Bound<'_, PyAny>,
        exception: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = slf.py();
        self.keep_error(exception);
        match self.place(py) {
            Some((event_loop, parent)) if any_future::is_done(&parent)? => {
                // Nobody will leave the block any more.
                let told = PyDict::new(py);
                let message = format!(
                    "A task of a nursery has failed, whose block was abandoned: {}",
                    task.repr()?
                );
                told.set_item("message", message)?;
                told.set_item("exception", exception)?;
                told.set_item("task", task)?;
                // In a turn of its own: the task is still being stepped, and its context is entered.
                let handler = event_loop
                    .as_any()
                    .getattr(names::call_exception_handler(py))?;
                event_loop
                    .as_any()
                    .call_method1(pyo3::intern!(py, "call_soon"), (handler, told))
                    .map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Keeps an error, once: who awaits a task in the block raises what the task did.
    fn keep_error(&self, exception: &Bound<'_, PyAny>) {
        let error = exception.clone().unbind();
        let is_base = is_base_error(exception);
        let left = self.with(exception.py(), |state| {
            let mut known = state.base_error.iter().chain(&state.errors);
            if known.any(|known| known.is(exception)) {
                return Some(error);
            }
            if is_base && state.base_error.is_none() {
                state.base_error = Some(error);
            } else {
                state.errors.push(error);
            }
            None
        });
        drop(left);
    }

    /// The end of it: lets go of everything that could be part of a cycle.
    fn finish(&self, py: Python<'_>) {
        let held = self.with(py, |state| {
            let children = state.children.take_all();
            let errors = std::mem::take(&mut state.errors);
            let completed = (state.completed.take(), state.emptied.take());
            (
                children,
                errors,
                state.base_error.take(),
                completed,
                state.place.take(),
            )
        });
        drop(held);
    }
}

#[cold]
fn refuse(refusal: Refusal) -> PyErr {
    PyRuntimeError::new_err(match refusal {
        Refusal::NotOpen => {
            "the nursery has not been entered: use 'async with tepal.open_nursery() as nursery:'"
        }
        Refusal::Closed => "Nursery is closed to new arrivals",
    })
}

#[pymethods]
impl Nursery {
    /// `limit`: how many children run at a time.
    #[new]
    #[pyo3(signature = (*, limit = None))]
    fn new(py: Python<'_>, limit: Option<i64>) -> PyResult<Self> {
        let limit = match limit {
            None => usize::MAX,
            Some(limit) => usize::try_from(limit)
                .ok()
                .filter(|limit| *limit > 0)
                .ok_or_else(|| PyValueError::new_err("limit must be at least 1"))?,
        };
        let scope = Bound::new(py, CancelScope::from(&Options::plain()))?;
        Ok(Self {
            state: Owned::new(State {
                children: Children::new(limit),
                scope: scope.unbind(),
                place: None,
                errors: Vec::new(),
                base_error: None,
                broken_off: false,
                failure_scope: None,
                completed: None,
                emptied: None,
                moved: Vec::new(),
            }),
        })
    }

    fn __aenter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::enter(slf)?;
        ready(slf.clone().into_any())
    }

    fn __aexit__<'py>(
        slf: &Bound<'py, Self>,
        _kind: &Bound<'py, PyAny>,
        exception: Option<Bound<'py, PyAny>>,
        _traceback: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let routine = Exit::new(slf, exception);
        coroutine::new(slf.py(), Routine::ExitNursery(routine))
    }

    /// The scope that the block and the children run in: `nursery.cancel_scope.cancel()` ends them.
    #[getter]
    fn cancel_scope(&self, py: Python<'_>) -> Py<CancelScope> {
        self.with(py, |state| state.scope.clone_ref(py))
    }

    /// The children that have not ended (a snapshot).
    #[getter]
    fn child_tasks<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyFrozenSet>> {
        let children: Vec<Py<PyAny>> = self.with(py, |state| {
            let children = state.children.iter();
            children.map(|(_, child)| child.clone_ref(py)).collect()
        });
        PyFrozenSet::new(py, children)
    }

    /// The task whose block it is; None before it and after it.
    #[getter]
    fn parent_task(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.parent(py)
    }

    /// The errors so far (a snapshot).
    fn _errors(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.with(py, |state| {
            let errors = state.base_error.iter().chain(&state.errors);
            errors.map(|error| error.clone_ref(py)).collect()
        })
    }

    /// From now on the first failure cancels this scope, and not the nursery's.
    fn _set_failure_scope(&self, py: Python<'_>, scope: Py<CancelScope>) {
        let old = self.with(py, |state| state.failure_scope.replace(scope));
        drop(old);
    }

    /// An error of something that belongs to the nursery and is no task.
    fn _fail(&self, exception: &Bound<'_, PyAny>) -> PyResult<()> {
        self.keep_error(exception);
        self.cancel_for_failure(exception.py())
    }

    /// How many children have come so far.
    #[getter]
    fn _made(&self, py: Python<'_>) -> u64 {
        self.with(py, |state| state.children.made())
    }

    /// The children that have not ended, with how many had come before each (a snapshot).
    fn _ordered(&self, py: Python<'_>) -> Vec<(u64, Py<PyAny>)> {
        self.with(py, |state| {
            let children = state.children.iter_ordered();
            children
                .map(|(order, child)| (order, child.clone_ref(py)))
                .collect()
        })
    }

    /// A future that ends when there is no child; None if there is none. One may wait at a time.
    fn _when_empty<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some((event_loop, _)) = self.place(py) else {
            return Ok(None);
        };
        if self.with(py, |state| state.children.is_empty()) {
            return Ok(None);
        }
        let future = future::new(&event_loop)?;
        let kept = future.clone().unbind();
        let old = self.with(py, |state| state.emptied.replace(kept));
        drop(old);
        Ok(Some(future))
    }

    /// Waits no more for the children that are left.
    fn _abandon(&self, py: Python<'_>) {
        let children = self.with(py, |state| state.children.take_all());
        drop(children);
    }

    fn _child_ended(slf: &Bound<'_, Self>, key: u32, task: &Bound<'_, PyAny>) -> PyResult<()> {
        if FutureRef::exact(task).is_none()
            && let Some((event_loop, _)) = slf.get().place(slf.py())
        {
            forget_stranger(&event_loop, task);
        }
        Self::handle_end(slf, ChildKey::from(key), task)
    }

    /// A child is to come from another nursery: this one stays open for it.
    fn _expect(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::admit(slf)?;
        slf.get().with(slf.py(), |state| state.children.expect());
        Ok(())
    }

    /// It has come, or will not.
    fn _expect_no_more(&self, py: Python<'_>) -> PyResult<()> {
        let completed = self.with(py, |state| {
            state.children.expect_no_more();
            let waits = state
                .completed
                .as_ref()
                .filter(|_| state.children.is_joined());
            waits.map(|completed| completed.clone_ref(py))
        });
        match completed {
            Some(completed) => wake(py, &completed, true).map(drop),
            None => Ok(()),
        }
    }

    /// Hands all children over to another nursery.
    fn _hand_over(slf: &Bound<'_, Self>, heir: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let (Some((event_loop, parent)), Some(from), Some(to)) = (
            this.place(py),
            this.with(py, |state| state.place.as_ref().map(|place| place.scope)),
            heir.get()
                .with(py, |state| state.place.as_ref().map(|place| place.scope)),
        ) else {
            return Err(refuse(Refusal::Closed));
        };
        let children = this.with(py, |state| {
            let keys: Vec<ChildKey> = state.children.iter().map(|(key, _)| key).collect();
            let hand_over = |key| Some((key, state.children.hand_over(key)?));
            keys.into_iter().filter_map(hand_over).collect::<Vec<_>>()
        });
        let (own_scope, heirs_scope) = (this.scope(py), heir.get().scope(py));
        for (old, child) in children {
            let seat = Seat::of(&event_loop, child.bind(py));
            let before = seat.with(|scoped| match &scoped.scope {
                Some(scope) if scope.is(&own_scope) => {
                    scoped.scope.replace(heirs_scope.clone().unbind())
                }
                _ => None,
            });
            drop(before);
            let new = heir.get().with(py, |state| state.children.take_over(child));
            let entry = (old, heir.clone().unbind(), new);
            this.with(py, |state| state.moved.push(entry));
        }
        let stays = Seat::of(&event_loop, &parent).with(|scoped| scoped.member);
        let mut changes = Vec::new();
        event_loop.get().with(py, |state| {
            state.scopes.adopt(from, to, stays, &mut changes)
        });
        own_scope.get().set_heir(py, heirs_scope.unbind());
        tell(&event_loop, changes)?;
        let completed = this.with(py, |state| {
            let waits = state
                .completed
                .as_ref()
                .filter(|_| state.children.is_joined());
            waits.map(|completed| completed.clone_ref(py))
        });
        match completed {
            Some(completed) => wake(py, &completed, true).map(drop),
            None => Ok(()),
        }
    }

    /// Whether what is in it is cancelled, by its scope or by one around it.
    fn _is_effectively_cancelled(&self, py: Python<'_>) -> bool {
        let Some((event_loop, key)) = self.scope(py).get().place(py) else {
            return false;
        };
        event_loop
            .get()
            .with(py, |state| state.scopes.is_effectively_cancelled(key))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let shown = self.state.try_with(|state| {
            for (_, child) in state.children.iter() {
                visit.call(child)?;
            }
            visit.call(&state.scope)?;
            visit.call(&state.failure_scope)?;
            if let Some(place) = &state.place {
                visit.call(&place.event_loop)?;
                visit.call(&place.parent)?;
            }
            for error in state.errors.iter().chain(&state.base_error) {
                visit.call(error)?;
            }
            for (_, heir, _) in &state.moved {
                visit.call(heir)?;
            }
            visit.call(&state.emptied)?;
            visit.call(&state.completed)
        });
        shown.unwrap_or(Ok(()))
    }

    fn __clear__(&self) {
        crate::raw::attached(|py| {
            self.finish(py);
            let held = self.with(py, |state| {
                (std::mem::take(&mut state.moved), state.failure_scope.take())
            });
            drop(held);
        });
    }
}

/// Puts the class into the module.
///
/// # Errors
///
/// MemoryError.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Nursery>()?;
    crate::raw::start_soon::register(module.py())
}
