//! Turns `topology.toml` into constants, and stops the build when it contradicts itself.

use std::fmt::{Display, Write as _};
use std::path::{Path, PathBuf};
use std::{env, fs, process};

#[path = "build/model.rs"]
mod model;

use model::{Topology, constant};

fn main() {
    // At run time: a build directory may outlive the checkout that its build script came from.
    let here = env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it for build scripts");
    let file = Path::new(&here).join("../../topology.toml");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build/model.rs");
    println!("cargo::rerun-if-changed={}", file.display());

    let text = fs::read_to_string(&file).unwrap_or_else(|error| refuse(&error));
    let topology = model::load(&text).unwrap_or_else(|error| refuse(&error));
    let out = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts");
    fs::write(PathBuf::from(out).join("topology.rs"), render(&topology))
        .unwrap_or_else(|error| refuse(&error));
}

fn refuse(error: &dyn Display) -> ! {
    for line in error.to_string().lines() {
        println!("cargo::error=topology.toml: {line}");
    }
    process::exit(1);
}

/// The constants as Rust source, included by `src/lib.rs`.
fn render(topology: &Topology) -> String {
    let mut out = String::new();
    constants(&mut out, topology);
    env_keys(&mut out, topology);
    services(&mut out, topology);
    streams(&mut out, topology);
    subjects(&mut out, topology);
    consumers(&mut out, topology);
    out
}

/// Appends one line. A `String` takes everything, so there is no error to handle.
macro_rules! line {
    ($out:expr, $($arg:tt)*) => {
        writeln!($out, $($arg)*).expect("a String can always grow")
    };
}

fn constants(out: &mut String, topology: &Topology) {
    line!(out, "/// The Kubernetes namespace.");
    line!(out, "pub const NAMESPACE: &str = {:?};", topology.namespace);
    line!(out, "/// First part of every image name.");
    line!(
        out,
        "pub const IMAGE_PREFIX: &str = {:?};",
        topology.image_prefix
    );
    line!(out, "/// Where the admin listener is in a pod.");
    line!(
        out,
        "pub const POD_ADMIN_PORT: u16 = {};",
        topology.admin.pod_port
    );
    line!(
        out,
        "/// gRPC port minus this is the admin port on a laptop."
    );
    line!(
        out,
        "pub const ADMIN_SHIFT: u16 = {};",
        topology.admin.laptop_shift
    );
    line!(
        out,
        "/// Beyond this share of any limit of a stream somebody is told."
    );
    let percent = topology.stream_defaults.alarm_percent;
    line!(out, "pub const STREAM_ALARM_PERCENT: u8 = {percent};");
}

fn env_keys(out: &mut String, topology: &Topology) {
    line!(
        out,
        "/// The names of the keys by which services find the stores."
    );
    line!(out, "pub mod env_keys {{");
    for key in &topology.env {
        line!(out, "/// {}", key.about);
        line!(
            out,
            "pub const {}: &str = {:?};",
            constant(&key.name),
            key.name
        );
    }
    line!(out, "}}");
    line!(out, "/// All keys by which services find the stores.");
    line!(out, "pub const ENV_KEYS: &[EnvKey] = &[");
    for key in &topology.env {
        line!(
            out,
            "EnvKey {{ name: {:?}, secret: {}, in_cluster: {:?} }},",
            key.name,
            key.secret,
            key.in_cluster
        );
    }
    line!(out, "];");
}

fn services(out: &mut String, topology: &Topology) {
    line!(out, "/// The services by name.");
    line!(out, "pub mod services {{ use super::Service;");
    for service in &topology.services {
        let name = &service.name;
        line!(out, "/// {}", service.about);
        line!(out, "pub const {}: Service = Service {{", constant(name));
        line!(out, "name: {name:?}, package: \"fleet-{name}\",");
        line!(out, "image: \"{}/{name}\",", topology.image_prefix);
        line!(out, "grpc_service: {:?},", service.grpc_service);
        line!(out, "grpc_port: {},", service.grpc_port);
        let admin = topology
            .admin_port(service)
            .expect("load() refused services without a laptop admin port");
        line!(out, "admin_port: {admin}, env_keys: &{:?} }};", service.env);
    }
    line!(out, "}}");
    let names = topology.services.iter().map(|s| s.name.as_str());
    table(out, "services", "Service", names);
}

