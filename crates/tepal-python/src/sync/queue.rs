//! `Queue` and `LifoQueue`: asyncio's, to the letter of 3.13, `shutdown` included on every Python.
//!
//! **Where the items are.** In Rust, as long as nobody wants to see them. A subclass that has methods of its own for them (`_init`, `_put`,
//! `_get`, `qsize`, `empty`, `full`: asyncio invites that, and `PriorityQueue` is one) keeps them itself, and so does a program that asks for
//! the queue's `_queue`: from then on they lie in that `deque`, and everything goes through the methods.

use super::waiters::{show, wake};
use super::{LoopBound, Routine, Waiters, woken};
use crate::owned::Owned;
use crate::raw::Object;
use crate::raw::coroutine::{self, Resume};
use crate::raw::future::{FutureRef, Status};
use crate::raw::iterator::Step;
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
    getters: Waiters,
    putters: Waiters,
    /// Who waits in `join()`.
    joiners: Waiters,
    unfinished: usize,
    peak: usize,
    shut_down: bool,
}

/// The native half of `tepal.Queue` and its subclasses.
#[pyclass(subclass, frozen, module = "tepal._tepal")]
pub(crate) struct Queue {
    state: Owned<State>,
    bound: LoopBound,
}

/// Which of those who wait.
#[derive(Clone, Copy)]
enum Side {
    Getters,
    Putters,
}

impl State {
    fn side(&mut self, side: Side) -> &mut Waiters {
        match side {
            Side::Getters => &mut self.getters,
            Side::Putters => &mut self.putters,
        }
    }

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

/// An exception of asyncio's queues; `QueueShutDown` is ours before 3.13.
fn raise(py: Python<'_>, name: &'static str) -> PyErr {
    static CLASSES: PyOnceLock<[Py<PyType>; 3]> = PyOnceLock::new();
    const NAMES: [&str; 3] = ["QueueEmpty", "QueueFull", "QueueShutDown"];
    let classes = CLASSES.get_or_try_init(py, || {
        let module = py.import("tepal._sync")?;
        let class = |name| PyResult::Ok(module.getattr(name)?.cast_into::<PyType>()?.unbind());
        PyResult::Ok([class(NAMES[0])?, class(NAMES[1])?, class(NAMES[2])?])
    });
    match (classes, NAMES.iter().position(|one| *one == name)) {
        (Ok(classes), Some(place)) => PyErr::from_type(classes[place].bind(py).clone(), ()),
        (Err(error), _) => error,
        (Ok(_), None) => PyValueError::new_err(name),
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

    fn is_shut_down(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.shut_down)
    }

    /// Wakes the next who waits there and can be woken.
    fn wake_next(&self, py: Python<'_>, side: Side) -> PyResult<()> {
        while let Some(future) = self.state.with(py, |state| state.side(side).pop()) {
            if wake(py, &future, false)? {
                break;
            }
        }
        Ok(())
    }

    fn wake_all(&self, py: Python<'_>, side: Side) -> PyResult<()> {
        while let Some(future) = self.state.with(py, |state| state.side(side).pop()) {
            let _woken: bool = wake(py, &future, false)?;
        }
        Ok(())
    }

    /// Everything that was put is done: who waits in `join()` goes on.
    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        for future in self.state.with(py, |state| state.joiners.all(py)) {
            let _woken: bool = wake(py, &future, true)?;
        }
        Ok(())
    }

    fn put_now<'py>(slf: &Bound<'py, Self>, item: Bound<'py, PyAny>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        if this.is_shut_down(py) {
            return Err(raise(py, "QueueShutDown"));
        }
        if Self::is_full(slf)? {
            return Err(raise(py, "QueueFull"));
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
        this.wake_next(py, Side::Getters)
    }

    fn get_now<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        if Self::is_empty(slf)? {
            let name = if this.is_shut_down(py) {
                "QueueShutDown"
            } else {
                "QueueEmpty"
            };
            return Err(raise(py, name));
        }
        let item = this.take(slf)?;
        this.wake_next(py, Side::Putters)?;
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

    /// One more waits there: his future.
    fn wait_there<'py>(slf: &Bound<'py, Self>, side: Side) -> PyResult<Bound<'py, PyAny>> {
        let this = slf.get();
        let future = this.bound.create_future(slf.as_any())?;
        this.state
            .with(slf.py(), |state| state.side(side).push(&future));
        Ok(future)
    }

    /// A wait was broken off: what it was given is given back.
    fn give_back(
        slf: &Bound<'_, Self>,
        side: Side,
        waiter: &Py<PyAny>,
        could_go_on: bool,
    ) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let Some(future) = FutureRef::exact(waiter.bind(py)) else {
            return Ok(());
        };
        let _was_pending: bool = future.cancel(None)?;
        let held = this.state.with(py, |state| state.side(side).remove(waiter));
        drop(held);
        if could_go_on && future.status() != Status::Cancelled {
            this.wake_next(py, side)?;
        }
        Ok(())
    }
}

#[pymethods]
impl Queue {
    #[new]
    #[pyo3(signature = (kind = "first"))]
    fn new(kind: &str) -> Self {
        let items = match kind {
            "first" => Items::First(VecDeque::new()),
            "last" => Items::Last(VecDeque::new()),
            _ => Items::Theirs(None),
        };
        Self {
            state: Owned::new(State {
                maximum: 0.0,
                items,
                getters: Waiters::new(),
                putters: Waiters::new(),
                joiners: Waiters::new(),
                unfinished: 0,
                peak: 0,
                shut_down: false,
            }),
            bound: LoopBound::new(),
        }
    }

