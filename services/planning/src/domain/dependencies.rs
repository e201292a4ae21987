//! Cycles among the tasks of a story.

use std::collections::{BTreeMap, BTreeSet};

use fleet_types::TaskId;

/// A cycle as its path, each task depending on the next and the first repeated at the end;
/// `None` if there is none. Dependencies on tasks that are not keys are ignored. The same
/// graph always gives the same path.
pub fn find_cycle(depends_on: &BTreeMap<&TaskId, &[TaskId]>) -> Option<Vec<TaskId>> {
    let mut finished: BTreeSet<&TaskId> = BTreeSet::new();
    for start in depends_on.keys().copied() {
        if finished.contains(start) {
            continue;
        }
        // The path from `start` to where we are, each with what is left to look at.
        let mut path: Vec<(&TaskId, std::slice::Iter<'_, TaskId>)> = Vec::new();
        let mut on_path: BTreeSet<&TaskId> = BTreeSet::new();
        path.push((start, depends_on[start].iter()));
        on_path.insert(start);
        while let Some((task, rest)) = path.last_mut() {
            let Some(next) = rest.next() else {
                finished.insert(task);
                on_path.remove(*task);
                path.pop();
                continue;
            };
            if on_path.contains(next) {
                let mut cycle: Vec<TaskId> = path
                    .iter()
                    .map(|(task, _)| (*task).clone())
                    .skip_while(|task| task != next)
                    .collect();
                cycle.push(next.clone());
                return Some(cycle);
            }
            if let Some((next, deps)) = depends_on.get_key_value(next)
                && !finished.contains(*next)
            {
                path.push((next, deps.iter()));
                on_path.insert(next);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cycle(edges: &[(&str, &[&str])]) -> Option<Vec<String>> {
        let id = |s: &&str| TaskId::parse(&format!("T-{s}")).unwrap();
        let graph: Vec<(TaskId, Vec<TaskId>)> = edges
            .iter()
            .map(|(t, d)| (id(t), d.iter().map(id).collect()))
            .collect();
        let graph = graph.iter().map(|(t, d)| (t, d.as_slice())).collect();
        find_cycle(&graph).map(|path| path.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn finds_the_path_and_nothing_else() {
        assert_eq!(cycle(&[]), None);
        assert_eq!(
            cycle(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &["gone"])]),
            None
        );
        assert_eq!(cycle(&[("a", &["a"])]).unwrap(), ["T-a", "T-a"]);
        let tail_and_ring =
            cycle(&[("a", &["b"]), ("b", &["c"]), ("c", &["d"]), ("d", &["b"])]).unwrap();
        assert_eq!(tail_and_ring, ["T-b", "T-c", "T-d", "T-b"]);
    }

    #[test]
    fn a_long_chain_needs_no_stack() {
        let ids: Vec<TaskId> = (0..20_000)
            .map(|i| TaskId::parse(&format!("T-{i:05}")).unwrap())
            .collect();
        let next: Vec<Vec<TaskId>> = (0..ids.len())
            .map(|i| ids.get(i + 1).cloned().into_iter().collect())
            .collect();
        let graph = ids
            .iter()
            .zip(&next)
            .map(|(t, d)| (t, d.as_slice()))
            .collect();
        assert_eq!(find_cycle(&graph), None);
    }
}
