use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::*;

const KEYS: &[Key] = &[
    Key::new("neo4j_uri", "NEO4J_URI", Kind::Text, "bolt://host:7687").required(),
    Key::new(
        "neo4j_password",
        "NEO4J_PASSWORD",
        Kind::Text,
        "its password",
    )
    .required()
    .secret(),
    Key::new(
        "grpc_port",
        "FLEET_GRPC_PORT",
        Kind::Integer {
            min: 0,
            max: 65_535,
        },
        "port",
    )
    .or_number(50_054),
    Key::new("lease", "FLEET_LEASE", Kind::Duration, "how long").or("15m"),
    Key::new(
        "log_format",
        "FLEET_LOG_FORMAT",
        Kind::Choice(&["pretty", "json"]),
        "form",
    )
    .or("pretty"),
];

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let required = [
        ("NEO4J_URI", "bolt://u:p@h:7687"),
        ("NEO4J_PASSWORD", "hunter2"),
        ("PATH", "/bin"),
    ];
    let all: BTreeMap<_, _> = required.iter().chain(pairs).copied().collect();
    all.into_iter()
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
}

fn problems(file: Option<(&str, &str)>, pairs: &[(&str, &str)]) -> String {
    Settings::load(KEYS, file, env(pairs), &[])
        .unwrap_err()
        .to_string()
}

#[test]
fn later_layers_win_and_the_print_tells_the_source_without_secrets() {
    let file = Some((
        "fleet.toml",
        "grpc_port = 1\nlease = \"2m\"\nlog_format = \"json\"\n",
    ));
    let flags = [("log_format".to_owned(), "pretty".to_owned())];
    let settings = Settings::load(
        KEYS,
        file,
        env(&[("FLEET_LEASE", "500ms"), ("FLEET_TEST_X", "")]),
        &flags,
    )
    .unwrap();
    assert_eq!(settings.integer("grpc_port"), 1);
    assert_eq!(settings.duration("lease"), Duration::from_millis(500));
    assert_eq!(settings.text("log_format"), "pretty");
    assert_eq!(settings.text("neo4j_password"), "hunter2");
    let printed = settings.print();
    assert_eq!(
        printed,
        "neo4j_uri = \"bolt://***@h:7687\"  # NEO4J_URI\n\
         neo4j_password = \"***\"  # NEO4J_PASSWORD\n\
         grpc_port = 1  # file\n\
         lease = \"500ms\"  # FLEET_LEASE\n\
         log_format = \"pretty\"  # flag\n"
    );
    let shown = settings.json().to_string() + &format!("{settings:?}");
    assert!(
        !shown.contains("hunter2") && !shown.contains("u:p"),
        "{shown}"
    );
    assert!(
        printed.parse::<toml::Table>().is_ok(),
        "the print is a configuration file"
    );
}

#[test]
fn what_is_unknown_missing_or_malformed_is_named_with_its_cure() {
    assert_eq!(
        problems(None, &[("FLEET_GRPC_PROT", "1")]),
        "FLEET_GRPC_PROT in the environment is not a setting of this process: did you mean FLEET_GRPC_PORT?"
    );
    assert!(problems(None, &[("FLEET_COLOUR_OF_BIKE_SHED", "1")]).contains("remove it"));
    assert_eq!(
        problems(Some(("f.toml", "leese = \"1m\"")), &[]),
        "leese in f.toml is not a setting of this process: did you mean lease?"
    );
    assert!(
        problems(Some(("f.toml", "a = 1\nb = = 2\n")), &[])
            .starts_with("f.toml:2: not a TOML file")
    );
    assert_eq!(
        problems(None, &[("FLEET_GRPC_PORT", "70000")]),
        "FLEET_GRPC_PORT must be a whole number from 0 to 65535, not \"70000\" (port)"
    );
    assert!(problems(None, &[("FLEET_LEASE", "soon")]).contains("such as 500ms, 10s"));
    assert!(problems(Some(("f.toml", "lease = [1, 2]")), &[]).contains("must be a single value"));
    let missing = Settings::load(KEYS, None, Vec::new(), &[]).unwrap_err();
    assert_eq!(missing.0.len(), 2);
    assert!(
        missing
            .to_string()
            .starts_with("NEO4J_URI is required and not set")
    );
    let empty = Settings::load(KEYS, None, env(&[("NEO4J_PASSWORD", "")]), &[]).unwrap_err();
    assert_eq!(
        empty.to_string(),
        "NEO4J_PASSWORD must not be empty (its password)"
    );
}

