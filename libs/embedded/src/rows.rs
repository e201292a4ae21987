//! Nodes and relationships as rows, with their checksums.

use std::borrow::Cow;

use fleet_graph::{CorruptRow, Label, LightNode, Node, NodeKey, Props};
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

/// A row of a node whose content carries its checksum.
struct Checked<'r> {
    n: i64,
    key: NodeKey,
    version: i64,
    ord: &'r str,
    props: &'r str,
}

fn checked<'r>(row: &'r Row<'_>) -> Result<Checked<'r>, ReadFailure> {
    let text = |at| -> Result<&'r str, ReadFailure> {
        let value = row.get_ref(at)?;
        Ok(value.as_str().map_err(rusqlite::Error::from)?)
    };
    let n: i64 = row.get(0)?;
    let label = text(1)?;
    let Some(label) = Label::from_name(label) else {
        return Err(ReadFailure::Other(format!(
            "node row {n} has the unknown label {label:?}"
        )));
    };
    let key = NodeKey::new(label, text(2)?);
    let version: i64 = row.get(3)?;
    let (ord, props) = (text(4)?, text(5)?);
    let crc: i64 = row.get(6)?;
    if node_sum(node_content(&key, version, ord, props), n) != crc {
        return Err(corrupt(key));
    }
    Ok(Checked {
        n,
        key,
        version,
        ord,
        props,
    })
}

/// Reads a node and checks it.
pub(crate) fn node(row: &Row<'_>) -> Result<(i64, Node), ReadFailure> {
    let Checked {
        n,
        key,
        version,
        ord,
        props: text,
    } = checked(row)?;
    match props(text) {
        Ok(props) => {
            let ord = ord.to_owned();
            let node = Node {
                key,
                version,
                ord,
                props,
            };
            Ok((n, node))
        }
        Err(problem) => Err(CorruptRow { key, problem }.into()),
    }
}

/// Reads some properties of a node, and its place; all of it is checked.
pub(crate) fn light_node(
    row: &Row<'_>,
    columns: &'static [&'static str],
) -> Result<(i64, String, LightNode), ReadFailure> {
    let row = checked(row)?;
    match some_props(row.props, columns) {
        Ok(values) => {
            let node = LightNode {
                key: row.key,
                version: row.version,
                values,
            };
            Ok((row.n, row.ord.to_owned(), node))
        }
        Err(problem) => Err(CorruptRow {
            key: row.key,
            problem,
        }
        .into()),
    }
}

/// Reads stored properties.
pub(crate) fn props(text: &str) -> Result<Props, String> {
    serde_json::from_str(text).map_err(|e| e.to_string())
}

/// Reads the properties of these names, in their order. The others are passed over, not built:
/// texts are most of a node, and who asks for some columns wants none of them.
pub(crate) fn some_props(text: &str, names: &[&'static str]) -> Result<Vec<Value>, String> {
    struct Named<'n>(&'n [&'static str]);
    impl<'de> Visitor<'de> for Named<'_> {
        type Value = Vec<Value>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("properties")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<Value>, A::Error> {
            let mut values = vec![Value::Null; self.0.len()];
            while let Some(Name(name)) = map.next_key()? {
                let places = || (0..).zip(self.0).filter(|(_, wanted)| name == **wanted);
                let Some((first, _)) = places().next() else {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                };
                let value: Value = map.next_value()?;
                for (again, _) in places().skip(1) {
                    let again: usize = again;
                    values[again] = value.clone();
                }
                values[first] = value;
            }
            Ok(values)
        }
    }
    #[derive(serde::Deserialize)]
    struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
    let mut json = serde_json::Deserializer::from_str(text);
    let values = json
        .deserialize_map(Named(names))
        .map_err(|e| e.to_string())?;
    json.end().map_err(|e| e.to_string())?;
    Ok(values)
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
