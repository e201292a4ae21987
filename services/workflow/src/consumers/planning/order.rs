use std::collections::BTreeMap;

use fleet_events::payload::ReleasedTask;
use fleet_types::TaskId;

/// The tasks, each behind everything that builds on it: when a task can be taken up, whoever
/// has to be told of its end is there.
///
/// # Errors
/// A task twice, a dependency that is not among them, or a circle.
pub(super) fn in_release_order(tasks: &[ReleasedTask]) -> Result<Vec<&ReleasedTask>, String> {
    let by_id: BTreeMap<&TaskId, &ReleasedTask> = tasks.iter().map(|t| (&t.task_id, t)).collect();
    if by_id.len() != tasks.len() {
        return Err("a task is released twice in one event".to_owned());
    }
    // How many tasks build on each and are not placed yet.
    let mut waiting: BTreeMap<&TaskId, usize> = by_id.keys().map(|id| (*id, 0)).collect();
    for task in tasks {
        for id in &task.depends_on {
            let Some(n) = waiting.get_mut(id) else {
                return Err(format!(
                    "task {} depends on {id}, which is not released",
                    task.task_id
                ));
            };
            *n += 1;
        }
    }
    let mut free: Vec<&ReleasedTask> = tasks
        .iter()
        .filter(|task| waiting[&task.task_id] == 0)
        .collect();
    let mut ordered = Vec::with_capacity(tasks.len());
    while let Some(task) = free.pop() {
        ordered.push(task);
        for id in &task.depends_on {
            if let Some(n) = waiting.get_mut(id) {
                *n -= 1;
                if *n == 0 {
                    free.push(by_id[id]);
                }
            }
        }
    }
    if ordered.len() < tasks.len() {
        let stuck: Vec<String> = waiting
            .iter()
            .filter(|(_, n)| **n > 0)
            .map(|(id, _)| id.to_string())
            .collect();
        return Err(format!(
            "the tasks depend on each other in a circle: {}",
            stuck.join(", ")
        ));
    }
    Ok(ordered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(name: &str, depends_on: &[&str]) -> ReleasedTask {
        let id = |id: &str| TaskId::parse(id).unwrap();
        ReleasedTask {
            task_id: id(name),
            priority: 1,
            role: None,
            depends_on: depends_on.iter().map(|other| id(other)).collect(),
            title: String::new(),
        }
    }

    fn order(tasks: &[ReleasedTask]) -> Result<Vec<&str>, String> {
        Ok(in_release_order(tasks)?
            .into_iter()
            .map(|task| task.task_id.as_str())
            .collect())
    }

    #[test]
    fn whatever_builds_on_a_task_is_released_before_it() {
        let chain = [
            task("T-a", &[]),
            task("T-b", &["T-a"]),
            task("T-c", &["T-b", "T-a"]),
        ];
        assert_eq!(order(&chain), Ok(vec!["T-c", "T-b", "T-a"]));
    }

    #[test]
    fn what_cannot_be_ordered_is_refused_with_the_tasks() {
        let circle = [
            task("T-a", &["T-b"]),
            task("T-b", &["T-a"]),
            task("T-c", &[]),
        ];
        let said = order(&circle).unwrap_err();
        assert_eq!(said, "the tasks depend on each other in a circle: T-a, T-b");
        let said = order(&[task("T-a", &["T-x"])]).unwrap_err();
        assert_eq!(said, "task T-a depends on T-x, which is not released");
        assert!(order(&[task("T-a", &[]), task("T-a", &[])]).is_err());
    }
}
