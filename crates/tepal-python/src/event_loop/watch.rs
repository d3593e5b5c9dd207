//! Descriptors: whom to tell when one is ready.
//!
//! A table by descriptor number. A token carries the number and a generation, so an event of a registration that is
//! gone is recognised and ignored.
//!
//! `add_reader` and `add_writer` are level-triggered, as asyncio's are. A `sock_*` operation waits with a one-shot
//! registration instead: one system call per wait, not two, and no stale registration when the socket is closed.

use super::{Job, Loop};
use crate::convert;
use crate::datagram;
use crate::event_loop::serve::Listener;
use crate::pipe;
use crate::raw::handle;
use crate::raw::{Object, context};
use crate::stream::{self, StreamJob};
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyTuple};
use std::os::fd::RawFd;
use tepal_sys::reactor::{Event, Interest, Token, Trigger};

/// One descriptor's place in the table.
#[derive(Default)]
pub(crate) struct Entry {
    generation: u32,
    pub(super) source: Option<Source>,
}

/// What a descriptor is to the loop.
pub(crate) enum Source {
    /// Callbacks or operations wait for it.
    Watch(Watch),
    /// A stream transport's socket.
    Stream(Py<PyAny>),
    /// A datagram transport's socket.
    Datagrams(Py<PyAny>),
    /// A server's listening socket.
    Listener(Box<Listener>),
}

/// Who waits for a descriptor. Not both empty.
#[derive(Default)]
pub(crate) struct Watch {
    reader: Option<Watcher>,
    writer: Option<Watcher>,
}

pub(crate) enum Watcher {
    /// Called each time the descriptor is ready. The object that the descriptor was taken from, if it was no number: once
    /// it is closed, it can still be named (asyncio's selectors keep it, too, and anyio relies on it).
    Handle(Py<PyAny>, Option<Py<PyAny>>),
    /// Told once.
    Future(Py<PyAny>),
    /// A pipe transport, told as often as it asked for.
    Pipe(Py<PyAny>, Trigger),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Read,
    Write,
}

impl Entry {
    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match &self.source {
            None => Ok(()),
            Some(Source::Stream(object) | Source::Datagrams(object)) => visit.call(object),
            Some(Source::Listener(listener)) => listener.traverse(visit),
            Some(Source::Watch(watch)) => {
                for watcher in [&watch.reader, &watch.writer].into_iter().flatten() {
                    match watcher {
                        Watcher::Handle(object, file) => {
                            visit.call(object)?;
                            visit.call(file)?;
                        }
                        Watcher::Future(object) | Watcher::Pipe(object, _) => {
                            visit.call(object)?;
                        }
                    }
                }
                Ok(())
            }
        }
    }
}

impl Watch {
    fn side(&mut self, side: Side) -> &mut Option<Watcher> {
        match side {
            Side::Read => &mut self.reader,
            Side::Write => &mut self.writer,
        }
    }

    fn interest(&self) -> Interest {
        Interest {
            readable: self.reader.is_some(),
            writable: self.writer.is_some(),
        }
    }

    /// A callback wants to be told as long as readiness lasts; operations alone, once; what content itself with edges
    /// gets them unless somebody else on the descriptor wants more.
    fn trigger(&self) -> Trigger {
        let mut trigger = Trigger::Once;
        for watcher in [&self.reader, &self.writer].into_iter().flatten() {
            trigger = match (watcher, trigger) {
                (Watcher::Handle(..) | Watcher::Pipe(_, Trigger::Level), _)
                | (_, Trigger::Level) => Trigger::Level,
                (Watcher::Pipe(_, Trigger::Edge), _) => Trigger::Edge,
                _ => trigger,
            };
        }
        trigger
    }

    fn holds(&mut self, side: Side, pipe: &Bound<'_, PyAny>) -> bool {
        matches!(self.side(side), Some(Watcher::Pipe(other, _)) if other.is(pipe))
    }
}

impl Entry {
    /// The transports that the loop tells of this descriptor.
    pub(super) fn transports(&self) -> impl Iterator<Item = &Py<PyAny>> {
        let (whole, watch) = match &self.source {
            Some(Source::Stream(transport) | Source::Datagrams(transport)) => {
                (Some(transport), None)
            }
            Some(Source::Watch(watch)) => (None, Some(watch)),
            Some(Source::Listener(_)) | None => (None, None),
        };
        let sides = watch
            .into_iter()
            .flat_map(|watch| [&watch.reader, &watch.writer]);
        let pipes = sides.filter_map(|watcher| match watcher {
            Some(Watcher::Pipe(transport, _)) => Some(transport),
            Some(Watcher::Handle(..) | Watcher::Future(_)) | None => None,
        });
        whole.into_iter().chain(pipes)
    }
}

