//! Nodes and relationships as rows, with their checksums.

use std::borrow::Cow;

use fleet_graph::{Columns, CorruptRow, Label, Node, NodeKey, Props};
use rusqlite::Row;
use serde::{
    Deserializer as _,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::Value;

use crate::{checksum::Sum, error::ReadFailure};

/// The checksum of a node's content; [`node_sum`] adds its row number.
pub(crate) fn node_content(key: &NodeKey, version: i64, ord: &str, props: &str) -> Sum {
    Sum::new()
        .text(key.label().as_str())
        .text(key.id())
        .int(version)
        .text(ord)
        .text(props)
}

pub(crate) fn node_sum(content: Sum, n: i64) -> i64 {
    content.int(n).done()
}

pub(crate) fn edge_sum(src: i64, kind: &str, dst: i64, props: &str) -> i64 {
    Sum::new().int(src).text(kind).int(dst).text(props).done()
}

/// The columns that [`node`] reads, in its order.
pub(crate) const NODE_COLUMNS: &str = "n, label, id, version, ord, props, crc";

/// Reads a node and checks it.
pub(crate) fn node(row: &Row<'_>) -> Result<(i64, Node), ReadFailure> {
    node_with(row, Columns::All)
}

/// Reads some properties of a node; all of it is checked.
pub(crate) fn node_with(row: &Row<'_>, columns: Columns) -> Result<(i64, Node), ReadFailure> {
    let n: i64 = row.get(0)?;
    let label = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
    let Some(label) = Label::from_name(label) else {
        return Err(ReadFailure::Other(format!(
            "node row {n} has the unknown label {label:?}"
        )));
    };
    let key = NodeKey::new(label, row.get::<_, String>(2)?);
    let version: i64 = row.get(3)?;
    let ord: String = row.get(4)?;
    let text = row.get_ref(5)?.as_str().map_err(rusqlite::Error::from)?;
    let crc: i64 = row.get(6)?;
    if node_sum(node_content(&key, version, &ord, text), n) != crc {
        return Err(corrupt(key));
    }
    let read = match columns {
        Columns::All => props(text),
        Columns::Only(names) => some_props(text, names),
    };
    match read {
        Ok(props) => Ok((
            n,
            Node {
                key,
                version,
                ord,
                props,
            },
        )),
        Err(problem) => Err(CorruptRow { key, problem }.into()),
    }
}

/// Reads stored properties.
pub(crate) fn props(text: &str) -> Result<Props, String> {
    serde_json::from_str(text).map_err(|e| e.to_string())
}

/// Reads the properties of these names. The others are passed over, not built: texts are most
/// of a node, and who asks for some columns wants none of them.
fn some_props(text: &str, names: &'static [&'static str]) -> Result<Props, String> {
    struct Named(&'static [&'static str]);
    impl<'de> Visitor<'de> for Named {
        type Value = Props;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("properties")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Props, A::Error> {
            let mut props = Props::new();
            while let Some(Name(name)) = map.next_key()? {
                if self.0.contains(&&*name) {
                    props.insert(name.into_owned(), map.next_value()?);
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(props)
        }
    }
    #[derive(serde::Deserialize)]
    struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
    let mut json = serde_json::Deserializer::from_str(text);
    let props = json
        .deserialize_map(Named(names))
        .map_err(|e| e.to_string())?;
    json.end().map_err(|e| e.to_string())?;
    Ok(props)
}

/// Writes properties as they are stored. A property without value is no property.
pub(crate) fn props_text(props: &Props) -> String {
    if props.is_empty() {
        return "{}".to_owned();
    }
    let text = if props.values().any(Value::is_null) {
        let there: Props = props
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        serde_json::to_string(&there)
    } else {
        serde_json::to_string(props)
    };
    text.expect("a JSON map is JSON")
}

fn corrupt(key: NodeKey) -> ReadFailure {
    CorruptRow {
        key,
        problem: "its row in fleet.db does not carry its checksum".to_owned(),
    }
    .into()
}
