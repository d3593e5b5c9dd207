//! `tepal.Future`, and what a `tepal.Task` shares with it: a value that is not there yet, and who is told when it is.
//!
//! Both types derive from those of the interpreter's `_asyncio`, so that `isinstance`, its C code and its tools take them for what
//! they are; how such a type is made is told in `raw/native_type.rs`. The base's part of an instance stays zeroed and its `__init__` never
//! runs: every method and attribute that would read it is shadowed by one of ours. (What is inherited works on `self` by name:
//! `get_stack`, `print_stack`, `__class_getitem__`.) What is ours lies behind it, the future's state first in both types.
//!
//! `callbacks.rs` is who waits, `outcome.rs` how a future ends and what it then says, `awaiting.rs` the object that `await` drives,
//! `memory.rs` where instances come from and go to, `methods.rs` what Python calls.
//!
//! **The loop.** A future belongs to a loop of any kind. On one of ours that is as we made it (`Loop::is_plain`), the
//! end of a future puts jobs straight into the ready queue; else, also in debug mode, everything goes through the loop's `call_soon`,
//! whatever that is there.
//!
//! **Threads.** The state lies in an [`Owned`], so two threads that use one future, which asyncio does not allow, get a wrong answer at
//! worst. Inside its closures nothing of Python's runs: what is to be told or dropped is taken out first.

mod awaiting;
mod callbacks;
mod memory;
mod methods;
mod outcome;

pub(crate) use callbacks::{Callback, call_soon_by_name};
pub(crate) use memory::{Body, allocate};
#[cfg(not(Py_GIL_DISABLED))]
pub(crate) use methods::is_set_result;
pub(crate) use methods::{attributes, await_slots, entries, message, set_attribute};
pub(crate) use outcome::{Outcome, cancelled_error_class, invalid_state, is_cancelled_error};

use callbacks::{Callbacks, call_soon};
use memory::type_slots;

use super::Object;
use super::free_list::FreeList;
use super::native_type::{self, body_offset, slot};
use crate::event_loop::Loop;
use crate::owned::Owned;
use crate::raw::task::TaskKind;
use crate::sync::Observer;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyType;
use pyo3::{PyResult, Python, ffi};
use std::ffi::{CStr, c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed};

/// How a future stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Pending,
    Cancelled,
    Returned,
    Raised,
}

/// What is ours of a future.
pub(crate) struct FutureState {
    /// `None` before `__init__`, and after the collector's `tp_clear`.
    pub(crate) event_loop: Option<Py<PyAny>>,
    pub(crate) callbacks: Callbacks,
    /// What it returned or raised.
    value: Option<Py<PyAny>>,
    rare: Option<Box<Rare>>,
    pub(crate) status: Status,
    /// The loop is a [`Loop`].
    pub(crate) native: bool,
    /// `await` has handed it to the task, which has not yet taken it (`_asyncio_future_blocking`).
    pub(crate) blocking: bool,
    /// Nobody has looked at the exception: it is told when the future goes.
    log_traceback: bool,
}

/// What few futures have.
#[derive(Default)]
struct Rare {
    /// The exception's traceback when the future got it: whoever raises it again adds to that one.
    traceback: Option<Py<PyAny>>,
    cancel_message: Option<Py<PyAny>>,
    /// The very CancelledError that ended a task, for the first who asks.
    cancelled_error: Option<Py<PyAny>>,
    /// Debug mode: where the future was made.
    source_traceback: Option<Py<PyAny>>,
    /// What `gather()` gathered, for the future that it returned: it is cancelled in its place.
    delegate: Option<Py<Observer>>,
}

impl FutureState {
    pub(crate) const fn empty() -> Self {
        Self {
            event_loop: None,
            callbacks: Callbacks::new(),
            value: None,
            rare: None,
            status: Status::Pending,
            native: false,
            blocking: false,
            log_traceback: false,
        }
    }

    /// The state of a new future of this loop.
    pub(crate) fn new(event_loop: &Bound<'_, PyAny>, native: bool) -> Self {
        Self {
            event_loop: Some(event_loop.clone().unbind()),
            native,
            ..Self::empty()
        }
    }

