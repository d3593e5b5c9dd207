//! `Queue` and `LifoQueue`: asyncio's, to the letter of 3.13, `shutdown` included on every Python.
//!
//! **Where the items are.** In Rust, as long as nobody wants to see them. A subclass that has methods of its own for them (`_init`, `_put`,
//! `_get`, `qsize`, `empty`, `full`: asyncio invites that, and `PriorityQueue` is one) keeps them itself, and so does a program that asks for
//! the queue's `_queue`: from then on they lie in that `deque`, and everything goes through the methods.

use super::waiters::{bound_to_a_loop, show, wake};
use super::{LoopBound, Routine, Waiters, woken};
use crate::owned::Owned;
use crate::raw::Object;
use crate::raw::coroutine::{self, Resume};
use crate::raw::future::{FutureRef, Status};
use crate::raw::iterator::{Resumed, Step};
use crate::raw::raised::Raised;
use pyo3::exceptions::PyValueError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;
use std::collections::VecDeque;
use std::ffi::c_int;

/// Where the items are.
enum Items {
    First(VecDeque<Py<PyAny>>),
    Last(VecDeque<Py<PyAny>>),
    /// With the class's own methods; what `_queue` is, once it is set.
    Theirs(Option<Py<PyAny>>),
}

struct State {
    /// Zero or less: no limit. (Any number: a program may say 1.5.)
    maximum: f64,
    items: Items,
    unfinished: usize,
    peak: usize,
    shut_down: bool,
    /// A subclass has its own `put_nowait` or `get_nowait`.
    calls: bool,
}

/// The native half of `tepal.Queue` and its subclasses.
#[pyclass(subclass, frozen, module = "tepal._tepal")]
pub(crate) struct Queue {
    state: Owned<State>,
    getters: Waiters,
    putters: Waiters,
    /// Who waits in `join()`.
    joiners: Waiters,
    bound: LoopBound,
}

impl State {
    /// How many items there are, if we know.
    fn len(&self) -> Option<usize> {
        match &self.items {
            Items::First(items) | Items::Last(items) => Some(items.len()),
            Items::Theirs(_) => None,
        }
    }

    fn is_full(&self, count: usize) -> bool {
        self.maximum > 0.0 && count as f64 >= self.maximum
    }
}

/// Why a queue says no.
#[derive(Clone, Copy)]
enum Refusal {
    Empty,
    Full,
    ShutDown,
}

/// The exception for it: asyncio's, but for `QueueShutDown` before 3.13, which is ours.
fn refuse(py: Python<'_>, refusal: Refusal) -> PyErr {
    static EMPTY: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static FULL: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static SHUT_DOWN: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let (class, name) = match refusal {
        Refusal::Empty => (&EMPTY, "QueueEmpty"),
        Refusal::Full => (&FULL, "QueueFull"),
        Refusal::ShutDown => (&SHUT_DOWN, "QueueShutDown"),
    };
    match class.import(py, "tepal._sync", name) {
        Ok(class) => PyErr::from_type(class.clone(), ()),
        Err(error) => error,
    }
}

impl Queue {
    fn is_empty(slf: &Bound<'_, Self>) -> PyResult<bool> {
        match slf.get().state.with(slf.py(), |state| state.len()) {
            Some(count) => Ok(count == 0),
            None => slf.as_any().call_method0("empty")?.is_truthy(),
        }
    }

    fn is_full(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let known = slf
            .get()
            .state
            .with(slf.py(), |state| Some(state.is_full(state.len()?)));
        match known {
            Some(full) => Ok(full),
            None => slf.as_any().call_method0("full")?.is_truthy(),
        }
    }

