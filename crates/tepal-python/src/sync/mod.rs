//! asyncio's primitives, native: what `tepal.Lock`, `tepal.Queue` and the others are made of.
//!
//! Each keeps asyncio's rules to the letter, the order of wake-ups included; a coroutine of theirs is a state machine ([`Routine`]) that waits
//! for a future of the loop's, which stands among the primitive's [`Waiters`]. The classes that programs see (`python/tepal/_sync.py`) derive
//! from these first and from asyncio's own second.

pub(crate) mod any_future;
mod event;
mod gate;
mod gather;
mod inbox;
mod lock;
mod observer;
mod queue;
mod semaphore;
mod shield;
mod sleep;
mod task_group;
mod timeout;
mod wait;
mod waiters;

pub(crate) use gather::Gather;
pub(crate) use inbox::{Inbox, Told};
pub(crate) use observer::Observer;
pub(crate) use task_group::{TaskGroup, is_base_error};
pub(crate) use timeout::expire;
pub(crate) use waiters::{LoopBound, Waiters, show, wake, woken};

use crate::asyncio_streams;
use crate::channel;
use crate::nursery;
use crate::raw::Object;
use crate::raw::coroutine::Resume;
use crate::raw::iterator::Resumed;
use crate::raw::raised::Raised;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use std::ffi::c_int;

/// Declares the enum of all routines, and who answers for which.
macro_rules! routines {
    ($($variant:ident($routine:ty)),+ $(,)?) => {
        /// What a native coroutine does. One enum and no trait object: a routine lies inside its coroutine.
        pub(crate) enum Routine { $($variant($routine)),+ }

        impl Routine {
            #[inline]
            pub(crate) fn resume<'py>(&mut self, py: Python<'py>, thrown: Option<Raised>) -> Resumed<'py> {
                match self { $(Self::$variant(routine) => routine.resume(py, thrown)),+ }
            }

            pub(crate) fn name(&self) -> &'static str {
                match self { $(Self::$variant(routine) => routine.name()),+ }
            }

            pub(crate) fn show(&self, see: &mut dyn FnMut(Object) -> c_int) -> c_int {
                match self { $(Self::$variant(routine) => routine.show(see)),+ }
            }
        }
    };
}

/// There is room for the largest in every coroutine.
const _: () = assert!(size_of::<Routine>() <= 56);

routines! {
    AcquireLock(gate::Acquire<lock::Lock>),
    AcquireSemaphore(gate::Acquire<semaphore::Semaphore>),
    WaitEvent(event::Wait),
    EnterTimeout(timeout::Enter),
    Sleep(sleep::Sleep),
    Get(queue::Get),
    Put(queue::Put),
    Join(queue::Join),
    Wait(wait::Waiting),
    EnterGroup(task_group::Enter),
    ExitGroup(task_group::Exit),
    ExitNursery(nursery::Exit),
    SendToChannel(channel::Send),
    ReceiveFromChannel(channel::Receive),
    Read(asyncio_streams::Reading),
    Drain(asyncio_streams::Drain),
}

/// asyncio's own functions, as they were when tepal was imported: they serve loops of other kinds, also when ours stand in their place.
struct Originals {
    gather: Py<PyAny>,
    shield: Py<PyAny>,
    wait: Py<PyAny>,
}

fn originals(py: Python<'_>) -> PyResult<&'static Originals> {
    static ORIGINALS: PyOnceLock<Originals> = PyOnceLock::new();
    ORIGINALS.get_or_try_init(py, || {
        let tasks = py.import("asyncio.tasks")?;
        Ok(Originals {
            gather: tasks.getattr("gather")?.unbind(),
            shield: tasks.getattr("shield")?.unbind(),
            wait: tasks.getattr("wait")?.unbind(),
        })
    })
}

/// Puts the classes and functions into the module.
///
/// # Errors
///
/// MemoryError.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    crate::raw::coroutine::register(module.py())?;
    crate::raw::ready::register(module.py())?;
    module.add_class::<event::Event>()?;
    originals(module.py())?;
    module.add_class::<lock::Lock>()?;
    module.add_class::<queue::Queue>()?;
    module.add_class::<semaphore::Semaphore>()?;
    module.add_class::<task_group::TaskGroup>()?;
    crate::raw::create_task::register(module.py())?;
    module.add_class::<timeout::Timeout>()?;
    module.add_function(wrap_pyfunction!(timeout::timeout, module)?)?;
    module.add_function(wrap_pyfunction!(timeout::timeout_at, module)?)?;
    module.add_function(wrap_pyfunction!(gather::gather, module)?)?;
    module.add_function(wrap_pyfunction!(shield::shield, module)?)?;
    module.add_function(wrap_pyfunction!(wait::wait, module)?)?;
    module.add_function(wrap_pyfunction!(sleep::sleep, module)?)
}
