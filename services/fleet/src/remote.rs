//! A small client for the admin listener of another process on this machine.

use std::time::Duration;

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long one call may take.
const WITHIN: Duration = Duration::from_secs(15);
/// Largest answer, in bytes.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// An admin listener.
#[derive(Debug, Clone)]
pub struct Remote {
    authority: String,
}

impl Remote {
    /// The listener at `uri`, as its process noted it: `http://host:port`.
    ///
    /// # Errors
    /// It is no such address.
    pub fn new(uri: &str) -> anyhow::Result<Self> {
        let uri: hyper::Uri = uri
            .parse()
            .with_context(|| format!("{uri:?} is no address"))?;
        let authority = uri
            .authority()
            .context("an address has a host and a port")?
            .to_string();
        Ok(Self { authority })
    }

    /// Calls it. `None` if it knows nothing of what was asked for (404).
    ///
    /// # Errors
    /// It cannot be reached, or it refuses.
    pub async fn call(&self, method: &str, path: &str) -> anyhow::Result<Option<String>> {
        let answer = tokio::time::timeout(WITHIN, self.exchange(method, path)).await;
        answer.with_context(|| {
            format!(
                "{} did not answer within {} s",
                self.authority,
                WITHIN.as_secs()
            )
        })?
    }

    async fn exchange(&self, method: &str, path: &str) -> anyhow::Result<Option<String>> {
        let stream = TcpStream::connect(&self.authority).await.with_context(|| {
            format!("the admin listener at {} cannot be reached", self.authority)
        })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.authority)
            .body(Empty::<Bytes>::new())?;
        let exchange = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER)
                .collect()
                .await
                .map_err(|e| anyhow::anyhow!("{e}"))?
                .to_bytes();
            anyhow::Ok((status, String::from_utf8_lossy(&body).into_owned()))
        };
        tokio::pin!(exchange, connection);
        let (status, body) = tokio::select! {
            biased;
            answered = &mut exchange => answered?,
            ended = &mut connection => {
                ended.context("the connection broke")?;
                exchange.await?
            }
        };
        match status.as_u16() {
            404 => Ok(None),
            200..=299 => Ok(Some(body)),
            _ => bail!(
                "{} {path} on {}: {status}: {}",
                method,
                self.authority,
                body.trim()
            ),
        }
    }
}
