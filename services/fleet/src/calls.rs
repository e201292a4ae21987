//! Calls to services over gRPC.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// How long one call may take.
const CALL: Duration = Duration::from_secs(10);

/// Connects to the service at `uri`.
///
/// # Errors
/// It is no address, or nobody answers there.
pub async fn connect(uri: &str) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(uri.to_owned())
        .with_context(|| format!("{uri:?} is no address; it reads like http://127.0.0.1:50051"))?
        .timeout(CALL)
        .connect_timeout(CALL);
    endpoint
        .connect()
        .await
        .with_context(|| format!("cannot connect to {uri}"))
}

/// A refusal of a service as an error that a person can read.
pub fn explain(status: &Status) -> anyhow::Error {
    anyhow::anyhow!("{:?}: {}", status.code(), status.message())
}

/// The address by which this machine reaches a listener at `bound`.
pub fn reachable(bound: SocketAddr) -> SocketAddr {
    let mut address = bound;
    if bound.ip().is_unspecified() {
        address.set_ip(match bound {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