#[test]
fn the_schema_has_every_key_and_refuses_others() {
    let schema = Settings::schema(KEYS);
    assert_eq!(schema["required"], json!(["neo4j_uri", "neo4j_password"]));
    assert_eq!(schema["additionalProperties"], json!(false));
    assert_eq!(schema["properties"]["grpc_port"]["default"], json!(50_054));
    assert_eq!(
        schema["properties"]["neo4j_password"]["writeOnly"],
        json!(true)
    );
    assert_eq!(schema["properties"]["lease"]["x-env"], json!("FLEET_LEASE"));
}

#[test]
fn the_common_keys_are_sound_and_an_open_address_needs_identity() {
    let service = fleet_topology::service("planning").unwrap();
    let keys = service_keys(service, &[]);
    for key in &keys {
        if let Some(default) = key.default_text() {
            assert_eq!(key.check(&default), Ok(()), "{}", key.name);
        }
        assert_eq!(
            keys.iter()
                .filter(|k| k.name == key.name || k.env == key.env)
                .count(),
            1,
            "{}",
            key.name
        );
    }
    assert!(keys.len() > COMMON_KEYS.len());

    let common = |pairs: &[(&str, &str)]| {
        let settings = Settings::load(&keys, None, env(pairs), &[]).unwrap();
        Common::from_settings(&settings)
    };
    let settings = Settings::load(&service_keys(service, &[]), None, [], &[]).unwrap();
    assert_eq!(Ports::from_settings(&settings).grpc, service.grpc_port);
    let open = common(&[("FLEET_BIND", "0.0.0.0")])
        .unwrap_err()
        .to_string();
    assert!(
        open.contains("FLEET_BIND") && open.contains("FLEET_INSECURE=true"),
        "{open}"
    );
    assert!(
        common(&[("FLEET_BIND", "0.0.0.0"), ("FLEET_INSECURE", "true")])
            .unwrap()
            .insecure
    );
    let half = common(&[("FLEET_JWT_SECRET_FILE", "/s")])
        .unwrap_err()
        .to_string();
    assert!(half.contains("FLEET_JWT_ISSUER"), "{half}");
    let half = common(&[("FLEET_TLS_CERT_FILE", "/c")])
        .unwrap_err()
        .to_string();
    assert!(half.contains("FLEET_TLS_KEY_FILE"), "{half}");
    let order = common(&[("FLEET_DEADLINE_DEFAULT", "2m")])
        .unwrap_err()
        .to_string();
    assert!(order.contains("FLEET_DEADLINE_MAX"), "{order}");
}

#[test]
fn what_stands_before_a_host_is_never_shown() {
    for (address, shown) in [
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("redis://:s3cret@h:6379/0", "redis://***@h:6379/0"),
        ("redis://u:s3,cr/e?t@h", "redis://***@h"),
        ("redis://u:s3://cret@h", "redis://***@h"),
        (
            "nats://u:s3cret@a:1,nats://b:2,tls://u:x@c",
            "nats://***@a:1,nats://b:2,tls://***@c",
        ),
        ("nats://a:1,u:s3cret@b:2", "nats://***@b:2"),
        ("no address", "no address"),
    ] {
        assert_eq!(super::mask_userinfo(address), shown);
    }
}
