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
//! **Running and cancelling.** A callback may cancel its own handle while its arguments are borrowed by the call, so
//! `RUNNING` defers the release until the call is over. A handle made by `call_soon_threadsafe` blocks a `cancel`
//! from another thread while the callback runs (CPython 3.14's rule, here on every version).

use super::native_type::{self, body_offset, slot, visit};
use super::{Object, context, enter, enter_status, fetch};
use crate::event_loop::Loop;
use pyo3::exceptions::{PyAttributeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};
use pyo3::{PyResult, Python, ffi};
use std::ffi::{CStr, c_int, c_void};
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

/// `count` when the arguments are a tuple, in the first inline place.
const TUPLE: u8 = u8::MAX;

/// What is ours of a handle. All pointers are strong or null (rule 2).
#[repr(C)]
pub(crate) struct HandleBody {
    callback: Object,
    context: Object,
    event_loop: Object,
    notes: Option<Box<Notes>>,
    /// The first is scratch for the callee (`PY_VECTORCALL_ARGUMENTS_OFFSET`).
    inline: [Object; INLINE + 1],
    count: u8,
    state: AtomicU8,
}

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
    let handle = allocate(kind.load(Relaxed), state);
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
/// # Safety
///
/// `handle` is one of ours.
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
    /// The context could not be entered; the exception is set.
    Refused,
}

