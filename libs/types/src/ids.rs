//! Ids are newtypes with checked constructors: prefix + `[A-Za-z0-9._-]{1,100}`.
//!
//! We mint prefix + UUIDv7; what we accept from a caller is any id of that grammar, so that
//! no id can carry a separator of a subject, a query or a path.

use uuid::Uuid;

/// Longest part of an id behind its prefix, in characters.
pub const MAX_ID_BODY: usize = 100;

/// Why a string is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing was given.
    #[error("is empty; expected {0}<id>")]
    Empty(&'static str),
    /// It belongs to another kind.
    #[error("must start with {0:?}")]
    Prefix(&'static str),
    /// A character outside `A-Z a-z 0-9 . _ -`, or the wrong length.
    #[error("must be {}1 to 100 of A-Z a-z 0-9 . _ -", before(.0))]
    Grammar(&'static str),
}

/// What comes before the free part of an id, in words; nothing for ids without prefix.
fn before(prefix: &str) -> String {
    match prefix {
        "" => String::new(),
        prefix => format!("{prefix:?} followed by "),
    }
}

fn check(prefix: &'static str, s: &str) -> Result<(), IdError> {
    if s.is_empty() {
        return Err(IdError::Empty(prefix));
    }
    let body = s.strip_prefix(prefix).ok_or(IdError::Prefix(prefix))?;
    let grammatical = (1..=MAX_ID_BODY).contains(&body.len())
        && body
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if grammatical {
        Ok(())
    } else {
        Err(IdError::Grammar(prefix))
    }
}

macro_rules! id {
    ($(#[$meta:meta])* $name:ident, $prefix:literal) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// What every id of this kind starts with.
            pub const PREFIX: &'static str = $prefix;

            /// A new id from a UUIDv7 (take it from the [`crate::Ids`] port).
            pub fn mint(uuid: Uuid) -> Self {
                Self(format!(concat!($prefix, "{}"), uuid))
            }

            /// Checks prefix and grammar.
            pub fn parse(s: &str) -> Result<Self, IdError> {
                check($prefix, s).map(|()| Self(s.to_owned()))
            }

            /// The id as text, prefix included.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(s: &str) -> Result<Self, IdError> {
                Self::parse(s)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(d)?;
                Self::parse(&text).map_err(|e| {
                    serde::de::Error::custom(format!(concat!(stringify!($name), " {}"), e))
                })
            }
        }
    };
}

id!(
    /// A project: `PROJ-…`.
    ProjectId,
    "PROJ-"
);
id!(
    /// An epic: `E-…`.
    EpicId,
    "E-"
);
id!(
    /// A user story: `s-…`.
    StoryId,
    "s-"
);
id!(
    /// A task: `T-…`.
    TaskId,
    "T-"
);
id!(
    /// A version of a story's plan: `PL-…`.
    PlanId,
    "PL-"
);
id!(
    /// A decision: `DEC-…`.
    DecisionId,
    "DEC-"
);
id!(
    /// An agent, person or program, as it names itself; no prefix.
    AgentId,
    ""
);
id!(
    /// Who called, as the identity layer knows it; no prefix.
    PrincipalId,
    ""
);
id!(
    /// An event; also its `Nats-Msg-Id`.
    EventId,
    "ev-"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_the_grammar_and_nothing_else() {
        let long = "x".repeat(MAX_ID_BODY);
        for good in ["s-1", "s-a.b_c-D", &format!("s-{long}")] {
            assert_eq!(StoryId::parse(good).unwrap().as_str(), good);
        }
        assert_eq!(StoryId::parse(""), Err(IdError::Empty("s-")));
        assert_eq!(StoryId::parse("T-1"), Err(IdError::Prefix("s-")));
        assert_eq!(
            IdError::Grammar("s-").to_string(),
            "must be \"s-\" followed by 1 to 100 of A-Z a-z 0-9 . _ -"
        );
        assert_eq!(
            AgentId::parse("no blanks").unwrap_err().to_string(),
            "must be 1 to 100 of A-Z a-z 0-9 . _ -"
        );
        for bad in [
            "s-",
            "s-a b",
            "s-a*",
            "s-a>",
            "s-é",
            "s-a\n",
            &format!("s-{long}x"),
        ] {
            assert_eq!(StoryId::parse(bad), Err(IdError::Grammar("s-")), "{bad:?}");
        }
    }

    #[test]
    fn serde_checks_too() {
        assert!(serde_json_like::<StoryId>("s-1"));
        assert!(!serde_json_like::<StoryId>("E-1"));
    }

    fn serde_json_like<T: for<'a> serde::Deserialize<'a>>(s: &str) -> bool {
        use serde::de::IntoDeserializer;
        let d: serde::de::value::StrDeserializer<'_, serde::de::value::Error> =
            s.into_deserializer();
        T::deserialize(d).is_ok()
    }
}
