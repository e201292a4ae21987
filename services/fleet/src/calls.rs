//! Calls to services over gRPC.

use std::error::Error as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use fleet_service::client_tls;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// How long one call may take.
const CALL: Duration = Duration::from_secs(10);

/// Connects to the service at `uri`; with `https` the authorities in the file are trusted,
/// without one those of the system.
///
/// # Errors
/// It is no address, nobody answers there, or not in this way.
pub async fn connect(uri: &str, ca_file: Option<&Path>) -> anyhow::Result<Channel> {
    let mut endpoint = Endpoint::from_shared(uri.to_owned())
        .with_context(|| format!("{uri:?} is no address; it reads like http://127.0.0.1:50051"))?
        .timeout(CALL)
        .connect_timeout(CALL);
    if endpoint.uri().scheme_str() == Some("https") {
        let tls = client_tls(ca_file).with_context(|| {
            let file = ca_file.unwrap_or(Path::new("")).display();
            format!("--ca-file: {file} cannot be read")
        })?;
        endpoint = endpoint
            .tls_config(tls)
            .context("no certificates to trust: name those of the server's authority")?;
    } else if let Some(file) = ca_file {
        bail!(
            "--ca-file {} is for servers with TLS: {uri:?} has to begin with https://",
            file.display()
        );
    }
    endpoint
        .connect()
        .await
        .with_context(|| format!("cannot connect to {uri}"))
}

/// A refusal of a service as an error that a person can read.
pub fn explain(status: &Status) -> anyhow::Error {
    let refusal = anyhow::anyhow!("{:?}: {}", status.code(), status.message());
    // What a service says has no source here: this is the connection's.
    match status.source() {
        None => refusal,
        Some(_) => refusal.context(
            "the connection broke; if the server speaks TLS, its address begins with https://",
        ),
    }
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
