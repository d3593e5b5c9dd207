//! Hands the interpreter's version and build (`Py_3_12`, `Py_GIL_DISABLED`) on to the compiler as cfgs.
fn main() {
    pyo3_build_config::use_pyo3_cfgs();
}
