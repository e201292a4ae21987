//! The command line of a service binary, derived from its table of keys.

use std::ffi::OsString;
use std::path::Path;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::config::{Key, Problem, Problems, Settings};

/// What a command line asks for.
#[derive(Debug)]
pub enum Invocation {
    /// Serve with these settings.
    Serve(Settings),
    /// Print this and end.
    Print(String),
}

/// Why there is nothing to do.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The command line (or a request for help) as clap tells it.
    Usage(clap::Error),
    /// The configuration.
    Config(Problems),
}

pub(crate) fn read(
    package: &'static str,
    about: &'static str,
    keys: &[Key],
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Invocation, Refusal> {
    let matches = command(package, about, keys)
        .version(env!("CARGO_PKG_VERSION"))
        .try_get_matches_from(arguments)
        .map_err(Refusal::Usage)?;
    settings(&matches, keys, environment).map_err(Refusal::Config)
}

/// The environment, without entries that are not text.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
}

/// What the matches of a [`command`] ask for, on top of file and environment.
///
/// # Errors
/// Everything that is wrong with the configuration.
pub fn settings(
    matches: &ArgMatches,
    keys: &[Key],
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Invocation, Problems> {
    if matches.subcommand_name() == Some("config-schema") {
        return Ok(Invocation::Print(format!("{:#}\n", Settings::schema(keys))));
    }
    let environment: Vec<(String, String)> = environment.into_iter().collect();
    let from_environment = environment
        .iter()
        .find(|(name, _)| name == "FLEET_CONFIG")
        .map(|(_, path)| path.clone());
    let path = matches
        .get_one::<String>("config")
        .cloned()
        .or(from_environment);
    let file = match path {
        None => None,
        Some(path) => {
            let text = file_text(&path)?;
            Some((path, text))
        }
    };
    let flags: Vec<_> = keys
        .iter()
        .filter(|key| !key.secret)
        .filter_map(|key| {
            Some((
                key.name.to_owned(),
                matches.get_one::<String>(key.name)?.clone(),
            ))
        })
        .collect();
    let file = file
        .as_ref()
        .map(|(path, text)| (path.as_str(), text.as_str()));
    let settings = Settings::load(keys, file, environment, &flags)?;
    if matches.get_flag("print-config") {
        return Ok(Invocation::Print(settings.print()));
    }
    Ok(Invocation::Serve(settings))
}

/// The command of a process with these keys: a flag for each that is no secret, `--config`,
/// `--print-config`, and `config-schema`.
pub fn command(package: &'static str, about: &'static str, keys: &[Key]) -> Command {
    let flags = keys.iter().filter(|key| !key.secret).map(|key| {
        let default = key
            .default_text()
            .map_or_else(String::new, |value| format!(", default: {value}"));
        Arg::new(key.name)
            .long(key.name.replace('_', "-"))
            .value_name("VALUE")
            .help(format!("{} [{}{default}]", key.doc, key.env))
    });
    Command::new(package)
        .about(about)
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .help("Configuration file, TOML [FLEET_CONFIG]"),
        )
        .arg(
            Arg::new("print-config")
                .long("print-config")
                .action(ArgAction::SetTrue)
                .help(
                    "Print the effective configuration with its sources, secrets masked, and end",
                ),
        )
        .args(flags)
        .subcommand(
            Command::new("config-schema").about("Print the JSON Schema of the configuration file"),
        )
}

fn file_text(path: &str) -> Result<String, Problems> {
    std::fs::read_to_string(Path::new(path))
        .map_err(|e| Problem(format!("the configuration file {path} cannot be read: {e}")).into())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::config::Kind;

    const KEYS: &[Key] = &[
        Key::new(
            "grpc_port",
            "FLEET_GRPC_PORT",
            Kind::Integer {
                min: 0,
                max: 65_535,
            },
            "Port.",
        )
        .or_number(50_054),
        Key::new("neo4j_password", "NEO4J_PASSWORD", Kind::Text, "Password.")
            .required()
            .secret(),
    ];

    fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Invocation, Refusal> {
        let arguments = std::iter::once("fleet-test")
            .chain(arguments.iter().copied())
            .map(OsString::from);
        let environment = environment
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        read("fleet-test", "A test.", KEYS, arguments, environment)
    }

    #[test]
    fn flags_beat_the_environment_which_beats_the_file() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"grpc_port = 1\nneo4j_password = \"in-file\"\n")
            .unwrap();
        let path = file.path().to_str().unwrap();
        let port = |invocation| match invocation {
            Ok(Invocation::Serve(settings)) => settings.integer("grpc_port"),
            other => panic!("{other:?}"),
        };
        assert_eq!(port(run(&["--config", path], &[])), 1);
        assert_eq!(port(run(&[], &[("FLEET_CONFIG", path)])), 1);
        let environment = [("FLEET_GRPC_PORT", "2"), ("FLEET_CONFIG", path)];
        assert_eq!(port(run(&[], &environment)), 2);
        assert_eq!(port(run(&["--grpc-port", "3"], &environment)), 3);
    }

    #[test]
    fn prints_the_schema_and_the_masked_configuration() {
        let Ok(Invocation::Print(schema)) = run(&["config-schema"], &[]) else {
            panic!()
        };
        let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
        assert_eq!(schema["required"], serde_json::json!(["neo4j_password"]));
        let Ok(Invocation::Print(printed)) =
            run(&["--print-config"], &[("NEO4J_PASSWORD", "hunter2")])
        else {
            panic!()
        };
        assert!(printed.contains("neo4j_password = \"***\""), "{printed}");
    }

    #[test]
    fn secrets_are_no_flags_and_an_absent_file_is_named() {
        assert!(matches!(
            run(&["--neo4j-password", "x"], &[]),
            Err(Refusal::Usage(_))
        ));
        let Err(Refusal::Config(problems)) = run(&["--config", "/nowhere.toml"], &[]) else {
            panic!()
        };
        assert!(problems.to_string().contains("/nowhere.toml"));
    }
}
