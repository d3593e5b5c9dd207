//! State that belongs to the interpreter's lock.
//!
//! With a GIL, whoever holds a `Python<'_>` is alone, so the only danger is re-entrance: a closure that runs Python
//! code, which calls back. Without a GIL other threads are a danger too, and a lock is taken. Both ways the rule for
//! users is one: **inside the closure no Python code runs and nothing Python is dropped.** Take what is needed out,
//! leave, then act.

use pyo3::Python;
use std::cell::UnsafeCell;
#[cfg(not(Py_GIL_DISABLED))]
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// A value that is borrowed for the length of a closure by whoever is attached to the interpreter.
pub(crate) struct Owned<T> {
    #[cfg(not(Py_GIL_DISABLED))]
    busy: AtomicBool,
    #[cfg(Py_GIL_DISABLED)]
    lock: std::sync::Mutex<()>,
    value: UnsafeCell<T>,
}

// SAFETY: `value` is reached only through `try_with`, by one thread at a time: the `Python` token proves that this
// thread holds the GIL, or the mutex does its work. `T: Send` because that thread changes.
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

    /// Borrows the value for `act`.
    ///
    /// # Panics
    ///
    /// When `act` of an outer call re-enters: the rule above was broken.
    #[inline]
    pub(crate) fn with<R>(&self, _py: Python<'_>, act: impl FnOnce(&mut T) -> R) -> R {
        match self.try_with(act) {
            Some(result) => result,
            None => re_entered(),
        }
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

    /// Borrows the value under the lock; see the other build for what `None` means (a panic inside the lock).
    #[cfg(Py_GIL_DISABLED)]
    #[inline]
    pub(crate) fn try_with<R>(&self, act: impl FnOnce(&mut T) -> R) -> Option<R> {
        let _guard = self.lock.lock().ok()?;
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

#[cold]
fn re_entered() -> ! {
    panic!(
        "tepal: state was entered again from inside itself; please report this with the traceback"
    )
}
