//! The driver: asks the core what to do, lets the ground wait, runs the jobs.

use super::running::Running;
use super::{Dirty, Job, Loop, WAKER};
use crate::datagram;
use crate::errors;
use crate::pipe;
use crate::raw::context::Entered;
use crate::raw::future::{FutureRef, Status};
use crate::raw::handle::{self, Outcome};
use crate::raw::raised::Raised;
use crate::raw::stop_iteration;
use crate::raw::task::{self, After, Current};
use crate::scope;
use crate::stream;
use crate::sync;
use crate::tls;
use pyo3::prelude::*;
use pyo3::{PyResult, Python, ffi};
use std::io;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use tepal_core::transport::Traffic;
use tepal_core::turn::Wait;
use tepal_sys::buffer::ReadBuffer;
use tepal_sys::clock;
use tepal_sys::malloc;
use tepal_sys::reactor::Events;

/// How much one read may bring: asyncio's `max_size`.
const READ: usize = 256 * 1024;

/// The block that the allocator has seen when a loop begins. (asyncio teaches it in passing: its reads of 256 KiB come and go, and ours keep
/// their room.)
const TAUGHT: usize = 4 * READ;

/// One run of a loop. What it holds lives as long as the run: the entered context, and room for reads.
pub(crate) struct Driver<'a, 'py> {
    pub(crate) py: Python<'py>,
    pub(crate) event_loop: &'a Bound<'py, Loop>,
    pub(crate) entered: Entered,
    current: Current,
    pub(crate) scratch: ReadBuffer,
    traffic: Traffic,
    events: Events,
    outer_in_job: bool,
    _running: Running,
}

impl<'a, 'py> Driver<'a, 'py> {
    pub(crate) fn new(event_loop: &'a Bound<'py, Loop>) -> Self {
        let py = event_loop.py();
        let scratch = event_loop
            .get()
            .with(py, |state| {
                state.turn.look_at_once();
                state.scratch.take()
            })
            .unwrap_or_else(|| {
                malloc::teach(TAUGHT);
                ReadBuffer::new(READ)
            });
        Self {
            py,
            event_loop,
            entered: Entered::none(),
            current: Current::none(),
            scratch,
            traffic: Traffic::new(TAUGHT),
            events: Events::new(),
            outer_in_job: event_loop.get().in_job.load(Relaxed),
            _running: Running::enter(event_loop),
        }
    }

    /// Turns until told to stop.
    ///
    /// # Errors
    ///
    /// SystemExit and KeyboardInterrupt from callbacks and signal handlers, and what an exception handler lets out.
    pub(crate) fn run(&mut self) -> PyResult<()> {
        let this = self.event_loop.get();
        loop {
            self.turn()?;
            if this.stopping.load(Relaxed) {
                return Ok(());
            }
        }
    }

    /// One turn: I/O, timers, and the jobs that are ready then.
    ///
    /// # Errors
    ///
    /// As [`Driver::run`].
    #[inline]
    pub(crate) fn turn(&mut self) -> PyResult<()> {
        let this = self.event_loop.get();
        let (wants_time, shared_context) = this.with(self.py, |state| {
            (state.turn.wants_time(), state.shared_context.take())
        });
        // (It keeps the values of its variables, so it does not stay while the loop sleeps.)
        drop(shared_context);
        if wants_time {
            let mut now = Loop::now(self.event_loop)?;
            let wait = this.with(self.py, |state| state.turn.poll_wait(now));
            if wait != Wait::Skip {
                self.entered.leave(self.py)?;
                self.current.clear(self.event_loop)?;
                self.wait(wait, now)?;
                now = Loop::now(self.event_loop)?;
                this.with(self.py, |state| state.turn.handle_polled(now));
                self.dispatch()?;
            }
            let due = now + this.clock_resolution;
            this.with(self.py, |state| state.turn.handle_time(due));
        }
        this.with(self.py, |state| state.turn.begin());
        while let Some(job) = this.with(self.py, |state| state.turn.poll_job()) {
            self.run_job(job)?;
        }
        Ok(())
    }

