//! `_tepal.Loop`: the native half of `tepal.EventLoop`.
//!
//! The class keeps the loop's state and hands it from family to family: `run.rs` turns it, `watch.rs` looks after
//! descriptors, `serve.rs` accepts connections, `datagrams.rs` and `pipes.rs` take datagram sockets and pipes over,
//! `sockets.rs` serves the `sock_*` methods, and `raw/loop_methods.rs` holds the few methods that must be faster than
//! PyO3's calling convention. The Python half, `tepal._loop`, adds what is not hot.

mod datagrams;
mod pipes;
mod run;
mod running;
mod serve;
mod sockets;
mod watch;

pub(crate) use run::Driver;
pub(crate) use running::{running, running_opt};
pub(crate) use sockets::{initialized, receive_into};
pub(crate) use watch::{Side, Source};

use crate::errors;
use crate::owned::Owned;
use crate::raw::Object;
use crate::raw::create_task::is_eager_factory;
use crate::raw::shared_context::SharedContext;
use crate::scope::{CancelScope, Strangers};
use crate::stream::StreamJob;
use crate::sync::{Observer, TaskGroup};
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::{PyResult, Python, ffi};
use slab::Slab;
use std::io;
use std::os::fd::{AsFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use tepal_core::scope::{Forest, MemberKey};
use tepal_core::timers::TimerKey;
use tepal_core::turn::Turn;
use tepal_sys::buffer::ReadBuffer;
use tepal_sys::clock;
use tepal_sys::reactor::{Interest, Reactor, Token, Trigger};
use tepal_sys::waker::Waker;

/// What the loop runs.
pub(crate) enum Job {
    /// A callback: one of our handles.
    Handle(Py<PyAny>),
    /// A step of one of our tasks.
    Task(Py<PyAny>),
    /// The time of a future of ours has come: it ends with None, unless it has ended.
    Expire(Py<PyAny>),
    /// The time of a `timeout()` has come.
    Timeout(Py<PyAny>),
    /// The deadline of a cancel scope has come.
    EndScope(Py<CancelScope>),
    /// A task that resists the cancellation of its scope is told again.
    Deliver(Py<PyAny>),
    /// A task of asyncio's own in a cancelled scope is looked at.
    Look(Py<PyAny>),
    /// A future has ended that an observer looks after; it lies in its inbox.
    Told(Py<Observer>),
    /// A task of a group has ended; the group knows which.
    Member(Py<TaskGroup>),
    /// Something for a stream transport to do.
    Stream(Py<PyAny>, StreamJob),
    /// The next thing that a pipe transport has to do; the pipe knows what (so that a job stays two words).
    Pipe(Py<PyAny>),
    /// Connections wait at a listening socket, named by its token.
    Accept(Token),
    /// A datagram transport's `connection_made`. (Three kinds of one word each, and not one with a word for the kind: a
    /// job stays two words.)
    DatagramsBegin(Py<PyAny>),
    /// A datagram transport's socket is ready.
    DatagramsReady(Py<PyAny>),
    /// A datagram transport's `connection_lost`.
    DatagramsLost(Py<PyAny>),
}

/// A queue is as long as a program is busy.
const _: () = assert!(size_of::<Job>() == 16);

/// A transport that holds bytes for the end of the running job.
pub(crate) enum Dirty {
    Stream(Py<PyAny>),
    Pipe(Py<PyAny>),
    Tls(Py<PyAny>),
}

/// The kernel's half of a loop: gone when the loop is closed.
pub(crate) struct Ground {
    pub(crate) reactor: Reactor,
    pub(crate) waker: Waker,
}

/// The token of the waker; descriptors' tokens carry a descriptor, which is never -1.
const WAKER: Token = Token(u64::MAX);

pub(crate) struct State {
    pub(crate) turn: Turn<Job>,
    /// `None` once closed.
    ground: Option<Arc<Ground>>,
    /// By descriptor number.
    sources: Vec<watch::Entry>,
    /// Transports that hold bytes which leave when the running job ends.
    dirty: Vec<Dirty>,
    task_factory: Option<Py<PyAny>>,
    /// Our tasks that are not done: nobody else need keep them.
    pub(crate) tasks: Slab<Py<PyAny>>,
    /// The cancel scopes that tasks are in, and those tasks by their keys in `tasks`.
    pub(crate) scopes: Forest<usize>,
    /// The places in `scopes` of tasks that are asyncio's own.
    pub(crate) strangers: Strangers,
    /// What the callbacks that were scheduled in this turn run in.
    pub(crate) shared_context: SharedContext,
    /// The handle that runs, in debug mode.
    current_handle: Option<Py<PyAny>>,
    /// Room for reads, kept from run to run.
    scratch: Option<ReadBuffer>,
}

/// The native half of `tepal.EventLoop`; not for direct use.
#[pyclass(subclass, frozen, module = "tepal._tepal")]
pub(crate) struct Loop {
    state: Owned<State>,
    debug: AtomicBool,
    closed: AtomicBool,
    stopping: AtomicBool,
    /// A job runs: what it writes may wait until it ends.
    in_job: AtomicBool,
    /// `State::dirty` is not empty; read after each job.
    has_dirty: AtomicBool,
    /// The loop waits for the kernel, so another thread that schedules a job must wake it.
    sleeping: AtomicBool,
    /// `time` or `call_at` was replaced, in a subclass or on the instance.
    foreign_time: AtomicBool,
    /// `call_soon` was replaced, in a subclass or on the instance.
    foreign_call_soon: AtomicBool,
    /// `create_task` was replaced, in a subclass or on the instance.
    foreign_create_task: AtomicBool,
    /// The task factory is `asyncio.eager_task_factory`, which ours can stand for.
    eager: AtomicBool,
    /// The identity of the thread that runs the loop; 0 when none does.
    thread: AtomicU64,
    /// How many bytes were read, or written in large pieces, since the kernel was last asked; about as many, for threads may miscount.
    moved: AtomicUsize,
    slow_callback_duration: AtomicU64,
    clock_resolution: f64,
    forks: u64,
}

/// A time that comes later than this, in seconds, is far.
const FAR: f64 = 0.1;

/// How often this process's ancestors forked with the module loaded: a loop knows by it that it is a parent's.
static FORKS: AtomicU64 = AtomicU64::new(0);

/// To be called in the child of a fork.
#[pyfunction]
pub(crate) fn after_fork_in_child() {
    FORKS.fetch_add(1, SeqCst);
}

impl Loop {
    /// Borrows the state; see [`Owned`] for the rule.
    #[inline]
    pub(crate) fn with<R>(&self, py: Python<'_>, act: impl FnOnce(&mut State) -> R) -> R {
        self.state.with(py, act)
    }

    #[inline]
    pub(crate) fn debug(&self) -> bool {
        self.debug.load(Relaxed)
    }

    #[inline]
    pub(crate) fn is_closed_now(&self) -> bool {
        self.closed.load(Relaxed)
    }

    #[inline]
    pub(crate) fn is_running_now(&self) -> bool {
        self.thread.load(Relaxed) != 0
    }

    /// Whether a job runs on this loop, so that written bytes may wait for its end.
    #[inline]
    pub(crate) fn in_job(&self) -> bool {
        self.in_job.load(Relaxed)
    }

    /// Whether the calling thread is the one that runs the loop.
    #[inline]
    pub(crate) fn is_own_thread(&self) -> bool {
        self.thread.load(Relaxed) == thread_identity()
    }

    /// Seconds on the loop's clock, or on whatever clock replaced it.
    ///
    /// # Errors
    ///
    /// What a replaced `time()` raises.
    #[inline]
    pub(crate) fn now(slf: &Bound<'_, Self>) -> PyResult<f64> {
        if slf.get().foreign_time.load(Relaxed) {
            return slf
                .as_any()
                .call_method0(crate::names::time(slf.py()))?
                .extract();
        }
        Ok(clock::now())
    }

    /// Whether a time has come. Of one that is far, a clock says so that costs less and lags behind, seldom as much as that.
    ///
    /// # Errors
    ///
    /// As [`Loop::now`].
    #[inline]
    pub(crate) fn has_come(slf: &Bound<'_, Self>, when: f64) -> PyResult<bool> {
        let is_far = !slf.get().is_time_foreign() && when - clock::about_now() > FAR;
        Ok(!is_far && when <= Self::now(slf)?)
    }

    /// Makes a job ready.
    #[inline]
    pub(crate) fn schedule(&self, py: Python<'_>, job: Job) {
        self.state.with(py, |state| state.turn.schedule(job));
    }

    /// Whether the job that was scheduled last is such a one, and nothing can come between it and one that would be scheduled now.
    #[inline]
    pub(crate) fn newest_is(&self, py: Python<'_>, is_it: impl FnOnce(&Job) -> bool) -> bool {
        if cfg!(Py_GIL_DISABLED) && !self.is_own_thread() {
            return false; // the loop's thread could run it before whoever asks has acted
        }
        self.state
            .with(py, |state| state.turn.newest().is_some_and(is_it))
    }

    /// Makes sure that a job scheduled from another thread, or by a signal handler, is seen.
    ///
    /// # Errors
    ///
    /// OSError when the waker is broken.
    #[inline]
    pub(crate) fn wake(&self, py: Python<'_>) -> PyResult<()> {
        // Whoever is first wakes it; the loop says again when it next sleeps.
        if self.sleeping.load(SeqCst) && self.sleeping.swap(false, SeqCst) {
            let ground = self.state.with(py, |state| state.ground.clone());
            if let Some(ground) = ground {
                ground
                    .waker
                    .wake()
                    .map_err(|error| errors::from_io(py, &error))?;
            }
        }
        Ok(())
    }

    pub(crate) fn cancel_timer(&self, py: Python<'_>, key: TimerKey) {
        let job = self.state.with(py, |state| state.turn.cancel(key));
        drop(job);
    }

    pub(crate) fn is_scheduled(&self, py: Python<'_>, key: TimerKey) -> bool {
        self.state.with(py, |state| state.turn.is_scheduled(key))
    }

    /// Remembers a transport that holds bytes for the end of the running job.
    #[inline]
    pub(crate) fn add_dirty(&self, py: Python<'_>, transport: Dirty) {
        self.state.with(py, |state| state.dirty.push(transport));
        self.has_dirty.store(true, Relaxed);
    }

    /// Counts bytes that come or go, for [`Traffic`](tepal_core::transport::Traffic).
    #[inline]
    pub(crate) fn count_moved(&self, count: usize) {
        // Load and store: it is a measure, and a locked instruction for each read is dear.
        let moved = self.moved.load(Relaxed).saturating_add(count);
        self.moved.store(moved, Relaxed);
    }

    /// What was counted since the last call.
    #[inline]
    fn take_moved(&self) -> usize {
        let moved = self.moved.load(Relaxed);
        self.moved.store(0, Relaxed);
        moved
    }

    pub(crate) fn clock_resolution(&self) -> f64 {
        self.clock_resolution
    }

    /// Whether `time` or `call_at` was replaced, so that delays go through the instance.
    #[inline]
    pub(crate) fn is_time_foreign(&self) -> bool {
        self.foreign_time.load(Relaxed)
    }

    /// Whether what is to run soon may go straight into the ready queue: `call_soon` is ours, and has nothing to check.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        !(self.debug() || self.is_closed_now() || self.foreign_call_soon.load(Relaxed))
    }

    /// Whether `create_task` was replaced, so that tasks are made through the instance.
    #[inline]
    pub(crate) fn is_create_task_foreign(&self) -> bool {
        self.foreign_create_task.load(Relaxed)
    }

    /// Makes a new task ready for its first step, and keeps it until it is done; the key by which it is released.
    #[inline]
    pub(crate) fn begin_task(&self, task: &Bound<'_, PyAny>) -> usize {
        let (ready, kept) = (task.clone().unbind(), task.clone().unbind());
        self.with(task.py(), |state| {
            state.turn.schedule(Job::Task(ready));
            state.tasks.insert(kept)
        })
    }

    /// Keeps a task until it is done; the key by which it is released.
    #[inline]
    pub(crate) fn keep(&self, py: Python<'_>, task: Py<PyAny>) -> usize {
        self.with(py, |state| state.tasks.insert(task))
    }

    /// Lets a task go, and takes it out of the scope that it is in; `None` when the loop let go of all.
    #[inline]
    pub(crate) fn release(
        &self,
        py: Python<'_>,
        key: usize,
        member: Option<MemberKey>,
    ) -> Option<Py<PyAny>> {
        self.with(py, |state| {
            if let Some(member) = member {
                let _key: usize = state.scopes.leave(member);
            }
            state.tasks.try_remove(key)
        })
    }

    /// Whether tasks begin at once, because asyncio's own eager factory was set.
    #[inline]
    pub(crate) fn makes_eager_tasks(&self) -> bool {
        self.eager.load(Relaxed)
    }

    /// Whether `create_task` must ask a factory.
    #[inline]
    pub(crate) fn task_factory_is_set(&self, py: Python<'_>) -> bool {
        self.with(py, |state| state.task_factory.is_some())
    }

    /// RuntimeError if the loop is closed.
    ///
    /// # Errors
    ///
    /// That.
    #[inline]
    pub(crate) fn check_open(&self) -> PyResult<()> {
        if self.is_closed_now() {
            Err(closed())
        } else {
            Ok(())
        }
    }

    /// Registers a descriptor with the reactor.
    ///
    /// # Errors
    ///
    /// OSError from the kernel; RuntimeError in a forked child or on a closed loop.
    pub(crate) fn register(
        &self,
        py: Python<'_>,
        fd: RawFd,
        token: Token,
        interest: Interest,
        trigger: Trigger,
        known: bool,
    ) -> PyResult<()> {
        self.on_ground(py, |ground| {
            ground
                .reactor
                .set(tepal_sys::fd::borrow(fd)?, token, interest, trigger, known)
        })
    }

    /// Takes a descriptor out of the reactor; one that is closed already is no error.
    ///
    /// # Errors
    ///
    /// RuntimeError in a forked child or on a closed loop.
    pub(crate) fn unregister(&self, py: Python<'_>, fd: RawFd) -> PyResult<()> {
        self.on_ground(py, |ground| {
            ground.reactor.remove(tepal_sys::fd::borrow(fd)?)
        })
    }

    fn on_ground(
        &self,
        py: Python<'_>,
        act: impl FnOnce(&Ground) -> io::Result<()>,
    ) -> PyResult<()> {
        self.check_process()?;
        let outcome = self
            .state
            .with(py, |state| state.ground.as_deref().map(act))
            .ok_or_else(closed)?;
        outcome.map_err(|error| errors::from_io(py, &error))
    }

    /// A loop shares its kernel objects with the parent after a fork, and would corrupt them.
    fn check_process(&self) -> PyResult<()> {
        if self.forks == FORKS.load(Relaxed) {
            return Ok(());
        }
        Err(PyRuntimeError::new_err(
            "This event loop was made before os.fork() and belongs to the parent process: \
             make a new one in the child",
        ))
    }
}

