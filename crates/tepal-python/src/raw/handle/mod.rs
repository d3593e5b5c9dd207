//! `tepal.Handle` and `tepal.TimerHandle`: a callback, its arguments and its context, waiting for their turn.
//!
//! They derive from asyncio's classes and shadow every slot with a descriptor. Up to three arguments lie inside the
//! handle, so that scheduling allocates nothing else.
//!
//! **Tracking.** While its loop runs, a handle that waits is reachable from that loop and so cannot be garbage; most
//! are run or cancelled and dropped soon, and a million pending timers would only make every collection long. So a
//! handle is shown to the collector when it can first be part of a dead cycle: by the driver when its callback ran
//! and somebody still holds it, by the driver for all that waits when a run ends, and at birth when no run is under
//! way (`tests/gc`: an object that keeps its own handle).
//!
//! `memory.rs` is where handles come from and go to, `methods.rs` what Python calls.
//!
//! **Running and cancelling.** A callback may cancel its own handle while its arguments are borrowed by the call, so
//! `RUNNING` defers the release until the call is over. A handle made by `call_soon_threadsafe` blocks a `cancel`
//! from another thread while the callback runs (CPython 3.14's rule, here on every version).
//!
//! **Threads.** Without a GIL any thread may look at a handle or cancel it while the loop's runs it. Who may give the
//! callback and its arguments up is decided by one change of `state`, so there is exactly one: whoever sets CANCELLED
//! first, if it was not RUNNING then; else the runner, when the call is over. Until then the runner borrows them without a
//! lock. Everybody else reaches what changes in a handle's life (`callback`, the arguments, `notes`, a timer's key) inside
//! [`locked`]; `context` (which is shared under a GIL only) and `event_loop` stay as they were made.
//! `tests/threads/test_threads_handles.py` pulls at all of it.

mod memory;
mod methods;

pub(crate) use methods::register;

use super::{Object, context, fetch, native_type, shared_context};
use crate::event_loop::Loop;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::{PyResult, Python, ffi};
use std::ffi::c_void;
use std::ptr::{addr_of_mut, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, PoisonError};
use tepal_core::timers::TimerKey;

/// How many arguments lie inside a handle; more go into a tuple.
const INLINE: usize = 3;

const CANCELLED: u8 = 1;
const RUNNING: u8 = 2;
const THREADSAFE: u8 = 4;
const TIMER: u8 = 8;
/// The time was given as an `int`, and is told as one: libraries compare, and test for it.
const WHOLE: u8 = 16;
/// The context may be others', too (`shared_context`): it is made this handle's own before anybody enters or sees it.
const SHARES: u8 = 32;

/// `count` when the arguments are a tuple, in the first inline place.
const TUPLE: u8 = u8::MAX;

/// What is ours of a handle. All pointers are strong or null (rule 2).
///
/// It lies over the slots of asyncio's classes (`native_type::overlay_offset`), [`SLOTS`] and [`MORE`] words: that is two thirds of the
/// memory, fewer pages to be had from the kernel for a million timers, and fewer lines of the cache that go from one core
/// to another for what a thread schedules (benches: timer_million_add, threadsafe_flood, 2026-11).
#[repr(C)]
pub(crate) struct HandleBody {
    /// The first is scratch for the callee (`PY_VECTORCALL_ARGUMENTS_OFFSET`).
    inline: [Object; INLINE + 1],
    callback: Object,
    context: Object,
    event_loop: Object,
    /// The interpreter's and the bases'; we never fill them.
    _more: [*mut c_void; MORE],
    notes: Option<Box<Notes>>,
    count: u8,
    state: AtomicU8,
}

/// The references at the beginning of a body: as many as `asyncio.Handle` has slots.
const SLOTS: usize = INLINE + 4;

/// A list of weak references, and what `asyncio.TimerHandle` adds.
const MORE: usize = 3;

/// What is ours of a timer's handle.
#[repr(C)]
struct TimerBody {
    handle: HandleBody,
    when: f64,
    key: Option<TimerKey>,
}

/// What debug mode writes down. Pointers as in the body.
struct Notes {
    source_traceback: Object,
    /// What `repr` showed when the handle was cancelled.
    frozen_repr: Object,
}

impl HandleBody {
    fn notes(&mut self) -> &mut Notes {
        self.notes.get_or_insert_with(|| {
            Box::new(Notes {
                source_traceback: null_mut(),
                frozen_repr: null_mut(),
            })
        })
    }

