//! The body of an answer, watched to its end.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::{Code, Status};

use super::layer::Ending;

/// Passes a body on, notes its status, and ends a server stream when the process stops.
pub(crate) struct CallBody {
    inner: Body,
    ending: Option<Ending>,
    stopping: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl CallBody {
    pub(crate) fn new(inner: Body, ending: Ending, stopping: Option<CancellationToken>) -> Self {
        let stopping = stopping.map(|token| Box::pin(token.cancelled_owned()));
        Self {
            inner,
            ending: Some(ending),
            stopping,
        }
    }

    fn end(&mut self, code: Code) {
        if let Some(mut ending) = self.ending.take() {
            ending.set(code);
        }
    }
}

impl HttpBody for CallBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ending.is_none() {
            return Poll::Ready(None);
        }
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    let code =
                        Status::from_header_map(trailers).map_or(Code::Unknown, |s| s.code());
                    self.end(code);
                }
            }
            Poll::Ready(Some(Err(status))) => {
                let code = status.code();
                self.end(code);
            }
            Poll::Ready(None) => self.end(Code::Ok),
            Poll::Pending => {
                let stopping = self.stopping.as_mut();
                if stopping.is_some_and(|stopping| stopping.as_mut().poll(cx).is_ready()) {
                    self.end(Code::Unavailable);
                    let status = Status::unavailable("the server stops: open the stream again");
                    let mut trailers = HeaderMap::new();
                    return match status.add_header(&mut trailers) {
                        Ok(()) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                        Err(status) => Poll::Ready(Some(Err(status))),
                    };
                }
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.ending.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