    /// Whether `put_nowait` and `get_nowait` are called by name, because a subclass has its own.
    fn calls(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.calls)
    }

    fn is_shut_down(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.shut_down)
    }

    /// Everything that was put is done: who waits in `join()` goes on.
    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        for future in self.joiners.all(py) {
            let _woken: bool = wake(py, &future, true)?;
        }
        Ok(())
    }

    fn put_now<'py>(slf: &Bound<'py, Self>, item: Bound<'py, PyAny>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        if this.is_shut_down(py) {
            return Err(refuse(py, Refusal::ShutDown));
        }
        if Self::is_full(slf)? {
            return Err(refuse(py, Refusal::Full));
        }
        let theirs = this.state.with(py, |state| match &mut state.items {
            Items::First(items) | Items::Last(items) => {
                items.push_back(item.unbind());
                state.peak = state.peak.max(items.len());
                None
            }
            Items::Theirs(_) => Some(item),
        });
        if let Some(item) = theirs {
            slf.as_any().call_method1("_put", (item,))?;
            let count = slf.as_any().call_method0("qsize")?.extract::<usize>()?;
            this.state
                .with(py, |state| state.peak = state.peak.max(count));
        }
        this.state.with(py, |state| state.unfinished += 1);
        wake_next(py, &this.getters)
    }

    fn get_now<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        if Self::is_empty(slf)? {
            return Err(refuse(
                py,
                if this.is_shut_down(py) {
                    Refusal::ShutDown
                } else {
                    Refusal::Empty
                },
            ));
        }
        let item = this.take(slf)?;
        wake_next(py, &this.putters)?;
        Ok(item)
    }

    /// The next item, which is there.
    fn take<'py>(&self, slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let ours = self.state.with(py, |state| match &mut state.items {
            Items::First(items) => items.pop_front(),
            Items::Last(items) => items.pop_back(),
            Items::Theirs(_) => None,
        });
        match ours {
            Some(item) => Ok(item.into_bound(py)),
            None => slf.as_any().call_method0("_get"),
        }
    }
}

/// Wakes the next who waits there and can be woken.
fn wake_next(py: Python<'_>, waiters: &Waiters) -> PyResult<()> {
    while let Some(future) = waiters.pop(py) {
        if wake(py, &future, false)? {
            break;
        }
    }
    Ok(())
}

fn wake_all(py: Python<'_>, waiters: &Waiters) -> PyResult<()> {
    while let Some(future) = waiters.pop(py) {
        let _woken: bool = wake(py, &future, false)?;
    }
    Ok(())
}

/// A wait was broken off: what it was given is given back.
fn give_back(
    py: Python<'_>,
    waiters: &Waiters,
    waiter: &Py<PyAny>,
    could_go_on: bool,
) -> PyResult<()> {
    let Some(future) = FutureRef::exact(waiter.bind(py)) else {
        return Ok(());
    };
    let _was_pending: bool = future.cancel(None)?;
    waiters.leave(py, waiter);
    if could_go_on && future.status() != Status::Cancelled {
        wake_next(py, waiters)?;
    }
    Ok(())
}

#[pymethods]
impl Queue {
    #[new]
    #[pyo3(signature = (kind = "first", calls = false))]
    fn new(kind: &str, calls: bool) -> Self {
        let items = match kind {
            "first" => Items::First(VecDeque::new()),
            "last" => Items::Last(VecDeque::new()),
            _ => Items::Theirs(None),
        };
        Self {
            state: Owned::new(State {
                maximum: 0.0,
                items,
                unfinished: 0,
                peak: 0,
                shut_down: false,
                calls,
            }),
            getters: Waiters::new(),
            putters: Waiters::new(),
            joiners: Waiters::new(),
            bound: LoopBound::new(),
        }
    }

    /// Return how many items there are. Not a checkpoint.
    fn qsize(slf: &Bound<'_, Self>) -> PyResult<usize> {
        match slf.get().state.with(slf.py(), |state| state.len()) {
            Some(count) => Ok(count),
            None => slf.as_any().getattr("_queue")?.len(),
        }
    }

    #[getter]
    /// The most items it may hold; 0 or less: any number.
    fn maxsize(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let maximum = self.state.with(py, |state| state.maximum);
        if maximum.fract() == 0.0 && maximum.abs() < 9e15 {
            return Ok((maximum as i64).into_pyobject(py)?.into_any().unbind());
        }
        Ok(maximum.into_pyobject(py)?.into_any().unbind())
    }

