//! asyncio's primitives, native: what `tepal.Lock`, `tepal.Queue` and the others are made of.
//!
//! Each keeps asyncio's rules to the letter, the order of wake-ups included; a coroutine of theirs is a state machine ([`Routine`]) that waits
//! for a future of the loop's, which stands among the primitive's [`Waiters`]. The classes that programs see (`python/tepal/_sync.py`) derive
//! from these first and from asyncio's own second.

mod event;
mod gate;
mod lock;
mod queue;
mod semaphore;
mod sleep;
mod timeout;
mod waiters;

pub(crate) use timeout::expire;
pub(crate) use waiters::{LoopBound, Waiters, woken};

use crate::raw::Object;
use crate::raw::coroutine::Resume;
use crate::raw::iterator::Step;
use pyo3::prelude::*;
use std::ffi::c_int;

/// Declares the enum of all routines, and who answers for which.
macro_rules! routines {
    ($($variant:ident($routine:ty)),+ $(,)?) => {
        /// What a native coroutine does. One enum and no trait object: a routine lies inside its coroutine.
        pub(crate) enum Routine { $($variant($routine)),+ }

        impl Routine {
            #[inline]
            pub(crate) fn resume<'py>(&mut self, py: Python<'py>, thrown: Option<PyErr>) -> PyResult<Step<'py>> {
                match self { $(Self::$variant(routine) => routine.resume(py, thrown)),+ }
            }

            pub(crate) fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => <$routine as Resume>::NAME),+ }
            }

            pub(crate) fn show(&self, see: &mut dyn FnMut(Object) -> c_int) -> c_int {
                match self { $(Self::$variant(routine) => routine.show(see)),+ }
            }
        }
    };
}

routines! {
    AcquireLock(gate::Acquire<lock::Lock>),
    LeaveLock(gate::Leave<lock::Lock>),
    AcquireSemaphore(gate::Acquire<semaphore::Semaphore>),
    LeaveSemaphore(gate::Leave<semaphore::Semaphore>),
    WaitEvent(event::Wait),
    Sleep(sleep::Sleep),
    EnterTimeout(timeout::Enter),
    ExitTimeout(timeout::Exit),
    Get(queue::Get),
    Put(queue::Put),
    Join(queue::Join),
}

/// Puts the classes and functions into the module.
///
/// # Errors
///
/// MemoryError.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    crate::raw::coroutine::register(module.py())?;
    module.add_class::<event::Event>()?;
    module.add_class::<lock::Lock>()?;
    module.add_class::<queue::Queue>()?;
    module.add_class::<semaphore::Semaphore>()?;
    module.add_class::<timeout::Timeout>()?;
    module.add_function(wrap_pyfunction!(timeout::timeout, module)?)?;
    module.add_function(wrap_pyfunction!(timeout::timeout_at, module)?)?;
    module.add_function(wrap_pyfunction!(sleep::sleep, module)?)
}