fn token(fd: RawFd, generation: u32) -> Token {
    Token(u64::from(generation) << 32 | fd as u32 as u64)
}

fn token_fd(token: Token) -> usize {
    (token.0 & 0xffff_ffff) as usize
}

/// How a descriptor is registered: to be told to the kernel outside the borrow.
struct Registration {
    token: Token,
    interest: Interest,
    trigger: Trigger,
}

impl super::State {
    /// The entry of a descriptor, made if need be.
    fn entry(&mut self, fd: RawFd) -> &mut Entry {
        let index = fd as usize;
        if index >= self.sources.len() {
            self.sources.resize_with(index + 1, Entry::default);
        }
        &mut self.sources[index]
    }

    /// Installs a source under a new generation; the old one is handed back.
    pub(crate) fn install(&mut self, fd: RawFd, source: Source) -> (Token, Option<Source>) {
        let entry = self.entry(fd);
        entry.generation = entry.generation.wrapping_add(1);
        (token(fd, entry.generation), entry.source.replace(source))
    }

    /// The source that a token names, if it is still there.
    pub(super) fn source(&mut self, token: Token) -> Option<&mut Source> {
        let entry = self.sources.get_mut(token_fd(token))?;
        if u64::from(entry.generation) != token.0 >> 32 {
            return None;
        }
        entry.source.as_mut()
    }

    /// Takes a source out; its token is stale afterwards.
    pub(crate) fn uninstall(&mut self, token: Token) -> Option<Source> {
        self.source(token)?;
        let entry = &mut self.sources[token_fd(token)];
        entry.generation = entry.generation.wrapping_add(1);
        entry.source.take()
    }
}

impl Loop {
    /// Makes an event into jobs.
    ///
    /// # Errors
    ///
    /// What a foreign future's `set_result` raises.
    pub(super) fn handle_event(&self, py: Python<'_>, event: &Event) -> PyResult<()> {
        enum Told {
            Nothing,
            Once {
                futures: [Option<Py<PyAny>>; 2],
                again: Option<Registration>,
            },
        }
        let told = self.with(py, |state| {
            let Some(source) = state.source(event.token) else {
                return Told::Nothing;
            };
            match source {
                Source::Stream(object) => {
                    let job = StreamJob::of(event);
                    let job = Job::Stream(object.clone_ref(py), job);
                    state.turn.schedule(job);
                    Told::Nothing
                }
                Source::Datagrams(object) => {
                    let job = Job::DatagramsReady(object.clone_ref(py));
                    state.turn.schedule(job);
                    Told::Nothing
                }
                Source::Listener(_) => {
                    state.turn.schedule(Job::Accept(event.token));
                    Told::Nothing
                }
                Source::Watch(watch) => {
                    let mut jobs: [Option<Job>; 4] = [const { None }; 4];
                    // Nobody reads, and yet it is readable: the other side has hung up.
                    let hung_up = event.readable && watch.reader.is_none();
                    let mut futures = [None, None];
                    for (index, (side, ready)) in
                        [(Side::Read, event.readable), (Side::Write, event.writable)]
                            .into_iter()
                            .enumerate()
                    {
                        if !ready {
                            continue;
                        }
                        match watch.side(side) {
                            None => {}
                            Some(Watcher::Handle(handle, _)) => {
                                jobs[2 * index] = Some(Job::Handle(handle.clone_ref(py)));
                            }
                            Some(Watcher::Pipe(pipe, _)) => {
                                for due in 0..pipe::handle_ready(pipe.bind(py), side, hung_up) {
                                    jobs[2 * index + due] = Some(Job::Pipe(pipe.clone_ref(py)));
                                }
                            }
                            place => {
                                if let Some(Watcher::Future(future)) = place.take() {
                                    futures[index] = Some(future);
                                }
                            }
                        }
                    }
                    let took = futures.iter().any(Option::is_some);
                    let again = (took && !watch.interest().is_empty()).then(|| Registration {
                        token: event.token,
                        interest: watch.interest(),
                        trigger: watch.trigger(),
                    });
                    for job in jobs.into_iter().flatten() {
                        state.turn.schedule(job);
                    }
                    Told::Once { futures, again }
                }
            }
        });
        if let Told::Once { futures, again } = told {
            if let Some(again) = again {
                let fd = token_fd(event.token) as RawFd;
                self.register(py, fd, again.token, again.interest, again.trigger, true)?;
            }
            for future in futures.into_iter().flatten() {
                convert::set_result_unless_done(future.bind(py), py.None().bind(py))?;
            }
        }
        Ok(())
    }