/// Runs the callback in its context.
///
/// # Safety
///
/// `handle` is one of ours, and a strong reference is held through the call.
pub(crate) unsafe fn run(
    py: Python<'_>,
    entered: &mut context::Entered,
    handle: Object,
) -> Outcome {
    // SAFETY: rule 1 and the caller's promise. The body is reached through a raw pointer, not a reference, because
    // the callback may reach it too (`cancel`); RUNNING keeps its arguments alive meanwhile.
    unsafe {
        let this = body(handle);
        let state = (*this).change(|state| state | RUNNING);
        if state & CANCELLED != 0 {
            finish_run(this, state);
            return Outcome::Done;
        }
        if (*this).context != entered.current()
            && let Err(error) = entered.enter(py, (*this).context)
        {
            error.restore(py);
            finish_run(this, state);
            return Outcome::Refused;
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
        finish_run(this, state);
        outcome
    }
}

/// The call is over: releases what a cancel left to us, and lets a waiting canceller go.
///
/// # Safety
///
/// As [`run`].
#[inline]
unsafe fn finish_run(this: *mut HandleBody, before: u8) {
    // SAFETY: the caller's promise.
    unsafe {
        let state = (*this).change(|state| state & !RUNNING);
        if state & CANCELLED != 0 {
            release_call(this);
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

/// Gives up the callback and its arguments.
///
/// # Safety
///
/// `this` is a live body, not running.
unsafe fn release_call(this: *mut HandleBody) {
    // SAFETY: each field is emptied before its reference is dropped, so code that runs in a destructor finds null.
    unsafe {
        let count = match std::mem::take(&mut (*this).count) {
            TUPLE => 1,
            count => count as usize,
        };
        let inline = (*this).inline;
        clear(addr_of_mut!((*this).callback));
        for argument in &inline[1..=count] {
            ffi::Py_DECREF(*argument);
        }
    }
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
    // SAFETY: the caller's promise.
    unsafe { (*body(handle)).notes().source_traceback = traceback.into_ptr() }
}

/// Remembers a timer's key, by which it can be cancelled.
///
/// # Safety
///
/// `handle` is a timer of ours.
pub(crate) unsafe fn set_timer(handle: Object, key: TimerKey) {
    // SAFETY: the caller's promise.
    unsafe {
        if let Some(timer) = timer_body(handle) {
            (*timer).key = Some(key);
        }
    }
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
            let text = Bound::from_borrowed_ptr(py, handle).repr()?;
            let notes = (*this).notes();
            clear(&mut notes.frozen_repr);
            notes.frozen_repr = text.into_ptr();
        }
        let state = (*this).change(|state| state | CANCELLED);
        if state & RUNNING == 0 {
            release_call(this);
        }
        if let Some(key) = timer_body(handle).and_then(|timer| (*timer).key.take()) {
            event_loop.get().cancel_timer(py, key);
        }
    }
    Ok(())
}

// ------------------------------------------------------------------------------------------------ allocation

#[cfg(not(Py_GIL_DISABLED))]
mod freelist {
    //! Handles that were freed, kept for the next ones: allocation is half of what a `call_soon` costs
    //! (benches: call_soon chain, 2026-11). Only under a GIL, which is the lock of these lists.

    use super::{Object, THREADSAFE, TIMER};
    use std::cell::UnsafeCell;

    /// Enough for the bursts that a turn makes; 512 handles are 100 KiB.
    const DEPTH: usize = 512;

    struct List(UnsafeCell<(usize, [Object; DEPTH])>);

    // SAFETY: reached only by `take` and `keep`, whose callers hold the GIL; neither runs Python code.
    unsafe impl Sync for List {}

    static LISTS: [List; 3] =
        [const { List(UnsafeCell::new((0, [std::ptr::null_mut(); DEPTH]))) }; 3];

    /// Which list, by the flags that tell the types apart.
    #[inline]
    fn index(state: u8) -> usize {
        match state & (TIMER | THREADSAFE) {
            TIMER => 0,
            THREADSAFE => 1,
            _ => 2,
        }
    }

    #[inline]
    pub(super) fn take(state: u8) -> Option<Object> {
        // SAFETY: see `Sync`.
        let (length, objects) = unsafe { &mut *LISTS[index(state)].0.get() };
        if *length == 0 {
            return None;
        }
        *length -= 1;
        Some(objects[*length])
    }

    #[inline]
    pub(super) fn keep(state: u8, object: Object) -> bool {
        // SAFETY: see `Sync`.
        let (length, objects) = unsafe { &mut *LISTS[index(state)].0.get() };
        if *length == DEPTH {
            return false;
        }
        objects[*length] = object;
        *length += 1;
        true
    }
}

#[inline]
fn allocate(kind: *mut ffi::PyTypeObject, state: u8) -> Object {
    #[cfg(not(Py_GIL_DISABLED))]
    if let Some(object) = freelist::take(state) {
        // SAFETY: `dealloc` put an untracked object of this very type there, its body cleared.
        return unsafe { ffi::PyObject_Init(object, kind) };
    }
    #[cfg(Py_GIL_DISABLED)]
    let _ = state;
    // SAFETY: rule 1; a new object of `tp_basicsize` bytes, zeroed behind its header.
    unsafe {
        let object = ffi::PyObject_GC_New::<ffi::PyObject>(kind);
        if !object.is_null() {
            let header = size_of::<ffi::PyObject>();
            let rest = (*kind).tp_basicsize as usize - header;
            object.cast::<u8>().add(header).write_bytes(0, rest);
        }
        object
    }
}

unsafe extern "C" fn dealloc(handle: Object) {
    // SAFETY: C calls this once, with the last reference gone. The base's part holds nothing: its slots are shadowed
    // and never filled, its weak references are cleared here.
    unsafe {
        ffi::PyObject_GC_UnTrack(handle.cast());
        ffi::PyObject_ClearWeakRefs(handle);
        clear_body(handle);
        let kind = ffi::Py_TYPE(handle);
        #[cfg(not(Py_GIL_DISABLED))]
        let kept = freelist::keep((*body(handle)).state.load(Relaxed), handle);
        #[cfg(Py_GIL_DISABLED)]
        let kept = false;
        if !kept {
            ffi::PyObject_GC_Del(handle.cast());
        }
        ffi::Py_DECREF(kind.cast());
    }
}

unsafe fn clear_body(handle: Object) {
    // SAFETY: rule 2.
    unsafe {
        let this = body(handle);
        release_call(this);
        clear(addr_of_mut!((*this).context));
        if let Some(notes) = (*this).notes.take() {
            ffi::Py_XDECREF(notes.source_traceback);
            ffi::Py_XDECREF(notes.frozen_repr);
        }
        clear(addr_of_mut!((*this).event_loop));
    }
}

unsafe extern "C" fn traverse(
    handle: Object,
    visitor: ffi::visitproc,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: the collector calls this with a live handle; nothing runs meanwhile.
    let (this, kind) = unsafe { (&*body(handle), ffi::Py_TYPE(handle)) };
    visit!(
        visitor,
        argument,
        kind.cast(),
        this.callback,
        this.context,
        this.event_loop
    );
    if let Some(notes) = &this.notes {
        visit!(visitor, argument, notes.source_traceback, notes.frozen_repr);
    }
    let count = if this.count == TUPLE {
        1
    } else {
        this.count as usize
    };
    for held in &this.inline[1..=count] {
        visit!(visitor, argument, *held);
    }
    0
}

/// The collector breaks a cycle here. The loop and the context stay: `cancel` and `repr` of a handle that a
/// finalizer resurrects still need them, and neither keeps the handle.
unsafe extern "C" fn clear_for_collector(handle: Object) -> c_int {
    // SAFETY: a handle that is running is referenced by the driver and so is not garbage.
    unsafe {
        let this = body(handle);
        (*this).change(|state| state | CANCELLED);
        release_call(this);
    }
    0
}

// ---------------------------------------------------------------------------------------- as Python sees them

unsafe extern "C" fn py_new(
    kind: *mut ffi::PyTypeObject,
    arguments: Object,
    keywords: Object,
) -> Object {
    enter(|py| {
        // SAFETY: rule 1; tp_new gets a tuple and a dict or null.
        let (arguments, keywords) = unsafe {
            (
                Bound::from_borrowed_ptr(py, arguments).cast_into_unchecked::<PyTuple>(),
                Bound::from_borrowed_ptr_or_opt(py, keywords),
            )
        };
        if keywords.is_some_and(|keywords| keywords.len().unwrap_or(0) > 0) {
            return Err(PyTypeError::new_err(
                "Handle takes its arguments by position",
            ));
        }
        let timer = kind == TIMER_HANDLE.load(Relaxed);
        let skip = usize::from(timer);
        if arguments.len() < skip + 3 || arguments.len() > skip + 4 {
            return Err(PyTypeError::new_err(
                "expected ([when,] callback, args, loop, context=None)",
            ));
        }
        let callback = arguments.get_item(skip)?;
        let call_arguments = arguments
            .get_item(skip + 1)?
            .try_iter()?
            .collect::<PyResult<Vec<_>>>()?;
        let event_loop = arguments.get_item(skip + 2)?.cast_into::<Loop>()?;
        let context = match arguments.get_item(skip + 3) {
            Ok(context) if !context.is_none() => context.into_ptr(),
            _ => context::copy_current(py)?,
        };
        let purpose = if timer {
            Purpose::At(arguments.get_item(0)?.extract()?)
        } else {
            Purpose::Soon
        };
        let pointers: Vec<Object> = call_arguments.iter().map(Bound::as_ptr).collect();
        // SAFETY: all borrowed objects live through the call; `context` is strong.
        unsafe {
            let handle = new(
                py,
                &purpose,
                event_loop.as_ptr(),
                callback.as_ptr(),
                pointers.as_ptr(),
                pointers.len(),
                context,
            )?;
            track(handle);
            Ok(handle)
        }
    })
}

unsafe extern "C" fn py_init(_handle: Object, _arguments: Object, _keywords: Object) -> c_int {
    0
}

unsafe extern "C" fn py_cancel(handle: Object, _unused: Object) -> Object {
    // SAFETY: the method table belongs to our types.
    enter(|py| unsafe { cancel(py, handle) }.map(|()| py.None().into_ptr()))
}

unsafe extern "C" fn py_cancelled(handle: Object, _unused: Object) -> Object {
    enter(|py| {
        // SAFETY: as above.
        let cancelled = unsafe {
            wait_while_running(py, handle)?;
            is_cancelled(handle)
        };
        // SAFETY: rule 1.
        Ok(unsafe { ffi::PyBool_FromLong(cancelled.into()) })
    })
}

unsafe extern "C" fn py_when(handle: Object, _unused: Object) -> Object {
    // SAFETY: as above.
    let when = unsafe { timer_body(handle).map(|timer| (*timer).when) };
    match when {
        // SAFETY: rule 1.
        Some(when) => unsafe { ffi::PyFloat_FromDouble(when) },
        None => enter(|_py| {
            Err(PyAttributeError::new_err(
                "'tepal.Handle' object has no attribute 'when'",
            ))
        }),
    }
}

unsafe extern "C" fn py_get_context(handle: Object, _unused: Object) -> Object {
    // SAFETY: as above.
    strong_or_none(unsafe { (*body(handle)).context })
}

unsafe extern "C" fn py_run(handle: Object, _unused: Object) -> Object {
    enter(|py| {
        let mut entered = context::Entered::none();
        // SAFETY: the method table belongs to our types; the caller holds a reference.
        let outcome = unsafe { run(py, &mut entered, handle) };
        let error = (outcome != Outcome::Done).then(|| fetch(py));
        entered.leave(py)?;
        if let Some(error) = error {
            // SAFETY: as above.
            let (handle, event_loop) = unsafe {
                (
                    Bound::from_borrowed_ptr(py, handle),
                    Bound::from_borrowed_ptr(py, (*body(handle)).event_loop),
                )
            };
            crate::errors::report_callback(event_loop.cast::<Loop>()?, &handle, error)?;
        }
        Ok(py.None().into_ptr())
    })
}

fn strong_or_none(object: Object) -> Object {
    // SAFETY: rule 1; the object is a live field, or null.
    unsafe {
        let object = if object.is_null() {
            ffi::Py_None()
        } else {
            object
        };
        ffi::Py_INCREF(object);
        object
    }
}

macro_rules! getter {
    ($name:ident, $field:ident) => {
        unsafe extern "C" fn $name(handle: Object, _closure: *mut c_void) -> Object {
            // SAFETY: the descriptor belongs to our types.
            strong_or_none(unsafe { (*body(handle)).$field })
        }
    };
}

getter!(get_callback, callback);
getter!(get_context, context);
getter!(get_loop, event_loop);

unsafe extern "C" fn get_source_traceback(handle: Object, _closure: *mut c_void) -> Object {
    // SAFETY: as above.
    let notes = unsafe { &(*body(handle)).notes };
    strong_or_none(
        notes
            .as_ref()
            .map_or(null_mut(), |notes| notes.source_traceback),
    )
}

unsafe extern "C" fn get_repr(handle: Object, _closure: *mut c_void) -> Object {
    // SAFETY: as above.
    let notes = unsafe { &(*body(handle)).notes };
    strong_or_none(notes.as_ref().map_or(null_mut(), |notes| notes.frozen_repr))
}

unsafe extern "C" fn get_arguments(handle: Object, _closure: *mut c_void) -> Object {
    // SAFETY: as above; `PyTuple_New` and friends under rule 1.
    unsafe {
        let this = body(handle);
        if (*this).callback.is_null() {
            return strong_or_none(null_mut());
        }
        if (*this).count == TUPLE {
            return strong_or_none((*this).inline[1]);
        }
        let count = (*this).count as usize;
        let tuple = ffi::PyTuple_New(count as isize);
        if !tuple.is_null() {
            for index in 0..count {
                let argument = (*this).inline[index + 1];
                ffi::Py_INCREF(argument);
                ffi::PyTuple_SET_ITEM(tuple, index as isize, argument);
            }
        }
        tuple
    }
}

unsafe extern "C" fn get_cancelled(handle: Object, _closure: *mut c_void) -> Object {
    // SAFETY: as above.
    unsafe { py_cancelled(handle, null_mut()) }
}

unsafe extern "C" fn get_when(handle: Object, _closure: *mut c_void) -> Object {
    // SAFETY: as above.
    unsafe { py_when(handle, null_mut()) }
}

unsafe extern "C" fn get_scheduled(handle: Object, _closure: *mut c_void) -> Object {
    enter(|py| {
        // SAFETY: as above.
        let scheduled = unsafe {
            let this = body(handle);
            let event_loop = Bound::from_borrowed_ptr(py, (*this).event_loop);
            match timer_body(handle).and_then(|timer| (*timer).key) {
                Some(key) => event_loop.cast::<Loop>()?.get().is_scheduled(py, key),
                None => false,
            }
        };
        Ok(scheduled
            .into_pyobject(py)?
            .to_owned()
            .into_any()
            .unbind()
            .into_ptr())
    })
}

/// asyncio trims the last entry of a handle's traceback; nothing else writes to a handle from outside.
unsafe extern "C" fn set_traceback_attribute(
    handle: Object,
    value: Object,
    _closure: *mut c_void,
) -> c_int {
    enter_status(|_py| {
        // SAFETY: as above; the new reference is made before the old one is dropped.
        unsafe {
            ffi::Py_XINCREF(value);
            let old = std::mem::replace(&mut (*body(handle)).notes().source_traceback, value);
            ffi::Py_XDECREF(old);
        }
        Ok(())
    })
}

struct Tables {
    methods: [ffi::PyMethodDef; 6],
    descriptors: [ffi::PyGetSetDef; 10],
}

// SAFETY: the tables hold pointers to static names and functions and are never written after they are made.
unsafe impl Sync for Tables {}
// SAFETY: as above.
unsafe impl Send for Tables {}

const fn method(
    name: &'static CStr,
    function: ffi::PyCFunction,
    doc: &'static CStr,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunction: function,
        },
        ml_flags: ffi::METH_NOARGS,
        ml_doc: doc.as_ptr(),
    }
}

