//! A machine as a picture: Mermaid for documents, DOT for Graphviz.

use std::fmt::Write;

use super::machine::{Kind, Machine, Rule, StateId, Target};
use super::ways::Ways;

fleet_types::words! {
    /// How a machine is drawn.
    pub enum Format("format") {
        /// A Mermaid state diagram.
        Mermaid = "mermaid",
        /// A Graphviz digraph.
        Dot = "dot",
    }
}

/// Draws a machine. Rules that were written for a wildcard are drawn once, from a node `any`;
/// what the fleet does by itself (lapsed claims, escalations) is dashed in DOT.
pub fn graph(machine: &Machine, format: Format) -> String {
    match format {
        Format::Mermaid => mermaid(machine),
        Format::Dot => dot(machine),
    }
}

/// One arrow: where from (`None` = the wildcard), where to, what it says, whether the fleet
/// goes it by itself.
struct Arrow {
    from: Option<StateId>,
    to: StateId,
    text: String,
    own: bool,
}

fn arrows(machine: &Machine) -> Vec<Arrow> {
    let mut arrows: Vec<Arrow> = Vec::new();
    let mut wildcards: Vec<u64> = Vec::new();
    for rule in machine.rules() {
        if rule.wildcard && wildcards.contains(&rule.line) {
            continue;
        }
        wildcards.push(rule.line);
        let from = if rule.wildcard { None } else { Some(rule.from) };
        let own = machine.state(rule.from).kind == Kind::Automatic;
        let targets = match rule.target {
            // Drawn as what comes of it: the end of the second step.
            Target::Via(_) => behind_claim(machine, rule),
            _ => machine.targets(rule),
        };
        arrows.extend(targets.into_iter().map(|to| Arrow {
            from,
            to,
            text: label(rule),
            own,
        }));
    }
    let drawn =
        |edge: &super::ways::Edge| machine.rules_for(edge.from, edge.action).next().is_some();
    for edge in Ways::of(machine).edges().filter(|edge| !drawn(edge)) {
        let text = edge.action.to_string();
        arrows.push(Arrow {
            from: Some(edge.from),
            to: edge.to,
            text,
            own: true,
        });
    }
    arrows
}

fn behind_claim(machine: &Machine, rule: &Rule) -> Vec<StateId> {
    machine
        .targets(rule)
        .into_iter()
        .flat_map(|held| machine.rules_for(held, rule.action))
        .flat_map(|second| machine.targets(second))
        .collect()
}

fn label(rule: &Rule) -> String {
    let roles: Vec<&str> = rule.roles.iter().map(|role| role.as_str()).collect();
    let guards: Vec<&str> = rule.guards.iter().map(|guard| guard.as_str()).collect();
    let mut text = format!("{} ({})", rule.action, roles.join(", "));
    if !guards.is_empty() {
        let _ = write!(text, " [{}]", guards.join(", "));
    }
    text
}

fn mermaid(machine: &Machine) -> String {
    let mut out = String::from("stateDiagram-v2\n");
    let _ = writeln!(out, "    [*] --> {}", machine.name_of(machine.initial()));
    for (_, state) in machine.states() {
        if let Some(role) = state.role {
            let _ = writeln!(out, "    {} : {} ({role})", state.name, state.name);
        }
    }
    let arrows = arrows(machine);
    if arrows.iter().any(|arrow| arrow.from.is_none()) {
        let _ = writeln!(out, "    any : any state that is not terminal");
    }
    for Arrow { from, to, text, .. } in arrows {
        let from = from.map_or("any", |id| machine.name_of(id));
        let _ = writeln!(out, "    {from} --> {} : {text}", machine.name_of(to));
    }
    for (_, state) in machine.states().filter(|(_, s)| s.kind == Kind::Terminal) {
        let _ = writeln!(out, "    {} --> [*]", state.name);
    }
    out
}

fn dot(machine: &Machine) -> String {
    let mut out = format!("digraph \"{}\" {{\n", machine.name().replace('"', "'"));
    let _ = writeln!(out, "    rankdir=LR;\n    node [shape=box, style=rounded];");
    for (id, state) in machine.states() {
        let shape = match state.kind {
            Kind::Terminal => ", peripheries=2",
            Kind::Active => ", style=\"rounded,bold\"",
            Kind::Automatic => ", shape=point, xlabel=\"\\N\"",
            Kind::Waiting | Kind::Resting => "",
        };
        let role = state
            .role
            .map_or(String::new(), |role| format!("\\n{role}"));
        let _ = writeln!(
            out,
            "    {} [label=\"{}{role}\"{shape}];",
            state.name, state.name
        );
        if id == machine.initial() {
            let _ = writeln!(
                out,
                "    start [shape=circle, label=\"\"];\n    start -> {};",
                state.name
            );
        }
    }
    let arrows = arrows(machine);
    if arrows.iter().any(|arrow| arrow.from.is_none()) {
        let _ = writeln!(
            out,
            "    any [label=\"any state that is not terminal\", style=dashed];"
        );
    }
    for Arrow {
        from,
        to,
        text,
        own,
    } in arrows
    {
        let from = from.map_or("any", |id| machine.name_of(id));
        let style = if own { ", style=dashed" } else { "" };
        let _ = writeln!(
            out,
            "    {from} -> {} [label=\"{text}\"{style}];",
            machine.name_of(to)
        );
    }
    out.push_str("}\n");
    out
}
