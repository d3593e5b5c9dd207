//! `gather()`: asyncio's, to the letter. What it returns is a future whose cancellation is its children's.

use super::any_future::{self, End};
use super::observer::{Observer, Purpose};
use crate::event_loop;
use crate::raw::future::{self, FutureRef};
use crate::raw::task;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use std::collections::HashMap;

/// What is left to be done for one call.
pub(crate) struct Gather {
    /// In the order of the arguments, one that was given twice twice.
    children: Vec<Py<PyAny>>,
    /// What `gather()` returned; `None` before it has.
    outer: Option<Py<PyAny>>,
    unfinished: usize,
    return_exceptions: bool,
    cancel_requested: bool,
}

/// Up to so many arguments, looking at all of them is cheaper than a table.
const FEW: usize = 8;

/// Run awaitables concurrently and collect their results, as `asyncio.gather`.
///
/// Coroutines become tasks. When one raises, the returned future raises that at once and the others go on; cancelling the returned
/// future cancels all that have not ended. Where no loop of tepal's runs, this is asyncio's own function.
///
/// Args:
///     awaitables: Coroutines, futures and other awaitables; one that is given twice runs once.
///     return_exceptions: Put exceptions among the results instead.
///
/// Returns:
///     A future of the list of results, in the order of the arguments.
///
/// Raises:
///     TypeError: Something cannot be awaited.
///     ValueError: Futures of different loops were given.
///
/// To call it is no checkpoint; to await the future is one.
#[pyfunction]
#[pyo3(signature = (*awaitables, return_exceptions = false))]
pub(crate) fn gather<'py>(
    py: Python<'py>,
    awaitables: &Bound<'py, PyTuple>,
    return_exceptions: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let Some(running) = event_loop::running_opt(py) else {
        return by_asyncio(py, awaitables, return_exceptions);
    };
    if let Ok(first) = awaitables.get_borrowed_item(0)
        && !task::is_plain_coroutine(&first)
        && any_future::is_future(&first)?
        && !any_future::loop_of(&first)?.is(&running)
    {
        return by_asyncio(py, awaitables, return_exceptions);
    }
    if awaitables.is_empty() {
        let outer = future::new(&running)?;
        if let Some(outer) = FutureRef::exact(&outer) {
            outer.set_result(PyList::empty(py).into_any())?;
        }
        return Ok(outer);
    }
    let state = Gather {
        children: Vec::new(),
        outer: None,
        unfinished: usize::MAX,
        return_exceptions,
        cancel_requested: false,
    };
    let observer = Observer::new(py, Purpose::Gather(state))?;
    let mut children: Vec<Py<PyAny>> = Vec::with_capacity(awaitables.len());
    let mut ended = Vec::new();
    let mut seen = Seen::new(awaitables.len());
    for awaitable in awaitables.iter_borrowed() {
        if let Some(place) = seen.place(awaitables, &awaitable, children.len()) {
            let child = children[place].clone_ref(py);
            children.push(child);
            continue;
        }
        let child = any_future::ensure(&awaitable, &running)?;
        if !child.is(&*awaitable) {
            // The caller cannot wait for it, so he is not told that it was destroyed.
            task::silence(&child)?;
        }
        seen.count += 1;
        if any_future::is_done(&child)? {
            ended.push(child.clone());
        } else {
            Observer::watch(&observer, &child)?;
        }
        children.push(child.unbind());
    }
    let outer = future::new(&running)?;
    if let Some(outer) = FutureRef::exact(&outer) {
        outer.delegate_cancel(observer.clone().unbind());
    }
    observer.get().with(py, |purpose| {
        if let Purpose::Gather(gather) = purpose {
            gather.children = children;
            gather.outer = Some(outer.clone().unbind());
            gather.unfinished = seen.count;
        }
    });
    // Those that ended in an eager first step: when all did, so has the whole.
    for child in ended {
        Gather::handle_done(&observer, &child)?;
    }
    Ok(outer)
}

/// asyncio's own, which serves loops of every kind.
#[cold]
fn by_asyncio<'py>(
    py: Python<'py>,
    awaitables: &Bound<'py, PyTuple>,
    return_exceptions: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let keywords = PyDict::new(py);
    keywords.set_item("return_exceptions", return_exceptions)?;
    super::originals(py)?
        .gather
        .bind(py)
        .call(awaitables, Some(&keywords))
}

/// Which arguments were there before.
struct Seen {
    table: Option<HashMap<usize, usize>>,
    /// How many different ones there are.
    count: usize,
}

impl Seen {
    fn new(all: usize) -> Self {
        Self {
            table: (all > FEW).then(|| HashMap::with_capacity(all)),
            count: 0,
        }
    }

