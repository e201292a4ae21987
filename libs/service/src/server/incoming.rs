//! Connections that must say something soon: a silent one would cost a descriptor for ever, as
//! neither keepalive nor age count before the first bytes of HTTP/2 or TLS.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt as _;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Sleep;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::{Connected, TcpConnectInfo, TcpIncoming};
use tonic::transport::{Channel, Endpoint, Uri};

/// How long a connection may take to begin.
const BEGIN_WITHIN: Duration = Duration::from_secs(10);
/// The preface of HTTP/2; what TLS begins with is longer.
const BEGINNING_BYTES: usize = 24;
/// After how long without traffic the system asks whether the peer still lives.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// The connections of a listener, each with its time to begin.
pub(crate) fn connections(listener: TcpListener) -> impl Stream<Item = io::Result<Beginning>> {
    TcpIncoming::from(listener)
        .with_nodelay(Some(true))
        .with_keepalive(Some(TCP_KEEPALIVE))
        .map(|stream| stream.map(Beginning::new))
}

/// Bytes on their way in one direction of a connection within the process.
const WITHIN_BYTES: usize = 64 * 1024;

/// A channel within the process, and the connections that it makes when it is used.
pub(crate) fn within() -> (Channel, impl Stream<Item = io::Result<DuplexStream>>) {
    let (connections, made) = mpsc::channel(1);
    let connect = tower::service_fn(move |_: Uri| {
        let connections = connections.clone();
        async move {
            let (ours, theirs) = tokio::io::duplex(WITHIN_BYTES);
            let gone = |_| io::Error::from(io::ErrorKind::ConnectionRefused);
            connections.send(theirs).await.map_err(gone)?;
            Ok::<_, io::Error>(TokioIo::new(ours))
        }
    });
    let channel = Endpoint::from_static("http://within").connect_with_connector_lazy(connect);
    // A server does not end because nobody has its channel any more.
    let made = ReceiverStream::new(made).map(Ok);
    (channel, made.chain(futures::stream::pending()))
}

/// A connection that fails when it does not begin in time.
pub(crate) struct Beginning {
    stream: TcpStream,
    missing: usize,
    until: Option<Pin<Box<Sleep>>>,
}

impl Beginning {
    fn new(stream: TcpStream) -> Self {
        let until = Some(Box::pin(tokio::time::sleep(BEGIN_WITHIN)));
        Self {
            stream,
            missing: BEGINNING_BYTES,
            until,
        }
    }
}

impl AsyncRead for Beginning {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if let Some(until) = &mut self.until {
            if read.is_pending() && until.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.missing = self.missing.saturating_sub(buffer.filled().len() - before);
            if self.missing == 0 {
                self.until = None;
            }
        }
        read
    }
}

impl AsyncWrite for Beginning {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl Connected for Beginning {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_connection_that_does_not_begin_is_given_up_and_one_that_did_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut connections = std::pin::pin!(connections(listener));
        let mut accept = async || {
            let (client, server) = tokio::join!(TcpStream::connect(address), connections.next());
            (client.unwrap(), server.unwrap().unwrap())
        };
        let (mut silent, mut of_silent) = accept().await;
        let (mut talking, mut of_talking) = accept().await;
        silent.write_all(b"PRI").await.unwrap();
        talking.write_all(&[b'x'; BEGINNING_BYTES]).await.unwrap();
        let mut bytes = [0; BEGINNING_BYTES];
        of_talking.read_exact(&mut bytes).await.unwrap();

        tokio::time::pause();
        let late = of_silent.read_exact(&mut bytes).await.unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        let quiet = tokio::time::timeout(10 * BEGIN_WITHIN, of_talking.read_u8()).await;
        assert!(quiet.is_err(), "it may be silent now");
    }
}