    #[getter(_maxsize)]
    fn maxsize_attribute(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.maxsize(py)
    }

    #[setter(_maxsize)]
    fn set_maxsize_attribute(&self, py: Python<'_>, maxsize: f64) {
        self.state.with(py, |state| state.maximum = maxsize);
    }

    /// Return whether there is no item. Not a checkpoint.
    fn empty(slf: &Bound<'_, Self>) -> PyResult<bool> {
        match slf.get().state.with(slf.py(), |state| state.len()) {
            Some(count) => Ok(count == 0),
            None => Ok(!slf.as_any().getattr("_queue")?.is_truthy()?),
        }
    }

    /// Return whether there is no room for another item. Not a checkpoint.
    fn full(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let this = slf.get();
        let (maximum, count) = this
            .state
            .with(slf.py(), |state| (state.maximum, state.len()));
        if maximum <= 0.0 {
            return Ok(false);
        }
        let count = match count {
            Some(count) => count,
            None => slf.as_any().call_method0("qsize")?.extract::<usize>()?,
        };
        Ok(count as f64 >= maximum)
    }

    /// Put an item in, when there is room.
    ///
    /// Args:
    ///     item: Any object.
    ///
    /// Raises:
    ///     QueueShutDown: The queue was shut down.
    ///
    /// A checkpoint only if it must wait.
    fn put<'py>(slf: &Bound<'py, Self>, item: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let routine = Put {
            queue: slf.clone().unbind(),
            item: Some(item.unbind()),
            waiter: None,
        };
        coroutine::new(slf.py(), Routine::Put(routine))
    }

    /// Take an item out, when there is one.
    ///
    /// Returns:
    ///     The item.
    ///
    /// Raises:
    ///     QueueShutDown: The queue was shut down, and is empty or was told to be.
    ///
    /// A checkpoint only if it must wait.
    fn get<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let routine = Get {
            queue: slf.clone().unbind(),
            waiter: None,
        };
        coroutine::new(slf.py(), Routine::Get(routine))
    }

    /// Put an item in at once.
    ///
    /// Args:
    ///     item: Any object.
    ///
    /// Raises:
    ///     QueueFull: There is no room.
    ///     QueueShutDown: The queue was shut down.
    ///
    /// Not a checkpoint.
    fn put_nowait<'py>(slf: &Bound<'py, Self>, item: Bound<'py, PyAny>) -> PyResult<()> {
        Self::put_now(slf, item)
    }

    /// Take an item out at once.
    ///
    /// Returns:
    ///     The item.
    ///
    /// Raises:
    ///     QueueEmpty: There is none.
    ///     QueueShutDown: There is none, and the queue was shut down.
    ///
    /// Not a checkpoint.
    fn get_nowait<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::get_now(slf)
    }

    /// Say that what one `get` brought is done with.
    ///
    /// Raises:
    ///     ValueError: It was said more often than items were put.
    ///
    /// Not a checkpoint.
    fn task_done(&self, py: Python<'_>) -> PyResult<()> {
        let left = self.state.with(py, |state| {
            state.unfinished = state.unfinished.checked_sub(1)?;
            Some(state.unfinished)
        });
        match left {
            None => Err(PyValueError::new_err("task_done() called too many times")),
            Some(0) => self.finish(py),
            Some(_) => Ok(()),
        }
    }

    /// Wait until all items that were put are done with (`task_done`). A checkpoint only if it must wait.
    fn join<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let routine = Join {
            queue: slf.clone().unbind(),
            waiter: None,
        };
        coroutine::new(slf.py(), Routine::Join(routine))
    }

    /// End the queue: `put` raises QueueShutDown from now on, `get` when it is empty.
    ///
    /// Args:
    ///     immediate: Empty it at once; its items count as done with.
    ///
    /// Not a checkpoint.
    #[pyo3(signature = (immediate = false))]
    fn shutdown(slf: &Bound<'_, Self>, immediate: bool) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        this.state.with(py, |state| state.shut_down = true);
        if immediate {
            while !Self::is_empty(slf)? {
                drop(this.take(slf)?);
                this.state.with(py, |state| {
                    state.unfinished = state.unfinished.saturating_sub(1)
                });
            }
            if this.state.with(py, |state| state.unfinished == 0) {
                this.finish(py)?;
            }
        }
        wake_all(py, &this.getters)?;
        wake_all(py, &this.putters)
    }

    /// The items, in the order in which they were put (a snapshot); None when they are not here.
    fn _items(&self, py: Python<'_>) -> Option<Vec<Py<PyAny>>> {
        self.state.with(py, |state| match &state.items {
            Items::First(items) | Items::Last(items) => {
                Some(items.iter().map(|item| item.clone_ref(py)).collect())
            }
            Items::Theirs(_) => None,
        })
    }

    #[getter(_queue)]
    fn queue_attribute<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        if let Some(items) = this._items(py) {
            // Whoever asks may change it, so from now on it is where the items are.
            let kept = py
                .import("collections")?
                .getattr("deque")?
                .call1((items,))?;
            let theirs = Items::Theirs(Some(kept.unbind()));
            let old = this
                .state
                .with(py, |state| std::mem::replace(&mut state.items, theirs));
            drop(old);
        }
        let kept = this.state.with(py, |state| match &state.items {
            Items::Theirs(kept) => kept.as_ref().map(|kept| kept.clone_ref(py)),
            Items::First(_) | Items::Last(_) => None,
        });
        kept.map(|kept| kept.into_bound(py)).ok_or_else(|| {
            pyo3::exceptions::PyAttributeError::new_err("'Queue' object has no attribute '_queue'")
        })
    }

    #[setter(_queue)]
    fn set_queue_attribute(&self, py: Python<'_>, queue: Py<PyAny>) {
        let theirs = Items::Theirs(Some(queue));
        let old = self
            .state
            .with(py, |state| std::mem::replace(&mut state.items, theirs));
        drop(old);
    }

    #[getter(_getters)]
    fn getters_attribute(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.getters.all(py)
    }

    #[getter(_putters)]
    fn putters_attribute(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.putters.all(py)
    }

    #[getter(_unfinished_tasks)]
    fn unfinished_attribute(&self, py: Python<'_>) -> usize {
        self.state.with(py, |state| state.unfinished)
    }

    #[setter(_unfinished_tasks)]
    fn set_unfinished_attribute(&self, py: Python<'_>, count: usize) {
        self.state.with(py, |state| state.unfinished = count);
    }

    #[getter(_is_shutdown)]
    fn shutdown_attribute(&self, py: Python<'_>) -> bool {
        self.is_shut_down(py)
    }

    /// The most items there ever were.
    #[getter(_peak)]
    fn peak_attribute(&self, py: Python<'_>) -> usize {
        self.state.with(py, |state| state.peak)
    }

    #[getter(_joiners)]
    fn joiners_attribute(&self, py: Python<'_>) -> usize {
        self.joiners.len(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let shown = self.state.try_with(|state| match &state.items {
            Items::First(items) | Items::Last(items) => {
                items.iter().try_for_each(|item| visit.call(item))
            }
            Items::Theirs(kept) => visit.call(kept),
        });
        shown.unwrap_or(Ok(()))?;
        for waiters in [&self.getters, &self.putters, &self.joiners] {
            waiters.show(&visit)?;
        }
        self.bound.show(&visit)
    }

    fn __clear__(&self) {
        crate::raw::attached(|py| {
            let items = self.state.with(py, |state| {
                std::mem::replace(&mut state.items, Items::Theirs(None))
            });
            drop(items);
        });
        for waiters in [&self.getters, &self.putters, &self.joiners] {
            waiters.clear();
        }
        self.bound.clear();
    }
}