    /// Watches one side of a pipe's descriptor; whoever watched it before is told no more.
    ///
    /// # Errors
    ///
    /// OSError from the kernel: `EPERM` for what cannot be waited for.
    pub(crate) fn watch_pipe(
        &self,
        pipe: &Bound<'_, PyAny>,
        fd: RawFd,
        side: Side,
        trigger: Trigger,
    ) -> PyResult<()> {
        let watcher = Watcher::Pipe(pipe.clone().unbind(), trigger);
        let old = self.watch(pipe.py(), fd, side, watcher)?;
        cancel_watcher(pipe.py(), old)
    }

    /// Watches one side no more, unless somebody else has taken the pipe's place there. On a closed loop and in a forked
    /// child there is nothing to be done in the kernel.
    ///
    /// # Errors
    ///
    /// None that is known.
    pub(crate) fn unwatch_pipe(
        &self,
        pipe: &Bound<'_, PyAny>,
        fd: RawFd,
        side: Side,
    ) -> PyResult<()> {
        let py = pipe.py();
        let holds = self.with(py, |state| {
            let index = usize::try_from(fd).ok()?;
            match &mut state.sources.get_mut(index)?.source {
                Some(Source::Watch(watch)) => Some(watch.holds(side, pipe)),
                _ => None,
            }
        });
        if holds != Some(true) {
            return Ok(());
        }
        if self.is_closed_now() || self.check_process().is_err() {
            let taken = self.take_watcher(py, fd, side);
            drop(taken);
            return Ok(());
        }
        let taken = self.unwatch(py, fd, side)?;
        drop(taken);
        Ok(())
    }

    /// Puts a watcher on one side of a descriptor; the one before is handed back.
    fn watch(
        &self,
        py: Python<'_>,
        fd: RawFd,
        side: Side,
        watcher: Watcher,
    ) -> PyResult<Option<Watcher>> {
        let (registration, known, old, lost) = self.with(py, |state| {
            let entry = state.entry(fd);
            let mut lost = None;
            // A transport that is gone, or a listener whose socket was closed behind our back.
            if !matches!(entry.source, Some(Source::Watch(_)) | None) {
                lost = entry.source.take();
            }
            let known = entry.source.is_some();
            if !known {
                entry.generation = entry.generation.wrapping_add(1);
                entry.source = Some(Source::Watch(Watch::default()));
            }
            let generation = entry.generation;
            let Some(Source::Watch(watch)) = &mut entry.source else {
                unreachable!("put there just now")
            };
            let old = watch.side(side).replace(watcher);
            let registration = Registration {
                token: token(fd, generation),
                interest: watch.interest(),
                trigger: watch.trigger(),
            };
            (registration, known, old, lost)
        });
        drop(lost);
        let Registration {
            token,
            interest,
            trigger,
        } = registration;
        let outcome = self.register(
            py,
            fd,
            token,
            interest,
            trigger,
            known || trigger == Trigger::Once,
        );
        if let Err(error) = outcome {
            let undone = self.take_watcher(py, fd, side);
            drop((undone, old));
            return Err(error);
        }
        Ok(old)
    }

    /// Takes a watcher off the table, without a word to the kernel.
    fn take_watcher(&self, py: Python<'_>, fd: RawFd, side: Side) -> Option<Watcher> {
        self.with(py, |state| {
            let entry = state.sources.get_mut(usize::try_from(fd).ok()?)?;
            let Some(Source::Watch(watch)) = &mut entry.source else {
                return None;
            };
            let taken = watch.side(side).take();
            if watch.interest().is_empty() {
                entry.source = None;
                entry.generation = entry.generation.wrapping_add(1);
            }
            taken
        })
    }

