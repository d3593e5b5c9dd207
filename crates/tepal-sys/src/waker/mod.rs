//! Wakes a reactor from another thread.

#[cfg(any(target_os = "linux", target_os = "android"))]
#[path = "eventfd.rs"]
mod platform;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[path = "pipe.rs"]
mod platform;

pub use platform::Waker;
