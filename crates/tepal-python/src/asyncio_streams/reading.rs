//! A reader's coroutines: `read`, `readline`, `readuntil`, `readexactly`, and the step of ``async for``.

use super::StreamReader;
use crate::raw::Object;
use crate::raw::coroutine::{self, Resume};
use crate::raw::iterator::{Resumed, Step};
use crate::raw::raised::Raised;
use crate::sync::{Routine, show, woken};
use pyo3::exceptions::{PyStopAsyncIteration, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyTuple};
use std::ffi::c_int;
use tepal_core::transport::{ByteBuffer, Search};

/// What is read.
enum What {
    /// `read(n)`: what there is, of at most so many bytes.
    Some(usize),
    /// `read()`: everything up to the end.
    All(Vec<u8>),
    /// `readexactly(n)`.
    Exactly(usize),
    /// `readline()`, with the place from which on to search.
    Line(usize),
    /// The next line of an iteration.
    Next(usize),
    /// `readuntil()`.
    Until(Box<Until>),
    /// What was asked for cannot be.
    Refused(&'static str),
}

/// Separators by their length, and the place from which on to search.
struct Until {
    separators: Vec<Vec<u8>>,
    from: usize,
}

/// One of those coroutines.
pub(crate) struct Reading {
    reader: Py<StreamReader>,
    waiter: Option<Py<PyAny>>,
    what: What,
}

/// What looking at the buffer has brought.
enum Found<'py> {
    Bytes(Bound<'py, PyBytes>),
    Wait,
}

const NEWLINE: [&[u8]; 1] = [b"\n"];

impl Reading {
    fn start<'py>(reader: &Bound<'py, StreamReader>, what: What) -> PyResult<Bound<'py, PyAny>> {
        let routine = Self {
            reader: reader.clone().unbind(),
            waiter: None,
            what,
        };
        coroutine::new(reader.py(), Routine::Read(routine))
    }

    /// Looks whether what is wanted is there, and takes it.
    fn look<'py>(&mut self, reader: &Bound<'py, StreamReader>) -> Result<Found<'py>, Raised> {
        let (py, this) = (reader.py(), reader.get());
        match &mut self.what {
            What::Refused(message) => Err(PyValueError::new_err(*message).into()),
            What::Some(0) | What::Exactly(0) => Ok(Found::Bytes(PyBytes::new(py, b""))),
            What::Some(most) => {
                let most = *most;
                if let Some(piece) = this.take_piece(py, most) {
                    return given(this, piece);
                }
                let data = this.with_bytes(py, |bytes| {
                    (!bytes.is_empty()).then(|| take(py, bytes, most))
                })?;
                match data {
                    Some(data) => given(this, data),
                    None if this.is_at_end(py) => given(this, PyBytes::new(py, b"")),
                    None => Ok(Found::Wait),
                }
            }
            What::All(blocks) => {
                this.with_bytes(py, |bytes| {
                    blocks.extend_from_slice(bytes.bytes());
                    bytes.clear();
                })?;
                this.handle_taken(py)?;
                if this.is_at_end(py) {
                    return Ok(Found::Bytes(PyBytes::new(py, blocks)));
                }
                Ok(Found::Wait)
            }
            What::Exactly(count) => {
                let count = *count;
                let data = this.with_bytes(py, |bytes| {
                    (bytes.len() >= count).then(|| take(py, bytes, count))
                })?;
                match data {
                    Some(data) => given(this, data),
                    None if this.is_at_end(py) => Err(incomplete(this, py, Some(count)).into()),
                    None => Ok(Found::Wait),
                }
            }
            What::Line(from) => line(this, py, from),
            What::Next(from) => match line(this, py, from)? {
                Found::Bytes(line) if line.as_bytes().is_empty() => {
                    Err(PyStopAsyncIteration::new_err(()).into())
                }
                found => Ok(found),
            },
            What::Until(until) => {
                let Until { separators, from } = &mut **until;
                match search(this, py, separators, from)? {
                    Sought::Found(data) => given(this, data),
                    Sought::Nothing => Ok(Found::Wait),
                    Sought::End => Err(incomplete(this, py, None).into()),
                    Sought::TooLong { message, consumed } => {
                        Err(overrun(py, message, consumed).into())
                    }
                }
            }
        }
    }

    fn name_of_method(&self) -> &'static str {
        match self.what {
            What::Some(_) | What::All(_) => "read",
            What::Exactly(_) => "readexactly",
            What::Line(_) | What::Next(_) | What::Until(_) => "readuntil",
            What::Refused(_) => "readuntil",
        }
    }
}