/// A thread's claim to run a loop, from `run_forever` to its end.
///
/// Taken in one step: two threads that start the same loop at the same moment both find that it does not run, and without
/// this both would (`tests/threads/test_threads_loops.py`).
struct Claim<'a>(&'a Loop);

impl<'a> Claim<'a> {
    /// # Errors
    ///
    /// RuntimeError when a thread runs the loop already.
    fn new(event_loop: &'a Loop) -> PyResult<Self> {
        let claimed = event_loop
            .thread
            .compare_exchange(0, thread_identity(), Relaxed, Relaxed);
        match claimed {
            Ok(_) => Ok(Self(event_loop)),
            Err(_) => Err(PyRuntimeError::new_err(
                "This event loop is already running",
            )),
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.0.stopping.store(false, Relaxed);
        self.0.thread.store(0, Relaxed);
    }
}

#[cold]
fn closed() -> PyErr {
    PyRuntimeError::new_err("Event loop is closed")
}

#[inline]
fn thread_identity() -> u64 {
    // SAFETY: needs nothing, not even the GIL.
    unsafe { ffi::PyThread_get_thread_ident() as u64 }
}

#[pymethods]
impl Loop {
    #[new]
    #[pyo3(signature = (*_arguments, **_keywords))]
    fn new(
        py: Python<'_>,
        _arguments: &Bound<'_, pyo3::types::PyTuple>,
        _keywords: Option<&Bound<'_, pyo3::types::PyDict>>,
    ) -> PyResult<Self> {
        let ground = || -> io::Result<Ground> {
            let ground = Ground {
                reactor: Reactor::new()?,
                waker: Waker::new()?,
            };
            let interest = Interest::READABLE;
            let waker = ground.waker.as_fd();
            ground
                .reactor
                .set(waker, WAKER, interest, Waker::TRIGGER, false)?;
            Ok(ground)
        };
        let ground = ground().map_err(|error| errors::from_io(py, &error))?;
        Ok(Self {
            state: Owned::new(State {
                turn: Turn::new(),
                ground: Some(Arc::new(ground)),
                sources: Vec::new(),
                dirty: Vec::new(),
                task_factory: None,
                tasks: Slab::new(),
                scopes: Forest::new(),
                strangers: Strangers::default(),
                shared_context: SharedContext::default(),
                current_handle: None,
                scratch: None,
            }),
            debug: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            in_job: AtomicBool::new(false),
            has_dirty: AtomicBool::new(false),
            sleeping: AtomicBool::new(false),
            foreign_time: AtomicBool::new(false),
            foreign_call_soon: AtomicBool::new(false),
            foreign_create_task: AtomicBool::new(false),
            eager: AtomicBool::new(false),
            thread: AtomicU64::new(0),
            moved: AtomicUsize::new(0),
            slow_callback_duration: AtomicU64::new(0.1f64.to_bits()),
            clock_resolution: clock::resolution(),
            forks: FORKS.load(Relaxed),
        })
    }

