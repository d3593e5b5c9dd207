//! Byte machines: what a stream transport knows about its bytes, without the socket.

mod file_part;
mod flow;
mod write_queue;

pub use file_part::FilePart;
pub use flow::{FlowControl, FlowEvent, LimitsError};
pub use write_queue::WriteQueue;
