//! How the bus is reached.

use std::{path::PathBuf, time::Duration};

use async_nats::{ConnectOptions, ServerAddr};
use fleet_events::Backoff;
use secrecy::{ExposeSecret, SecretString};

/// How to reach the bus and how it is used. `Settings::new` has the defaults.
#[derive(Clone)]
pub struct Settings {
    /// One or more addresses, comma separated, e.g. `nats://127.0.0.1:4222`.
    pub url: String,
    /// The namespace on the server; lower case letters, digits and `-`, at most 32.
    pub deployment: String,
    /// How this client is called in the server's lists.
    pub name: String,
    /// How long the server may lose what it acknowledged; zero for `sync_interval: always`.
    /// A server with its defaults syncs every two minutes.
    pub sync_interval: Duration,
    /// Replicas of each stream (1, 3 or 5).
    pub replicas: usize,
    /// A smaller size limit for each stream than the topology's, for small disks and tests.
    pub max_stream_bytes: Option<u64>,
    /// Who we are.
    pub auth: Auth,
    /// How the connection is protected.
    pub tls: Tls,
    /// How long one attempt to connect may take.
    pub connect_within: Duration,
    /// How often the server is asked for a sign of life; two missing ones end a connection.
    pub ping_every: Duration,
    /// How long the first attempt of a publish waits for its acknowledgement at least (longer
    /// while the server is slow); each further attempt (same message id) waits twice as long,
    /// inside the caller's deadline.
    pub ack_within: Duration,
    /// At most so many publishes wait for acknowledgements at once, over all callers.
    pub window: usize,
    /// How often the server shows that an idle subscription is alive.
    pub heartbeat: Duration,
    /// Delays between attempts to connect, and between attempts to publish.
    pub backoff: Backoff,
    /// Spreads the delays of replicas; any number, best not the same in each.
    pub seed: u64,
}

/// Who we are to the server.
#[derive(Clone, Default)]
pub enum Auth {
    /// Nobody in particular (or as the URL says).
    #[default]
    None,
    /// A shared token.
    Token(SecretString),
    /// User and password.
    UserPassword {
        /// The user.
        user: String,
        /// The password.
        password: SecretString,
    },
    /// The seed of an NKey.
    NKey(SecretString),
    /// A `.creds` file (JWT and NKey).
    CredentialsFile(PathBuf),
}

/// How the connection is protected.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Refuse a server without TLS.
    pub required: bool,
    /// Further root certificates (PEM file).
    pub root_certificates: Option<PathBuf>,
    /// Our certificate and its key (PEM files).
    pub client_certificate: Option<(PathBuf, PathBuf)>,
}

/// Why a bus cannot be used at all; a server that is away is no reason.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The deployment is not a name.
    #[error("deployment {0:?} is not 1 to 32 of a-z 0-9 -")]
    Deployment(String),
    /// The URL does not read as addresses.
    #[error("not a NATS address")]
    Address(#[source] std::io::Error),
    /// The credentials file cannot be used.
    #[error("credentials file {path} cannot be used")]
    Credentials {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The client refuses the settings.
    #[error("the NATS client refuses its settings")]
    Client(#[source] async_nats::ConnectError),
}

impl Settings {
    /// The defaults, for a server that syncs before it acknowledges.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            deployment: "default".to_owned(),
            name: "fleet".to_owned(),
            sync_interval: Duration::ZERO,
            replicas: 1,
            max_stream_bytes: None,
            auth: Auth::None,
            tls: Tls::default(),
            connect_within: Duration::from_secs(3),
            ping_every: Duration::from_secs(5),
            ack_within: Duration::from_millis(250),
            window: 256,
            heartbeat: Duration::from_secs(5),
            backoff: Backoff {
                first: Duration::from_millis(20),
                max: Duration::from_secs(1),
            },
            seed: 0,
        }
    }

    pub(crate) fn addresses(&self) -> Result<Vec<ServerAddr>, ConnectError> {
        self.url
            .split(',')
            .map(|address| address.trim().parse().map_err(ConnectError::Address))
            .collect()
    }

    pub(crate) async fn options(&self) -> Result<ConnectOptions, ConnectError> {
        let (backoff, seed) = (self.backoff, self.seed);
        let mut options = ConnectOptions::new()
            .name(&self.name)
            .retry_on_initial_connect()
            .connection_timeout(self.connect_within)
            .ping_interval(self.ping_every)
            .request_timeout(Some(self.connect_within))
            .client_capacity(2 * self.window.max(64))
            .subscription_capacity(4_096)
            .reconnect_delay_callback(move |attempt| match attempt {
                0 | 1 => Duration::ZERO,
                _ => backoff.delay(attempt as u64 - 1, seed),
            });
        options = match &self.auth {
            Auth::None => options,
            Auth::Token(token) => options.token(token.expose_secret().to_owned()),
            Auth::UserPassword { user, password } => {
                options.user_and_password(user.clone(), password.expose_secret().to_owned())
            }
            Auth::NKey(seed) => options.nkey(seed.expose_secret().to_owned()),
            Auth::CredentialsFile(path) => {
                options.credentials_file(path).await.map_err(|source| {
                    ConnectError::Credentials {
                        path: path.clone(),
                        source,
                    }
                })?
            }
        };
        if self.tls.required {
            options = options.require_tls(true);
        }
        if let Some(roots) = &self.tls.root_certificates {
            options = options.add_root_certificates(roots.clone());
        }
        if let Some((certificate, key)) = &self.tls.client_certificate {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        Ok(options)
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Neither the URL (it may hold a password) nor who we are.
        f.debug_struct("Settings")
            .field("deployment", &self.deployment)
            .field("name", &self.name)
            .field("sync_interval", &self.sync_interval)
            .field("replicas", &self.replicas)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}
