//! The skeleton that every process of the fleet shares: how a call is answered or refused, who
//! calls, which tasks run, what is configured, and how it all starts and ends.
//!
//! Layers do identity, deadlines, limits and metrics, so handlers do not. This crate knows
//! nothing about any service's domain.

mod admin;
mod auth;
pub mod backends;
mod call;
pub mod cli;
mod client;
pub mod config;
mod deps;
mod fault;
mod fill;
mod found;
mod idempotent;
mod mounted;
mod process;
pub mod races;
mod readiness;
mod reason;
mod run;
mod server;
mod system;
mod tasks;
mod telemetry;

pub use auth::{Authenticator, KeyError};
pub use backends::main;
pub use call::{CORRELATION_HEADER, Call, DEFAULT_DEADLINE, Principal};
pub use client::client_tls;
pub use deps::{Deps, SharedRegistry};
pub use fault::{DOMAIN, Fault, Metadata};
pub use found::Found;
pub use idempotent::{Idempotency, MAX_REQUEST_ID, check_request_id, idempotent};
pub use mounted::{MAX_RECEIVE_BYTES, MAX_SEND_BYTES, Mounted};
pub use process::Process;
pub use races::Races;
pub use readiness::{Dependency, Latch, Need, Pulse, Readiness, State, watch_over};
pub use reason::Reason;
pub use run::{Backends, Streams, run, runtime, server_settings};
pub use server::{ServeError, ServerSettings};
pub use system::{SystemClock, SystemIds};
pub use tasks::{Drained, Tasks};
pub use telemetry::Telemetry;

#[doc(hidden)]
pub use tonic::codec::CompressionEncoding;