    fn qsize(slf: &Bound<'_, Self>) -> PyResult<usize> {
        match slf.get().state.with(slf.py(), |state| state.len()) {
            Some(count) => Ok(count),
            None => slf.as_any().getattr("_queue")?.len(),
        }
    }

    #[getter]
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

    fn empty(slf: &Bound<'_, Self>) -> PyResult<bool> {
        match slf.get().state.with(slf.py(), |state| state.len()) {
            Some(count) => Ok(count == 0),
            None => Ok(!slf.as_any().getattr("_queue")?.is_truthy()?),
        }
    }

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

    fn put<'py>(slf: &Bound<'py, Self>, item: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let routine = Put {
            queue: slf.clone().unbind(),
            item: Some(item.unbind()),
            waiter: None,
        };
        coroutine::new(slf.py(), Routine::Put(routine))
    }

    fn get<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let routine = Get {
            queue: slf.clone().unbind(),
            waiter: None,
        };
        coroutine::new(slf.py(), Routine::Get(routine))
    }

    fn put_nowait<'py>(slf: &Bound<'py, Self>, item: Bound<'py, PyAny>) -> PyResult<()> {
        Self::put_now(slf, item)
    }

    fn get_nowait<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::get_now(slf)
    }

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

    fn join<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let routine = Join {
            queue: slf.clone().unbind(),
            waiter: None,
        };
        coroutine::new(slf.py(), Routine::Join(routine))
    }

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
        this.wake_all(py, Side::Getters)?;
        this.wake_all(py, Side::Putters)
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
        self.state.with(py, |state| state.getters.all(py))
    }

    #[getter(_putters)]
    fn putters_attribute(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.state.with(py, |state| state.putters.all(py))
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
        self.state.with(py, |state| state.joiners.len())
    }

    #[getter(_loop)]
    fn loop_attribute(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.bound.get(py)
    }

    #[setter(_loop)]
    fn set_loop_attribute(&self, py: Python<'_>, event_loop: Option<Py<PyAny>>) {
        self.bound.set(py, event_loop);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let shown = self.state.try_with(|state| {
            match &state.items {
                Items::First(items) | Items::Last(items) => {
                    items.iter().try_for_each(|item| visit.call(item))?;
                }
                Items::Theirs(kept) => visit.call(kept)?,
            }
            state.getters.show(&visit)?;
            state.putters.show(&visit)?;
            state.joiners.show(&visit)
        });
        shown.unwrap_or(Ok(()))?;
        self.bound.show(&visit)
    }

    fn __clear__(&self) {
        crate::raw::attached(|py| {
            let held = self.state.with(py, |state| {
                (
                    std::mem::replace(&mut state.items, Items::Theirs(None)),
                    std::mem::replace(&mut state.getters, Waiters::new()),
                    std::mem::replace(&mut state.putters, Waiters::new()),
                    std::mem::replace(&mut state.joiners, Waiters::new()),
                )
            });
            drop(held);
        });
        self.bound.clear();
    }
}

/// `get()`.
pub(crate) struct Get {
    queue: Py<Queue>,
    waiter: Option<Py<PyAny>>,
}

impl Resume for Get {
    const NAME: &'static str = "Queue.get";

    fn resume<'py>(&mut self, py: Python<'py>, thrown: Option<PyErr>) -> PyResult<Step<'py>> {
        let queue = self.queue.bind(py);
        if let Some(waiter) = self.waiter.take()
            && let Err(error) = woken(py, &waiter, thrown)
        {
            let could_go_on = !Queue::is_empty(queue)?;
            Queue::give_back(queue, Side::Getters, &waiter, could_go_on)?;
            return Err(error);
        }
        if Queue::is_empty(queue)? {
            if queue.get().is_shut_down(py) {
                return Err(raise(py, "QueueShutDown"));
            }
            let future = Queue::wait_there(queue, Side::Getters)?;
            self.waiter = Some(future.clone().unbind());
            return Ok(Step::Wait(future));
        }
        Queue::get_now(queue).map(Step::End)
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

    fn resume<'py>(&mut self, py: Python<'py>, thrown: Option<PyErr>) -> PyResult<Step<'py>> {
        let queue = self.queue.bind(py);
        if let Some(waiter) = self.waiter.take()
            && let Err(error) = woken(py, &waiter, thrown)
        {
            let could_go_on = !Queue::is_full(queue)?;
            Queue::give_back(queue, Side::Putters, &waiter, could_go_on)?;
            return Err(error);
        }
        if Queue::is_full(queue)? {
            if queue.get().is_shut_down(py) {
                return Err(raise(py, "QueueShutDown"));
            }
            let future = Queue::wait_there(queue, Side::Putters)?;
            self.waiter = Some(future.clone().unbind());
            return Ok(Step::Wait(future));
        }
        let item = self.item.take().unwrap_or_else(|| py.None());
        Queue::put_now(queue, item.into_bound(py))?;
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

    fn resume<'py>(&mut self, py: Python<'py>, thrown: Option<PyErr>) -> PyResult<Step<'py>> {
        let queue = self.queue.bind(py);
        let this = queue.get();
        if let Some(waiter) = self.waiter.take() {
            let held = this.state.with(py, |state| state.joiners.remove(&waiter));
            drop(held);
            woken(py, &waiter, thrown)?;
        } else if this.state.with(py, |state| state.unfinished > 0) {
            let future = this.bound.create_future(queue.as_any())?;
            this.state.with(py, |state| state.joiners.push(&future));
            self.waiter = Some(future.clone().unbind());
            return Ok(Step::Wait(future));
        }
        Ok(Step::End(py.None().into_bound(py)))
    }

    fn show(&self, see: &mut dyn FnMut(Object) -> c_int) -> c_int {
        show(&[Some(self.queue.as_any()), self.waiter.as_ref()], see)
    }
}
