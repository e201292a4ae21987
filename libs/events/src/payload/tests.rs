//! The published shape of every payload: a fixture and a JSON Schema each, and their drift.

use std::{collections::BTreeSet, fs, path::PathBuf};

use schemars::{JsonSchema, generate::SchemaSettings};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::Origin;

/// Writes the schemas instead of comparing them.
const UPDATE: &str = "FLEET_UPDATE_SCHEMAS";

/// What can be asked of every payload type.
pub(super) struct Case {
    subject: &'static str,
    /// What readers may rely on.
    written: Value,
    /// What we demand when we read.
    read: Value,
    /// Reads a body and writes it again.
    again: fn(&Value) -> Result<Value, String>,
}

#[derive(Debug)]
struct NoIds;

impl fleet_types::Ids for NoIds {
    fn uuid(&self) -> Uuid {
        Uuid::nil()
    }

    fn random(&self) -> u64 {
        0
    }
}

fn schema<T: JsonSchema>(settings: SchemaSettings) -> Value {
    settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
}

fn again<T: Payload + DeserializeOwned>(body: &Value) -> Result<Value, String> {
    let payload = T::deserialize(body).map_err(|error| error.to_string())?;
    let origin = Origin {
        source: "test",
        correlation: String::new(),
        causation: String::new(),
        traceparent: String::new(),
    };
    let event = origin.event(&NoIds, Timestamp::from_millis(0), "a", 1, &payload);
    assert_eq!(event.subject, T::SUBJECT);
    Ok(serde_json::from_str(&event.payload).unwrap())
}

impl Case {
    pub(super) fn of<T: Payload + DeserializeOwned + JsonSchema>() -> Self {
        let mut written = schema::<T>(SchemaSettings::draft2020_12().for_serialize());
        let event_type = T::SUBJECT.split_once('.').unwrap().1;
        written["properties"]["event_type"] =
            json!({ "const": event_type, "description": "The subject without its first word." });
        written["required"]
            .as_array_mut()
            .unwrap()
            .push("event_type".into());
        let read = schema::<T>(SchemaSettings::draft2020_12().for_deserialize());
        Self {
            subject: T::SUBJECT,
            written,
            read,
            again: again::<T>,
        }
    }
}

/// What we demand of payloads that others say, by subject.
fn heard() -> Vec<(&'static str, Value)> {
    fn demanded<T: JsonSchema>() -> Value {
        schema::<T>(SchemaSettings::draft2020_12().for_deserialize())
    }
    vec![
        ("agent.work.completed", demanded::<WorkCompleted>()),
        (
            "orchestration.deliberation.completed",
            demanded::<DeliberationCompleted>(),
        ),
        (
            "orchestration.task.dispatched",
            demanded::<TaskDispatched>(),
        ),
        ("context.update.request", demanded::<UpdateRequest>()),
        ("context.rehydrate.request", demanded::<RehydrateRequest>()),
    ]
}