const fn descriptor(
    name: &'static CStr,
    get: ffi::getter,
    set: Option<ffi::setter>,
) -> ffi::PyGetSetDef {
    ffi::PyGetSetDef {
        name: name.as_ptr(),
        get: Some(get),
        set,
        doc: std::ptr::null(),
        closure: null_mut(),
    }
}

static mut TABLES: Tables = Tables {
    methods: [
        method(
            c"cancel",
            py_cancel,
            c"Cancel the callback; cancelling again does nothing.",
        ),
        method(
            c"cancelled",
            py_cancelled,
            c"Whether the handle was cancelled.",
        ),
        method(
            c"when",
            py_when,
            c"The scheduled time, in seconds on the loop's clock.",
        ),
        method(
            c"get_context",
            py_get_context,
            c"The contextvars.Context in which the callback runs.",
        ),
        method(c"_run", py_run, c"Run the callback now, as the loop does."),
        // SAFETY: a table ends with a zeroed entry.
        unsafe { std::mem::zeroed() },
    ],
    descriptors: [
        descriptor(c"_callback", get_callback, None),
        descriptor(c"_args", get_arguments, None),
        descriptor(c"_context", get_context, None),
        descriptor(c"_loop", get_loop, None),
        descriptor(c"_cancelled", get_cancelled, None),
        descriptor(
            c"_source_traceback",
            get_source_traceback,
            Some(set_traceback_attribute),
        ),
        descriptor(c"_repr", get_repr, None),
        descriptor(c"_when", get_when, None),
        descriptor(c"_scheduled", get_scheduled, None),
        // SAFETY: as above.
        unsafe { std::mem::zeroed() },
    ],
};