    /// Lets the ground wait.
    fn wait(&mut self, wait: Wait, now: f64) -> PyResult<()> {
        let this = self.event_loop.get();
        let Some(ground) = this.with(self.py, |state| state.ground.clone()) else {
            return this.check_open();
        };
        if let Some(block) = self.traffic.poll_lesson(this.take_moved()) {
            malloc::teach(block);
        }
        let events = &mut self.events;
        let outcome = match wait {
            Wait::Skip => return Ok(()),
            Wait::Look => ground.reactor.wait(events, Some(0.0)),
            Wait::Until(_) | Wait::Forever => {
                let timeout = match wait {
                    Wait::Until(deadline) => Some((deadline - now).max(0.0)),
                    _ => None,
                };
                // A signal that came since Python last ran a line does not end a wait that begins after it.
                self.py.check_signals()?;
                this.sleeping.store(true, SeqCst);
                // A job that another thread scheduled before it could see `sleeping`, or that signal's handler.
                let came = this.with(self.py, |state| state.turn.ready_len()) > 0
                    || this.stopping.load(Relaxed);
                let timeout = if came { Some(0.0) } else { timeout };
                let outcome = self.py.detach(|| ground.reactor.wait(events, timeout));
                this.sleeping.store(false, SeqCst);
                outcome
            }
        };
        match outcome {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(errors::from_io(self.py, &error)),
        }
        // Signal handlers written in Python run here, as they would after `select()` returned.
        self.py.check_signals()
    }

    /// Turns the events of the last wait into jobs.
    fn dispatch(&mut self) -> PyResult<()> {
        let this = self.event_loop.get();
        for event in self.events.iter() {
            if event.token == WAKER {
                let ground = this.with(self.py, |state| state.ground.clone());
                if let Some(ground) = ground {
                    let reset = ground.waker.reset();
                    reset.map_err(|error| errors::from_io(self.py, &error))?;
                }
            } else {
                this.handle_event(self.py, &event)?;
            }
        }
        Ok(())
    }

    /// Runs one job, and lets what it wrote go.
    #[inline]
    fn run_job(&mut self, job: Job) -> Result<(), Raised> {
        let this = self.event_loop.get();
        this.in_job.store(true, Relaxed);
        let outcome = match job {
            Job::Task(task) => self.run_task(task),
            job => self.run_other(job),
        };
        if this.has_dirty.load(Relaxed) {
            self.flush_dirty()?;
        }
        outcome
    }

    /// Runs a job that is no task's step.
    #[inline]
    fn run_other(&mut self, job: Job) -> Result<(), Raised> {
        let quiet = matches!(&job, Job::Handle(handle) if self.sets_a_result(handle));
        // (To tell asyncio that no task runs, and a moment later that the next does, costs as much as such a callback.)
        if !quiet {
            self.current.clear(self.event_loop)?;
        }
        match job {
            Job::Handle(handle) => self.run_handle(handle, quiet),
            native if self.event_loop.get().debug() => Ok(self.run_native_debug(native)?),
            native => Ok(self.run_native(native)?),
        }
    }

    /// Whether nobody can ask, while this callback runs, which task or context is the current one.
    #[inline]
    fn sets_a_result(&self, handle: &Py<PyAny>) -> bool {
        // SAFETY: `Job::Handle` holds one of our handles.
        self.event_loop.get().is_plain() && unsafe { handle::sets_a_result(handle.as_ptr()) }
    }

    #[inline]
    fn run_task(&mut self, task: Py<PyAny>) -> Result<(), Raised> {
        let task = task.into_bound(self.py);
        match self.step_task(&task) {
            Ok(After::Nothing) => Ok(()),
            Ok(After::Again) => {
                let this = self.event_loop.get();
                if this.is_plain() {
                    // The very reference that stood in the queue goes back into it.
                    this.schedule(self.py, Job::Task(task.unbind()));
                    return Ok(());
                }
                Ok(task::step_again(&task)?)
            }
            Err(error) => Ok(self.task_failure(&task, error.into())?),
        }
    }

    #[inline]
    fn step_task(&mut self, task: &Bound<'py, PyAny>) -> Result<After, Raised> {
        let context = task::context(task)?;
        // SAFETY: a task's context is one, and held here.
        unsafe { self.entered.enter(self.py, context.as_ptr())? };
        self.current.set(self.event_loop, task)?;
        let outcome = task::run(task);
        stop_iteration::release();
        outcome
    }

    /// Lets out what ends the loop; else tells that a task could not be run: its coroutine's exceptions are its own.
    #[cold]
    fn task_failure(&mut self, task: &Bound<'py, PyAny>, error: PyErr) -> PyResult<()> {
        self.entered.leave(self.py)?;
        if errors::ends_the_loop(self.py, &error) {
            return Err(error);
        }
        let message = format!(
            "Exception in callback {}",
            task::wakeup(task.clone())?.repr()?
        );
        errors::report(self.event_loop, &message, &error, &[("task", task)])
    }

