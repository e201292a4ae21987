//! Stories written straight into the store, as their owners write them, without any event: so
//! nothing moves but what a test moves.

use fleet_context::rows::DecisionRow;
use fleet_graph::{Commit, EdgeType, Label, NodeKey, Owner, Props, Store};
use fleet_service::{SystemClock, SystemIds};
use fleet_types::{Clock as _, Ids as _};
use serde_json::{Value, json};

use crate::world::soon;

/// A story on its way into a store.
pub struct Seed<'a> {
    store: &'a dyn Store,
    pub story: String,
    /// Changes of the context so far.
    version: i64,
}

pub fn props(value: Value) -> Props {
    match value {
        Value::Object(map) => map,
        other => panic!("{other} is no object"),
    }
}

fn commit(owner: Owner) -> Commit {
    Commit::new(SystemIds.uuid(), owner, SystemClock.now())
}

pub fn at(n: usize) -> String {
    format!(
        "2026-01-{:02}T{:02}:{:02}:{:02}.000Z",
        1 + n / 86_400,
        n / 3_600 % 24,
        n / 60 % 60,
        n % 60
    )
}

pub fn key(label: Label, id: impl Into<String>) -> NodeKey {
    NodeKey::new(label, id)
}

impl<'a> Seed<'a> {
    /// A story whose context nobody has opened yet.
    pub async fn bare(store: &'a dyn Store, id: &str) -> Seed<'a> {
        let mut planning = commit(Owner::Planning);
        let row = json!({
            "story_id": id, "title": format!("Title of {id}"), "brief": "Who wants what, and why",
            "state": "IN_PROGRESS", "acceptance_criteria": ["it works", "it is fast"],
            "constraints": ["no downtime"], "repository": "https://git.example/repo",
            "base_branch": "main", "dor_score": 90, "created_by": "ana", "created_at": at(0),
            "updated_at": at(1), "execution": 1, "history": 1, "plans": 0, "tasks_rev": 0,
            "tasks": 0, "dependencies": 0,
        });
        planning.create(key(Label::Story, id), at(0), props(row));
        store.commit(&planning, soon()).await.unwrap();
        Self {
            store,
            story: id.to_owned(),
            version: 0,
        }
    }

    /// A story with its context, in DESIGN; its row counts nothing, as old ones do.
    pub async fn story(store: &'a dyn Store, id: &str) -> Seed<'a> {
        let bare = Self::bare(store, id).await;
        let mut context = commit(Owner::Context);
        let row = json!({
            "story_id": id, "phase": "DESIGN", "phase_seq": 0, "phase_since": at(0),
            "created_at": at(0), "updated_at": at(0), "last_hash": "",
        });
        context
            .create(key(Label::StoryContext, id), at(0), props(row))
            .relate(
                key(Label::Story, id),
                EdgeType::HasContext,
                key(Label::StoryContext, id),
            );
        store.commit(&context, soon()).await.unwrap();
        Self { version: 1, ..bare }
    }

    fn key(&self) -> NodeKey {
        key(Label::Story, &self.story)
    }

    pub async fn task(&self, id: &str, role: &str, depends_on: &[&str]) {
        let row = json!({
            "task_id": id, "story_id": self.story, "title": format!("Title of {id}"),
            "description": format!("What to do in {id}"), "type": "development", "status": "todo",
            "assigned_to": "", "estimated_hours": 2, "priority": 1, "role": role,
            "acceptance_criteria": [format!("{id} is done")], "depends_on": depends_on,
            "created_at": at(2), "updated_at": at(2),
        });
        let mut commit = commit(Owner::Planning);
        commit
            .create(key(Label::Task, id), at(2), props(row))
            .relate(self.key(), EdgeType::HasTask, key(Label::Task, id));
        for other in depends_on {
            commit.relate(
                key(Label::Task, id),
                EdgeType::DependsOn,
                key(Label::Task, *other),
            );
        }
        self.store.commit(&commit, soon()).await.unwrap();
    }

    pub async fn run(&self, task: &str, row: Value) {
        let mut full = json!({
            "task_id": task, "story_id": self.story, "execution": 1, "state": "done",
            "updated_at": at(3),
        });
        merge(&mut full, row);
        let mut commit = commit(Owner::Workflow);
        commit
            .create(key(Label::TaskRun, task), at(3), props(full))
            .relate(
                key(Label::Task, task),
                EdgeType::HasRun,
                key(Label::TaskRun, task),
            );
        self.store.commit(&commit, soon()).await.unwrap();
    }

    pub async fn plan(&self, id: &str, number: i64, comment: &str) {
        let row = json!({
            "plan_id": id, "story_id": self.story, "number": number, "title": "The plan",
            "description": "What the plan is", "roles": ["developer"], "approved_by": "pia",
            "comment": comment, "approved_at": at(4),
        });
        let mut commit = commit(Owner::Planning);
        commit
            .create(
                key(Label::PlanVersion, id),
                format!("{number:012}"),
                props(row),
            )
            .relate(self.key(), EdgeType::HasPlan, key(Label::PlanVersion, id));
        self.store.commit(&commit, soon()).await.unwrap();
    }

    /// A change of the context: what `fill` writes, and the count of it.
    pub fn change(&self, fill: impl FnOnce(&mut Commit)) -> Commit {
        let mut commit = commit(Owner::Context);
        let row = json!({
            "story_id": self.story, "phase": "DESIGN", "phase_seq": 0, "phase_since": at(0),
            "created_at": at(0), "updated_at": at(5), "last_hash": "",
        });
        let own = key(Label::StoryContext, &self.story);
        commit.update(own, self.version, at(0), props(row));
        fill(&mut commit);
        commit
    }

    pub async fn apply(&mut self, fill: impl FnOnce(&mut Commit)) {
        let commit = self.change(fill);
        self.store.commit(&commit, soon()).await.unwrap();
        self.version += 1;
    }

    /// Says that somebody else changed the context once.
    pub fn moved(&mut self) {
        self.version += 1;
    }

    pub fn put_decision(&self, commit: &mut Commit, id: &str, n: usize, row: Value) {
        let mut full = json!({
            "decision_id": id, "story_id": self.story, "title": format!("Title of {id}"),
            "rationale": format!("Why {id}"), "status": "APPROVED",
            "decision_type": "ARCHITECTURE", "alternatives": ["do nothing"],
            "author_role": "architect", "author_agent": "arch-1", "task_id": "",
            "created_at": at(100 + n), "updated_at": at(100 + n), "changed_by_role": "",
            "change_reason": "", "stated_at": "", "content_hash": "",
        });
        merge(&mut full, row);
        let ord = format!("{}|{id}", at(100 + n));
        commit
            .create(key(Label::Decision, id), ord, lit(props(full)))
            .relate(self.key(), EdgeType::HasDecision, key(Label::Decision, id));
    }

    pub async fn decision(&mut self, id: &str, n: usize, row: Value) {
        let mut commit = self.change(|_| {});
        self.put_decision(&mut commit, id, n, row);
        self.store.commit(&commit, soon()).await.unwrap();
        self.version += 1;
    }

    pub async fn relate(&mut self, from: &str, kind: EdgeType, to: NodeKey) {
        let from = key(Label::Decision, from);
        let found = self.store.get(std::slice::from_ref(&from), soon()).await;
        let mut node = found.unwrap().remove(0).unwrap();
        let list = match kind {
            EdgeType::Affects => "affects",
            EdgeType::DependsOn => "depends_on",
            EdgeType::Supersedes => "supersedes",
            EdgeType::AlternativeOf => "alternative_of",
            other => panic!("{other:?} starts at no decision"),
        };
        let listed = node.props.entry(list).or_insert_with(|| json!([]));
        listed.as_array_mut().unwrap().push(to.id().into());
        let props = lit(node.props);
        self.apply(|commit| {
            commit
                .update(from.clone(), node.version, node.ord, props)
                .relate(from, kind, to);
        })
        .await;
    }

    pub async fn milestone(&mut self, id: &str, n: usize, description: &str) {
        let own = format!("{}/{id}", self.story);
        let row = json!({
            "event_id": id, "story_id": self.story, "event_type": "plan_approved",
            "description": description, "actor": "pia", "actor_role": "po", "task_id": "",
            "at": at(200 + n), "updated_at": at(200 + n),
        });
        let story = self.key();
        self.apply(|commit| {
            commit
                .create(key(Label::Event, &own), at(200 + n), props(row))
                .relate(story, EdgeType::HasEvent, key(Label::Event, &own));
        })
        .await;
    }

    pub async fn summary(&mut self, id: &str, n: usize, text: &str) {
        let own = format!("{}/{id}", self.story);
        let row = json!({
            "summary_id": id, "story_id": self.story, "text": text, "author_role": "qa",
            "author_agent": "qa-1", "created_at": at(300 + n), "updated_at": at(300 + n),
        });
        let story = self.key();
        self.apply(|commit| {
            commit
                .create(key(Label::Summary, &own), at(300 + n), props(row))
                .relate(story, EdgeType::HasSummary, key(Label::Summary, &own));
        })
        .await;
    }
}

/// With the light text that belongs to a decision; what is none has none.
pub fn lit(mut props: Props) -> Props {
    props.remove("light");
    if let Ok(row) = serde_json::from_value::<DecisionRow>(Value::Object(props.clone())) {
        props.insert("light".to_owned(), row.lightly().into());
    }
    props
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}
