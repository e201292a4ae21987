use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use fleet_topology::Service;

use super::{Key, Kind, Problem, Problems, Settings};

const PORT: Kind = Kind::Integer {
    min: 0,
    max: 65_535,
};
const ALGORITHMS: &[&str] = &[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "EdDSA",
];

/// The keys that every process of the fleet has, except its ports.
pub const COMMON_KEYS: &[Key] = &[
    Key::new(
        "bind",
        "FLEET_BIND",
        Kind::Address,
        "Address to listen on; others than loopback need identity or FLEET_INSECURE=true.",
    )
    .or("127.0.0.1"),
    Key::new(
        "insecure",
        "FLEET_INSECURE",
        Kind::Flag,
        "Serve without identity on an address that others can reach.",
    )
    .or("false"),
    Key::new(
        "deployment",
        "FLEET_DEPLOYMENT",
        Kind::Text,
        "Which deployment this is, where several share servers.",
    )
    .or("default"),
    Key::new(
        "log",
        "FLEET_LOG",
        Kind::Text,
        "What is logged, as tracing directives, e.g. info,fleet_workflow=debug.",
    )
    .or("info,async_nats=warn,neo4rs=warn"),
    Key::new(
        "log_format",
        "FLEET_LOG_FORMAT",
        Kind::Choice(&["pretty", "json"]),
        "How it is logged.",
    )
    .or("pretty"),
    Key::new(
        "otlp_endpoint",
        "FLEET_OTLP_ENDPOINT",
        Kind::Text,
        "Where traces go (OTLP over gRPC), e.g. http://127.0.0.1:4317; unset: nowhere.",
    ),
    Key::new(
        "jwt_public_key_file",
        "FLEET_JWT_PUBLIC_KEY_FILE",
        Kind::Path,
        "PEM file of the key that verifies bearer tokens.",
    ),
    Key::new(
        "jwt_secret_file",
        "FLEET_JWT_SECRET_FILE",
        Kind::Path,
        "File with the shared secret that verifies bearer tokens (HS…).",
    ),
    Key::new(
        "jwt_issuer",
        "FLEET_JWT_ISSUER",
        Kind::Text,
        "The only issuer of tokens that is accepted.",
    ),
    Key::new(
        "jwt_audience",
        "FLEET_JWT_AUDIENCE",
        Kind::Text,
        "The audience that tokens must name.",
    ),
    Key::new(
        "jwt_algorithm",
        "FLEET_JWT_ALGORITHM",
        Kind::Choice(ALGORITHMS),
        "The only algorithm of tokens that is accepted.",
    ),
    Key::new(
        "tls_cert_file",
        "FLEET_TLS_CERT_FILE",
        Kind::Path,
        "PEM file of the server's certificate chain.",
    ),
    Key::new(
        "tls_key_file",
        "FLEET_TLS_KEY_FILE",
        Kind::Path,
        "PEM file of its private key.",
    ),
    Key::new(
        "tls_client_ca_file",
        "FLEET_TLS_CLIENT_CA_FILE",
        Kind::Path,
        "PEM file of the authority that signs client certificates; set: they are required.",
    ),
    Key::new(
        "drain_seconds",
        "FLEET_DRAIN_SECONDS",
        Kind::Integer { min: 1, max: 600 },
        "How long calls may take to end when the process stops.",
    )
    .or("20"),
    Key::new(
        "worker_threads",
        "FLEET_WORKER_THREADS",
        Kind::Integer { min: 0, max: 256 },
        "Threads that run tasks; 0: as many as the CPU limit gives.",
    )
    .or("0"),
    Key::new(
        "max_concurrent_calls",
        "FLEET_MAX_CONCURRENT_CALLS",
        Kind::Integer {
            min: 1,
            max: 100_000,
        },
        "Calls in hand; more are refused with RESOURCE_EXHAUSTED.",
    )
    .or("512"),
    Key::new(
        "max_concurrent_streams",
        "FLEET_MAX_CONCURRENT_STREAMS",
        Kind::Integer {
            min: 1,
            max: 100_000,
        },
        "Open server streams; more are refused.",
    )
    .or("1024"),
    Key::new(
        "deadline_default",
        "FLEET_DEADLINE_DEFAULT",
        Kind::Duration,
        "How long a call may take whose caller does not say.",
    )
    .or("10s"),
    Key::new(
        "deadline_max",
        "FLEET_DEADLINE_MAX",
        Kind::Duration,
        "How long a call may take whatever its caller says.",
    )
    .or("60s"),
];

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object per line.
    Json,
}

