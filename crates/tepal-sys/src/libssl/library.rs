//! The functions of libssl that are called, looked up by name.

use std::ffi::{CStr, c_char, c_int, c_long, c_ulong, c_void};
use std::sync::OnceLock;

/// `SSL*`, opaque.
pub(super) type Ssl = *mut c_void;
/// `BIO*`, opaque.
pub(super) type Bio = *mut c_void;
/// `BIO_METHOD*`, opaque.
pub(super) type Method = *mut c_void;

pub(super) type WriteEx = unsafe extern "C" fn(Bio, *const c_char, usize, *mut usize) -> c_int;
pub(super) type ReadEx = unsafe extern "C" fn(Bio, *mut c_char, usize, *mut usize) -> c_int;
pub(super) type Ctrl = unsafe extern "C" fn(Bio, c_int, c_long, *mut c_void) -> c_long;
pub(super) type Destroy = unsafe extern "C" fn(Bio) -> c_int;

/// Declares the table and its look-up from one list.
macro_rules! library {
    ($($name:ident: fn($($argument:ty),*) $(-> $result:ty)?;)+) => {
        /// libssl and libcrypto, as far as they are called. Looked up once; BIOs made with it may outlive every session, since
        /// they belong to Python's objects.
        #[derive(Debug)]
        pub struct Library {
            $(pub(super) $name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)+
            /// The kind of BIO that a session's wire is.
            pub(super) wire: Method,
        }

        impl Library {
            /// The table, but for the wire's kind; `None` when a function is missing.
            fn look_up(handle: *mut c_void) -> Option<Self> {
                $(
                    // SAFETY: a live handle and a C string.
                    let symbol = unsafe { libc::dlsym(handle, concat!(stringify!($name), "\0").as_ptr().cast()) };
                    if symbol.is_null() {
                        return None;
                    }
                    // SAFETY: a data pointer to a function of this name, whose type is OpenSSL's documented one
                    // (the same in 1.1.1 and 3); pointers to functions and data have one size on POSIX systems.
                    let $name = unsafe {
                        std::mem::transmute::<
                            *mut c_void,
                            unsafe extern "C" fn($($argument),*) $(-> $result)?,
                        >(symbol)
                    };
                )+
                Some(Self { $($name,)+ wire: std::ptr::null_mut() })
            }
        }
    };
}

library! {
    OpenSSL_version_num: fn() -> c_ulong;
    SSL_read_ex: fn(Ssl, *mut c_void, usize, *mut usize) -> c_int;
    SSL_write_ex: fn(Ssl, *const c_void, usize, *mut usize) -> c_int;
    SSL_get_error: fn(Ssl, c_int) -> c_int;
    SSL_pending: fn(Ssl) -> c_int;
    SSL_get_SSL_CTX: fn(Ssl) -> *mut c_void;
    SSL_set0_rbio: fn(Ssl, Bio);
    SSL_set0_wbio: fn(Ssl, Bio);
    ERR_clear_error: fn();
    BIO_get_new_index: fn() -> c_int;
    BIO_meth_new: fn(c_int, *const c_char) -> Method;
    BIO_meth_set_write_ex: fn(Method, WriteEx) -> c_int;
    BIO_meth_set_read_ex: fn(Method, ReadEx) -> c_int;
    BIO_meth_set_ctrl: fn(Method, Ctrl) -> c_int;
    BIO_meth_set_destroy: fn(Method, Destroy) -> c_int;
    BIO_new: fn(Method) -> Bio;
    BIO_up_ref: fn(Bio) -> c_int;
    BIO_free: fn(Bio) -> c_int;
    BIO_set_data: fn(Bio, *mut c_void);
    BIO_get_data: fn(Bio) -> *mut c_void;
    BIO_set_init: fn(Bio, c_int);
    BIO_set_flags: fn(Bio, c_int);
    BIO_clear_flags: fn(Bio, c_int);
}

static LIBRARY: OnceLock<Option<Library>> = OnceLock::new();

// SAFETY: function pointers and a `BIO_METHOD` that is not changed after `behind` made it.
unsafe impl Send for Library {}
// SAFETY: as above; OpenSSL's functions may be called from any thread.
unsafe impl Sync for Library {}

impl Library {
    /// The library that stands behind a shared object which is loaded already (the interpreter's `_ssl` module).
    ///
    /// `None` when it is not loaded, keeps OpenSSL's functions to itself, or brings a version whose behaviour we do
    /// not know. A process has one such module, so the first call decides.
    #[must_use]
    pub fn behind(path: &CStr) -> Option<&'static Self> {
        LIBRARY.get_or_init(|| Self::find(path)).as_ref()
    }

    /// The library that was found before.
    #[inline]
    pub(super) fn found() -> Option<&'static Self> {
        LIBRARY.get().and_then(Option::as_ref)
    }

    fn find(path: &CStr) -> Option<Self> {
        // SAFETY: a C string; RTLD_NOLOAD only finds what is there, and the handle keeps it loaded for good.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD) };
        if handle.is_null() {
            return None;
        }
        let mut library = Self::look_up(handle)?;
        // SAFETY: takes nothing.
        let version = unsafe { (library.OpenSSL_version_num)() };
        // LibreSSL says 2.0.0, whatever it is.
        let known = matches!(version >> 12, 0x1_0101..=0x1_01ff) || version >> 28 == 3;
        if !known {
            return None;
        }
        library.wire = super::wire::method(&library)?;
        Some(library)
    }

    /// Whether `ssl` belongs to the context `context` (an `SSL_CTX*`): the check that a pointer is what it is taken
    /// for.
    ///
    /// # Safety
    ///
    /// `ssl` is a live `SSL*`.
    #[must_use]
    pub unsafe fn belongs_to(&self, ssl: *mut c_void, context: *mut c_void) -> bool {
        // SAFETY: the caller's promise.
        unsafe { (self.SSL_get_SSL_CTX)(ssl) == context }
    }

    /// Forgets errors of earlier calls: `SSL_get_error` looks at this thread's whole queue.
    #[inline]
    pub(super) fn clear_errors(&self) {
        // SAFETY: takes nothing, touches this thread's queue alone.
        unsafe { (self.ERR_clear_error)() }
    }
}