    /// Takes a watcher away, in the kernel too.
    fn unwatch(&self, py: Python<'_>, fd: RawFd, side: Side) -> PyResult<Option<Watcher>> {
        let Some(taken) = self.take_watcher(py, fd, side) else {
            return Ok(None);
        };
        let left = self.with(py, |state| {
            let entry = state.sources.get(fd as usize)?;
            let Some(Source::Watch(watch)) = &entry.source else {
                return None;
            };
            Some(Registration {
                token: token(fd, entry.generation),
                interest: watch.interest(),
                trigger: watch.trigger(),
            })
        });
        match left {
            // The other side goes on. The descriptor may be closed by now, which is no error of the one who leaves.
            Some(left) => {
                match self.register(py, fd, left.token, left.interest, left.trigger, true) {
                    Err(error) if error.is_instance_of::<pyo3::exceptions::PyOSError>(py) => {}
                    outcome => outcome?,
                }
            }
            None => self.unregister(py, fd)?,
        }
        Ok(Some(taken))
    }

    /// RuntimeError if a transport owns the descriptor: reading behind its back would lose data.
    fn check_not_a_transport(&self, py: Python<'_>, fd: RawFd) -> PyResult<()> {
        let owner = self.with(py, |state| {
            match state.sources.get(usize::try_from(fd).ok()?)?.source {
                Some(Source::Stream(ref object)) => Some((
                    object.clone_ref(py),
                    stream::is_closing as fn(&Bound<'_, PyAny>) -> bool,
                )),
                Some(Source::Datagrams(ref object)) => Some((
                    object.clone_ref(py),
                    datagram::is_closing as fn(&Bound<'_, PyAny>) -> bool,
                )),
                _ => None,
            }
        });
        match owner {
            Some((owner, is_closing)) if !is_closing(owner.bind(py)) => {
                let shown = owner.bind(py).repr()?;
                Err(PyRuntimeError::new_err(format!(
                    "File descriptor {fd} is used by transport {shown}"
                )))
            }
            _ => Ok(()),
        }
    }

    fn add_watcher<'py>(
        slf: &Bound<'py, Self>,
        side: Side,
        arguments: &Bound<'py, PyTuple>,
    ) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        let (file, callback) = (arguments.get_item(0)?, arguments.get_item(1)?);
        this.check_open()?;
        let fd = convert::descriptor(&file)?;
        this.check_not_a_transport(py, fd)?;
        let rest = arguments.get_slice(2, arguments.len());
        let handle = new_handle(slf, &callback, &rest)?;
        let kept = (!file.is_instance_of::<PyInt>()).then(|| file.unbind());
        let old = this.watch(py, fd, side, Watcher::Handle(handle, kept))?;
        cancel_watcher(py, old)
    }

    fn remove_watcher(
        &self,
        py: Python<'_>,
        file: &Bound<'_, PyAny>,
        side: Side,
    ) -> PyResult<bool> {
        if self.is_closed_now() {
            return Ok(false);
        }
        let fd = match convert::descriptor(file) {
            Ok(fd) => {
                self.check_not_a_transport(py, fd)?;
                fd
            }
            // It has no number any more, being closed. Whoever added it has the object all the same.
            Err(error) => self.watched_as(py, file, side).ok_or(error)?,
        };
        let taken = self.unwatch(py, fd, side)?;
        let removed = taken.is_some();
        cancel_watcher(py, taken)?;
        Ok(removed)
    }

    /// The number under which an object's descriptor was watched on one side.
    fn watched_as(&self, py: Python<'_>, file: &Bound<'_, PyAny>, side: Side) -> Option<RawFd> {
        self.with(py, |state| {
            let place = state.sources.iter_mut().position(|entry| {
                let Some(Source::Watch(watch)) = &mut entry.source else {
                    return false;
                };
                matches!(watch.side(side), Some(Watcher::Handle(_, Some(kept))) if kept.is(file))
            });
            place.and_then(|fd| RawFd::try_from(fd).ok())
        })
    }

    fn wait_side<'py>(
        slf: &Bound<'py, Self>,
        fd: RawFd,
        side: Side,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        slf.get().check_not_a_transport(py, fd)?;
        let future = slf
            .as_any()
            .call_method0(pyo3::intern!(py, "create_future"))?;
        let watcher = Watcher::Future(future.clone().unbind());
        let old = slf.get().watch(py, fd, side, watcher)?;
        cancel_watcher(py, old)?;
        Ok(future)
    }
}

/// A watcher that was replaced or removed must not be told any more.
fn cancel_watcher(py: Python<'_>, watcher: Option<Watcher>) -> PyResult<()> {
    match watcher {
        None | Some(Watcher::Pipe(..)) => Ok(()),
        // SAFETY: watchers' handles are ours.
        Some(Watcher::Handle(handle, _)) => unsafe { handle::cancel(py, handle.as_ptr()) },
        Some(Watcher::Future(future)) => future.bind(py).call_method0("cancel").map(drop),
    }
}