    #[inline]
    fn run_handle(&mut self, handle: Py<PyAny>, quiet: bool) -> Result<(), Raised> {
        if self.event_loop.get().debug() {
            return Ok(self.run_handle_debug(&handle)?);
        }
        let pointer = handle.as_ptr();
        let entered = (!quiet).then_some(&mut self.entered);
        // SAFETY: `Job::Handle` holds one of our handles, and this frame a reference.
        let outcome = unsafe { handle::run(self.py, entered, pointer) };
        if outcome != Outcome::Done {
            self.handle_failure(&handle, outcome)?;
        }
        // SAFETY: rule 1. Somebody else holds it: from now on the collector must see it. (Only under a GIL is the count
        // what it says; without one the handle is tracked from the start, see `handle::track`.)
        #[cfg(not(Py_GIL_DISABLED))]
        unsafe {
            if ffi::Py_REFCNT(pointer) > 1 {
                handle::track(pointer);
            }
        }
        // `into_ptr` and a plain decrement: we are attached, which `Drop` would have to find out.
        // SAFETY: the reference was ours.
        unsafe { ffi::Py_DECREF(handle.into_ptr()) };
        Ok(())
    }

    /// Reports what a callback raised, outside its context.
    #[cold]
    fn handle_failure(&mut self, handle: &Py<PyAny>, outcome: Outcome) -> PyResult<()> {
        let error = PyErr::fetch(self.py);
        self.entered.leave(self.py)?;
        self.current.clear(self.event_loop)?;
        if outcome == Outcome::Refused {
            return Err(error);
        }
        errors::report_callback(self.event_loop, handle.bind(self.py), error)
    }

    /// As [`Driver::run_handle`], timed, and with the handle known to the exception handler.
    #[cold]
    fn run_handle_debug(&mut self, handle: &Py<PyAny>) -> PyResult<()> {
        let this = self.event_loop.get();
        let py = self.py;
        let set_current = |current: Option<Py<PyAny>>| {
            let old = this.with(py, |state| {
                std::mem::replace(&mut state.current_handle, current)
            });
            drop(old);
        };
        set_current(Some(handle.clone_ref(self.py)));
        let begun = clock::now();
        // SAFETY: as in `run_handle`.
        let outcome = unsafe { handle::run(self.py, Some(&mut self.entered), handle.as_ptr()) };
        let seconds = clock::now() - begun;
        let reported = if outcome == Outcome::Done {
            Ok(())
        } else {
            self.handle_failure(handle, outcome)
        };
        let left = self.entered.leave(self.py);
        let told = if seconds >= this.get_slow_callback_duration() {
            let log = self.event_loop.as_any().getattr("_log_slow_callback");
            log.and_then(|log| log.call1((handle, seconds))).map(drop)
        } else {
            Ok(())
        };
        set_current(None);
        // SAFETY: rule 1.
        unsafe { handle::track(handle.as_ptr()) };
        reported.and(left).and(told)
    }

    /// A transport's or a server's job.
    #[inline]
    fn run_native(&mut self, job: Job) -> PyResult<()> {
        match job {
            Job::Handle(handle) => Ok(self.run_handle(handle, false)?),
            Job::Task(task) => Ok(self.run_task(task)?),
            Job::Expire(future) => expire(&future.into_bound(self.py)),
            Job::Timeout(timeout) => sync::expire(&timeout.into_bound(self.py)),
            Job::EndScope(scope) => scope::end(&scope.into_bound(self.py)),
            Job::Deliver(task) => task::deliver(&task.into_bound(self.py)),
            Job::Look(task) => scope::look_at_stranger(self.event_loop, &task.into_bound(self.py)),
            Job::Told(observer) => self.tell(&observer.into_bound(self.py)),
            Job::Member(group) => self.tell(&group.into_bound(self.py)),
            Job::Stream(object, job) => stream::run_job(self, object, job),
            Job::Pipe(object) => pipe::run_job(self, object),
            Job::Accept(token) => self.event_loop.get().accept(self, token),
            Job::DatagramsReady(endpoint) => {
                datagram::handle_ready(self, &endpoint.into_bound(self.py))
            }
            Job::DatagramsBegin(endpoint) => datagram::begin(self, &endpoint.into_bound(self.py)),
            Job::DatagramsLost(endpoint) => datagram::lose(self, &endpoint.into_bound(self.py)),
        }
    }