/// How bearer tokens are verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtSettings {
    /// File with the key or secret.
    pub key_file: PathBuf,
    /// Whether the file is a shared secret.
    pub shared_secret: bool,
    /// Issuer.
    pub issuer: String,
    /// Audience.
    pub audience: String,
    /// Algorithm, by its name in tokens.
    pub algorithm: String,
}

/// Files of the server's TLS identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate chain.
    pub cert: PathBuf,
    /// Private key.
    pub key: PathBuf,
    /// Authority of client certificates.
    pub client_ca: Option<PathBuf>,
}

/// The ports of a process that serves one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// Where gRPC is served.
    pub grpc: u16,
    /// Where the admin pages are served.
    pub admin: u16,
}

impl Ports {
    /// Reads them.
    pub fn from_settings(settings: &Settings) -> Self {
        let port = |name| u16::try_from(settings.integer(name)).expect("bounded by its kind");
        Self {
            grpc: port("grpc_port"),
            admin: port("admin_port"),
        }
    }
}

/// The checked common settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Common {
    /// On which address.
    pub bind: IpAddr,
    /// Whether an open address without identity is wanted.
    pub insecure: bool,
    /// The deployment.
    pub deployment: String,
    /// Tracing directives.
    pub log: String,
    /// Form of logs.
    pub log_format: LogFormat,
    /// Collector of traces.
    pub otlp_endpoint: Option<String>,
    /// Verification of tokens.
    pub jwt: Option<JwtSettings>,
    /// TLS.
    pub tls: Option<TlsFiles>,
    /// Time for calls to end at a stop.
    pub drain: Duration,
    /// Threads; 0: as many as the CPU limit gives.
    pub worker_threads: usize,
    /// Bound of calls in hand.
    pub max_concurrent_calls: usize,
    /// Bound of open streams.
    pub max_concurrent_streams: usize,
    /// Deadline of calls without one.
    pub deadline_default: Duration,
    /// Longest deadline.
    pub deadline_max: Duration,
}

/// All keys of a service: its ports as in the topology, the common ones, and its own.
pub fn service_keys(service: &Service, own: &[Key]) -> Vec<Key> {
    let ports = [
        Key::new(
            "grpc_port",
            "FLEET_GRPC_PORT",
            PORT,
            "Port of gRPC; 0: any free one.",
        )
        .or_number(service.grpc_port),
        Key::new(
            "admin_port",
            "FLEET_ADMIN_PORT",
            PORT,
            "Port of /metrics, /livez, /readyz and /config.",
        )
        .or_number(service.admin_port),
    ];
    ports
        .iter()
        .chain(COMMON_KEYS)
        .chain(own)
        .copied()
        .collect()
}

