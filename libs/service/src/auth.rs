//! Bearer tokens become principals.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fleet_types::{Clock, PrincipalId, Role, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::{Fault, Principal};

/// How far clocks may differ.
const LEEWAY: Duration = Duration::from_secs(60);
/// So many verified tokens are remembered.
const CACHED_TOKENS: usize = 4096;
/// Longer tokens are refused unread.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Verifies bearer tokens: one algorithm, one issuer, one audience, `exp` and `nbf` with 60 s
/// leeway; `sub` is the principal, `roles` (a list, or words) its roles.
pub struct Authenticator {
    key: DecodingKey,
    validation: Validation,
    clock: Arc<dyn Clock>,
    verified: Mutex<HashMap<[u8; 32], Verified>>,
}

#[derive(Clone)]
struct Verified {
    principal: Principal,
    from: Option<Timestamp>,
    until: Timestamp,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: f64,
    #[serde(default)]
    nbf: Option<f64>,
    #[serde(default)]
    roles: Roles,
}

#[derive(Deserialize, Default)]
#[serde(untagged)]
enum Roles {
    List(Vec<String>),
    Words(String),
    #[default]
    None,
}

/// Why an authenticator cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("the key that verifies tokens does not read as one of {algorithm}: {problem}")]
pub struct KeyError {
    algorithm: String,
    problem: String,
}

impl Authenticator {
    /// Takes the algorithm by its name in tokens, and the PEM text of a public key or, for
    /// `HS…`, the bytes of the shared secret (at least 32).
    ///
    /// # Errors
    /// The key does not fit the algorithm.
    pub fn new(
        algorithm: &str,
        key: &[u8],
        issuer: &str,
        audience: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, KeyError> {
        let wrong = |problem: String| KeyError {
            algorithm: algorithm.to_owned(),
            problem,
        };
        let pinned: Algorithm = algorithm
            .parse()
            .map_err(|_| wrong("unknown algorithm".to_owned()))?;
        let decoding = match pinned {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
                let secret = key.trim_ascii_end();
                if secret.len() < 32 {
                    return Err(wrong(format!("{} bytes; at least 32", secret.len())));
                }
                Ok(DecodingKey::from_secret(secret))
            }
            Algorithm::ES256 | Algorithm::ES384 => DecodingKey::from_ec_pem(key),
            Algorithm::EdDSA => DecodingKey::from_ed_pem(key),
            _ => DecodingKey::from_rsa_pem(key),
        };
        let mut validation = Validation::new(pinned);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Times are compared here, by the clock that was given.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        Ok(Self {
            key: decoding.map_err(|e| wrong(e.to_string()))?,
            validation,
            clock,
            verified: Mutex::default(),
        })
    }

    /// The principal of an `authorization` header.
    ///
    /// # Errors
    /// [`Fault::Unauthenticated`], which tells expired tokens apart from all others.
    pub fn principal(&self, authorization: Option<&str>) -> Result<Principal, Fault> {
        let refused = |message: &str| Fault::Unauthenticated {
            message: message.to_owned(),
        };
        let Some(header) = authorization else {
            return Err(refused("a bearer token is required"));
        };
        let token = match header.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
            _ => return Err(refused("a bearer token is required")),
        };
        if token.len() > MAX_TOKEN_BYTES {
            return Err(refused("the token was not accepted"));
        }
        let digest: [u8; 32] = Sha256::digest(token).into();
        let now = self.clock.now();
        let cached = self.cache().get(&digest).cloned();
        let verified = match cached {
            Some(verified) => verified,
            None => {
                let claims = jsonwebtoken::decode::<Claims>(token, &self.key, &self.validation)
                    .map_err(|e| {
                        tracing::debug!(error = %e, "token refused");
                        refused("the token was not accepted")
                    })?
                    .claims;
                Verified {
                    principal: Principal {
                        id: principal_id(&claims.sub),
                        roles: Some(claims.roles.known()),
                    },
                    from: claims.nbf.map(|nbf| seconds(nbf).minus(LEEWAY)),
                    until: seconds(claims.exp).plus(LEEWAY),
                }
            }
        };
        if now >= verified.until {
            return Err(refused("the token has expired"));
        }
        if verified.from.is_some_and(|from| now < from) {
            return Err(refused("the token is not valid yet"));
        }
        let principal = verified.principal.clone();
        self.remember(digest, verified, now);
        Ok(principal)
    }

    fn remember(&self, digest: [u8; 32], verified: Verified, now: Timestamp) {
        let mut cache = self.cache();
        if cache.contains_key(&digest) {
            return;
        }
        if cache.len() >= CACHED_TOKENS {
            cache.retain(|_, kept| kept.until > now);
            if cache.len() >= CACHED_TOKENS {
                cache.clear();
            }
        }
        cache.insert(digest, verified);
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Verified>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator")
            .field("algorithms", &self.validation.algorithms)
            .finish_non_exhaustive()
    }
}

impl Roles {
    /// The roles we know. `system` is the fleet itself and never a caller's.
    fn known(&self) -> BTreeSet<Role> {
        let words: Vec<&str> = match self {
            Self::List(words) => words.iter().map(String::as_str).collect(),
            Self::Words(words) => words.split_whitespace().collect(),
            Self::None => Vec::new(),
        };
        words
            .into_iter()
            .filter_map(|w| w.parse().ok())
            .filter(|role| *role != Role::System)
            .collect()
    }
}

fn seconds(since_1970: f64) -> Timestamp {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a float casts to the nearest integer, and that is clamped"
    )]
    Timestamp::from_millis((since_1970 * 1000.0) as i64)
}

/// The subject if it follows our grammar of ids, otherwise a digest of it: two subjects never
/// become one principal.
fn principal_id(subject: &str) -> PrincipalId {
    PrincipalId::parse(subject).unwrap_or_else(|_| {
        let digest = Sha256::digest(subject);
        let hex: String = digest[..16]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        PrincipalId::parse(&format!("sub-{hex}")).expect("hexadecimal follows the grammar of ids")
    })
}