fn streams(out: &mut String, topology: &Topology) {
    let defaults = &topology.stream_defaults;
    line!(out, "/// The streams by name.");
    line!(
        out,
        "pub mod streams {{ use super::{{Discard, Storage, Stream}};"
    );
    for stream in &topology.streams {
        let name = &stream.name;
        line!(out, "/// Stores `{}`.", stream.subjects.join("`, `"));
        line!(out, "pub const {}: Stream = Stream {{", constant(name));
        line!(out, "name: {name:?}, subjects: &{:?},", stream.subjects);
        line!(out, "max_age_secs: {},", stream.max_age_days * 86_400);
        line!(out, "max_bytes: {},", stream.max_mib * 1024 * 1024);
        line!(out, "max_messages: {},", stream.max_messages);
        line!(out, "max_message_bytes: {},", defaults.max_message_bytes);
        line!(
            out,
            "duplicate_window_secs: {},",
            defaults.duplicate_window_secs
        );
        line!(out, "storage: Storage::{:?},", defaults.storage);
        line!(out, "discard: Discard::{:?} }};", defaults.discard);
    }
    line!(out, "}}");
    let names = topology.streams.iter().map(|s| s.name.as_str());
    table(out, "streams", "Stream", names);
}

fn subjects(out: &mut String, topology: &Topology) {
    line!(out, "/// The subjects by name.");
    line!(out, "pub mod subjects {{");
    for event in topology.streams.iter().flat_map(|s| &s.events) {
        line!(out, "/// {}", event.about);
        let subject = &event.subject;
        line!(out, "pub const {}: &str = {subject:?};", constant(subject));
    }
    line!(out, "}}");
    line!(out, "/// Every subject, who says it and who listens.");
    line!(out, "pub const SUBJECTS: &[Subject] = &[");
    for stream in &topology.streams {
        for event in &stream.events {
            let listeners: Vec<&str> = topology
                .consumers
                .iter()
                .filter(|c| c.filter_subjects.contains(&event.subject))
                .map(|c| c.name.as_str())
                .collect();
            line!(
                out,
                "Subject {{ name: {:?}, stream: {:?}, publisher: {:?}, consumers: &{:?} }},",
                event.subject,
                stream.name,
                event.publisher,
                listeners
            );
        }
    }
    line!(out, "];");
}

fn consumers(out: &mut String, topology: &Topology) {
    let defaults = &topology.consumer_defaults;
    line!(out, "/// The consumers by name.");
    line!(out, "pub mod consumers {{ use super::Consumer;");
    for consumer in &topology.consumers {
        let name = &consumer.name;
        let wait = consumer.ack_wait_secs.unwrap_or(defaults.ack_wait_secs);
        let pending = consumer.max_ack_pending.unwrap_or(defaults.max_ack_pending);
        let deliveries = consumer.max_deliveries.unwrap_or(defaults.max_deliveries);
        line!(out, "/// Of service `{}`.", consumer.service);
        line!(out, "pub const {}: Consumer = Consumer {{", constant(name));
        line!(out, "name: {name:?}, service: {:?},", consumer.service);
        line!(out, "stream: {:?},", consumer.stream);
        line!(out, "filter_subjects: &{:?},", consumer.filter_subjects);
        line!(out, "ack_wait_secs: {wait}, max_ack_pending: {pending},");
        line!(out, "max_deliveries: {deliveries} }};");
    }
    line!(out, "}}");
    let names = topology.consumers.iter().map(|c| c.name.as_str());
    table(out, "consumers", "Consumer", names);
}

/// `pub const STREAMS: &[Stream] = &[streams::A, streams::B];`
fn table<'a>(out: &mut String, module: &str, kind: &str, names: impl Iterator<Item = &'a str>) {
    line!(out, "/// All {module}, in the order of the file.");
    line!(out, "pub const {}: &[{kind}] = &[", constant(module));
    for name in names {
        line!(out, "{module}::{},", constant(name));
    }
    line!(out, "];");
}
