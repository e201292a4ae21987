//! JSON Schemas of the types that serialize as a word of their own.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::{
    Action, AgentId, DecisionId, EpicId, EventId, PlanId, PrincipalId, ProjectId, Role, StoryId,
    TaskId, Timestamp,
};

macro_rules! schema {
    ($($name:ident => $schema:expr;)+) => {$(
        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    )+};
}

fn id(prefix: &str) -> Schema {
    let pattern = format!("^{prefix}[A-Za-z0-9._-]{{1,{}}}$", crate::MAX_ID_BODY);
    json_schema!({ "type": "string", "pattern": pattern })
}

fn words<'a>(words: impl Iterator<Item = &'a str>) -> Schema {
    let words: Vec<&str> = words.collect();
    json_schema!({ "type": "string", "enum": words })
}

schema! {
    ProjectId => id(Self::PREFIX);
    EpicId => id(Self::PREFIX);
    StoryId => id(Self::PREFIX);
    TaskId => id(Self::PREFIX);
    PlanId => id(Self::PREFIX);
    DecisionId => id(Self::PREFIX);
    AgentId => id(Self::PREFIX);
    PrincipalId => id(Self::PREFIX);
    EventId => id(Self::PREFIX);
    Action => words(Self::ALL.iter().map(|word| word.as_str()));
    Role => words(Self::ALL.iter().map(|word| word.as_str()));
    Timestamp => json_schema!({ "type": "string", "format": "date-time" });
}
