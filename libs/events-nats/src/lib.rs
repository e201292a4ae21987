//! The bus on NATS JetStream: publish with retries under one message id, durable pull
//! consumers with explicit answers, parked messages, tails, and the reconciliation of streams
//! and consumers with the topology.
//!
//! The defaults of the client are for other uses and are overridden: no request waits longer
//! than its deadline, a silent peer is noticed within seconds, and nothing is accepted while
//! there is no connection ([`fleet_graph::Unavailable`] instead of a silent buffer).

mod bus;
mod link;
mod names;
mod publish;
mod pull;
mod reconcile;
mod settings;
mod tail;
mod wire;

pub use bus::NatsBus;
pub use settings::{Auth, ConnectError, Settings, Tls};
