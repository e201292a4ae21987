//! A neighbourhood of the graph in languages for graphs. Ids and titles come from people: each
//! language gets them as text that cannot end its label or say anything in it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::bail;

use super::view::{Graph, Node};

/// Longest title that is drawn, in characters.
const MAX_TITLE: usize = 80;

/// The type of a node, by its id.
///
/// # Errors
/// No type has ids like this.
pub fn node_type(id: &str) -> anyhow::Result<&'static str> {
    let types = [
        ("PROJ-", "Project"),
        ("E-", "Epic"),
        ("s-", "Story"),
        ("T-", "Task"),
        ("DEC-", "Decision"),
    ];
    for (prefix, of) in types {
        if id.len() > prefix.len() && id.starts_with(prefix) {
            return Ok(of);
        }
    }
    bail!(
        "{id:?} is no id of a node: they start with PROJ- (project), E- (epic), s- (story), T- (task) or DEC- (decision)"
    )
}

/// Mermaid, for Markdown.
pub fn mermaid(graph: &Graph) -> String {
    let mut out = String::from("flowchart LR\n");
    for (node, name) in nodes(graph).zip(0..) {
        let lines: Vec<String> = label(node).iter().map(|line| mermaid_text(line)).collect();
        let _ = writeln!(out, "    n{name}[\"{}\"]", lines.join("<br/>"));
    }
    for (from, to, of) in edges(graph) {
        let of = mermaid_text(of);
        let _ = writeln!(out, "    n{from} -->|\"{of}\"| n{to}");
    }
    if graph.node.is_some() {
        out.push_str("    style n0 stroke-width:3px\n");
    }
    out
}

/// DOT, for Graphviz.
pub fn dot(graph: &Graph) -> String {
    let mut out = String::from("digraph context {\n    rankdir=LR;\n    node [shape=box];\n");
    for (node, name) in nodes(graph).zip(0..) {
        let lines: Vec<String> = label(node).iter().map(|line| dot_text(line)).collect();
        let bold = if name == 0 && graph.node.is_some() {
            ", penwidth=3"
        } else {
            ""
        };
        let label = lines.join("\\n");
        let _ = writeln!(out, "    n{name} [label=\"{label}\"{bold}];");
    }
    for (from, to, of) in edges(graph) {
        let of = dot_text(of);
        let _ = writeln!(out, "    n{from} -> n{to} [label=\"{of}\"];");
    }
    out.push_str("}\n");
    out
}

fn nodes(graph: &Graph) -> impl Iterator<Item = &Node> {
    graph.node.iter().chain(&graph.neighbors)
}

/// The relationships between nodes that are drawn, by the numbers that stand for those: nobody
/// else's word stands outside a label. Nodes are told apart by type and id.
fn edges(graph: &Graph) -> impl Iterator<Item = (usize, usize, &str)> {
    let numbers: BTreeMap<(&str, &str), usize> = nodes(graph)
        .zip(0..)
        .map(|(node, number)| ((&*node.r#type, &*node.id), number))
        .collect();
    graph.relationships.iter().filter_map(move |edge| {
        let from = *numbers.get(&(&*edge.from_type, &*edge.from_node_id))?;
        let to = *numbers.get(&(&*edge.to_type, &*edge.to_node_id))?;
        Some((from, to, edge.r#type.as_str()))
    })
}

/// Which property says what a node without a title is.
const SAYS: [&str; 4] = ["description", "text", "event_type", "state"];

/// The lines of a label: type with id, and the title, if any, as far as it fits.
fn label(node: &Node) -> Vec<String> {
    let mut lines = vec![format!("{} {}", visible(&node.r#type), visible(&node.id))];
    let said = SAYS.iter().find_map(|name| node.properties.get(*name));
    let title = match (visible(&node.title), said) {
        (title, Some(said)) if title.is_empty() => visible(said),
        (title, _) => title,
    };
    let mut short: String = title.chars().take(MAX_TITLE).collect();
    if short.len() < title.len() {
        short.push('…');
    }
    if !short.is_empty() {
        lines.push(short);
    }
    lines
}

/// In one line, without control characters and without those that turn the direction.
fn visible(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    let plain: String = text
        .chars()
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .filter(|c| !c.is_control() && !turns(*c))
        .collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Within a quoted label of Mermaid, every sign that could mean something there is written by
/// its number.
fn mermaid_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if !c.is_ascii() || c.is_ascii_alphanumeric() || " .,_-:()!?+='".contains(c) {
            out.push(c);
        } else {
            let _ = write!(out, "#{};", u32::from(c));
        }
    }
    out
}

/// Within a quoted string of DOT, where `&quot;` and the like are read, too.
fn dot_text(text: &str) -> String {
    let text = text.replace('&', "&amp;");
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
