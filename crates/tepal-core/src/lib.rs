//! The law of tepal: what happens next, and why.
//!
//! This crate decides and never acts. It has no clock, no socket, no thread and no Python: it is handed facts (the
//! time, a job that became ready) and hands back work (a job to run, how long to wait). Everything is generic over
//! the job `J`, so the same turn runs on the kernel, under Python, and in a test with neither.
//!
//! Two promises hold everywhere. **A job is never dropped here**: whoever takes it out, by running or cancelling it,
//! gets it back, because dropping a job may run foreign code. **Containers can be walked** (`iter`), because a
//! garbage collector may need to.
//!
//! # One turn of the loop
//!
//! ```
//! use tepal_core::turn::{Turn, Wait};
//!
//! let mut turn = Turn::new();
//! turn.schedule_at(5.0, "later");
//! turn.schedule("first");
//!
//! // What may the ground do now? A job is ready: look at the kernel, but do not wait.
//! assert_eq!(turn.poll_wait(0.0), Wait::Look);
//! turn.handle_polled(0.0);
//! turn.handle_time(0.0);
//! turn.begin();
//! assert_eq!(turn.poll_job(), Some("first"));
//! assert_eq!(turn.poll_job(), None);
//!
//! // Nothing is ready: wait for the timer.
//! assert_eq!(turn.poll_wait(1.0), Wait::Until(5.0));
//! turn.handle_polled(5.0);
//! turn.handle_time(5.0);
//! turn.begin();
//! assert_eq!(turn.poll_job(), Some("later"));
//! ```
#![forbid(unsafe_code)]

pub mod channel;
pub mod nursery;
pub mod ready;
pub mod scope;
pub mod supervisor;
pub mod task;
pub mod testing;
pub mod timers;
pub mod tls;
pub mod transport;
pub mod turn;