    /// Changes the state. Under a GIL nobody interferes, and a locked instruction would cost more than the rest.
    #[inline]
    fn change(&self, change: impl Fn(u8) -> u8) -> u8 {
        #[cfg(not(Py_GIL_DISABLED))]
        {
            let before = self.state.load(SeqCst);
            self.state.store(change(before), Relaxed);
            before
        }
        #[cfg(Py_GIL_DISABLED)]
        {
            let changed = self
                .state
                .fetch_update(SeqCst, SeqCst, |state| Some(change(state)));
            changed.unwrap_or_else(|state| state)
        }
    }
}

static OFFSET: AtomicUsize = AtomicUsize::new(0);
static HANDLE: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(null_mut());
static THREADSAFE_HANDLE: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(null_mut());
static TIMER_HANDLE: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(null_mut());

/// The body of a handle (either type).
///
/// # Safety
///
/// `handle` is an instance of one of our two types.
#[inline]
pub(crate) unsafe fn body(handle: Object) -> *mut HandleBody {
    // SAFETY: the caller's promise, and both types were made with this offset.
    unsafe { native_type::body(handle, OFFSET.load(Relaxed)) }
}

/// The timer's part of a timer handle; `None` for the other type.
///
/// # Safety
///
/// As [`body`].
#[inline]
unsafe fn timer_body(handle: Object) -> Option<*mut TimerBody> {
    // SAFETY: the caller's promise; timers were made with the larger body.
    unsafe {
        let timer = (*body(handle)).state.load(Relaxed) & TIMER != 0;
        timer.then(|| body(handle).cast())
    }
}

/// What a new handle is for.
pub(crate) enum Purpose {
    Soon,
    SoonThreadsafe,
    /// At a time in seconds on the loop's clock.
    At(f64),
}

/// A new handle (strong). `context` is taken over; the rest is borrowed.
///
/// # Errors
///
/// MemoryError.
///
/// # Safety
///
/// `event_loop` is a [`Loop`], `context` a strong context, `arguments` points to `count` live objects.
pub(crate) unsafe fn new(
    py: Python<'_>,
    purpose: &Purpose,
    event_loop: Object,
    callback: Object,
    arguments: *const Object,
    count: usize,
    context: Object,
) -> PyResult<Object> {
    let (kind, state) = match purpose {
        Purpose::Soon => (&HANDLE, 0),
        Purpose::SoonThreadsafe => (&THREADSAFE_HANDLE, THREADSAFE),
        Purpose::At(_) => (&TIMER_HANDLE, TIMER),
    };
    let handle = memory::allocate(kind.load(Relaxed), state);
    // SAFETY: rule 1. A fresh handle's body is zeroed or was cleared by `dealloc`, so nothing is overwritten that
    // is owned; every pointer stored gets its own reference.
    unsafe {
        if handle.is_null() {
            ffi::Py_DECREF(context);
            return Err(fetch(py));
        }
        let this = body(handle);
        ffi::Py_INCREF(callback);
        (*this).callback = callback;
        ffi::Py_INCREF(event_loop);
        (*this).event_loop = event_loop;
        (*this).context = context;
        if let Purpose::At(when) = purpose {
            let timer = this.cast::<TimerBody>();
            (*timer).when = *when;
            (*timer).key = None;
        }
        (*this).state = AtomicU8::new(state);
        if count <= INLINE {
            (*this).count = count as u8;
            for index in 0..count {
                let argument = *arguments.add(index);
                ffi::Py_INCREF(argument);
                (*this).inline[index + 1] = argument;
            }
        } else {
            (*this).count = 0;
            let tuple = ffi::PyTuple_New(count as isize);
            if tuple.is_null() {
                ffi::Py_DECREF(handle);
                return Err(fetch(py));
            }
            for index in 0..count {
                let argument = *arguments.add(index);
                ffi::Py_INCREF(argument);
                ffi::PyTuple_SET_ITEM(tuple, index as isize, argument);
            }
            (*this).inline[1] = tuple;
            (*this).count = TUPLE;
        }
        // Before any other thread can see it, and once for all: see `track`.
        #[cfg(Py_GIL_DISABLED)]
        ffi::PyObject_GC_Track(handle.cast());
    }
    Ok(handle)
}

/// Whether an object is one of our handles.
pub(crate) fn is_ours(object: &Bound<'_, PyAny>) -> bool {
    let kind = object.get_type_ptr();
    [&HANDLE, &THREADSAFE_HANDLE, &TIMER_HANDLE]
        .iter()
        .any(|known| known.load(Relaxed) == kind)
}

