//! The ground of tepal: the only crate that calls the kernel.
//!
//! It acts and never decides: when to wait, what to read and who is told are the core's and the border's business.
//! Each platform is one file with the same names (`reactor/mod.rs` states the contract).

pub mod buffer;
pub mod clock;
pub mod fd;
pub mod libssl;
pub mod malloc;
pub mod pipe;
pub mod process;
pub mod reactor;
pub mod socket;
pub mod waker;
