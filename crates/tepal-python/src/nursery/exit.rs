//! The way out of a nursery's block: wait for the children, gather the errors, leave the scope.

use super::Nursery;
use crate::raw::Object;
use crate::raw::coroutine::Resume;
use crate::raw::future::{self, is_cancelled_error};
use crate::raw::iterator::{Resumed, Step};
use crate::raw::raised::Raised;
use crate::raw::task::{self, Seat};
use crate::scope::{CancelScope, Collapse, Source, cancelled_error};
use crate::sync::{show, woken};
use pyo3::exceptions::{PyBaseExceptionGroup, PyGeneratorExit};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyList};
use std::ffi::c_int;

/// `async with`'s way out.
pub(crate) struct Exit {
    nursery: Py<Nursery>,
    /// What the block raised.
    exception: Option<Py<PyAny>>,
    /// The cancellation that goes on if there are no errors.
    propagate: Option<Py<PyAny>>,
    waiter: Option<Py<PyAny>>,
    begun: bool,
}

impl Exit {
    pub(super) fn new(nursery: &Bound<'_, Nursery>, exception: Option<Bound<'_, PyAny>>) -> Self {
        Self {
            nursery: nursery.clone().unbind(),
            exception: exception.map(Bound::unbind),
            propagate: None,
            waiter: None,
            begun: false,
        }
    }

    fn advance<'py>(
        &mut self,
        nursery: &Bound<'py, Nursery>,
        thrown: Option<Raised>,
    ) -> Resumed<'py> {
        let (py, this) = (nursery.py(), nursery.get());
        if self.begun {
            self.handle_woken(this, py, thrown)?;
        } else {
            self.begun = true;
            self.begin(this, py)?;
        }
        if this.with(py, |state| state.children.close_if_joined()) {
            return self.end(this, py);
        }
        let Some((event_loop, parent)) = this.place(py) else {
            return self.end(this, py);
        };
        // The children hear of a scope's cancellation themselves; an ordinary request reaches the wait.
        Seat::of(&event_loop, &parent).with(|scoped| scoped.deaf = true);
        let completed = future::new(&event_loop)?;
        let kept = completed.clone().unbind();
        let old = this.with(py, |state| state.completed.replace(kept));
        drop(old);
        self.waiter = Some(completed.clone().unbind());
        Ok(Step::Wait(completed))
    }

    fn begin(&mut self, this: &Nursery, py: Python<'_>) -> PyResult<()> {
        this.with(py, |state| state.children.handle_block_end());
        let Some(exception) = self.exception.as_ref() else {
            return Ok(());
        };
        let exception = exception.bind(py);
        if is_cancelled_error(exception)? {
            self.propagate = Some(exception.clone().unbind());
        } else {
            this.keep_error(exception);
        }
        CancelScope::cancel_for(&this.scope(py), Source::Nursery, None)
    }

    /// All children have ended; or the parent was cancelled by an ordinary request.
    fn handle_woken(
        &mut self,
        this: &Nursery,
        py: Python<'_>,
        thrown: Option<Raised>,
    ) -> Result<(), Raised> {
        if let Some((event_loop, parent)) = this.place(py) {
            Seat::of(&event_loop, &parent).with(|scoped| scoped.deaf = false);
        }
        let completed = this.with(py, |state| state.completed.take());
        drop(completed);
        let Some(waiter) = self.waiter.take() else {
            return Ok(());
        };
        let Err(error) = woken(py, &waiter, thrown) else {
            return Ok(());
        };
        let raised = error.get(py);
        if !is_cancelled_error(raised)? {
            return Err(error);
        }
        self.propagate = Some(raised.clone().unbind());
        CancelScope::cancel_for(&this.scope(py), Source::Nursery, None)?;
        Ok(())
    }

    /// No child is left.
    fn end<'py>(&mut self, this: &Nursery, py: Python<'py>) -> Resumed<'py> {
        let parent = this.place(py).map(|(_, parent)| parent);
        let (base_error, errors) = this.with(py, |state| {
            (state.base_error.take(), std::mem::take(&mut state.errors))
        });
        let exception = self.exception.take();
        let raises = match base_error {
            Some(base_error) => Some(base_error.into_bound(py)),
            None if errors.is_empty() => match self.propagate.take() {
                Some(propagate) => Some(propagate.into_bound(py)),
                None if this.with(py, |state| state.broken_off) => {
                    Some(cancelled_error(py, Some(this.scope(py).as_unbound()))?)
                }
                None => None,
            },
            None => Some(self.errors(py, parent.as_ref(), errors, exception.as_ref())?),
        };
        let own = match (&raises, &exception) {
            (Some(raises), Some(exception)) => raises.is(exception),
            _ => false,
        };
        let raises = match CancelScope::exit(&this.scope(py), raises.as_ref())? {
            Collapse::AsItIs if own => None,
            Collapse::AsItIs => raises,
            Collapse::Raise(other) => Some(other),
            Collapse::Caught => {
                return Ok(Step::End(PyBool::new(py, true).to_owned().into_any()));
            }
        };
        match raises {
            Some(raises) => Err(PyErr::from_value(raises).into()),
            None => Ok(Step::End(PyBool::new(py, false).to_owned().into_any())),
        }
    }

    /// The errors together.
    #[cold]
    fn errors<'py>(
        &mut self,
        py: Python<'py>,
        parent: Option<&Bound<'py, PyAny>>,
        errors: Vec<Py<PyAny>>,
        exception: Option<&Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if let Some(exception) = exception
            && errors.len() == 1
            && exception.bind(py).is_instance_of::<PyGeneratorExit>()
        {
            return Ok(exception.bind(py).clone());
        }
        if let (Some(parent), Some(_)) = (parent, self.propagate.take())
            && task::requests(parent)? > 0
        {
            // Cancelled by a request as well: it must hear of it at its next wait, and the count stays as it was.
            task::withdraw(parent)?;
            task::request_cancel(parent)?;
        }
        let errors = PyList::new(py, errors)?;
        let group = py
            .get_type::<PyBaseExceptionGroup>()
            .call1(("unhandled errors in a nursery", errors))?;
        if let Some(exception) = exception {
            group.setattr(pyo3::intern!(py, "__context__"), exception)?;
        }
        group.setattr(pyo3::intern!(py, "__suppress_context__"), true)?;
        Ok(group)
    }
}

impl Resume for Exit {
    const NAME: &'static str = "Nursery.__aexit__";

    fn resume<'py>(&mut self, py: Python<'py>, thrown: Option<Raised>) -> Resumed<'py> {
        let nursery = self.nursery.clone_ref(py).into_bound(py);
        let outcome = self.advance(&nursery, thrown);
        if !matches!(outcome, Ok(Step::Wait(_))) {
            nursery.get().finish(py);
        }
        outcome
    }

    fn show(&self, see: &mut dyn FnMut(Object) -> c_int) -> c_int {
        let held = [
            Some(self.nursery.as_any()),
            self.exception.as_ref(),
            self.propagate.as_ref(),
            self.waiter.as_ref(),
        ];
        show(&held, see)
    }
}
