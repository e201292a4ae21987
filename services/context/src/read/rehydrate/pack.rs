//! What one role gets: chosen from light rows, filled from whole ones.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use fleet_proto::context::v1 as pb;
use fleet_service::{Fault, Reason};
use fleet_types::{Role, StoryId, Timestamp};

use crate::app::App;
use crate::domain::pack::{RelationKind, StoryGraph, story_budget};
use crate::domain::{Item, Key, View, Viewer};
use crate::read::show;
use crate::read::story::Told;

/// Decisions that stand in when none has to do with the tasks.
const NEWEST: usize = 10;
/// Most decisions of one pack; more are left out, which is told.
const MOST_DECISIONS: usize = 500;

/// What a caller wants besides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wishes {
    /// So many milestones, if any.
    pub timeline: Option<usize>,
    /// The last summary.
    pub summary: bool,
}

/// What a role is to get of a story.
pub(super) struct Choice {
    pub role: Role,
    story: StoryId,
    plan: Option<Key>,
    tasks: Vec<Key>,
    decisions: Vec<Key>,
    milestones: Vec<Key>,
    summary: Option<Key>,
    /// Decision → relation → other decision, all of which the role may see.
    relations: Vec<pb::DecisionRelation>,
    /// Decision → those of its tasks that the role may see.
    affects: BTreeMap<String, BTreeSet<String>>,
    /// Tasks of the story that the role may see, and how many of them are done.
    totals: (usize, usize),
    budget: u32,
    /// Decisions that did not go in.
    left_out: usize,
    story_key: Key,
}

/// Roles that answer for the whole story.
fn sees_all_tasks(role: Role) -> bool {
    matches!(role, Role::Architect | Role::Qa | Role::Po)
}

/// Whether a task needs no more work.
fn is_done(status: &str) -> bool {
    matches!(status, "done" | "completed")
}

struct Seen<'a> {
    app: &'a App,
    viewer: Viewer<'a>,
}

impl Seen<'_> {
    /// What the role may see of rows, by id.
    fn views(&self, items: &[Item]) -> BTreeMap<String, View> {
        let own = items
            .iter()
            .filter(|item| item.story() == self.viewer.story);
        own.filter_map(|item| self.app.policies.view(self.viewer, item))
            .map(|view| (view.id().to_owned(), view))
            .collect()
    }

    /// Likewise, the newest by `time` first; ties in order of ids.
    fn newest(&self, items: &[Item], time: &str) -> Vec<View> {
        let mut views: Vec<View> = self.views(items).into_values().collect();
        views.sort_by(|a, b| {
            let by_time = b.text(time).cmp(a.text(time));
            by_time.then_with(|| a.id().cmp(b.id()))
        });
        views
    }
}

impl Choice {
    /// Chooses.
    ///
    /// # Errors
    /// [`Fault::Denied`] if the role may not see the story.
    pub fn of(
        app: &App,
        graph: &StoryGraph,
        story: &StoryId,
        role: Role,
        wishes: Wishes,
    ) -> Result<Self, Fault> {
        let viewer = Viewer {
            role,
            story: Some(story),
        };
        let seen = Seen { app, viewer };
        if app.policies.view(viewer, &graph.story).is_none() {
            let message = format!("{role} may not see story {story}");
            return Err(Fault::denied(Reason::RoleNotAllowed, message));
        }
        let all_tasks = seen.views(&graph.tasks);
        let runs = seen.views(&graph.runs);
        let done = all_tasks.iter().filter(|(id, task)| {
            let run = runs.get(*id).map_or("", |run| run.text("state"));
            is_done(if run.is_empty() {
                task.text("status")
            } else {
                run
            })
        });
        let totals = (all_tasks.len(), done.count());
        let of_role = |task: &&View| task.text("role").eq_ignore_ascii_case(role.as_str());
        let mut tasks: Vec<&View> = all_tasks
            .values()
            .filter(|task| sees_all_tasks(role) || of_role(task))
            .collect();
        tasks.sort_by_key(|task| (task.number("priority").unwrap_or(i64::MAX), task.id()));
        let chosen_tasks: BTreeSet<&str> = tasks.iter().map(|task| task.id()).collect();

        let decisions = seen.newest(&graph.decisions, "created_at");
        let known: BTreeSet<&str> = decisions.iter().map(View::id).collect();
        let mut affects: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for edge in &graph.edges {
            let shown =
                known.contains(edge.from.as_str()) && all_tasks.contains_key(edge.to.as_str());
            if edge.kind == RelationKind::Affects && shown {
                let of = affects.entry(edge.from.to_string()).or_default();
                of.insert(edge.to.to_string());
            }
        }
        let has_a_say = |decision: &&View| {
            let mut tasks = affects.get(decision.id()).into_iter().flatten();
            tasks.any(|task| chosen_tasks.contains(task.as_str()))
        };
        let mut relevant: Vec<&View> = decisions.iter().filter(has_a_say).collect();
        if relevant.is_empty() {
            relevant = decisions.iter().take(NEWEST).collect();
        }
        let left_out = relevant.len().saturating_sub(MOST_DECISIONS);
        relevant.truncate(MOST_DECISIONS);
        let relations = relations(app, viewer, story, graph, &relevant, &known);

        let mut milestones = match wishes.timeline {
            Some(most) => {
                let mut newest = seen.newest(&graph.milestones, "at");
                newest.truncate(most);
                newest
            }
            None => Vec::new(),
        };
        milestones.reverse();
        let summary = wishes
            .summary
            .then(|| {
                seen.newest(&graph.summaries, "created_at")
                    .into_iter()
                    .next()
            })
            .flatten();
        let plans = seen.views(&graph.plans).into_values();
        let plan = plans.max_by_key(|plan| (plan.number("number"), Reverse(plan.id().to_owned())));
        let keys = |views: Vec<&View>| views.into_iter().map(|v| v.key().clone()).collect();
        Ok(Self {
            role,
            story: story.clone(),
            plan: plan.map(|plan| plan.key().clone()),
            decisions: keys(relevant),
            tasks: keys(tasks),
            milestones: milestones.iter().map(|m| m.key().clone()).collect(),
            summary: summary.map(|summary| summary.key().clone()),
            relations,
            affects,
            totals,
            budget: story_budget(graph, story, role),
            left_out,
            story_key: graph.story.key().clone(),
        })
    }