fn given<'py>(this: &StreamReader, data: Bound<'py, PyBytes>) -> Result<Found<'py>, Raised> {
    this.handle_taken(data.py())?;
    Ok(Found::Bytes(data))
}

fn take<'py>(py: Python<'py>, bytes: &mut ByteBuffer, most: usize) -> Bound<'py, PyBytes> {
    let there = bytes.bytes();
    let data = PyBytes::new(py, &there[..most.min(there.len())]);
    bytes.consume(most);
    data
}

/// What a search comes to, by a reader's rules.
enum Sought<'py> {
    Found(Bound<'py, PyBytes>),
    Nothing,
    /// The end of the stream came first; what there is has not been taken.
    End,
    TooLong {
        message: &'static str,
        consumed: usize,
    },
}

fn search<'py, S: AsRef<[u8]>>(
    this: &StreamReader,
    py: Python<'py>,
    separators: &[S],
    from: &mut usize,
) -> PyResult<Sought<'py>> {
    let limit = this.limit(py);
    let least = separators.first().map_or(0, |one| one.as_ref().len());
    let sought = this.with_bytes(py, |bytes| {
        if bytes.len() < *from + least {
            return Sought::Nothing;
        }
        match bytes.search(separators, *from) {
            Search::Found { start, .. } if start > limit => Sought::TooLong {
                message: "Separator is found, but chunk is longer than limit",
                consumed: start,
            },
            Search::Found { end, .. } => Sought::Found(take(py, bytes, end)),
            Search::NotBefore(place) => {
                *from = place;
                if place > limit {
                    return Sought::TooLong {
                        message: "Separator is not found, and chunk exceed the limit",
                        consumed: place,
                    };
                }
                Sought::Nothing
            }
        }
    })?;
    Ok(match sought {
        Sought::Nothing if this.is_at_end(py) => Sought::End,
        sought => sought,
    })
}

/// `readline()`: what is left at the end is a line, too, and one that is too long is thrown away.
fn line<'py>(this: &StreamReader, py: Python<'py>, from: &mut usize) -> Result<Found<'py>, Raised> {
    match search(this, py, &NEWLINE, from)? {
        Sought::Found(data) => given(this, data),
        Sought::Nothing => Ok(Found::Wait),
        Sought::End => Ok(Found::Bytes(rest(this, py)?)),
        Sought::TooLong { message, consumed } => {
            this.with_bytes(py, |bytes| {
                if bytes.bytes().get(consumed) == Some(&b'\n') {
                    bytes.consume(consumed + 1);
                } else {
                    bytes.clear();
                }
            })?;
            this.handle_taken(py)?;
            Err(PyValueError::new_err(message).into())
        }
    }
}

/// Everything that is there, taken.
fn rest<'py>(this: &StreamReader, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
    this.with_bytes(py, |bytes| take(py, bytes, usize::MAX))
}

/// `IncompleteReadError`, with everything that is there.
#[cold]
fn incomplete(this: &StreamReader, py: Python<'_>, expected: Option<usize>) -> PyErr {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let make = || {
        let partial = rest(this, py)?;
        CLASS
            .import(py, "asyncio.exceptions", "IncompleteReadError")?
            .call1((partial, expected))
    };
    make().map_or_else(|error| error, PyErr::from_value)
}

/// `LimitOverrunError`.
#[cold]
fn overrun(py: Python<'_>, message: &str, consumed: usize) -> PyErr {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let make = || {
        CLASS
            .import(py, "asyncio.exceptions", "LimitOverrunError")?
            .call1((message, consumed))
    };
    make().map_or_else(|error| error, PyErr::from_value)
}

impl Resume for Reading {
    const NAME: &'static str = "StreamReader.read";

    fn resume<'py>(&mut self, py: Python<'py>, thrown: Option<Raised>) -> Resumed<'py> {
        let reader = self.reader.clone_ref(py).into_bound(py);
        let this = reader.get();
        match self.waiter.take() {
            Some(waiter) => {
                this.end_wait(py);
                woken(py, &waiter, thrown)?;
                if matches!(self.what, What::All(_)) {
                    this.check(py)?;
                }
            }
            None if matches!(self.what, What::Refused(_)) => {}
            None => this.check(py)?,
        }
        match self.look(&reader)? {
            Found::Bytes(data) => Ok(Step::End(data.into_any())),
            Found::Wait => {
                let wanted = match self.what {
                    What::Some(most) => most,
                    _ => 0,
                };
                this.wait(py, self.name_of_method(), wanted, &mut self.waiter)
            }
        }
    }

    fn name(&self) -> &'static str {
        match self.what {
            What::Some(_) | What::All(_) => "StreamReader.read",
            What::Exactly(_) => "StreamReader.readexactly",
            What::Line(_) => "StreamReader.readline",
            What::Next(_) => "StreamReader.__anext__",
            What::Until(_) | What::Refused(_) => "StreamReader.readuntil",
        }
    }

    fn show(&self, see: &mut dyn FnMut(Object) -> c_int) -> c_int {
        show(&[Some(self.reader.as_any()), self.waiter.as_ref()], see)
    }
}

