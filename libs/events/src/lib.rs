//! What the services say to each other, and how it gets there: envelope and typed payloads,
//! the bus as a port, the relay from outbox to bus, and the loop that runs consumers.
//!
//! At least once, in no particular order: handlers are state-based and commit their effect
//! together with the event's id ([`fleet_graph::Answer`]). What a handler cannot digest is
//! parked, never dropped, and never in the way of the next message.

mod backoff;
mod bus;
pub mod conformance;
mod consumer;
mod event;
pub mod fault;
mod handler;
mod metrics;
pub mod payload;
mod relay;
mod settings;

pub use backoff::Backoff;
pub use bus::{
    Bus, Delivery, Drift, Fill, Parked, PublishError, Published, RawMessage, Subscription,
    TARGET_CONSUMER, Tail, decode,
};
pub use consumer::run_consumer;
pub use event::{Event, Origin, SPEC_VERSION, decode_header, encode_header, headers};
pub use handler::{HandleError, Handler, applied};
pub use metrics::{Counts, Metrics};
pub use relay::{Committer, Relay};
pub use settings::{ConsumerSettings, RelaySettings};

/// The stream of parked messages.
pub const PARKED_STREAM: &str = fleet_topology::streams::FLEET_PARKED.name;