    /// The rows to read whole.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.story_key)
            .chain(&self.plan)
            .chain(&self.tasks)
            .chain(&self.decisions)
            .chain(&self.milestones)
            .chain(&self.summary)
    }

    /// The pack. Rows that are not there are left out; whoever read them says so.
    pub fn pack(
        &self,
        app: &App,
        told: &Told<Vec<Self>>,
        phase: &str,
        warnings: &mut Vec<String>,
    ) -> pb::RoleContextPack {
        let viewer = Viewer {
            role: self.role,
            story: Some(&self.story),
        };
        let whole = |key: &Key| -> Option<View> { app.policies.view(viewer, told.whole.get(key)?) };
        let runs = Seen { app, viewer }.views(&told.graph.runs);
        let tasks: Vec<View> = self.tasks.iter().filter_map(whole).collect();
        let titles: BTreeMap<&str, &str> = tasks
            .iter()
            .map(|task| (task.id(), task.text("title")))
            .collect();
        let decisions: Vec<View> = self.decisions.iter().filter_map(whole).collect();
        let told_of: BTreeSet<&str> = decisions.iter().map(View::id).collect();
        let mut impacted = Vec::new();
        for decision in &decisions {
            for task in self.affects.get(decision.id()).into_iter().flatten() {
                if let Some(title) = titles.get(task.as_str()) {
                    impacted.push(pb::ImpactedSubtask {
                        decision_id: decision.id().to_owned(),
                        subtask_id: task.clone(),
                        title: (*title).to_owned(),
                    });
                }
            }
        }
        if self.left_out > 0 {
            let (role, more) = (self.role, self.left_out);
            warnings.push(format!("{role}: {more} older decisions are left out"));
        }
        let affects = |decision: &View| {
            let of = self.affects.get(decision.id()).into_iter().flatten();
            of.cloned().collect()
        };
        pb::RoleContextPack {
            role: self.role.to_string(),
            case_header: whole(&self.story_key).map(|story| show::header(&story, phase)),
            plan_header: self
                .plan
                .as_ref()
                .and_then(whole)
                .map(|plan| self.plan_header(&plan)),
            subtasks: tasks
                .iter()
                .map(|task| show::subtask(task, runs.get(task.id())))
                .collect(),
            decision_deps: self
                .relations
                .iter()
                .filter(|r| told_of.contains(&*r.src_id))
                .cloned()
                .collect(),
            decisions: decisions
                .iter()
                .map(|d| show::decision(d, self.story.as_str(), affects(d)))
                .collect(),
            impacted,
            milestones: self
                .milestones
                .iter()
                .filter_map(whole)
                .map(|milestone| milestone_of(&milestone))
                .collect(),
            last_summary: self
                .summary
                .as_ref()
                .and_then(whole)
                .map(|summary| summary.text("text").to_owned())
                .unwrap_or_default(),
            token_budget_hint: i32::try_from(self.budget).unwrap_or(i32::MAX),
        }
    }

    fn plan_header(&self, plan: &View) -> pb::PlanHeader {
        let (total, done) = self.totals;
        let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        pb::PlanHeader {
            plan_id: plan.id().to_owned(),
            version: plan
                .number("number")
                .map_or(0, |n| i32::try_from(n).unwrap_or(i32::MAX)),
            // A plan is stored when it is approved, and never changes.
            status: "APPROVED".to_owned(),
            total_subtasks: count(total),
            completed_subtasks: count(done),
            rationale: plan.text("comment").to_owned(),
        }
    }
}

/// Relations that start at the chosen decisions and end at one that the role may see.
fn relations(
    app: &App,
    viewer: Viewer<'_>,
    story: &StoryId,
    graph: &StoryGraph,
    chosen: &[&View],
    known: &BTreeSet<&str>,
) -> Vec<pb::DecisionRelation> {
    let place: BTreeMap<&str, usize> = chosen
        .iter()
        .enumerate()
        .map(|(at, d)| (d.id(), at))
        .collect();
    let mut found: Vec<_> = graph
        .edges
        .iter()
        .filter(|edge| edge.kind != RelationKind::Affects && known.contains(edge.to.as_str()))
        .filter_map(|edge| {
            let at = *place.get(edge.from.as_str())?;
            let kind = edge.kind.as_str();
            let item = Item::relation(story, &edge.from, kind, &edge.to);
            let seen = app.policies.sees(viewer, &item);
            seen.then_some((at, kind, &edge.to, &edge.from))
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found
        .into_iter()
        .map(|(_, kind, to, from)| pb::DecisionRelation {
            src_id: from.to_string(),
            dst_id: to.to_string(),
            relation_type: kind.to_owned(),
        })
        .collect()
}

fn milestone_of(view: &View) -> pb::Milestone {
    let actor = match view.text("actor") {
        "" => view.text("actor_role"),
        actor => actor,
    };
    pb::Milestone {
        event_type: view.text("event_type").to_owned(),
        description: view.text("description").to_owned(),
        ts_ms: Timestamp::parse(view.text("at")).map_or(0, Timestamp::millis),
        actor: actor.to_owned(),
        id: view.id().to_owned(),
    }
}