#[pymethods]
impl StreamReader {
    /// Read what there is.
    ///
    /// Args:
    ///     n: The most bytes to read; negative: read up to the end of the stream.
    ///
    /// Returns:
    ///     At least one byte; none at the end of the stream, or if none were asked for.
    ///
    /// A checkpoint only if it must wait.
    #[pyo3(signature = (n = -1))]
    fn read<'py>(slf: &Bound<'py, Self>, n: i64) -> PyResult<Bound<'py, PyAny>> {
        let what = match usize::try_from(n) {
            Ok(most) => What::Some(most),
            Err(_) => What::All(Vec::new()),
        };
        Reading::start(slf, what)
    }

    /// Read so many bytes.
    ///
    /// Args:
    ///     n: How many.
    ///
    /// Returns:
    ///     The bytes.
    ///
    /// Raises:
    ///     IncompleteReadError: The stream ended before that; `partial` has what there was.
    ///     ValueError: `n` is negative.
    ///
    /// A checkpoint only if it must wait.
    fn readexactly<'py>(slf: &Bound<'py, Self>, n: i64) -> PyResult<Bound<'py, PyAny>> {
        let what = match usize::try_from(n) {
            Ok(count) => What::Exactly(count),
            Err(_) => What::Refused("readexactly size can not be less than zero"),
        };
        Reading::start(slf, what)
    }

    /// Read a line, with the newline at its end.
    ///
    /// Returns:
    ///     The line; without a newline what is left at the end of the stream; nothing behind that.
    ///
    /// Raises:
    ///     ValueError: The line is longer than the limit; it is thrown away.
    ///
    /// A checkpoint only if it must wait.
    fn readline<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Reading::start(slf, What::Line(0))
    }

    /// Read up to a separator, and it.
    ///
    /// Args:
    ///     separator: Bytes, or a tuple of several, of which the one counts that ends first; a newline if not given.
    ///
    /// Returns:
    ///     The bytes, with the separator at their end.
    ///
    /// Raises:
    ///     IncompleteReadError: The stream ended before that; `partial` has what there was.
    ///     LimitOverrunError: The separator is not within the limit; the bytes stay.
    ///     ValueError: A separator is empty.
    ///
    /// A checkpoint only if it must wait.
    #[pyo3(signature = (separator = None))]
    fn readuntil<'py>(
        slf: &Bound<'py, Self>,
        separator: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mut separators: Vec<Vec<u8>> = match separator {
            None => vec![b"\n".to_vec()],
            Some(given) => match given.cast::<PyTuple>() {
                Ok(several) => several
                    .iter()
                    .map(|one| bytes_of(&one))
                    .collect::<PyResult<_>>()?,
                Err(_) => vec![bytes_of(given)?],
            },
        };
        // (Stable, as `sorted()`: the shortest that matches wins.)
        separators.sort_by_key(Vec::len);
        let what = match separators.first().map(Vec::len) {
            None => What::Refused("Separator should contain at least one element"),
            Some(0) => What::Refused("Separator should be at least one-byte string"),
            Some(_) => What::Until(Box::new(Until {
                separators,
                from: 0,
            })),
        };
        Reading::start(slf, what)
    }

    fn __aiter__<'a, 'py>(slf: &'a Bound<'py, Self>) -> &'a Bound<'py, Self> {
        slf
    }

    fn __anext__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Reading::start(slf, What::Next(0))
    }
}

/// The bytes of a separator: `bytes`, or any other buffer.
fn bytes_of(separator: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    if let Ok(bytes) = separator.cast::<PyBytes>() {
        return Ok(bytes.as_bytes().to_vec());
    }
    let view = separator
        .py()
        .import("builtins")?
        .getattr("memoryview")?
        .call1((separator,))?;
    view.call_method0("tobytes")?.extract()
}
