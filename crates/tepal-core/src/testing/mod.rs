//! A world to test in: no kernel, no wall clock.

mod world;

pub use world::{Action, World};
