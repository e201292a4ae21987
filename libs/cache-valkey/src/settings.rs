use std::fmt;

use redis::{Client, TlsCertificates};

/// Where the server is and how it is used.
#[derive(Clone)]
pub struct Settings {
    /// `redis://[user][:password@]host[:port][/database]`, or `rediss://` with TLS (the process
    /// installs the rustls provider); `valkey://` and `valkeys://` are the same. Special
    /// characters of a password are percent-encoded.
    pub url: String,
    /// Which deployment's values this handle works on; part of every key.
    pub deployment: String,
    /// PEM of the authorities that sign the server's certificate; `None` = the system's.
    pub root_certificates: Option<Vec<u8>>,
}

impl Settings {
    /// The deployment `default` and the system's authorities.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            deployment: "default".into(),
            root_certificates: None,
        }
    }

    pub(crate) fn client(&self) -> Result<Client, InvalidSettings> {
        let client = match &self.root_certificates {
            None => Client::open(self.url.as_str()),
            Some(pem) => Client::build_with_tls(
                self.url.as_str(),
                TlsCertificates {
                    client_tls: None,
                    root_cert: Some(pem.clone()),
                },
            ),
        };
        // The driver's words about an address may repeat a part of it; ours do not.
        client.map_err(|e| InvalidSettings {
            problem: match e.kind() {
                redis::ErrorKind::InvalidClientConfig if self.root_certificates.is_some() => {
                    "not an address such as rediss://host:6379, or not a PEM file of authorities"
                }
                _ => "not an address such as redis://user:password@host:6379 (rediss:// with TLS)",
            }
            .to_owned(),
        })
    }
}

impl fmt::Debug for Settings {
    /// Without the address, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("deployment", &self.deployment)
            .finish_non_exhaustive()
    }
}

/// Settings that can never work, whatever the server does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct InvalidSettings {
    /// What is wrong; holds no password.
    pub problem: String,
}