bound_to_a_loop!(Queue);

/// `get()`.
pub(crate) struct Get {
    queue: Py<Queue>,
    waiter: Option<Py<PyAny>>,
}

impl Resume for Get {
    const NAME: &'static str = "Queue.get";

    fn resume<'py>(&mut self, py: Python<'py>, thrown: Option<Raised>) -> Resumed<'py> {
        let queue = self.queue.bind(py);
        if let Some(waiter) = self.waiter.take()
            && let Err(error) = woken(py, &waiter, thrown)
        {
            let could_go_on = !Queue::is_empty(queue)?;
            give_back(py, &queue.get().getters, &waiter, could_go_on)?;
            return Err(error);
        }
        if Queue::is_empty(queue)? {
            if queue.get().is_shut_down(py) {
                return Err(refuse(py, Refusal::ShutDown).into());
            }
            let this = queue.get();
            return this
                .getters
                .join(queue.as_any(), &this.bound, &mut self.waiter);
        }
        let item = if queue.get().calls(py) {
            queue
                .as_any()
                .call_method0(pyo3::intern!(py, "get_nowait"))?
        } else {
            Queue::get_now(queue)?
        };
        Ok(Step::End(item))
    }

    fn show(&self, see: &mut dyn FnMut(Object) -> c_int) -> c_int {
        show(&[Some(self.queue.as_any()), self.waiter.as_ref()], see)
    }
}

