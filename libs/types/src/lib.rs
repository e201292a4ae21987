//! The words of the fleet: ids, roles, actions, times and the checks at the edge.
//!
//! Pure: this crate knows nothing about stores, buses, wires or clocks. The ports for time,
//! ids and randomness ([`Clock`], [`Ids`]) are defined here so that every layer takes them as
//! arguments; their system implementations live in `fleet-service`.

mod action;
mod env;
mod ids;
mod role;
#[cfg(feature = "schema")]
mod schema;
mod time;
mod violations;

pub use action::Action;
pub use env::{Clock, Ids};
pub use ids::{
    AgentId, DecisionId, EpicId, EventId, IdError, MAX_ID_BODY, PlanId, PrincipalId, ProjectId,
    StoryId, TaskId,
};
pub use role::Role;
pub use time::{Timestamp, TimestampError};
pub use violations::{MAX_TEXT_BYTES, Violation, Violations, text};

/// A word that is not in a closed list (role, action, state, status…).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {kind} {found:?}; one of: {allowed}")]
pub struct UnknownWord {
    /// What kind of word was expected, e.g. `role`.
    pub kind: &'static str,
    /// What was found (at most 64 characters are kept).
    pub found: String,
    /// The allowed words, comma separated, in canonical spelling.
    pub allowed: String,
}

impl UnknownWord {
    /// Builds the error; `found` is cut to 64 characters so that it can be shown.
    pub fn new<'a>(
        kind: &'static str,
        found: &str,
        allowed: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        Self {
            kind,
            found: found.chars().take(64).collect(),
            allowed: allowed.into_iter().collect::<Vec<_>>().join(", "),
        }
    }
}

/// Declares a closed enum of words: canonical spelling, parsing (case-insensitive, with
/// aliases), `Display`, serde as the canonical string, and `ALL`.
///
/// ```
/// fleet_types::words! {
///     /// How big a story is.
///     pub enum Size("size") { Small = "S", Large = "L" | "BIG" }
/// }
/// assert_eq!("big".parse::<Size>().ok(), Some(Size::Large));
/// assert_eq!(Size::Large.as_str(), "L");
/// ```
#[macro_export]
macro_rules! words {
    ($(#[$meta:meta])* $vis:vis enum $name:ident($kind:literal) {
        $($(#[$vmeta:meta])* $variant:ident = $word:literal $(| $alias:literal)*),+ $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        $vis enum $name { $(
            $(#[$vmeta])*
            #[doc = concat!("`", $word, "`")]
            $variant
        ),+ }

        impl $name {
            /// Every word, in declaration order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The canonical spelling.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $crate::UnknownWord;
            fn from_str(s: &str) -> Result<Self, Self::Err> {
                $(if s.eq_ignore_ascii_case($word) $(|| s.eq_ignore_ascii_case($alias))* {
                    return Ok(Self::$variant);
                })+
                Err($crate::UnknownWord::new($kind, s, Self::ALL.iter().map(|w| w.as_str())))
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.as_str())
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let word = <::std::borrow::Cow<'de, str> as ::serde::Deserialize>::deserialize(d)?;
                word.parse().map_err(::serde::de::Error::custom)
            }
        }
    };
}
