use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fleet_cache::{Cache, CacheError, Key, MAX_TTL, Stored};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, Cmd, ErrorKind, FromRedisValue, RedisError};
use tokio::time::{Instant, timeout_at};

use crate::{InvalidSettings, Settings};

/// How long opening a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// The connection's own bound on an answer; calls come with tighter ones.
const RESPOND_WITHIN: Duration = Duration::from_secs(10);
/// After so many calls in a row that were not served the connection is replaced.
const UNSERVED_CALLS: u32 = 3;
/// Answers on their way at one time.
const PIPELINE: usize = 1024;

/// Values on a server. Cheap calls on one shared connection.
pub struct Valkey {
    client: Client,
    prefix: String,
    link: Mutex<Link>,
}

struct Link {
    manager: ConnectionManager,
    generation: u64,
    unserved: u32,
}

impl Valkey {
    /// A handle; the server may come later. Needs a tokio runtime.
    ///
    /// # Errors
    /// Settings that can never work.
    pub fn connect(settings: &Settings) -> Result<Self, InvalidSettings> {
        let client = settings.client()?;
        let link = Mutex::new(Link {
            manager: manager(&client),
            generation: 0,
            unserved: 0,
        });
        Ok(Self {
            prefix: format!("fleet:{}:", settings.deployment),
            client,
            link,
        })
    }

    fn key(&self, key: &Key) -> String {
        format!("{}{}", self.prefix, key.as_str())
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call<T: FromRedisValue>(&self, cmd: Cmd, within: Duration) -> Result<T, CacheError> {
        let until = Instant::now() + within;
        let mut attempt = 1;
        loop {
            let (mut manager, generation) = {
                let link = self.link();
                (link.manager.clone(), link.generation)
            };
            let answer = timeout_at(until, cmd.query_async(&mut manager)).await;
            match answer {
                Ok(Ok(value)) => {
                    self.link().unserved = 0;
                    return Ok(value);
                }
                Ok(Err(error)) => {
                    if !error.is_io_error() {
                        self.unserved(generation);
                    }
                    // A server that was restarted has cut the connection: that says nothing
                    // about whether it is there now.
                    if attempt == 1 && error.is_connection_dropped() {
                        attempt += 1;
                        continue;
                    }
                    return Err(fault(&error));
                }
                Err(_) => {
                    self.unserved(generation);
                    return Err(CacheError::Timeout(within));
                }
            }
        }
    }

    /// The manager reconnects after errors of the connection. It does not when the server would
    /// not have us (other credentials, still loading): it keeps that answer for good. Nor does it
    /// when a server vanished without a goodbye: until the system gives up on that connection, a
    /// quarter of an hour may pass.
    fn unserved(&self, generation: u64) {
        let mut link = self.link();
        // Somebody may have replaced it meanwhile.
        if link.generation != generation {
            return;
        }
        link.unserved += 1;
        if link.unserved >= UNSERVED_CALLS {
            link.manager = manager(&self.client);
            link.generation += 1;
            link.unserved = 0;
        }
    }
}

impl std::fmt::Debug for Valkey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Valkey")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

fn manager(client: &Client) -> ConnectionManager {
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(CONNECT_WITHIN))
        .set_response_timeout(Some(RESPOND_WITHIN))
        .set_pipeline_buffer_size(PIPELINE)
        // Whoever calls next tries again; who waits is better off without a cache.
        .set_number_of_retries(0);
    ConnectionManager::new_lazy_with_config(client.clone(), config)
        .expect("it refuses only subscriptions, and there are none")
}

fn fault(error: &RedisError) -> CacheError {
    match error.kind() {
        ErrorKind::Io => CacheError::Unavailable {
            reason: error.to_string(),
        },
        ErrorKind::Parse => CacheError::Unavailable {
            reason: "the server speaks another protocol".to_owned(),
        },
        // The rest may quote a command; its kind says enough.
        _ => CacheError::Refused {
            reason: match error.code() {
                Some(code) => format!("{} ({code})", error.category()),
                None => error.category().to_owned(),
            },
        },
    }
}

fn command(name: &str, key: String) -> Cmd {
    let mut cmd = redis::cmd(name);
    cmd.arg(key);
    cmd
}

#[async_trait]
impl Cache for Valkey {
    fn name(&self) -> &'static str {
        "valkey"
    }

    async fn get(&self, key: &Key, within: Duration) -> Result<Option<Bytes>, CacheError> {
        let value: Option<Vec<u8>> = self.call(command("GET", self.key(key)), within).await?;
        Ok(value.map(Bytes::from))
    }

    async fn set(
        &self,
        key: &Key,
        value: Bytes,
        ttl: Duration,
        within: Duration,
    ) -> Result<Stored, CacheError> {
        let stored = Stored::allowed(value.len(), ttl);
        match stored {
            Stored::NotKept => self.delete(key, within).await?,
            Stored::Kept => {
                let millis = u64::try_from(ttl.min(MAX_TTL).as_millis())
                    .expect("the longest time fits by far");
                let mut cmd = command("SET", self.key(key));
                cmd.arg(&*value).arg("PX").arg(millis);
                self.call::<()>(cmd, within).await?;
            }
        }
        Ok(stored)
    }

    async fn delete(&self, key: &Key, within: Duration) -> Result<(), CacheError> {
        // Frees a large value's memory off the server's main thread.
        let _: u64 = self.call(command("UNLINK", self.key(key)), within).await?;
        Ok(())
    }

    async fn ping(&self, within: Duration) -> Result<(), CacheError> {
        // Not PING: that is answered by servers that would refuse our keys.
        let key = format!("{}ping", self.prefix);
        let _: u64 = self.call(command("EXISTS", key), within).await?;
        Ok(())
    }
}
