use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use config::{Config, File, FileFormat};
use serde_json::{Value, json};

use super::keys::{Key, Kind, Preset, parse_duration, typed};

/// Environment keys with our prefix that are no setting of a process.
const NO_SETTING: [&str; 1] = ["FLEET_CONFIG"];
/// Environment keys for test suites; ignored.
const TEST_PREFIX: &str = "FLEET_TEST_";
const PREFIX: &str = "FLEET_";

/// Where a value came from; later ones win.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The table of keys.
    Default,
    /// The file of `--config` or `FLEET_CONFIG`.
    File,
    /// The environment.
    Environment,
    /// The command line.
    Flag,
}

/// Something wrong with the configuration, as one sentence that names the key and the cure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Problem(pub String);

/// Everything wrong with the configuration; the process ends with
/// [`EXIT_CONFIG`](super::EXIT_CONFIG).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl std::fmt::Display for Problems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

/// The checked values of all keys.
#[derive(Clone)]
pub struct Settings {
    keys: Vec<Key>,
    values: BTreeMap<&'static str, (String, Source)>,
}

impl Settings {
    /// Layers defaults, the text of a file (with its name, for messages), the environment and
    /// flags (by key name), and checks the result against the table of keys.
    ///
    /// # Errors
    /// Every unknown, malformed and missing key at once.
    pub fn load(
        keys: &[Key],
        file: Option<(&str, &str)>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: &[(String, String)],
    ) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let mut sources: BTreeMap<&'static str, Source> = BTreeMap::new();
        let mut builder = Config::builder();
        let by_name = |name: &str| keys.iter().find(|key| key.name == name);
        for key in keys {
            if let Some(default) = key.default_text() {
                sources.insert(key.name, Source::Default);
                builder = builder
                    .set_default(key.name, default)
                    .map_err(|e| broken(&e))?;
            }
        }
        if let Some((path, text)) = file {
            let names = file_keys(path, text)?;
            for name in names {
                match by_name(&name) {
                    Some(key) => {
                        sources.insert(key.name, Source::File);
                    }
                    None => problems.push(unknown(
                        &name,
                        &format!("in {path}"),
                        keys.iter().map(|k| k.name),
                    )),
                }
            }
            if problems.is_empty() {
                builder = builder.add_source(File::from_str(text, FileFormat::Toml));
            }
        }
        let mut environment: Vec<_> = environment.into_iter().collect();
        environment.sort();
        for (name, value) in environment {
            match keys.iter().find(|key| key.env == name) {
                Some(key) => {
                    sources.insert(key.name, Source::Environment);
                    builder = builder
                        .set_override(key.name, value)
                        .map_err(|e| broken(&e))?;
                }
                None if name.starts_with(PREFIX)
                    && !name.starts_with(TEST_PREFIX)
                    && !NO_SETTING.contains(&name.as_str()) =>
                {
                    problems.push(unknown(
                        &name,
                        "in the environment",
                        keys.iter().map(|k| k.env),
                    ));
                }
                None => {}
            }
        }
        for (name, value) in flags {
            match by_name(name) {
                Some(key) => {
                    sources.insert(key.name, Source::Flag);
                    builder = builder
                        .set_override(key.name, value.as_str())
                        .map_err(|e| broken(&e))?;
                }
                None => problems.push(unknown(
                    name,
                    "on the command line",
                    keys.iter().map(|k| k.name),
                )),
            }
        }
        let layered = builder.build().map_err(|e| broken(&e))?;
        let mut values = BTreeMap::new();
        for key in keys {
            let Some(source) = sources.get(key.name).copied() else {
                if key.preset == Preset::Required {
                    problems.push(Problem(format!(
                        "{} is required and not set: set it in the environment, or {} in the configuration file ({})",
                        key.env, key.name, key.doc
                    )));
                }
                continue;
            };
            match layered.get_string(key.name) {
                Ok(value) => match key.check(&value) {
                    Ok(()) => {
                        values.insert(key.name, (value, source));
                    }
                    Err(rule) => problems.push(Problem(wrong(key, source, &value, &rule))),
                },
                Err(_) => problems.push(Problem(wrong(key, source, "", "must be a single value"))),
            }
        }
        if problems.is_empty() {
            Ok(Self {
                keys: keys.to_vec(),
                values,
            })
        } else {
            Err(Problems(problems))
        }
    }

    /// The table of keys.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// A text, if it is set. Panics if the table has no such key.
    pub fn optional(&self, name: &str) -> Option<&str> {
        assert!(
            self.keys.iter().any(|key| key.name == name),
            "{name} is in the table of keys"
        );
        self.values.get(name).map(|(value, _)| value.as_str())
    }

    /// A text. Panics if the key is neither required nor has a default.
    pub fn text(&self, name: &str) -> &str {
        match self.optional(name) {
            Some(value) => value,
            None => panic!("{name} is required or has a default"),
        }
    }

    /// A number of a key of that kind.
    pub fn integer(&self, name: &str) -> i64 {
        self.text(name).parse().expect("checked when loaded")
    }

    /// A number that its bounds keep from 0 to what fits.
    pub fn count(&self, name: &str) -> usize {
        usize::try_from(self.integer(name)).expect("bounded from 0 by its kind")
    }

    /// A flag.
    pub fn flag(&self, name: &str) -> bool {
        self.text(name) == "true"
    }

    /// A time.
    pub fn duration(&self, name: &str) -> Duration {
        parse_duration(self.text(name)).expect("checked when loaded")
    }

    /// A path, if it is set.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.optional(name).map(PathBuf::from)
    }

    /// The effective configuration as a TOML file with the source of each value; secrets masked.
    pub fn print(&self) -> String {
        let mut text = String::new();
        for key in &self.keys {
            let _ = match self.shown(key) {
                Some((value, source)) => {
                    let source = match source {
                        Source::Default => "default",
                        Source::File => "file",
                        Source::Environment => key.env,
                        Source::Flag => "flag",
                    };
                    writeln!(text, "{} = {value}  # {source}", key.name)
                }
                None => writeln!(text, "# {} is not set  # {}", key.name, key.env),
            };
        }
        text
    }

    /// The effective configuration as JSON; secrets masked.
    pub fn json(&self) -> Value {
        let values = self.keys.iter().filter_map(|key| {
            let (value, source) = self.shown(key)?;
            let source = format!("{source:?}").to_lowercase();
            Some((
                key.name.to_owned(),
                json!({ "value": value, "source": source, "env": key.env }),
            ))
        });
        Value::Object(values.collect())
    }

    /// JSON Schema of the configuration file.
    pub fn schema(keys: &[Key]) -> Value {
        let properties: serde_json::Map<_, _> = keys
            .iter()
            .map(|key| (key.name.to_owned(), key.schema()))
            .collect();
        let required: Vec<_> = keys
            .iter()
            .filter(|k| k.preset == Preset::Required)
            .map(|k| k.name)
            .collect();
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "additionalProperties": false,
            "properties": properties,
            "required": required,
        })
    }

    fn shown(&self, key: &Key) -> Option<(Value, Source)> {
        let (value, source) = self.values.get(key.name)?;
        let value = match (key.secret, key.kind) {
            (true, _) => json!("***"),
            (false, Kind::Text) => mask_userinfo(value).into(),
            (false, kind) => typed(kind, value),
        };
        Some((value, *source))
    }
}

