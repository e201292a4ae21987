//! The skeleton that every process of the fleet shares: how a call is answered or refused, who
//! calls, which tasks run, what is configured, and how it all starts and ends.
//!
//! Layers do identity, deadlines, limits and metrics, so handlers do not. This crate knows
//! nothing about any service's domain.

mod call;
mod deps;
mod fault;
mod idempotent;
mod mounted;
mod reason;
mod system;
mod tasks;

pub use call::{CORRELATION_HEADER, Call, DEFAULT_DEADLINE, Principal};
pub use deps::{Deps, SharedRegistry};
pub use fault::{DOMAIN, Fault, Metadata};
pub use idempotent::{Idempotency, MAX_REQUEST_ID, check_request_id, idempotent};
pub use mounted::{MAX_RECEIVE_BYTES, MAX_SEND_BYTES, Mounted};
pub use reason::Reason;
pub use system::{SystemClock, SystemIds};
pub use tasks::{Drained, Tasks};

#[doc(hidden)]
pub use tonic::codec::CompressionEncoding;
