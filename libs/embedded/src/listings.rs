//! The indexes behind listings. A node's filter values are kept in columns of their own, which
//! an update leaves alone when they did not change: then it touches no index at all.

use std::sync::OnceLock;

use fleet_graph::{Index, Label, Props};
use rusqlite::{Connection, types::Value as SqlValue};
use serde_json::Value;

use crate::{rows::props, schema::stored_sql};

/// Columns for filter values, `f1` to `f4`.
pub(crate) const COLUMNS: usize = 4;
const PREFIX: &str = "list_";

/// What a node's columns hold, in order; `NULL` where it has no such property.
pub(crate) type Filters = [SqlValue; COLUMNS];

/// The properties by which nodes of a kind are filtered, in the order of their columns.
pub(crate) fn properties(label: Label) -> &'static [&'static str] {
    static ALL: OnceLock<Vec<Vec<&'static str>>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let mut all = vec![Vec::new(); Label::ALL.len()];
        for index in Index::ALL {
            let of: &mut Vec<_> = &mut all[index.label() as usize];
            for filter in index.filters() {
                if !of.contains(filter) {
                    of.push(*filter);
                }
            }
        }
        all
    });
    &all[label as usize]
}

/// The column of a filter property of a listing.
pub(crate) fn column(index: Index, property: &str) -> String {
    let place = properties(index.label())
        .iter()
        .position(|known| *known == property);
    // A test holds the number of properties against the number of columns.
    format!("f{}", place.map_or(COLUMNS, |place| place + 1))
}

/// The values of a node's columns.
pub(crate) fn filters(label: Label, props: &Props) -> Filters {
    let mut filters = [const { SqlValue::Null }; COLUMNS];
    for (filter, property) in filters.iter_mut().zip(properties(label)) {
        *filter = props.get(*property).map_or(SqlValue::Null, value);
    }
    filters
}

/// A filter value as its column holds it. Only what can be asked for is kept.
pub(crate) fn value(value: &Value) -> SqlValue {
    match value {
        Value::String(text) => SqlValue::Text(text.clone()),
        // No property is a boolean here and a number there.
        Value::Bool(flag) => SqlValue::Integer(i64::from(*flag)),
        other => other.as_i64().map_or(SqlValue::Null, SqlValue::Integer),
    }
}

/// The name of the index behind a listing.
pub(crate) fn name(index: Index) -> String {
    format!("{PREFIX}{}", index.as_str())
}

/// Its text. The property is named in it, so that a listing by another property in the same
/// column differs.
fn sql(index: Index) -> String {
    let mut columns: Vec<String> = index
        .filters()
        .iter()
        .map(|property| format!("{} /* {property} */", column(index, property)))
        .collect();
    columns.push("ord".to_owned());
    let (name, label) = (name(index), index.label().as_str());
    format!(
        "CREATE INDEX {name} ON nodes({}) WHERE label = '{label}'",
        columns.join(", ")
    )
}

/// Creates all of them in an empty database.
pub(crate) fn create(conn: &Connection) -> rusqlite::Result<()> {
    Index::ALL
        .iter()
        .try_for_each(|&index| conn.execute_batch(&sql(index)))
}

/// Whether the database has exactly ours.
pub(crate) fn are_current(conn: &Connection) -> rusqlite::Result<bool> {
    difference(conn).map(|(stale, wanted)| stale.is_empty() && wanted.is_empty())
}

/// The names of those to drop, and those to create.
fn difference(conn: &Connection) -> rusqlite::Result<(Vec<String>, Vec<Index>)> {
    let mut stale: Vec<String> = conn
        .prepare("SELECT name FROM sqlite_master WHERE type = 'index' AND name GLOB ?1")?
        .query_map([format!("{PREFIX}*")], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut wanted = Vec::new();
    for &index in Index::ALL {
        if stored_sql(conn, &name(index))?.as_deref() == Some(&sql(index)) {
            stale.retain(|stored| *stored != name(index));
        } else {
            wanted.push(index);
        }
    }
    Ok((stale, wanted))
}

/// Brings them up to date: creates what is missing or changed, drops what is no more.
pub(crate) fn update(conn: &Connection) -> rusqlite::Result<()> {
    let (stale, wanted) = difference(conn)?;
    if stale.is_empty() && wanted.is_empty() {
        return Ok(());
    }
    let tx = conn.unchecked_transaction()?;
    for name in stale {
        // A name from the database may hold anything.
        tx.execute_batch(&format!("DROP INDEX \"{}\"", name.replace('"', "\"\"")))?;
    }
    let mut labels: Vec<Label> = wanted.iter().map(|index| index.label()).collect();
    labels.dedup();
    for label in labels {
        fill(&tx, label)?;
    }
    for index in wanted {
        tx.execute_batch(&sql(index))?;
    }
    tx.commit()
}

/// Sets the columns of all nodes of a kind.
fn fill(conn: &Connection, label: Label) -> rusqlite::Result<()> {
    let mut read = conn.prepare("SELECT n, props FROM nodes WHERE label = ?1")?;
    let mut write =
        conn.prepare("UPDATE nodes SET f1 = ?2, f2 = ?3, f3 = ?4, f4 = ?5 WHERE n = ?1")?;
    let rows: Vec<(i64, Filters)> = read
        .query_map([label.as_str()], |row| {
            let text: String = row.get(1)?;
            // What does not read as properties is reported by whoever reads the node.
            Ok((
                row.get(0)?,
                filters(label, &props(&text).unwrap_or_default()),
            ))
        })?
        .collect::<Result<_, _>>()?;
    for (n, [f1, f2, f3, f4]) in rows {
        write.execute((n, f1, f2, f3, f4))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_filter_has_a_column() {
        for label in Label::ALL {
            assert!(
                properties(*label).len() <= COLUMNS,
                "{label}: {:?}",
                properties(*label)
            );
        }
    }

    #[test]
    fn listings_of_an_older_version_are_rebuilt() {
        let conn = Connection::open_in_memory().unwrap();
        crate::schema::create(&conn).unwrap();
        conn.execute(
            "INSERT INTO nodes(n, label, id, version, ord, props, crc) \
             VALUES (1, 'Story', 's-1', 1, 'o', '{\"state\":\"DRAFT\"}', 0)",
            (),
        )
        .unwrap();
        conn.execute_batch("DROP INDEX list_StoriesByState; CREATE INDEX list_Old ON nodes(f2)")
            .unwrap();
        update(&conn).unwrap();
        let state = column(Index::StoriesByState, "state");
        let found: String = conn
            .query_row(&format!("SELECT {state} FROM nodes"), (), |row| row.get(0))
            .unwrap();
        assert_eq!(found, "DRAFT");
        assert_eq!(stored_sql(&conn, "list_Old").unwrap(), None);
        assert_eq!(
            stored_sql(&conn, &name(Index::StoriesByState)).unwrap(),
            Some(sql(Index::StoriesByState))
        );
    }
}