/// Shows a handle to the collector, if it is not yet shown.
///
/// Without a GIL it is shown from the start (`new`). Two threads that ask and then act would both act, and the
/// interpreter aborts when an object is tracked twice; and nothing is saved, since there the collector walks the heap
/// and not a list, whether an object is tracked or not.
///
/// # Safety
///
/// `handle` is one of ours.
#[cfg(Py_GIL_DISABLED)]
#[inline]
pub(crate) unsafe fn track(_handle: Object) {}

/// Shows a handle to the collector, if it is not yet shown.
///
/// # Safety
///
/// `handle` is one of ours.
#[cfg(not(Py_GIL_DISABLED))]
#[inline]
pub(crate) unsafe fn track(handle: Object) {
    // SAFETY: rule 1.
    unsafe {
        if ffi::PyObject_GC_IsTracked(handle) == 0 {
            ffi::PyObject_GC_Track(handle.cast());
        }
    }
}

/// How a callback ended. It carries nothing: an exception stays set in the interpreter, because a result large enough
/// to hold one is moved about on every call (a tenth of a `call_soon`, by profile).
#[derive(Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Outcome {
    /// It returned, or was cancelled before.
    Done,
    /// It raised; the exception is set.
    Raised,
    /// The context could not be entered, or the callback is being called already; the exception is set.
    Refused,
}

/// Whether the callback is `set_result` of a future of ours, as it mostly is where a loop calls back: then nothing of Python's runs that
/// could ask which task or context is the current one.
///
/// # Safety
///
/// As [`run`].
#[cfg(not(Py_GIL_DISABLED))]
#[inline]
pub(crate) unsafe fn sets_a_result(handle: Object) -> bool {
    // SAFETY: rule 1 and the caller's promise; under the GIL nobody takes the callback away meanwhile.
    unsafe {
        let callback = (*body(handle)).callback;
        !callback.is_null() && super::future::is_set_result(callback)
    }
}

/// Not asked where another thread may take the callback away meanwhile.
///
/// # Safety
///
/// As [`run`].
#[cfg(Py_GIL_DISABLED)]
#[inline]
pub(crate) unsafe fn sets_a_result(_handle: Object) -> bool {
    false
}

/// Runs the callback, in its context if there is one `entered` to change.
///
/// # Safety
///
/// `handle` is one of ours, and a strong reference is held through the call.
pub(crate) unsafe fn run(
    py: Python<'_>,
    entered: Option<&mut context::Entered>,
    handle: Object,
) -> Outcome {
    // SAFETY: rule 1 and the caller's promise. The body is reached through a raw pointer, not a reference, because
    // the callback may reach it too (`cancel`); RUNNING keeps its arguments alive meanwhile.
    unsafe {
        let this = body(handle);
        let state = (*this).change(|state| state | RUNNING);
        if state & (CANCELLED | RUNNING) != 0 {
            return skip_run(py, this, state);
        }
        if let Some(entered) = entered {
            let ready = own_context(py, this).and_then(|()| entered.enter(py, (*this).context));
            if let Err(error) = ready {
                error.restore(py);
                finish_run(handle, state);
                return Outcome::Refused;
            }
        }
        let result = if (*this).count != TUPLE {
            ffi::PyObject_Vectorcall(
                (*this).callback,
                addr_of_mut!((*this).inline).cast::<Object>().add(1),
                (*this).count as usize | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET,
                null_mut(),
            )
        } else {
            ffi::PyObject_Call((*this).callback, (*this).inline[1], null_mut())
        };
        let outcome = if result.is_null() {
            Outcome::Raised
        } else {
            ffi::Py_DECREF(result);
            Outcome::Done
        };
        finish_run(handle, state);
        outcome
    }
}

/// Not run, since the handle was cancelled, or since a call of it is under way: its callback ran it again by `_run`, or
/// another thread did. (asyncio would go deeper; but the outer call borrows what the inner one would let go.)
///
/// # Safety
///
/// As [`run`].
#[cold]
unsafe fn skip_run(py: Python<'_>, this: *mut HandleBody, before: u8) -> Outcome {
    if before & RUNNING != 0 {
        // RUNNING is the other call's to take back.
        PyRuntimeError::new_err("this handle is running already").restore(py);
        return Outcome::Refused;
    }
    // SAFETY: the caller's promise. What the callback holds is the canceller's to give up, who saw no RUNNING.
    unsafe { (*this).change(|state| state & !RUNNING) };
    if before & THREADSAFE != 0 {
        RAN.notify();
    }
    Outcome::Done
}

