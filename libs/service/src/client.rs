//! What a client of a server with TLS needs.

use std::io;
use std::path::Path;

use tonic::transport::{Certificate, ClientTlsConfig};

/// TLS towards servers whose certificates the authorities in a PEM file signed; without one
/// those of the system.
///
/// # Errors
/// The file cannot be read.
pub fn client_tls(ca_file: Option<&Path>) -> io::Result<ClientTlsConfig> {
    let tls = ClientTlsConfig::new();
    Ok(match ca_file {
        None => tls.with_native_roots(),
        Some(file) => tls.ca_certificate(Certificate::from_pem(std::fs::read(file)?)),
    })
}
