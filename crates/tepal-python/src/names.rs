//! Names that the border looks up in Python again and again, interned once.

/// Declares a function per name, which gives the interned string.
macro_rules! names {
    ($($name:ident),+ $(,)?) => {$(
        #[inline]
        pub(crate) fn $name(py: pyo3::Python<'_>) -> &pyo3::Bound<'_, pyo3::types::PyString> {
            pyo3::intern!(py, stringify!($name))
        }
    )+};
}

names! {
    _attach,
    _detach,
    buffer_updated,
    call_exception_handler,
    connection_lost,
    connection_made,
    data_received,
    datagram_received,
    done,
    eof_received,
    error_received,
    get_buffer,
    pause_writing,
    resume_writing,
    set_exception,
    set_result,
    time,
}
