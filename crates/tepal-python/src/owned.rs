//! State that belongs to the interpreter's lock.
//!
//! With a GIL, whoever holds a `Python<'_>` is alone, so the only danger is re-entrance: a closure that runs Python
//! code, which calls back. Without a GIL other threads are a danger too, and a lock is taken. Both ways the rule for
//! users is one: **inside the closure no Python code runs and nothing Python is dropped.** Take what is needed out,
//! leave, then act.
//!
//! The rule is also why the lock may be an ordinary one, and waited for while attached. A thread inside a closure
//! does not detach and comes to no point at which the interpreter could stop it, so it always leaves, and whoever stops
//! the world (the collector, a fork) waits for that. A closure that broke the rule would panic with a GIL, where most tests
//! run, and stand still without one.

use pyo3::Python;
use std::cell::UnsafeCell;
#[cfg(not(Py_GIL_DISABLED))]
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
#[cfg(Py_GIL_DISABLED)]
use std::sync::{PoisonError, TryLockError};

/// A value that is borrowed for the length of a closure by whoever is attached to the interpreter.
pub(crate) struct Owned<T> {
    #[cfg(not(Py_GIL_DISABLED))]
    busy: AtomicBool,
    #[cfg(Py_GIL_DISABLED)]
    lock: std::sync::Mutex<()>,
    value: UnsafeCell<T>,
}

// SAFETY: `value` is reached only through `with` and `try_with`, by one thread at a time: the `Python` token proves that
// this thread holds the GIL, or the mutex does its work. `T: Send` because that thread changes.
unsafe impl<T: Send> Sync for Owned<T> {}

impl<T> Owned<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self {
            #[cfg(not(Py_GIL_DISABLED))]
            busy: AtomicBool::new(false),
            #[cfg(Py_GIL_DISABLED)]
            lock: std::sync::Mutex::new(()),
            value: UnsafeCell::new(value),
        }
    }

    /// The value, of whoever is alone with it.
    #[inline]
    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// Borrows the value for `act`.
    ///
    /// # Panics
    ///
    /// When `act` of an outer call re-enters: the rule above was broken.
    #[cfg(not(Py_GIL_DISABLED))]
    #[inline]
    pub(crate) fn with<R>(&self, _py: Python<'_>, act: impl FnOnce(&mut T) -> R) -> R {
        match self.try_with(act) {
            Some(result) => result,
            None => re_entered(),
        }
    }

    /// As in the other build, under the lock. A panic in an earlier closure is no reason to refuse: it was reported where
    /// it happened, and the other build goes on, too.
    #[cfg(Py_GIL_DISABLED)]
    #[inline]
    pub(crate) fn with<R>(&self, _py: Python<'_>, act: impl FnOnce(&mut T) -> R) -> R {
        let _guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the guard is held, so no other reference to the value lives.
        act(unsafe { &mut *self.value.get() })
    }

    /// Borrows the value for the collector's walk, or answers `None` while it is in use: what is not visited counts
    /// as alive, which is always right.
    #[cfg(not(Py_GIL_DISABLED))]
    #[inline]
    pub(crate) fn try_with<R>(&self, act: impl FnOnce(&mut T) -> R) -> Option<R> {
        // Load and store, not a swap: the GIL excludes other threads.
        if self.busy.load(Relaxed) {
            return None;
        }
        self.busy.store(true, Relaxed);
        let release = Release(&self.busy);
        // SAFETY: `busy` was clear, so no other reference to the value lives; it is set until `release` is dropped.
        let result = act(unsafe { &mut *self.value.get() });
        drop(release);
        Some(result)
    }

    /// As in the other build. The collector walks while the world is stopped, so nobody is inside; should somebody be all
    /// the same, then `None` is right here, too, and waiting for a stopped thread would be for ever.
    #[cfg(Py_GIL_DISABLED)]
    #[inline]
    pub(crate) fn try_with<R>(&self, act: impl FnOnce(&mut T) -> R) -> Option<R> {
        let _guard = match self.lock.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        // SAFETY: the guard is held, so no other reference to the value lives.
        Some(act(unsafe { &mut *self.value.get() }))
    }
}

#[cfg(not(Py_GIL_DISABLED))]
struct Release<'a>(&'a AtomicBool);

#[cfg(not(Py_GIL_DISABLED))]
impl Drop for Release<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.store(false, Relaxed);
    }
}

#[cfg(not(Py_GIL_DISABLED))]
#[cold]
fn re_entered() -> ! {
    panic!(
        "tepal: state was entered again from inside itself; please report this with the traceback"
    )
}
