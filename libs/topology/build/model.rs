//! `topology.toml` as it is written, and the check that it does not contradict itself.
//! Shared by the build script, which turns it into constants, and the tests.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    pub namespace: String,
    pub image_prefix: String,
    pub admin: Admin,
    pub stream_defaults: StreamDefaults,
    pub consumer_defaults: ConsumerDefaults,
    #[serde(default, rename = "env")]
    pub env: Vec<EnvKey>,
    #[serde(default, rename = "service")]
    pub services: Vec<Service>,
    #[serde(default, rename = "stream")]
    pub streams: Vec<Stream>,
    #[serde(default, rename = "consumer")]
    pub consumers: Vec<Consumer>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    pub pod_port: u16,
    pub laptop_shift: u16,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvKey {
    pub name: String,
    #[serde(default)]
    pub secret: bool,
    pub in_cluster: Option<String>,
    pub about: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    pub name: String,
    pub grpc_service: String,
    pub grpc_port: u16,
    pub env: Vec<String>,
    pub about: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    File,
    Memory,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Discard {
    New,
    Old,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamDefaults {
    pub storage: Storage,
    pub discard: Discard,
    pub duplicate_window_secs: u64,
    pub max_message_bytes: u32,
    pub alarm_percent: u8,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    pub name: String,
    pub subjects: Vec<String>,
    pub max_age_days: u64,
    pub max_mib: u64,
    pub max_messages: u64,
    #[serde(default, rename = "event")]
    pub events: Vec<Event>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    pub subject: String,
    pub publisher: String,
    pub about: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsumerDefaults {
    pub ack_wait_secs: u64,
    pub max_ack_pending: u32,
    pub max_deliveries: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consumer {
    pub name: String,
    pub service: String,
    pub stream: String,
    pub filter_subjects: Vec<String>,
    pub ack_wait_secs: Option<u64>,
    pub max_ack_pending: Option<u32>,
    pub max_deliveries: Option<u32>,
}

/// Less, and one slow message holds up everything behind it.
const MIN_ACK_PENDING: u32 = 1000;

/// Reads and checks; the error lists everything that is wrong, one line each.
pub fn load(text: &str) -> Result<Topology, String> {
    let topology: Topology = toml::from_str(text).map_err(|error| error.to_string())?;
    let mut wrong = Wrong(Vec::new());
    topology.check_services(&mut wrong);
    topology.check_streams(&mut wrong);
    topology.check_consumers(&mut wrong);
    if wrong.0.is_empty() {
        Ok(topology)
    } else {
        Err(wrong.0.join("\n"))
    }
}

/// `planning.story.created` and `planning-events` as the name of a constant.
pub fn constant(name: &str) -> String {
    name.replace(['.', '-'], "_").to_ascii_uppercase()
}

struct Wrong(Vec<String>);

impl Wrong {
    fn unless(&mut self, fine: bool, complaint: impl FnOnce() -> String) {
        if !fine {
            self.0.push(complaint());
        }
    }

    /// Two entries of one kind may neither be called the same nor yield one constant.
    fn distinct<'a>(&mut self, kind: &str, names: impl Iterator<Item = &'a str>) {
        let mut seen = BTreeMap::new();
        for name in names {
            if let Some(other) = seen.insert(constant(name), name) {
                self.0
                    .push(format!("{kind} `{name}`: there is `{other}` already"));
            }
        }
    }
}

impl Topology {
    /// The laptop's admin port of a service.
    pub fn admin_port(&self, service: &Service) -> Option<u16> {
        service.grpc_port.checked_sub(self.admin.laptop_shift)
    }

    fn has_service(&self, name: &str) -> bool {
        self.services.iter().any(|service| service.name == name)
    }

    fn check_services(&self, wrong: &mut Wrong) {
        wrong.distinct("env", self.env.iter().map(|key| key.name.as_str()));
        for key in &self.env {
            let name = &key.name;
            wrong.unless(
                made_of(name, |c| {
                    c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'
                }),
                || format!("env `{name}`: a key is made of A-Z, 0-9 and _"),
            );
            wrong.unless(!(key.secret && key.in_cluster.is_some()), || {
                format!("env `{name}`: a secret has no value in this file")
            });
        }

        wrong.distinct("service", self.services.iter().map(|s| s.name.as_str()));
        let mut ports = BTreeMap::new();
        for service in &self.services {
            let name = &service.name;
            wrong.unless(is_dashed(name), || {
                format!("service `{name}`: a name is made of a-z, 0-9 and -")
            });
            for key in &service.env {
                wrong.unless(self.env.iter().any(|known| known.name == *key), || {
                    format!("service `{name}`: env key `{key}` is not listed under [[env]]")
                });
            }
            let admin = self.admin_port(service).filter(|port| *port >= 1024);
            wrong.unless(admin.is_some(), || {
                format!(
                    "service `{name}`: port {} minus the admin shift {} is not a free port",
                    service.grpc_port, self.admin.laptop_shift
                )
            });
            for port in [Some(service.grpc_port), admin].into_iter().flatten() {
                if let Some(other) = ports.insert(port, name) {
                    wrong.0.push(format!(
                        "service `{name}`: port {port} belongs to `{other}`"
                    ));
                }
            }
        }
    }

    fn check_streams(&self, wrong: &mut Wrong) {
        let defaults = &self.stream_defaults;
        wrong.unless((1..=100).contains(&defaults.alarm_percent), || {
            "stream_defaults: alarm_percent is between 1 and 100".to_owned()
        });
        wrong.unless(defaults.max_message_bytes > 0, || {
            "stream_defaults: max_message_bytes is at least 1".to_owned()
        });

        wrong.distinct("stream", self.streams.iter().map(|s| s.name.as_str()));
        wrong.distinct(
            "subject",
            self.streams
                .iter()
                .flat_map(|s| s.events.iter().map(|e| e.subject.as_str())),
        );
        for (index, stream) in self.streams.iter().enumerate() {
            let name = &stream.name;
            wrong.unless(
                made_of(name, |c| c.is_ascii_uppercase() || c == '_'),
                || format!("stream `{name}`: a name is made of A-Z and _"),
            );
            wrong.unless(!stream.subjects.is_empty(), || {
                format!("stream `{name}`: has no subjects")
            });
            wrong.unless(
                stream.max_age_days > 0 && stream.max_mib > 0 && stream.max_messages > 0,
                || format!("stream `{name}`: age, size and count have limits above 0"),
            );
            wrong.unless(
                defaults.duplicate_window_secs <= stream.max_age_days * 86_400,
                || format!("stream `{name}`: is kept for less than the duplicate window"),
            );
            for pattern in &stream.subjects {
                wrong.unless(is_pattern(pattern), || {
                    format!("stream `{name}`: `{pattern}` is not a subject pattern")
                });
                for other in &self.streams[index + 1..] {
                    for theirs in other.subjects.iter().filter(|p| overlap(pattern, p)) {
                        wrong.0.push(format!(
                            "stream `{name}`: `{pattern}` overlaps `{theirs}` of stream `{}`",
                            other.name
                        ));
                    }
                }
            }
            for event in &stream.events {
                self.check_event(stream, event, wrong);
            }
        }
    }

    fn check_event(&self, stream: &Stream, event: &Event, wrong: &mut Wrong) {
        let subject = &event.subject;
        wrong.unless(is_subject(subject), || {
            format!("subject `{subject}`: is made of words of a-z, 0-9 and _, joined by dots")
        });
        let homes: Vec<&str> = self
            .streams
            .iter()
            .filter(|s| s.subjects.iter().any(|pattern| overlap(pattern, subject)))
            .map(|s| s.name.as_str())
            .collect();
        wrong.unless(homes == [stream.name.as_str()], || {
            let found = if homes.is_empty() {
                "none".to_owned()
            } else {
                homes.join(", ")
            };
            format!(
                "subject `{subject}`: is listed under stream `{}`, but the streams that \
                 store it are: {found}",
                stream.name
            )
        });
        let publisher = &event.publisher;
        wrong.unless(self.has_service(publisher), || {
            format!("subject `{subject}`: its publisher `{publisher}` is no service")
        });
    }

    fn check_consumers(&self, wrong: &mut Wrong) {
        wrong.distinct("consumer", self.consumers.iter().map(|c| c.name.as_str()));
        for consumer in &self.consumers {
            let name = &consumer.name;
            wrong.unless(is_dashed(name), || {
                format!("consumer `{name}`: a name is made of a-z, 0-9 and -")
            });
            let service = &consumer.service;
            wrong.unless(self.has_service(service), || {
                format!("consumer `{name}`: there is no service `{service}`")
            });
            wrong.unless(!consumer.filter_subjects.is_empty(), || {
                format!("consumer `{name}`: has no subjects")
            });
            match self.streams.iter().find(|s| s.name == consumer.stream) {
                None => wrong.0.push(format!(
                    "consumer `{name}`: there is no stream `{}`",
                    consumer.stream
                )),
                Some(stream) => {
                    for subject in &consumer.filter_subjects {
                        let listed = stream.events.iter().any(|e| e.subject == *subject);
                        wrong.unless(listed, || {
                            format!(
                                "consumer `{name}`: stream `{}` has no subject `{subject}`",
                                stream.name
                            )
                        });
                    }
                }
            }
            let defaults = &self.consumer_defaults;
            let pending = consumer.max_ack_pending.unwrap_or(defaults.max_ack_pending);
            wrong.unless(pending >= MIN_ACK_PENDING, || {
                format!("consumer `{name}`: max_ack_pending is at least {MIN_ACK_PENDING}")
            });
            let wait = consumer.ack_wait_secs.unwrap_or(defaults.ack_wait_secs);
            let deliveries = consumer.max_deliveries.unwrap_or(defaults.max_deliveries);
            wrong.unless(wait > 0 && deliveries > 0, || {
                format!("consumer `{name}`: ack_wait_secs and max_deliveries are at least 1")
            });
        }
    }
}

fn made_of(name: &str, allowed: impl Fn(char) -> bool) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(allowed)
}

fn is_dashed(name: &str) -> bool {
    made_of(name, |c| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
    })
}

fn is_token(token: &str) -> bool {
    made_of(token, |c| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
    })
}

fn is_subject(subject: &str) -> bool {
    subject.split('.').all(is_token)
}

fn is_pattern(pattern: &str) -> bool {
    let tokens: Vec<&str> = pattern.split('.').collect();
    tokens.iter().enumerate().all(|(at, token)| {
        is_token(token) || *token == "*" || (*token == ">" && at > 0 && at + 1 == tokens.len())
    })
}

/// Whether some subject matches both patterns; a plain subject is a pattern too.
fn overlap(a: &str, b: &str) -> bool {
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some(x), Some(y)) if x == y || x == "*" || y == "*" => {}
            _ => return false,
        }
    }
}
