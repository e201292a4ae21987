use secrecy::SecretString;

/// Where the server is and how it is used.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `bolt://host:port`, or `bolt+s://` with TLS (the process installs the rustls provider).
    pub uri: String,
    /// User name.
    pub user: String,
    /// Password.
    pub password: SecretString,
    /// Database; `None` = the user's home database.
    pub database: Option<String>,
    /// Which deployment's outbox, inbox and requests this handle works on.
    pub deployment: String,
    /// Most connections at one time; further calls wait for one, inside their deadline.
    pub max_connections: usize,
}

impl Settings {
    /// Settings with the home database, deployment `default` and 16 connections.
    pub fn new(uri: impl Into<String>, user: impl Into<String>, password: SecretString) -> Self {
        Self {
            uri: uri.into(),
            user: user.into(),
            password,
            database: None,
            deployment: "default".into(),
            max_connections: 16,
        }
    }
}

/// Settings that can never work, whatever the server does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("neo4j settings: {problem}")]
pub struct InvalidSettings {
    /// What is wrong; holds no password.
    pub problem: String,
}