impl Common {
    /// Reads and cross-checks the common settings.
    ///
    /// # Errors
    /// Keys that contradict each other, or an open address without identity.
    pub fn from_settings(settings: &Settings) -> Result<Self, Problems> {
        let common = Self {
            bind: settings.text("bind").parse().expect("checked when loaded"),
            insecure: settings.flag("insecure"),
            deployment: settings.text("deployment").to_owned(),
            log: settings.text("log").to_owned(),
            log_format: match settings.text("log_format") {
                "json" => LogFormat::Json,
                _ => LogFormat::Pretty,
            },
            otlp_endpoint: settings.optional("otlp_endpoint").map(ToOwned::to_owned),
            jwt: jwt(settings)?,
            tls: tls(settings)?,
            drain: Duration::from_secs(settings.count("drain_seconds") as u64),
            worker_threads: settings.count("worker_threads"),
            max_concurrent_calls: settings.count("max_concurrent_calls"),
            max_concurrent_streams: settings.count("max_concurrent_streams"),
            deadline_default: settings.duration("deadline_default"),
            deadline_max: settings.duration("deadline_max"),
        };
        if !is_deployment(&common.deployment) {
            return Err(problem(
                "FLEET_DEPLOYMENT must be 1 to 32 of a-z 0-9 -, as it names things on the servers",
            ));
        }
        if common.deadline_default > common.deadline_max {
            return Err(problem(
                "FLEET_DEADLINE_DEFAULT must not be longer than FLEET_DEADLINE_MAX",
            ));
        }
        if !common.bind.is_loopback() && common.jwt.is_none() && !common.insecure {
            return Err(problem(format!(
                "FLEET_BIND={} can be reached by others, but no identity is configured: set \
                 FLEET_JWT_PUBLIC_KEY_FILE, FLEET_JWT_ISSUER and FLEET_JWT_AUDIENCE, or \
                 FLEET_INSECURE=true if the network is trusted",
                common.bind
            )));
        }
        Ok(common)
    }
}

fn is_deployment(name: &str) -> bool {
    let grammatical = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=32).contains(&name.len()) && name.bytes().all(grammatical)
}

fn jwt(settings: &Settings) -> Result<Option<JwtSettings>, Problems> {
    let (key_file, shared_secret) = match (
        settings.path("jwt_public_key_file"),
        settings.path("jwt_secret_file"),
    ) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(problem(
                "FLEET_JWT_PUBLIC_KEY_FILE and FLEET_JWT_SECRET_FILE exclude each other: set one",
            ));
        }
        (Some(file), None) => (file, false),
        (None, Some(file)) => (file, true),
    };
    let needed = |name: &str, env: &str| match settings.optional(name) {
        Some(value) => Ok(value.to_owned()),
        None => Err(problem(format!(
            "{env} is required when tokens are verified: set it to what the tokens carry"
        ))),
    };
    let default = if shared_secret { "HS256" } else { "RS256" };
    let algorithm = settings
        .optional("jwt_algorithm")
        .unwrap_or(default)
        .to_owned();
    if algorithm.starts_with("HS") != shared_secret {
        return Err(problem(format!(
            "FLEET_JWT_ALGORITHM={algorithm} does not fit the kind of key: HS… takes FLEET_JWT_SECRET_FILE, the others FLEET_JWT_PUBLIC_KEY_FILE"
        )));
    }
    Ok(Some(JwtSettings {
        key_file,
        shared_secret,
        issuer: needed("jwt_issuer", "FLEET_JWT_ISSUER")?,
        audience: needed("jwt_audience", "FLEET_JWT_AUDIENCE")?,
        algorithm,
    }))
}

fn tls(settings: &Settings) -> Result<Option<TlsFiles>, Problems> {
    let client_ca = settings.path("tls_client_ca_file");
    match (
        settings.path("tls_cert_file"),
        settings.path("tls_key_file"),
    ) {
        (Some(cert), Some(key)) => Ok(Some(TlsFiles {
            cert,
            key,
            client_ca,
        })),
        (None, None) if client_ca.is_none() => Ok(None),
        (cert, _) => {
            let missing = if cert.is_none() {
                "FLEET_TLS_CERT_FILE"
            } else {
                "FLEET_TLS_KEY_FILE"
            };
            Err(problem(format!(
                "{missing} is required for TLS: set certificate and key together"
            )))
        }
    }
}

fn problem(text: impl Into<String>) -> Problems {
    Problem(text.into()).into()
}
