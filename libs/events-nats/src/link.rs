//! The connection: whether it is there, how often it was made, and requests over it that keep
//! their deadline.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::{
    Client, Event,
    connection::State,
    jetstream::{self, response::Response},
};
use fleet_graph::{Deadline, Unavailable};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::{Semaphore, watch},
    time::timeout_at,
};

use crate::{ConnectError, Settings, names::Names};

/// How the store is called in errors.
pub(crate) const STORE: &str = "nats";

/// How often a lost connection is looked at while somebody waits for it. The client's own
/// notification may get lost when it has many.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What an API request was answered with, if it was no success.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// No answer.
    Away(Unavailable),
    /// The server says no.
    Refused(jetstream::Error),
}

impl From<ApiError> for Unavailable {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Away(away) => away,
            ApiError::Refused(error) => Unavailable {
                store: STORE,
                reason: error.to_string(),
                // 5xx is about the server, 4xx about what we asked for.
                retryable: error.code() >= 500,
            },
        }
    }
}

/// Not now.
pub(crate) fn away(reason: impl Into<String>) -> Unavailable {
    Unavailable {
        store: STORE,
        reason: reason.into(),
        retryable: true,
    }
}

/// One connection with everything that is asked of it.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) client: Client,
    pub(crate) context: jetstream::Context,
    pub(crate) names: Names,
    pub(crate) settings: Arc<Settings>,
    changed: watch::Receiver<u64>,
    trouble: Arc<Mutex<String>>,
    pub(crate) pace: Arc<Pace>,
}

/// How fast the server acknowledges, so that a slow one (it syncs, its machine is busy) is not
/// asked again for what it is about to do.
pub(crate) struct Pace {
    /// Room for publishes that wait for their acknowledgement, over all callers.
    pub(crate) window: Semaphore,
    /// Smoothed time to an acknowledgement, in microseconds.
    usual: AtomicU64,
}

impl Pace {
    /// Takes note of how long an acknowledgement took, or was waited for in vain.
    pub(crate) fn note(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let usual = self.usual.load(Ordering::Relaxed);
        self.usual
            .store(usual - usual / 8 + took / 8, Ordering::Relaxed);
    }

    /// How long an acknowledgement may reasonably take.
    pub(crate) fn reasonable(&self) -> Duration {
        Duration::from_micros(self.usual.load(Ordering::Relaxed).saturating_mul(4))
    }
}

impl Link {
    pub(crate) async fn open(settings: Settings) -> Result<Self, ConnectError> {
        let names = Names::new(&settings.deployment)
            .ok_or_else(|| ConnectError::Deployment(settings.deployment.clone()))?;
        let (change, changed) = watch::channel(0_u64);
        let trouble = Arc::new(Mutex::new("not connected yet".to_owned()));
        let seen = trouble.clone();
        let options = settings.options().await?.event_callback(move |event| {
            match &event {
                Event::Connected => tracing::info!("connected to the bus"),
                Event::Disconnected => tracing::warn!("connection to the bus lost"),
                other => tracing::debug!(event = %other, "bus client"),
            }
            if !matches!(event, Event::Connected) {
                *seen.lock().expect("held for assignments only") = event.to_string();
            }
            change.send_modify(|count| *count += 1);
            async {}
        });
        let client = options
            .connect(settings.addresses()?)
            .await
            .map_err(ConnectError::Client)?;
        let mut context = jetstream::new(client.clone());
        context.set_timeout(settings.connect_within);
        let pace = Arc::new(Pace {
            window: Semaphore::new(settings.window.max(1)),
            usual: AtomicU64::new(0),
        });
        Ok(Self {
            pace,
            client,
            context,
            names,
            settings: Arc::new(settings),
            changed,
            trouble,
        })
    }

    /// How often a connection was made.
    pub(crate) fn epoch(&self) -> u64 {
        self.client.statistics().connects.load(Ordering::Relaxed)
    }

    pub(crate) fn is_up(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// That there is no connection, and the last thing that was said about it.
    pub(crate) fn down(&self) -> Unavailable {
        let trouble = self.trouble.lock().expect("held for assignments only");
        away(format!("no connection ({trouble})"))
    }

    /// Waits until the connection is there.
    pub(crate) async fn up(&self, deadline: Deadline) -> Result<(), Unavailable> {
        while !self.is_up() {
            if deadline.left().is_zero() {
                return Err(self.down());
            }
            self.change(deadline.left().min(LOOK_EVERY)).await;
        }
        Ok(())
    }

    /// Waits until something happens to the connection, at most so long.
    pub(crate) async fn change(&self, wait: Duration) {
        let mut changed = self.changed.clone();
        changed.mark_unchanged();
        let _ = tokio::time::timeout(wait, changed.changed()).await;
    }

    /// Asks the JetStream API.
    pub(crate) async fn api<T: DeserializeOwned>(
        &self,
        subject: String,
        payload: &(impl Serialize + Sync),
        deadline: Deadline,
    ) -> Result<T, ApiError> {
        self.up(deadline).await.map_err(ApiError::Away)?;
        let request = self.context.request::<_, _, Response<T>>(subject, payload);
        match timeout_at(deadline.instant(), request).await {
            Ok(Ok(Response::Ok(answer))) => Ok(answer),
            Ok(Ok(Response::Err { error })) => Err(ApiError::Refused(error)),
            Ok(Err(error)) => Err(ApiError::Away(away(error.to_string()))),
            Err(_) => Err(ApiError::Away(away("no answer within the deadline"))),
        }
    }

    /// Sends without an answer; refuses instead of waiting for a connection.
    pub(crate) async fn send(&self, subject: &str, body: &[u8]) -> Result<(), Unavailable> {
        if !self.is_up() {
            return Err(self.down());
        }
        let body = bytes::Bytes::copy_from_slice(body);
        let sent = self.client.publish(subject.to_owned(), body);
        match tokio::time::timeout(self.settings.connect_within, sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(away(error.to_string())),
            Err(_) => Err(away("the client does not get rid of its messages")),
        }
    }
}