fn directory(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn golden(name: &str) -> Value {
    let path = directory("tests/golden").join(format!("{name}.json"));
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap()
}

fn names(schema: &Value) -> (BTreeSet<String>, BTreeSet<String>) {
    let properties = schema["properties"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    let required = schema["required"].as_array().into_iter().flatten();
    (
        properties,
        required
            .map(|name| name.as_str().unwrap().to_owned())
            .collect(),
    )
}

fn files(name: &str) -> BTreeSet<String> {
    fs::read_dir(directory(name))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn every_subject_of_the_topology_has_its_payload() {
    let said: BTreeSet<_> = fleet_topology::SUBJECTS
        .iter()
        .filter(|subject| ["planning", "workflow", "context"].contains(&subject.publisher))
        .map(|subject| subject.name)
        .collect();
    assert_eq!(SUBJECTS.iter().copied().collect::<BTreeSet<_>>(), said);
    let heard: BTreeSet<_> = heard().into_iter().map(|(subject, _)| subject).collect();
    for consumer in fleet_topology::CONSUMERS {
        for subject in consumer.filter_subjects {
            assert!(
                SUBJECTS.contains(subject) || heard.contains(subject),
                "{subject}"
            );
        }
    }
}

#[test]
fn each_fixture_reads_and_writes_back_as_it_was() {
    for case in cases() {
        let fixture = golden(case.subject);
        let written = (case.again)(&fixture).unwrap_or_else(|e| panic!("{}: {e}", case.subject));
        assert_eq!(written, fixture, "{}", case.subject);
    }
    let expected: BTreeSet<_> = SUBJECTS
        .iter()
        .copied()
        .chain(heard().into_iter().map(|(subject, _)| subject))
        .chain(["agent.work.completed.nested"])
        .map(|name| format!("{name}.json"))
        .collect();
    assert_eq!(files("tests/golden"), expected);
}

#[test]
fn older_producers_may_leave_out_what_is_optional_and_nothing_else() {
    for case in cases() {
        let fixture = golden(case.subject);
        let (properties, required) = names(&case.read);
        // A full fixture, so that this test sees every field.
        let keys: BTreeSet<_> = fixture.as_object().unwrap().keys().cloned().collect();
        let with_type: BTreeSet<_> = properties
            .iter()
            .cloned()
            .chain(["event_type".to_owned()])
            .collect();
        assert_eq!(keys, with_type, "{}", case.subject);
        for property in &properties {
            let mut less = fixture.clone();
            less.as_object_mut().unwrap().remove(property);
            match (case.again)(&less) {
                Ok(_) => assert!(!required.contains(property), "{}.{property}", case.subject),
                Err(error) => {
                    assert!(
                        required.contains(property),
                        "{}.{property}: {error}",
                        case.subject
                    );
                    assert!(error.contains(property), "{error} does not name {property}");
                }
            }
        }
        let mut more = fixture.clone();
        more["from_the_future"] = json!({ "x": 1 });
        assert_eq!((case.again)(&more).unwrap(), fixture);
    }
}

#[test]
fn what_others_say_reads_in_full_and_with_the_least() {
    let full = DeliberationCompleted::deserialize(golden("orchestration.deliberation.completed"));
    let decided = &full.unwrap().decisions[0];
    assert!(decided.id.is_some() && decided.affected_subtask.is_some());
    let least = json!({ "story_id": "s-1", "task_id": "T-1" });
    assert!(
        DeliberationCompleted::deserialize(least)
            .unwrap()
            .decisions
            .is_empty()
    );
    TaskDispatched::deserialize(golden("orchestration.task.dispatched")).unwrap();
    let asked = UpdateRequest::deserialize(golden("context.update.request")).unwrap();
    assert!(asked.changes[0].payload.is_object() && asked.changes[1].payload.is_string());
    RehydrateRequest::deserialize(golden("context.rehydrate.request")).unwrap();
}

#[test]
fn both_spellings_of_finished_work_are_understood() {
    let flat = WorkCompleted::deserialize(golden("agent.work.completed")).unwrap();
    let nested = WorkCompleted::deserialize(golden("agent.work.completed.nested")).unwrap();
    assert_eq!(
        (
            flat.action,
            flat.actor_role,
            &flat.agent_id,
            flat.claim_epoch,
            flat.timestamp
        ),
        (
            nested.action,
            nested.actor_role,
            &nested.agent_id,
            nested.claim_epoch,
            nested.timestamp
        )
    );
    assert_eq!(
        (flat.action, flat.actor_role),
        (Action::CommitCode, Role::Developer)
    );
    let result = nested.result.unwrap();
    assert!(result.success);
    assert_eq!(result.artifacts.branch, flat.branch);
    assert_eq!(result.artifacts.commit_sha, flat.commit_sha);
    assert_eq!(result.artifacts.files_changed, flat.files_changed);
    for (bad, field) in [
        (json!({ "task_id": "s-1" }), "TaskId"),
        (json!({ "task_id": "T-1", "actor_role": "qa" }), "action"),
        (
            json!({ "task_id": "T-1", "action": "dance", "actor_role": "qa" }),
            "dance",
        ),
    ] {
        let error = WorkCompleted::deserialize(&bad).unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    }
}

#[test]
fn the_committed_schemas_are_those_of_the_code() {
    let mut schemas: Vec<(&str, Value)> = cases()
        .into_iter()
        .map(|case| (case.subject, case.written))
        .collect();
    schemas.extend(heard());
    let update = std::env::var_os(UPDATE).is_some();
    let expected: BTreeSet<_> = schemas
        .iter()
        .map(|(name, _)| format!("{name}.json"))
        .collect();
    for (name, schema) in schemas {
        let path = directory("schemas").join(format!("{name}.json"));
        if update {
            let text = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
            fs::write(&path, text).unwrap();
        } else {
            // As values: the order of the keys depends on who else is built.
            let text = fs::read_to_string(&path).unwrap_or_default();
            assert!(
                serde_json::from_str::<Value>(&text).is_ok_and(|committed| committed == schema),
                "{} is not the schema of the code; if the change is meant (readers outside this \
                 repository rely on it), run this test with {UPDATE}=1",
                path.display()
            );
        }
    }
    assert_eq!(files("schemas"), expected);
}