/// The call is over: releases what a cancel left to us, and lets a waiting canceller go.
///
/// # Safety
///
/// As [`run`], by whom the handle was set RUNNING when it was not CANCELLED.
#[inline]
unsafe fn finish_run(handle: Object, before: u8) {
    // SAFETY: the caller's promise.
    unsafe {
        let state = (*body(handle)).change(|state| state & !RUNNING);
        if state & CANCELLED != 0 {
            // It was cancelled meanwhile, and the canceller left this to us.
            give_up_call(handle);
        }
    }
    if before & THREADSAFE != 0 {
        RAN.notify();
    }
}

/// Lets cancellers from other threads wait until a callback has run.
static RAN: Ran = Ran {
    waiting: AtomicUsize::new(0),
    lock: Mutex::new(()),
    condition: Condvar::new(),
};

struct Ran {
    /// How many threads wait; read after each threadsafe callback, so that nobody's wait costs nothing.
    waiting: AtomicUsize,
    lock: Mutex<()>,
    condition: Condvar,
}

impl Ran {
    #[inline]
    fn notify(&self) {
        if self.waiting.load(SeqCst) > 0 {
            let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.condition.notify_all();
            drop(guard);
        }
    }

    /// Waits, detached, until `state` no longer says RUNNING.
    fn wait(&self, py: Python<'_>, state: &AtomicU8) {
        self.waiting.fetch_add(1, SeqCst);
        py.detach(|| {
            let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            while state.load(SeqCst) & RUNNING != 0 {
                guard = self
                    .condition
                    .wait(guard)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        });
        self.waiting.fetch_sub(1, SeqCst);
    }
}

/// Reaches what changes in a handle's life, other threads being kept out (see the module's "Threads").
///
/// In `act` no Python code runs and nothing Python is dropped, as in `Owned::with`: a critical section ends early for a
/// thread that has to wait.
///
/// # Safety
///
/// `handle` is one of ours, and alive through the call.
#[inline]
unsafe fn locked<R>(handle: Object, act: impl FnOnce(*mut HandleBody) -> R) -> R {
    // SAFETY: the caller's promise; rule 1.
    unsafe {
        let this = body(handle);
        #[cfg(Py_GIL_DISABLED)]
        {
            let handle = Bound::from_borrowed_ptr(Python::assume_attached(), handle);
            pyo3::sync::critical_section::with_critical_section(&handle, || act(this))
        }
        #[cfg(not(Py_GIL_DISABLED))]
        act(this)
    }
}

/// The callback and its arguments, taken out of a handle. The fields are empty before a reference is dropped, so code
/// that runs in a destructor finds null.
struct TakenCall {
    callback: Object,
    inline: [Object; INLINE + 1],
    count: usize,
}

impl TakenCall {
    /// # Safety
    ///
    /// `this` is a live body, not running, and nobody else is at its fields.
    #[inline]
    unsafe fn from(this: *mut HandleBody) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            Self {
                callback: std::mem::replace(&mut (*this).callback, null_mut()),
                // (Emptied, too: it lies where the base's descriptors look.)
                inline: std::mem::replace(&mut (*this).inline, [null_mut(); INLINE + 1]),
                count: match std::mem::take(&mut (*this).count) {
                    TUPLE => 1,
                    count => count as usize,
                },
            }
        }
    }

    /// # Safety
    ///
    /// Called once.
    #[inline]
    unsafe fn release(self) {
        // SAFETY: rule 1; the references are ours.
        unsafe {
            ffi::Py_XDECREF(self.callback);
            for argument in &self.inline[1..=self.count] {
                ffi::Py_DECREF(*argument);
            }
        }
    }
}

/// Gives up the callback and its arguments of a handle that others may hold.
///
/// # Safety
///
/// `handle` is one of ours, it does not run, and the caller is the one who may (the module's "Threads").
unsafe fn give_up_call(handle: Object) {
    // SAFETY: the caller's promise.
    unsafe {
        let call = locked(handle, |this| TakenCall::from(this));
        call.release();
    }
}

/// Gives up the callback and its arguments of a handle that nobody else holds.
///
/// # Safety
///
/// `this` is a live body, not running.
unsafe fn release_call(this: *mut HandleBody) {
    // SAFETY: the caller's promise.
    unsafe { TakenCall::from(this).release() }
}

/// Drops the reference in a field.
///
/// # Safety
///
/// `field` holds a strong reference or null.
#[inline]
pub(crate) unsafe fn clear(field: *mut Object) {
    // SAFETY: the caller's promise; emptied first, as Py_CLEAR does.
    unsafe {
        let object = std::mem::replace(&mut *field, null_mut());
        ffi::Py_XDECREF(object);
    }
}