    /// Tells somebody of what has ended.
    fn tell<T: sync::Told>(&mut self, told: &Bound<'py, T>) -> PyResult<()> {
        let (py, this) = (self.py, told.get());
        let mut ended = this.inbox(py, sync::Inbox::pop);
        while let Some(one) = ended {
            if let Err(error) = T::handle_end(told, one)
                && let Err(error) = self.native_failure(told.as_any(), error)
            {
                // The loop ends over it; whoever runs it again looks at the others.
                if this.inbox(py, sync::Inbox::part) {
                    let job = T::job(told.clone().unbind());
                    self.event_loop.get().schedule(py, job);
                }
                return Err(error);
            }
            ended = this.inbox(py, sync::Inbox::pop_joined);
        }
        Ok(())
    }

    /// Lets out what ends the loop, and tells the rest, as of a callback.
    #[cold]
    fn native_failure(&mut self, whose: &Bound<'py, PyAny>, error: PyErr) -> PyResult<()> {
        self.entered.leave(self.py)?;
        if errors::ends_the_loop(self.py, &error) {
            return Err(error);
        }
        let message = format!("Exception in callback of {}", whose.repr()?);
        errors::report(self.event_loop, &message, &error, &[])
    }

    /// A transport's or a server's job, timed: a slow protocol is named like a slow callback.
    #[cold]
    fn run_native_debug(&mut self, job: Job) -> PyResult<()> {
        let this = self.event_loop.get();
        let py = self.py;
        let (subject, protocol) = match &job {
            Job::Stream(transport, _)
            | Job::Pipe(transport)
            | Job::DatagramsBegin(transport)
            | Job::DatagramsReady(transport)
            | Job::DatagramsLost(transport) => {
                let protocol = transport.bind(py).call_method0("get_protocol")?;
                (transport.clone_ref(py), protocol.unbind())
            }
            _ => (self.event_loop.clone().into_any().unbind(), py.None()),
        };
        let begun = clock::now();
        let outcome = self.run_native(job);
        let seconds = clock::now() - begun;
        if seconds < this.get_slow_callback_duration() {
            return outcome;
        }
        let left = self.entered.leave(py);
        let log = self.event_loop.as_any().getattr("_log_slow_connection");
        let told = log.and_then(|log| log.call1((subject, protocol, seconds)));
        outcome.and(left).and(told.map(drop))
    }

    /// Sends what the job that has ended wrote. Plain text of TLS first: it becomes bytes of a stream, or of TLS below,
    /// which then needs another round.
    fn flush_dirty(&mut self) -> PyResult<()> {
        let this = self.event_loop.get();
        let mut outcome = Ok(());
        while this.has_dirty.swap(false, Relaxed) {
            let mut dirty = this.with(self.py, |state| std::mem::take(&mut state.dirty));
            // All are flushed, whatever one of them raises: nobody would come back for the others.
            for transport in &dirty {
                if let Dirty::Tls(tls) = transport {
                    outcome = outcome.and(tls::flush(self.py, tls.bind(self.py)));
                }
            }
            for transport in &dirty {
                outcome = outcome.and(match transport {
                    Dirty::Stream(stream) => stream::flush(self.py, stream.bind(self.py)),
                    Dirty::Pipe(pipe) => pipe::flush(pipe.bind(self.py)),
                    Dirty::Tls(_) => Ok(()),
                });
            }
            dirty.clear();
            // Hand the allocation back for the next job, unless a flush made a new one.
            this.with(self.py, |state| {
                if state.dirty.capacity() == 0 {
                    state.dirty = dirty;
                }
            });
        }
        outcome
    }
}

/// Ends a future whose time has come.
fn expire(future: &Bound<'_, PyAny>) -> PyResult<()> {
    match FutureRef::exact(future) {
        Some(future) if future.status() == Status::Pending => {
            future.set_result(future.py().None().into_bound(future.py()))
        }
        _ => Ok(()),
    }
}

impl Drop for Driver<'_, '_> {
    fn drop(&mut self) {
        let this = self.event_loop.get();
        if let Err(error) = self.current.clear(self.event_loop) {
            error.write_unraisable(self.py, Some(self.event_loop.as_any()));
        }
        this.in_job.store(self.outer_in_job, Relaxed);
        let scratch = std::mem::take(&mut self.scratch);
        let shared_context = this.with(self.py, |state| {
            state.scratch = Some(scratch);
            state.shared_context.take()
        });
        drop(shared_context);
        // What waits outlives the run, so the collector must see it. (Without a GIL it does, see `handle::track`.)
        #[cfg(not(Py_GIL_DISABLED))]
        {
            let left: Vec<Py<PyAny>> = this.with(self.py, |state| {
                let waiting = state.turn.iter_ready().chain(state.turn.iter_timers());
                super::handles(self.py, waiting)
            });
            for handle in left {
                // SAFETY: the loop's handles are ours.
                unsafe { handle::track(handle.as_ptr()) };
            }
        }
    }
}