/// Makes both types and puts them into the module.
///
/// # Errors
///
/// What importing asyncio or making a type raises.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let events = py.import("asyncio.events")?;
    let handle_base = events.getattr("Handle")?.cast_into::<PyType>()?;
    let timer_base = events.getattr("TimerHandle")?.cast_into::<PyType>()?;
    // CPython 3.14 tells the handles of `call_soon_threadsafe` apart by their type, and so do its tests.
    let threadsafe_base = match events.getattr("_ThreadSafeHandle") {
        Ok(base) => base.cast_into::<PyType>()?,
        Err(_) => handle_base.clone(),
    };
    let offset = body_offset(&[&handle_base, &threadsafe_base, &timer_base]);
    OFFSET.store(offset, Relaxed);
    let slots = [
        slot(
            ffi::Py_tp_doc,
            c"A callback that waits for its turn (see asyncio.Handle).".as_ptr() as *mut c_void,
        ),
        slot(ffi::Py_tp_new, py_new as *mut c_void),
        slot(ffi::Py_tp_init, py_init as *mut c_void),
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(ffi::Py_tp_clear, clear_for_collector as *mut c_void),
        slot(ffi::Py_tp_methods, {
            // SAFETY: only the address of a static is taken.
            unsafe { (&raw mut TABLES.methods).cast::<c_void>() }
        }),
        slot(ffi::Py_tp_getset, {
            // SAFETY: only the address of a static is taken.
            unsafe { (&raw mut TABLES.descriptors).cast::<c_void>() }
        }),
    ];
    let made = |base: &Bound<'_, PyType>,
                name: &'static CStr,
                size: usize,
                place: &AtomicPtr<ffi::PyTypeObject>| {
        // SAFETY: the functions above treat their instances as what `make` is told here.
        let kind = unsafe { native_type::make(base, name, offset, size, 0, &slots)? };
        // The raw pointer is a reference of its own: types live as long as the process.
        place.store(kind.clone().into_ptr().cast(), Relaxed);
        module.add(kind.name()?, &kind)
    };
    made(
        &handle_base,
        c"tepal.Handle",
        size_of::<HandleBody>(),
        &HANDLE,
    )?;
    made(
        &threadsafe_base,
        c"tepal._ThreadSafeHandle",
        size_of::<HandleBody>(),
        &THREADSAFE_HANDLE,
    )?;
    made(
        &timer_base,
        c"tepal.TimerHandle",
        size_of::<TimerBody>(),
        &TIMER_HANDLE,
    )
}
