//! The versions of everything that a story's context is made of, as one read gives them.

use fleet_graph::{Digest, Digested, Direction, EdgeType, Node, Path, Versions};
use fleet_types::StoryId;

use crate::rows;

/// The ways from a story to what its version covers, in the order of the version's numbers:
/// tasks, their runs, plans, the context itself, verdicts on decisions. Decisions, milestones,
/// phases and summaries need none: whoever writes one also writes the context. Epics never
/// change, and a story that goes under another one does.
pub(crate) fn paths() -> [Path; 5] {
    use Direction::Out;
    use EdgeType::{HasContext, HasPlan, HasReview, HasRun, HasTask};
    [
        vec![(HasTask, Out)],
        vec![(HasTask, Out), (HasRun, Out)],
        vec![(HasPlan, Out)],
        vec![(HasContext, Out)],
        vec![(HasReview, Out)],
    ]
}

/// Places from which on a sum says it all: there is one node of the context, and verdicts never
/// change.
const SUMS_ONLY: usize = 3;

/// What a digest has to ask for.
pub(crate) fn digest_of(story: &StoryId) -> Digest {
    Digest {
        root: rows::story(story),
        paths: paths().to_vec(),
    }
}

/// `story.tasks.taskversions.runs.runversions.plans.planversions.context.verdicts`; `None`
/// without a story. Two states of a story's graph never have the same one, since versions only grow and
/// nothing that is counted is ever removed.
pub(crate) fn graph_version(digested: &Digested) -> Option<String> {
    let mut text = digested.root?.to_string();
    for (at, versions) in digested.paths.iter().enumerate() {
        if at < SUMS_ONLY {
            text.push_str(&format!(".{}", versions.nodes));
        }
        text.push_str(&format!(".{}", versions.sum));
    }
    Some(text)
}

/// What the context's row says of the decisions. They are written in one commit; a store that
/// shows the middle of one may show either without the other. Old rows do not say it.
pub(crate) fn counted(context: &Node) -> Option<Versions> {
    let counted = |name: &str| context.props.get(name).and_then(|n| n.as_i64());
    Some(Versions {
        nodes: u64::try_from(counted("decisions")?).ok()?,
        sum: counted("decision_versions")?,
    })
}

/// Those of the numbers of a graph version that are versions of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Seen {
    /// The story's.
    pub story: i64,
    /// The story's context's.
    pub context: i64,
}

impl Seen {
    /// What a graph version says.
    pub fn of(graph_version: &str) -> Option<Self> {
        /// Behind three pairs of count and sum.
        const CONTEXT: usize = 1 + 2 * SUMS_ONLY;
        let number = |at| graph_version.split('.').nth(at)?.parse().ok();
        Some(Self {
            story: number(0)?,
            context: number(CONTEXT)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet_graph::Versions;

    #[test]
    fn a_version_names_every_count_in_its_place() {
        let versions = |nodes, sum| Versions { nodes, sum };
        let mut digested = Digested {
            root: Some(7),
            paths: vec![
                versions(2, 3),
                versions(1, 4),
                versions(0, 0),
                versions(1, 9),
                versions(5, 5),
            ],
        };
        assert_eq!(
            graph_version(&digested).as_deref(),
            Some("7.2.3.1.4.0.0.9.5")
        );
        let seen = Seen {
            story: 7,
            context: 9,
        };
        assert_eq!(Seen::of("7.2.3.1.4.0.0.9.5"), Some(seen));
        digested.root = None;
        assert_eq!(graph_version(&digested), None);
        assert_eq!(paths().len(), digested.paths.len());
    }
}