    /// As `Body::release`.
    #[inline]
    pub(crate) fn release(&mut self, py: Python<'_>) {
        drop(self.event_loop.take().map(|held| held.into_bound(py)));
        drop(self.value.take().map(|held| held.into_bound(py)));
        if self.rare.is_some() || !self.callbacks.is_empty() {
            let left = (self.rare.take(), self.callbacks.take());
            crate::raw::attached(|_| drop(left));
        }
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    fn show(&self, see: &mut dyn FnMut(Object) -> c_int) -> c_int {
        let rare = self.rare.as_deref();
        let rare = rare.map_or([const { &None }; 4], |rare| {
            [
                &rare.traceback,
                &rare.cancel_message,
                &rare.cancelled_error,
                &rare.source_traceback,
            ]
        });
        let own = [&self.event_loop, &self.value];
        let delegate = self.rare.as_deref().and_then(|rare| rare.delegate.as_ref());
        let held = own.into_iter().chain(rare).flatten();
        let held = held.chain(delegate.map(Py::as_any));
        super::native_state::show_all(held.chain(self.callbacks.objects()), see)
    }
}

/// One of our two types, as the code that serves both sees it.
pub(crate) trait Kind: 'static {
    type Body: Body;
    /// The type, once made.
    const CLASS: &'static AtomicPtr<ffi::PyTypeObject>;
    /// The type of `_asyncio` under it.
    const BASE: &'static AtomicPtr<ffi::PyTypeObject>;
    /// Where an instance's body lies.
    const OFFSET: &'static AtomicUsize;
    /// Instances that were freed, for the next ones.
    const FREE: &'static FreeList;
}

pub(crate) struct FutureKind;

/// So many futures, tasks, awaits and native coroutines are kept each, at most half a megabyte.
pub(crate) const DEPTH: usize = 1024;

static CLASS: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(null_mut());
static BASE: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(null_mut());
static OFFSET: AtomicUsize = AtomicUsize::new(0);
static FREE: FreeList = FreeList::new(DEPTH);

impl Kind for FutureKind {
    type Body = Owned<FutureState>;
    const CLASS: &'static AtomicPtr<ffi::PyTypeObject> = &CLASS;
    const BASE: &'static AtomicPtr<ffi::PyTypeObject> = &BASE;
    const OFFSET: &'static AtomicUsize = &OFFSET;
    const FREE: &'static FreeList = &FREE;
}

impl Body for Owned<FutureState> {
    fn empty() -> Self {
        Self::new(FutureState::empty())
    }

    fn future(&self) -> &Owned<FutureState> {
        self
    }

    fn show(&self, see: &mut dyn FnMut(Object) -> c_int) -> c_int {
        self.try_with(|state| state.show(see)).unwrap_or(0)
    }

    fn take(&self, py: Python<'_>) -> Self {
        Self::new(self.with(py, |state| {
            // What a finalizer or a debugger may still ask about something cleared.
            let left = FutureState {
                status: state.status,
                ..FutureState::empty()
            };
            std::mem::replace(state, left)
        }))
    }

    fn release(&mut self, py: Python<'_>) {
        self.get_mut().release(py);
    }

    fn finalize(future: FutureRef<'_, '_>) -> PyResult<()> {
        future.tell_unseen_exception()
    }

    fn wants_finalizer(&self, py: Python<'_>) -> bool {
        self.with(py, |state| state.log_traceback)
    }
}

/// A future or task of ours: the object, and the way to what both have.
#[derive(Clone, Copy)]
pub(crate) struct FutureRef<'a, 'py> {
    pub(crate) object: &'a Bound<'py, PyAny>,
    state: &'a Owned<FutureState>,
}

impl<'a, 'py> FutureRef<'a, 'py> {
    /// # Safety
    ///
    /// `object` is an instance of `K`'s type or of a subclass.
    #[inline]
    pub(crate) unsafe fn of<K: Kind>(object: &'a Bound<'py, PyAny>) -> Self {
        // SAFETY: the caller's promise; the body lives as long as the object.
        let state = unsafe { body::<K>(object) }.future();
        Self { object, state }
    }

    /// The object, if its type is one of ours and no subclass: then nobody has replaced a method.
    #[inline]
    pub(crate) fn exact(object: &'a Bound<'py, PyAny>) -> Option<Self> {
        let kind = object.get_type_ptr();
        // SAFETY: the type was just looked at.
        unsafe {
            if kind == FutureKind::CLASS.load(Relaxed) {
                Some(Self::of::<FutureKind>(object))
            } else if kind == TaskKind::CLASS.load(Relaxed) {
                Some(Self::of::<TaskKind>(object))
            } else {
                None
            }
        }
    }

