//! A service, ready to be served: its routes, and what health, reflection and limits need to
//! know about it.

use std::convert::Infallible;
use std::time::Duration;

use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response};
use tonic::server::NamedService;
use tonic::service::Routes;

/// Largest request that a server takes, in bytes: lists of texts of 64 KiB each must fit.
pub const MAX_RECEIVE_BYTES: usize = 4 * 1024 * 1024;
/// Largest answer that a server gives, in bytes.
pub const MAX_SEND_BYTES: usize = 8 * 1024 * 1024;

/// What a service crate gives to the process that serves it.
#[derive(Debug, Clone)]
pub struct Mounted {
    /// Name as in the topology, e.g. `planning`.
    pub name: &'static str,
    /// Its gRPC services.
    pub routes: Routes,
    /// Their full names, for health and reflection.
    pub grpc_services: Vec<&'static str>,
    /// Encoded `FileDescriptorSet`s with all of them.
    pub descriptor_sets: Vec<&'static [u8]>,
    /// Longest time for methods (`package.Service/Method`) that differ from the server's
    /// limit. Server streams have none and need not be listed.
    pub deadlines: Vec<(&'static str, Duration)>,
}

impl Mounted {
    /// No gRPC services yet.
    pub fn new(name: &'static str, descriptor_set: &'static [u8]) -> Self {
        Self {
            name,
            routes: Routes::default(),
            grpc_services: Vec::new(),
            descriptor_sets: vec![descriptor_set],
            deadlines: Vec::new(),
        }
    }

    /// Adds a generated server; wrap it in [`limited!`](crate::limited) first.
    #[must_use]
    pub fn serve<S>(mut self, server: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.routes = self.routes.add_service(server);
        self.grpc_services.push(S::NAME);
        self
    }

    /// Gives one method a longest time of its own.
    #[must_use]
    pub fn deadline(mut self, method: &'static str, longest: Duration) -> Self {
        self.deadlines.push((method, longest));
        self
    }
}

/// Sets message sizes and compression of a generated server.
///
/// ```text
/// Mounted::new("planning", fleet_proto::DESCRIPTOR_SET)
///     .serve(fleet_service::limited!(PlanningServiceServer::new(service)))
/// ```
#[macro_export]
macro_rules! limited {
    ($server:expr) => {
        $server
            .max_decoding_message_size($crate::MAX_RECEIVE_BYTES)
            .max_encoding_message_size($crate::MAX_SEND_BYTES)
            .accept_compressed($crate::CompressionEncoding::Gzip)
            .send_compressed($crate::CompressionEncoding::Gzip)
    };
}
