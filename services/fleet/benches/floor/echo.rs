//! The least that a unary call costs: a bare tonic server that gives one canned answer, in a
//! thread of its own.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::sync::{Arc, RwLock};
use std::task::Poll;

use bytes::{Buf, BufMut, Bytes};
use http::{Request, Response};
use prost::Message;
use tokio::net::TcpListener;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{BoxFuture, Service};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Status, body::Body, transport::Server};

/// Runs a future on a thread with a runtime of its own, until the process ends.
pub fn in_a_thread(future: impl Future<Output = ()> + Send + 'static) {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(future);
    });
}

/// Canned answers by path.
#[derive(Clone, Default)]
pub struct Echo(Arc<RwLock<HashMap<String, Bytes>>>);

impl Echo {
    /// Sets the answer of a path such as `/package.Service/Method`.
    pub fn answer(&self, path: &str, message: &impl Message) {
        self.0
            .write()
            .unwrap()
            .insert(path.to_owned(), message.encode_to_vec().into());
    }

    /// Starts a server that goes by the names of all services; gives its URI.
    pub async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap());
        let listener = listener.into_std().unwrap();
        let echo = self.clone();
        in_a_thread(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let incoming =
                tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
            Server::builder()
                .add_service(Context(echo.clone()))
                .add_service(Planning(echo.clone()))
                .add_service(Workflow(echo))
                .serve_with_incoming(incoming)
                .await
                .unwrap();
        });
        uri
    }
}

macro_rules! named {
    ($($name:ident = $service:literal),+) => {$(
        #[derive(Clone)]
        struct $name(Echo);

        impl NamedService for $name {
            const NAME: &'static str = $service;
        }

        impl Service<Request<Body>> for $name {
            type Response = Response<Body>;
            type Error = Infallible;
            type Future = BoxFuture<Response<Body>, Infallible>;

            fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), Infallible>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, request: Request<Body>) -> Self::Future {
                let canned = self.0.0.read().unwrap().get(request.uri().path()).cloned();
                Box::pin(async move {
                    Ok(Grpc::new(Plain).unary(Canned(canned), request).await)
                })
            }
        }
    )+};
}

named!(
    Context = "fleet.context.v1.ContextService",
    Planning = "fleet.planning.v2.PlanningService",
    Workflow = "fleet.workflow.v1.WorkflowOrchestrationService"
);

struct Canned(Option<Bytes>);

impl UnaryService<Bytes> for Canned {
    type Response = Bytes;
    type Future = Ready<Result<tonic::Response<Bytes>, Status>>;

    fn call(&mut self, _: tonic::Request<Bytes>) -> Self::Future {
        let canned = self.0.clone();
        ready(
            canned
                .map(tonic::Response::new)
                .ok_or_else(|| Status::unimplemented("no answer")),
        )
    }
}

/// Bytes as they are.
#[derive(Clone, Copy, Default)]
struct Plain;

impl Codec for Plain {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