/// A handle in a copy of the current context, shown to the collector.
fn new_handle<'py>(
    event_loop: &Bound<'py, Loop>,
    callback: &Bound<'py, PyAny>,
    arguments: &Bound<'py, PyTuple>,
) -> PyResult<Py<PyAny>> {
    let py = event_loop.py();
    let pointers: Vec<Object> = arguments
        .iter_borrowed()
        .map(|argument| argument.as_ptr())
        .collect();
    let context = context::copy_current(py)?;
    // SAFETY: everything borrowed lives through the call, the context is strong.
    unsafe {
        let handle = handle::new(
            py,
            &handle::Purpose::Soon,
            event_loop.as_ptr(),
            callback.as_ptr(),
            pointers.as_ptr(),
            pointers.len(),
            context,
        )?;
        handle::track(handle);
        let handle = Bound::from_owned_ptr(py, handle);
        if event_loop.get().debug() {
            let stack = py
                .import("asyncio.format_helpers")?
                .call_method0("extract_stack")?;
            handle::set_source_traceback(handle.as_ptr(), stack);
        }
        Ok(handle.unbind())
    }
}

#[pymethods]
impl Loop {
    /// Call a callback whenever a descriptor is readable (level-triggered).
    #[pyo3(signature = (fd, callback, *args))]
    fn add_reader(
        slf: &Bound<'_, Self>,
        fd: Bound<'_, PyAny>,
        callback: Bound<'_, PyAny>,
        args: Bound<'_, PyTuple>,
    ) -> PyResult<()> {
        Self::add_watcher(slf, Side::Read, &joined(fd, callback, &args)?)
    }

    /// Stop telling of a readable descriptor; whether anybody was told.
    fn remove_reader(&self, py: Python<'_>, fd: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.remove_watcher(py, fd, Side::Read)
    }

    /// Call a callback whenever a descriptor is writable (level-triggered).
    #[pyo3(signature = (fd, callback, *args))]
    fn add_writer(
        slf: &Bound<'_, Self>,
        fd: Bound<'_, PyAny>,
        callback: Bound<'_, PyAny>,
        args: Bound<'_, PyTuple>,
    ) -> PyResult<()> {
        Self::add_watcher(slf, Side::Write, &joined(fd, callback, &args)?)
    }

    /// Stop telling of a writable descriptor; whether anybody was told.
    fn remove_writer(&self, py: Python<'_>, fd: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.remove_watcher(py, fd, Side::Write)
    }

    /// A future that is done once the descriptor can be read.
    fn _wait_readable<'py>(slf: &Bound<'py, Self>, fd: RawFd) -> PyResult<Bound<'py, PyAny>> {
        Self::wait_side(slf, fd, Side::Read)
    }

    /// A future that is done once the descriptor can be written.
    fn _wait_writable<'py>(slf: &Bound<'py, Self>, fd: RawFd) -> PyResult<Bound<'py, PyAny>> {
        Self::wait_side(slf, fd, Side::Write)
    }

    /// Forgets a future of `_wait_readable` or `_wait_writable` that will not be waited for.
    fn _forget_wait(&self, py: Python<'_>, fd: RawFd, future: &Bound<'_, PyAny>) -> PyResult<()> {
        for side in [Side::Read, Side::Write] {
            let waits = self.with(py, |state| {
                let entry = usize::try_from(fd)
                    .ok()
                    .and_then(|index| state.sources.get_mut(index));
                match entry.map(|entry| &mut entry.source) {
                    Some(Some(Source::Watch(watch))) => {
                        matches!(watch.side(side), Some(Watcher::Future(other)) if other.is(future))
                    }
                    _ => false,
                }
            });
            if waits && !self.is_closed_now() {
                let taken = self.unwatch(py, fd, side)?;
                drop(taken);
            }
        }
        Ok(())
    }

    /// RuntimeError if a transport owns the descriptor.
    #[pyo3(name = "_ensure_fd_no_transport")]
    fn ensure_fd_no_transport(&self, py: Python<'_>, fd: &Bound<'_, PyAny>) -> PyResult<()> {
        self.check_not_a_transport(py, convert::descriptor(fd)?)
    }
}

fn joined<'py>(
    fd: Bound<'py, PyAny>,
    callback: Bound<'py, PyAny>,
    rest: &Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyTuple>> {
    let all: Vec<_> = [fd, callback].into_iter().chain(rest.iter()).collect();
    PyTuple::new(rest.py(), all)
}