/// Remembers where the handle was made (debug mode).
///
/// # Safety
///
/// `handle` is one of ours and has no traceback yet.
pub(crate) unsafe fn set_source_traceback(handle: Object, traceback: Bound<'_, PyAny>) {
    let traceback = traceback.into_ptr();
    // SAFETY: the caller's promise.
    unsafe { locked(handle, |this| (*this).notes().source_traceback = traceback) }
}

/// Remembers a timer's key, by which it can be cancelled.
///
/// # Safety
///
/// `handle` is a timer of ours, which nobody else has seen yet.
pub(crate) unsafe fn set_timer(handle: Object, key: TimerKey) {
    // SAFETY: the caller's promise.
    unsafe {
        if let Some(timer) = timer_body(handle) {
            (*timer).key = Some(key);
        }
    }
}

/// Notes that a timer's time was given as an `int`.
///
/// # Safety
///
/// `handle` is one of ours, and new.
pub(crate) unsafe fn set_whole(handle: Object) {
    // SAFETY: the caller's promise.
    unsafe { (*body(handle)).change(|state| state | WHOLE) };
}

/// Notes that the handle's context came from `SharedContext::exchange`.
///
/// # Safety
///
/// `handle` is one of ours, and new.
#[inline]
pub(crate) unsafe fn set_shares_context(handle: Object) {
    // SAFETY: the caller's promise.
    unsafe { (*body(handle)).change(|state| state | SHARES) };
}

/// Makes the context the handle's own, if it shares one.
///
/// # Errors
///
/// MemoryError.
///
/// # Safety
///
/// Rule 1. `this` is a live body.
#[inline]
unsafe fn own_context(py: Python<'_>, this: *mut HandleBody) -> PyResult<()> {
    // SAFETY: the caller's promise; SHARES says where the context came from, and that nobody has entered or seen it. (Only under a
    // GIL is it ever set, so nobody interferes.)
    unsafe {
        if (*this).state.load(Relaxed) & SHARES != 0 {
            shared_context::own(py, addr_of_mut!((*this).context))?;
            (*this).change(|state| state & !SHARES);
        }
    }
    Ok(())
}

/// Whether the handle was cancelled.
///
/// # Safety
///
/// `handle` is one of ours.
#[inline]
pub(crate) unsafe fn is_cancelled(handle: Object) -> bool {
    // SAFETY: the caller's promise.
    unsafe { (*body(handle)).state.load(Relaxed) & CANCELLED != 0 }
}

/// Waits until a threadsafe callback that runs in another thread is over (CPython 3.14's rule).
///
/// # Safety
///
/// `handle` is one of ours.
#[inline]
unsafe fn wait_while_running(py: Python<'_>, handle: Object) -> PyResult<()> {
    const BUSY: u8 = THREADSAFE | RUNNING;
    // SAFETY: rule 1.
    unsafe {
        let this = body(handle);
        if (*this).state.load(SeqCst) & BUSY == BUSY {
            let event_loop = Bound::from_borrowed_ptr(py, (*this).event_loop);
            if !event_loop.cast::<Loop>()?.get().is_own_thread() {
                RAN.wait(py, &(*this).state);
            }
        }
    }
    Ok(())
}

/// `handle.cancel()`.
///
/// # Safety
///
/// `handle` is one of ours.
pub(crate) unsafe fn cancel(py: Python<'_>, handle: Object) -> PyResult<()> {
    // SAFETY: rule 1. References dropped here may run code, after all fields are in their final state.
    unsafe {
        let this = body(handle);
        wait_while_running(py, handle)?;
        let event_loop = Bound::from_borrowed_ptr(py, (*this).event_loop);
        let event_loop = event_loop.cast::<Loop>()?.clone();
        if (*this).state.load(SeqCst) & CANCELLED != 0 {
            return Ok(());
        }
        if event_loop.get().debug() {
            let text = Bound::from_borrowed_ptr(py, handle).repr()?.into_ptr();
            let old = locked(handle, |this| {
                std::mem::replace(&mut (*this).notes().frozen_repr, text)
            });
            ffi::Py_XDECREF(old);
        }
        let state = (*this).change(|state| state | CANCELLED);
        if state & CANCELLED != 0 {
            // Another thread was faster, and does the rest.
            return Ok(());
        }
        if state & RUNNING == 0 {
            give_up_call(handle);
        } else {
            // It may have begun since we looked.
            wait_while_running(py, handle)?;
        }
        let key = timer_body(handle)
            .and_then(|timer| locked(handle, |_| std::mem::take(&mut (*timer).key)));
        if let Some(key) = key {
            event_loop.get().cancel_timer(py, key);
        }
    }
    Ok(())
}