    pub(crate) fn py(&self) -> Python<'py> {
        self.object.py()
    }

    /// Borrows the state; see [`Owned`] for the rule.
    #[inline]
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut FutureState) -> R) -> R {
        self.state.with(self.py(), act)
    }

    /// The future's loop.
    ///
    /// # Errors
    ///
    /// RuntimeError before `__init__`.
    pub(crate) fn event_loop(&self) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py();
        self.with(|state| state.event_loop.as_ref().map(|held| held.clone_ref(py)))
            .map(|held| held.into_bound(py))
            .ok_or_else(uninitialized)
    }

    /// Begins a future's life, as `__init__` does; debug mode notes where.
    ///
    /// # Errors
    ///
    /// RuntimeError when no loop is given and none is current.
    pub(crate) fn begin(&self, event_loop: Option<Bound<'py, PyAny>>) -> PyResult<()> {
        let py = self.py();
        // From 3.15 on asyncio refuses to begin one anew; before, it let go of what was there.
        if self.with(|state| state.event_loop.is_some()) && py.version_info() >= (3, 15) {
            let kind = self.object.get_type().name()?;
            let message = format!("{kind} object is already initialized");
            return Err(PyRuntimeError::new_err(message));
        }
        let event_loop = match event_loop {
            Some(event_loop) => event_loop,
            None => py
                .import("asyncio.events")?
                .call_method0("get_event_loop")?,
        };
        let native = event_loop.cast::<Loop>().is_ok();
        let debug = event_loop.call_method0("get_debug")?.is_truthy()?;
        let new = FutureState::new(&event_loop, native);
        let old = self.with(|state| std::mem::replace(state, new));
        drop(old);
        if debug {
            self.note_source()?;
        }
        Ok(())
    }

    /// Notes where the future was made.
    ///
    /// # Errors
    ///
    /// What `traceback` raises.
    pub(crate) fn note_source(&self) -> PyResult<()> {
        let made = self.py().import("traceback")?.call_method0("extract_stack");
        let made = Some(made?.unbind());
        let old = self.with(|state| std::mem::replace(&mut state.rare().source_traceback, made));
        drop(old);
        Ok(())
    }
}

/// # Safety
///
/// As [`FutureRef::of`].
#[inline]
pub(crate) unsafe fn body<'a, K: Kind>(object: &'a Bound<'_, PyAny>) -> &'a K::Body {
    // SAFETY: the caller's promise; the body was written by `allocate` and is dropped with the object.
    unsafe { &*native_type::body::<K::Body>(object.as_ptr(), K::OFFSET.load(Relaxed)) }
}

#[cold]
fn uninitialized() -> PyErr {
    PyRuntimeError::new_err("Future object is not initialized.")
}

/// A new future of a loop of ours.
///
/// # Errors
///
/// MemoryError; in debug mode what `traceback` raises.
#[inline]
pub(crate) fn new<'py>(event_loop: &Bound<'py, Loop>) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    let state = FutureState::new(event_loop.as_any(), true);
    let kind = CLASS.load(Relaxed);
    // SAFETY: the type is `FutureKind`'s; then, a new strong reference.
    let future = unsafe {
        let object = allocate::<FutureKind>(py, kind, Owned::new(state))?;
        Bound::from_owned_ptr(py, object)
    };
    if event_loop.get().debug() {
        // SAFETY: just made.
        unsafe { FutureRef::of::<FutureKind>(&future) }.note_source()?;
    }
    Ok(future)
}

/// Makes one of our types over its base in `_asyncio`, and puts it into the module.
///
/// # Errors
///
/// What importing `_asyncio` or making a type raises.
///
/// # Safety
///
/// The tables' functions treat their receivers as instances of `K`.
pub(crate) unsafe fn make_type<K: Kind>(
    module: &Bound<'_, PyModule>,
    name: &str,
    full_name: &'static CStr,
    doc: &'static CStr,
    methods: Vec<ffi::PyMethodDef>,
    attributes: Vec<ffi::PyGetSetDef>,
    extra: &[ffi::PyType_Slot],
) -> PyResult<()> {
    let base = module.py().import("_asyncio")?.getattr(name)?;
    let base = base.cast_into::<PyType>()?;
    let offset = body_offset(&[&base]);
    K::OFFSET.store(offset, Relaxed);
    K::BASE.store(base.as_type_ptr(), Relaxed);
    let mut slots = type_slots::<K>().to_vec();
    slots.extend_from_slice(extra);
    slots.push(slot(ffi::Py_tp_doc, doc.as_ptr() as *mut c_void));
    slots.push(slot(ffi::Py_tp_methods, leak(methods).cast()));
    slots.push(slot(ffi::Py_tp_getset, leak(attributes).cast()));
    // SAFETY: the caller's promise, and the slots are those of such a body.
    let made = unsafe {
        native_type::make(
            &base,
            full_name,
            offset,
            size_of::<K::Body>(),
            ffi::Py_TPFLAGS_BASETYPE,
            &slots,
        )?
    };
    module.add(name, &made)?;
    // Both live as long as the process: the statics point to them.
    std::mem::forget(base);
    K::CLASS.store(made.into_ptr().cast(), Relaxed);
    Ok(())
}

/// A table that lives as long as the type, which is for ever.
fn leak<T>(table: Vec<T>) -> *mut T {
    Box::leak(table.into_boxed_slice()).as_mut_ptr()
}

/// Puts `Future` into the module.
///
/// # Errors
///
/// As [`make_type`].
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    awaiting::register(module)?;
    let mut methods = entries::<FutureKind>();
    methods.extend(methods::own_entries());
    // SAFETY: all tables are for `FutureKind`.
    unsafe {
        make_type::<FutureKind>(
            module,
            "Future",
            c"tepal.Future",
            c"Future(*, loop=None)\n--\n\nAn asyncio.Future, native: a value that is not there yet.",
            methods,
            attributes::<FutureKind>(),
            &methods::own_slots(),
        )
    }
}
