//! The cache port on Valkey (or any server that speaks its protocol).
//!
//! * One connection, used by all calls at once; it is opened in the background, and again
//!   whenever it is lost, so that nothing ever waits for the server to start.
//! * Every call has its own deadline. All calls can be repeated without harm, so one that finds
//!   its connection broken is made once more.
//! * Keys are `fleet:<deployment>:<key>`: deployments on one server do not see each other.
//! * An account needs `get`, `set`, `unlink` and `exists` on the keys of its deployment.
//!
//! This crate knows nothing about services or what is cached.

mod settings;
mod valkey;

pub use settings::{InvalidSettings, Settings};
pub use valkey::Valkey;