    /// Ask the loop to stop at the end of the running turn, as asyncio does.
    fn stop(&self) {
        self.stopping.store(true, Relaxed);
    }

    /// Whether the loop is running.
    fn is_running(&self) -> bool {
        self.is_running_now()
    }

    /// Whether the loop was closed.
    fn is_closed(&self) -> bool {
        self.is_closed_now()
    }

    /// Whether debug mode is on.
    fn get_debug(&self) -> bool {
        self.debug()
    }

    #[getter(_debug)]
    fn debug_attribute(&self) -> bool {
        self.debug()
    }

    #[setter(_debug)]
    fn set_debug_attribute(&self, enabled: &Bound<'_, PyAny>) -> PyResult<()> {
        self.debug.store(enabled.is_truthy()?, Relaxed);
        Ok(())
    }

    #[getter(_closed)]
    fn closed_attribute(&self) -> bool {
        self.is_closed_now()
    }

    #[getter(_stopping)]
    fn stopping_attribute(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    #[setter(_stopping)]
    fn set_stopping_attribute(&self, stopping: bool) {
        self.stopping.store(stopping, Relaxed);
    }

    #[getter(_thread_id)]
    fn thread_attribute(&self) -> Option<u64> {
        Some(self.thread.load(Relaxed)).filter(|thread| *thread != 0)
    }

    #[setter(_thread_id)]
    fn set_thread_attribute(&self, thread: Option<u64>) {
        self.thread.store(thread.unwrap_or(0), Relaxed);
    }

    #[getter(_clock_resolution)]
    fn clock_resolution_attribute(&self) -> f64 {
        self.clock_resolution
    }

    /// In debug mode, callbacks that take at least this long, in seconds, are logged.
    #[getter]
    fn get_slow_callback_duration(&self) -> f64 {
        f64::from_bits(self.slow_callback_duration.load(Relaxed))
    }

    #[setter]
    fn set_slow_callback_duration(&self, seconds: f64) {
        self.slow_callback_duration
            .store(seconds.to_bits(), Relaxed);
    }

    #[getter(_current_handle)]
    fn current_handle(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.with(py, |state| {
            state
                .current_handle
                .as_ref()
                .map(|handle| handle.clone_ref(py))
        })
    }

    #[getter(_task_factory)]
    fn task_factory(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.with(py, |state| {
            state
                .task_factory
                .as_ref()
                .map(|factory| factory.clone_ref(py))
        })
    }

    #[setter(_task_factory)]
    fn set_task_factory_attribute(&self, py: Python<'_>, factory: Option<Py<PyAny>>) {
        let eager = factory
            .as_ref()
            .is_some_and(|factory| is_eager_factory(factory.bind(py)));
        let old = self.with(py, |state| {
            std::mem::replace(&mut state.task_factory, factory)
        });
        drop(old);
        self.eager.store(eager, Relaxed);
    }

    /// The handles that are ready, in order (a snapshot; for debuggers and tests).
    #[getter(_ready)]
    fn ready_attribute(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.with(py, |state| handles(py, state.turn.iter_ready()))
    }

    /// The handles that are scheduled (a snapshot; for debuggers and tests).
    #[getter(_scheduled)]
    fn scheduled_attribute(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.with(py, |state| handles(py, state.turn.iter_timers()))
    }

    /// Says which methods that native code would pass by were replaced: those of the clock (`time`, `call_at`), `call_soon`, and
    /// `create_task`.
    fn _set_foreign(&self, clock: bool, call_soon: bool, create_task: bool) {
        self.foreign_time.store(clock, Relaxed);
        self.foreign_call_soon.store(call_soon, Relaxed);
        self.foreign_create_task.store(create_task, Relaxed);
    }

    /// Our tasks that are not done (a snapshot).
    fn _pending_tasks(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.with(py, |state| {
            let tasks = state.tasks.iter();
            tasks.map(|(_, task)| task.clone_ref(py)).collect()
        })
    }

    /// The transports that are open on this loop (a snapshot); one that reads and writes two descriptors may stand there twice.
    fn _open_transports(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.with(py, |state| {
            let transports = state.sources.iter().flat_map(watch::Entry::transports);
            transports
                .map(|transport| transport.clone_ref(py))
                .collect()
        })
    }

    /// asyncio.TimerHandle.cancel() calls this; only our own timers are counted, and they count themselves.
    fn _timer_handle_cancelled(&self, _handle: &Bound<'_, PyAny>) {}

    /// Makes an existing handle ready, as asyncio's loops do for I/O and signals.
    fn _add_callback(&self, py: Python<'_>, handle: &Bound<'_, PyAny>) -> PyResult<()> {
        if !crate::raw::handle::is_ours(handle) {
            return Err(pyo3::exceptions::PyTypeError::new_err(
                "a tepal.Handle is required here",
            ));
        }
        self.schedule(py, Job::Handle(handle.clone().unbind()));
        Ok(())
    }

    /// Makes an existing handle ready, and wakes the loop.
    fn _add_callback_signalsafe(&self, py: Python<'_>, handle: &Bound<'_, PyAny>) -> PyResult<()> {
        self._add_callback(py, handle)?;
        self.wake(py)
    }

    /// Turns the loop until it is told to stop; it counts as running for as long.
    fn _run(slf: &Bound<'_, Self>) -> PyResult<()> {
        slf.get().check_process()?;
        let _claim = Claim::new(slf.get())?;
        run::Driver::new(slf).run()
    }

    /// Turns the loop once.
    fn _run_once(slf: &Bound<'_, Self>) -> PyResult<()> {
        slf.get().check_process()?;
        run::Driver::new(slf).turn()
    }

    /// Closes the kernel's half and drops every job.
    fn _close(&self, py: Python<'_>) {
        self.closed.store(true, Relaxed);
        let (jobs, context, tasks, ground, sources, dirty) = self.with(py, |state| {
            (
                state.turn.take_all(),
                state.shared_context.take(),
                (
                    std::mem::take(&mut state.tasks),
                    std::mem::take(&mut state.strangers),
                ),
                state.ground.take(),
                std::mem::take(&mut state.sources),
                std::mem::take(&mut state.dirty),
            )
        });
        drop((jobs, context, tasks, ground, sources, dirty));
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let visited = self.state.try_with(|state| {
            for job in state.turn.iter_ready().chain(state.turn.iter_timers()) {
                match job {
                    Job::Handle(object)
                    | Job::Task(object)
                    | Job::Expire(object)
                    | Job::Timeout(object)
                    | Job::Deliver(object)
                    | Job::Look(object)
                    | Job::Stream(object, _)
                    | Job::Pipe(object)
                    | Job::DatagramsBegin(object)
                    | Job::DatagramsReady(object)
                    | Job::DatagramsLost(object) => visit.call(object)?,
                    Job::Told(observer) => visit.call(observer)?,
                    Job::Member(group) => visit.call(group)?,
                    Job::EndScope(scope) => visit.call(scope)?,
                    Job::Accept(_) => {}
                }
            }
            for (_, task) in &state.tasks {
                visit.call(task)?;
            }
            state.strangers.show(&visit)?;
            for entry in &state.sources {
                entry.traverse(&visit)?;
            }
            for dirty in &state.dirty {
                let (Dirty::Stream(transport) | Dirty::Pipe(transport) | Dirty::Tls(transport)) =
                    dirty;
                visit.call(transport)?;
            }
            visit.call(&state.task_factory)?;
            visit.call(state.shared_context.get())?;
            visit.call(&state.current_handle)
        });
        visited.unwrap_or(Ok(()))
    }

    fn __clear__(&self) {
        crate::raw::attached(|py| {
            let task_factory = self.with(py, |state| state.task_factory.take());
            drop(task_factory);
            let (jobs, context) = self.with(py, |state| {
                (state.turn.take_all(), state.shared_context.take())
            });
            drop((jobs, context));
            let tasks = self.with(py, |state| {
                (
                    std::mem::take(&mut state.tasks),
                    std::mem::take(&mut state.strangers),
                )
            });
            drop(tasks);
            let sources = self.with(py, |state| std::mem::take(&mut state.sources));
            drop(sources);
        });
    }
}

fn handles<'a>(py: Python<'_>, jobs: impl Iterator<Item = &'a Job>) -> Vec<Py<PyAny>> {
    jobs.filter_map(|job| match job {
        Job::Handle(handle) => Some(handle.clone_ref(py)),
        _ => None,
    })
    .collect()
}

/// The loop behind a raw pointer.
///
/// # Safety
///
/// `object` is a live instance of [`Loop`] or a subclass.
#[inline]
pub(crate) unsafe fn from_raw<'a, 'py>(
    py: Python<'py>,
    object: &'a Object,
) -> &'a Bound<'py, Loop> {
    // SAFETY: the caller's promise.
    unsafe { Bound::ref_from_ptr(py, object).cast_unchecked() }
}
