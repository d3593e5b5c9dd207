//! Byte machines: what a transport knows about its bytes, without the socket.

mod burst;
mod byte_buffer;
mod datagram_queue;
mod file_part;
mod flow;
mod traffic;
mod write_queue;

pub use burst::Burst;
pub use byte_buffer::{ByteBuffer, Search};
pub use datagram_queue::DatagramQueue;
pub use file_part::FilePart;
pub use flow::{FlowControl, FlowEvent, LimitsError};
pub use traffic::Traffic;
pub use write_queue::WriteQueue;
