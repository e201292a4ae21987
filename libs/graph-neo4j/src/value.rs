//! JSON values as Bolt values. The other way serde does it.

use fleet_graph::Props;
use neo4rs::{
    BoltBoolean, BoltFloat, BoltInteger, BoltList, BoltMap, BoltNull, BoltString, BoltType, Query,
};
use serde_json::Value;

/// Any JSON value. Integers beyond 64 bits with sign never get here: the port refuses them.
pub(crate) fn bolt(value: &Value) -> BoltType {
    match value {
        Value::Null => BoltType::Null(BoltNull),
        Value::Bool(value) => BoltType::Boolean(BoltBoolean::new(*value)),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => BoltType::Integer(BoltInteger::new(whole)),
            (None, Some(float)) => BoltType::Float(BoltFloat::new(float)),
            (None, None) => BoltType::Null(BoltNull),
        },
        Value::String(text) => BoltType::String(BoltString::new(text)),
        Value::Array(items) => list(items.iter().map(bolt)),
        Value::Object(map) => BoltType::Map(properties(map)),
    }
}

/// Properties; a null is no property.
pub(crate) fn properties(props: &Props) -> BoltMap {
    let mut map = BoltMap::with_capacity(props.len() + 3);
    for (name, value) in props.iter().filter(|(_, value)| !value.is_null()) {
        map.put(BoltString::new(name), bolt(value));
    }
    map
}

/// A checksum over everything that a node says of itself. Readers take no locks, so the server
/// may show a node in the middle of somebody's commit, with some properties of the new version
/// and some missing or old; the checksum tells.
pub(crate) fn seal(path: &str, version: i64, ord: &str, props: &Props) -> i64 {
    let mut sum = crc32fast::Hasher::new();
    let mut part = |bytes: &[u8]| {
        sum.update(&bytes.len().to_le_bytes());
        sum.update(bytes);
    };
    part(path.as_bytes());
    part(&version.to_le_bytes());
    part(ord.as_bytes());
    let mut props: Vec<_> = props.iter().filter(|(_, value)| !value.is_null()).collect();
    props.sort_by_key(|(name, _)| *name);
    let mut text = Vec::new();
    for (name, value) in props {
        part(name.as_bytes());
        text.clear();
        serde_json::to_writer(&mut text, value).expect("a JSON value is JSON");
        part(&text);
    }
    i64::from(sum.finalize())
}

/// A list of anything.
pub(crate) fn list<T: Into<BoltType>>(items: impl IntoIterator<Item = T>) -> BoltType {
    let items: Vec<BoltType> = items.into_iter().map(Into::into).collect();
    BoltType::List(BoltList::from(items))
}

/// A map from names that we chose.
pub(crate) fn map<const N: usize>(entries: [(&'static str, BoltType); N]) -> BoltType {
    let mut map = BoltMap::with_capacity(N);
    for (name, value) in entries {
        map.put(BoltString::new(name), value);
    }
    BoltType::Map(map)
}

/// Parameters of a query, as the one map in which they travel (see [`crate::queries`]).
#[derive(Default)]
pub(crate) struct Params(BoltMap);

impl Params {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// With one more parameter.
    pub(crate) fn with(mut self, name: &str, value: impl Into<BoltType>) -> Self {
        self.0.put(BoltString::new(name), value.into());
        self
    }

    /// How many bytes they take in a message, never too few.
    pub(crate) fn size(&self) -> usize {
        map_size(&self.0)
    }

    /// The query.
    pub(crate) fn query(self, text: impl Into<String>) -> Query {
        Query::new(text.into()).param("c", BoltType::Map(self.0))
    }
}

/// How many bytes a value takes in a message, never too few for the kinds that we send.
pub(crate) fn size(value: &BoltType) -> usize {
    // A marker of one byte with at most four of length, or a number of eight.
    const HEAD: usize = 9;
    match value {
        BoltType::String(text) => short_head(text.value.len()),
        BoltType::Bytes(bytes) => HEAD + bytes.value.len(),
        BoltType::List(items) => HEAD + items.value.iter().map(size).sum::<usize>(),
        BoltType::Map(map) => map_size(map),
        BoltType::Null(_) | BoltType::Boolean(_) => 1,
        _ => HEAD,
    }
}

/// How many bytes a map takes in a message, never too few.
pub(crate) fn map_size(map: &BoltMap) -> usize {
    let entry =
        |(name, value): (&BoltString, &BoltType)| short_head(name.value.len()) + size(value);
    9 + map.value.iter().map(entry).sum::<usize>()
}

/// A text with its head, which is short for a short text.
fn short_head(length: usize) -> usize {
    length
        + match length {
            0..16 => 1,
            16..256 => 2,
            _ => 5,
        }
}

/// A position or count; ours are far below the bound.
pub(crate) fn number(value: usize) -> BoltType {
    BoltType::Integer(BoltInteger::new(i64::try_from(value).unwrap_or(i64::MAX)))
}

/// A text.
pub(crate) fn text(value: &str) -> BoltType {
    BoltType::String(BoltString::new(value))
}

/// A whole number.
pub(crate) fn integer(value: i64) -> BoltType {
    BoltType::Integer(BoltInteger::new(value))
}