    /// Where this argument, the one at `place`, stood before, if it did.
    fn place(
        &mut self,
        all: &Bound<'_, PyTuple>,
        one: &Bound<'_, PyAny>,
        place: usize,
    ) -> Option<usize> {
        match &mut self.table {
            Some(table) => {
                let first = *table.entry(one.as_ptr() as usize).or_insert(place);
                (first != place).then_some(first)
            }
            None => (0..place).find(|&earlier| {
                all.get_borrowed_item(earlier)
                    .is_ok_and(|other| other.is(one))
            }),
        }
    }
}

impl Gather {
    /// A child has ended.
    ///
    /// # Errors
    ///
    /// What a foreign child raises when it is asked.
    pub(super) fn handle_done<'py>(
        observer: &Bound<'py, Observer>,
        child: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let py = observer.py();
        let known = observer.get().with(py, |purpose| match purpose {
            Purpose::Gather(gather) => {
                gather.unfinished = gather.unfinished.saturating_sub(1);
                let outer = gather.outer.as_ref().map(|outer| outer.clone_ref(py));
                Some((outer, gather.unfinished == 0, gather.return_exceptions))
            }
            _ => None,
        });
        let Some((Some(outer), last, return_exceptions)) = known else {
            return any_future::look(child);
        };
        let outer = outer.into_bound(py);
        let outcome = if any_future::is_done(&outer)? {
            any_future::look(child)
        } else if return_exceptions {
            if last {
                Self::finish(observer, &outer)
            } else {
                Ok(())
            }
        } else {
            match any_future::end(child)? {
                End::Returned(_) if last => Self::finish(observer, &outer),
                End::Returned(_) => Ok(()),
                End::Raised(exception) => set_exception(&outer, &exception),
                End::Cancelled => set_exception(&outer, &any_future::cancelled_error(child)?),
            }
        };
        if last {
            observer.get().end(py);
        }
        outcome
    }

    /// All have ended.
    fn finish<'py>(observer: &Bound<'py, Observer>, outer: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = observer.py();
        let taken = observer.get().with(py, |purpose| match purpose {
            Purpose::Gather(gather) => Some((
                std::mem::take(&mut gather.children),
                gather.cancel_requested,
            )),
            _ => None,
        });
        let Some((children, cancel_requested)) = taken else {
            return Ok(());
        };
        if let Some(last) = children.last()
            && cancel_requested
        {
            // A cancellation that was asked for arrives, whatever `return_exceptions` says.
            for child in &children {
                any_future::look(child.bind(py))?;
            }
            return set_exception(outer, &any_future::cancelled_error(last.bind(py))?);
        }
        let mut results = Vec::with_capacity(children.len());
        for child in children {
            let child = child.into_bound(py);
            results.push(match any_future::end(&child)? {
                End::Returned(value) | End::Raised(value) => value,
                End::Cancelled => cancelled_result(&child)?,
            });
        }
        let results = PyList::new(py, results)?.into_any();
        match FutureRef::exact(outer) {
            Some(outer) => outer.set_result(results),
            None => Ok(()),
        }
    }

    /// Cancels the children in the place of the whole; whether one could be.
    ///
    /// # Errors
    ///
    /// What a foreign `cancel` raises.
    pub(crate) fn cancel<'py>(
        observer: &Bound<'py, Observer>,
        message: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<bool> {
        let py = observer.py();
        let children: Vec<Py<PyAny>> = observer.get().with(py, |purpose| match purpose {
            Purpose::Gather(gather) => gather
                .children
                .iter()
                .map(|child| child.clone_ref(py))
                .collect(),
            _ => Vec::new(),
        });
        let mut reached = false;
        for child in children {
            reached |= task::cancel_awaited(child.bind(py), message)?;
        }
        if reached {
            observer.get().with(py, |purpose| {
                if let Purpose::Gather(gather) = purpose {
                    gather.cancel_requested = true;
                }
            });
        }
        Ok(reached)
    }

    pub(super) fn show(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.children
            .iter()
            .try_for_each(|child| visit.call(child))?;
        visit.call(&self.outer)
    }
}

fn set_exception<'py>(outer: &Bound<'py, PyAny>, exception: &Bound<'py, PyAny>) -> PyResult<()> {
    match FutureRef::exact(outer) {
        Some(outer) => outer.set_exception(exception),
        None => Ok(()),
    }
}

/// What stands for a cancelled child among the results: a new exception, which nobody has raised.
#[cold]
fn cancelled_result<'py>(child: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = child.py();
    let message = child.getattr(pyo3::intern!(py, "_cancel_message"))?;
    let class = future::cancelled_error_class(py)?;
    if message.is_none() {
        class.call1(("",))
    } else {
        class.call1((message,))
    }
}
