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
    let names = names(graph);
    for (node, name) in nodes(graph).zip(0..) {
        let lines: Vec<String> = label(node).iter().map(|line| mermaid_text(line)).collect();
        let label = lines.join("<br/>");
        let _ = writeln!(out, "    n{name}[\"{label}\"]");
    }
    for edge in &graph.relationships {
        if let (Some(from), Some(to)) = (
            names.get(edge.from_node_id.as_str()),
            names.get(edge.to_node_id.as_str()),
        ) {
            let of = mermaid_text(&edge.r#type);
            let _ = writeln!(out, "    n{from} -->|\"{of}\"| n{to}");
        }
    }
    if graph.node.is_some() {
        out.push_str("    style n0 stroke-width:3px\n");
    }
    out
}

/// DOT, for Graphviz.
pub fn dot(graph: &Graph) -> String {
    let mut out = String::from("digraph context {\n    rankdir=LR;\n    node [shape=box];\n");
    let names = names(graph);
    for (node, name) in nodes(graph).zip(0..) {
        let lines: Vec<String> = label(node).iter().map(|line| dot_text(line)).collect();
        let label = lines.join("\\n");
        let bold = if name == 0 && graph.node.is_some() {
            ", penwidth=3"
        } else {
            ""
        };
        let _ = writeln!(out, "    n{name} [label=\"{label}\"{bold}];");
    }
    for edge in &graph.relationships {
        if let (Some(from), Some(to)) = (
            names.get(edge.from_node_id.as_str()),
            names.get(edge.to_node_id.as_str()),
        ) {
            let of = dot_text(&edge.r#type);
            let _ = writeln!(out, "    n{from} -> n{to} [label=\"{of}\"];");
        }
    }
    out.push_str("}\n");
    out
}

fn nodes(graph: &Graph) -> impl Iterator<Item = &Node> {
    graph.node.iter().chain(&graph.neighbors)
}

/// A name of ours for each node: nobody else's word stands outside a label.
fn names(graph: &Graph) -> BTreeMap<&str, usize> {
    nodes(graph).map(|node| node.id.as_str()).zip(0..).collect()
}

/// The lines of a label: type with id, and the title, if any, as far as it fits.
fn label(node: &Node) -> Vec<String> {
    let mut lines = vec![format!("{} {}", visible(&node.r#type), visible(&node.id))];
    let title = visible(&node.title);
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