impl std::fmt::Debug for Settings {
    /// Masked, like everything that shows settings.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.print())
    }
}

/// `scheme://user:password@host` without what stands before the `@`; also in a list of them.
pub fn mask_userinfo(value: &str) -> String {
    let mut masked = String::new();
    let mut rest = value;
    while let Some(scheme) = rest.find("://") {
        let (head, tail) = rest.split_at(scheme + "://".len());
        masked.push_str(head);
        // A password may hold a comma, a slash or a question mark, though it should not: what
        // stands before the last `@` of an address is hidden, whatever it is.
        let address = tail
            .find("://")
            .and_then(|next| tail[..next].rfind(','))
            .unwrap_or(tail.len());
        if let Some(at) = tail[..address].rfind('@') {
            masked.push_str("***");
            rest = &tail[at..];
        } else {
            rest = tail;
        }
    }
    masked.push_str(rest);
    masked
}

fn file_keys(path: &str, text: &str) -> Result<Vec<String>, Problems> {
    match text.parse::<toml::Table>() {
        Ok(table) => Ok(table.keys().cloned().collect()),
        Err(e) => {
            let at = e
                .span()
                .map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            let what = e.message().lines().next().unwrap_or_default();
            Err(Problem(format!("{path}:{at}: not a TOML file: {what}")).into())
        }
    }
}

fn wrong(key: &Key, source: Source, value: &str, rule: &str) -> String {
    let found = match (key.secret, value) {
        (true, _) | (_, "") => String::new(),
        (false, value) => format!(", not {value:?}"),
    };
    match source {
        Source::Environment => format!("{} {rule}{found} ({})", key.env, key.doc),
        Source::Flag => format!(
            "--{} {rule}{found} ({})",
            key.name.replace('_', "-"),
            key.doc
        ),
        Source::File | Source::Default => format!("{} {rule}{found} ({})", key.name, key.doc),
    }
}

fn unknown<'a>(name: &str, place: &str, known: impl Iterator<Item = &'a str>) -> Problem {
    let closest = known
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= candidate.len() / 3);
    let cure = match closest {
        Some((_, candidate)) => format!("did you mean {candidate}?"),
        None => "remove it, or see `config-schema` for the known keys".to_owned(),
    };
    Problem(format!(
        "{name} {place} is not a setting of this process: {cure}"
    ))
}

fn broken(e: &config::ConfigError) -> Problems {
    Problem(format!("the configuration cannot be read: {e}")).into()
}