/// `put()`.
pub(crate) struct Put {
    queue: Py<Queue>,
    item: Option<Py<PyAny>>,
    waiter: Option<Py<PyAny>>,
}

impl Resume for Put {
    const NAME: &'static str = "Queue.put";

    fn resume<'py>(&mut self, py: Python<'py>, thrown: Option<Raised>) -> Resumed<'py> {
        let queue = self.queue.bind(py);
        if let Some(waiter) = self.waiter.take()
            && let Err(error) = woken(py, &waiter, thrown)
        {
            let could_go_on = !Queue::is_full(queue)?;
            give_back(py, &queue.get().putters, &waiter, could_go_on)?;
            return Err(error);
        }
        if Queue::is_full(queue)? {
            if queue.get().is_shut_down(py) {
                return Err(refuse(py, Refusal::ShutDown).into());
            }
            let this = queue.get();
            return this
                .putters
                .join(queue.as_any(), &this.bound, &mut self.waiter);
        }
        let item = self.item.take().unwrap_or_else(|| py.None());
        if queue.get().calls(py) {
            queue
                .as_any()
                .call_method1(pyo3::intern!(py, "put_nowait"), (item,))?;
        } else {
            Queue::put_now(queue, item.into_bound(py))?;
        }
        Ok(Step::End(py.None().into_bound(py)))
    }

    fn show(&self, see: &mut dyn FnMut(Object) -> c_int) -> c_int {
        let held = [
            Some(self.queue.as_any()),
            self.item.as_ref(),
            self.waiter.as_ref(),
        ];
        show(&held, see)
    }
}

/// `join()`.
pub(crate) struct Join {
    queue: Py<Queue>,
    waiter: Option<Py<PyAny>>,
}

impl Resume for Join {
    const NAME: &'static str = "Queue.join";

    fn resume<'py>(&mut self, py: Python<'py>, thrown: Option<Raised>) -> Resumed<'py> {
        let queue = self.queue.bind(py);
        let this = queue.get();
        if let Some(waiter) = self.waiter.take() {
            this.joiners.leave(py, &waiter);
            woken(py, &waiter, thrown)?;
        } else if this.state.with(py, |state| state.unfinished > 0) {
            return this
                .joiners
                .join(queue.as_any(), &this.bound, &mut self.waiter);
        }
        Ok(Step::End(py.None().into_bound(py)))
    }

    fn show(&self, see: &mut dyn FnMut(Object) -> c_int) -> c_int {
        show(&[Some(self.queue.as_any()), self.waiter.as_ref()], see)
    }
}
