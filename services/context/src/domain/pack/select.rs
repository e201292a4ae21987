//! The first step: which items are candidates, in which order, and which of them to read whole.

use std::collections::{BTreeMap, BTreeSet};

use fleet_types::StoryId;

use super::receipt::Points;
use super::score::{Links, mandatory};
use super::sieve::{Sieve, own};
use super::{Ask, Assembler, Excluded, Reason, Refused, Section, StoryGraph};
use crate::domain::{Entity, Item, Key, Scope, Viewer};

/// Most items of one section that are read whole; the rest would not fit anyway.
const MAX_WINDOW: usize = 512;

/// How much of an item is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    /// All that its role may see.
    Full,
    /// Id, title and status.
    Min,
}

/// A candidate that may go in if there is room.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chosen {
    pub key: Key,
    /// How it is reached from the story.
    pub via: &'static str,
    pub score: Points,
    pub detail: Detail,
    /// As many tokens as it surely takes.
    pub least: u32,
    /// Of decisions: the tasks in which they have a say, as far as they may be named. Of
    /// relations: the decision they start at.
    pub near: Vec<String>,
}

/// What the first step found: give it to [`Assembler::assemble`] together with the whole rows
/// of [`Selection::fetch`].
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    pub(super) ask: Ask,
    pub(super) story: StoryId,
    pub(super) budget: u32,
    pub(super) scopes: BTreeSet<Scope>,
    pub(super) head: Vec<Chosen>,
    pub(super) sections: Vec<(Section, Vec<Chosen>)>,
    pub(super) relations: BTreeMap<String, Item>,
    pub(super) excluded: Vec<Excluded>,
    fetch: BTreeSet<Key>,
}

impl Chosen {
    /// How it is reached, as the receipt says it.
    pub fn path(&self, story: &StoryId) -> String {
        match self.near.first() {
            _ if self.via.is_empty() => format!("Story/{story}"),
            // Its id says how it leads from one decision to another.
            Some(from) if self.key.entity == Entity::Relation => {
                let (_, rest) = self.key.id.split_at(from.len().min(self.key.id.len()));
                let (kind, to) = rest.split_once("->").unwrap_or((rest, ""));
                format!(
                    "Story/{story}{}Decision/{from}{kind}->Decision/{to}",
                    self.via
                )
            }
            _ => format!("Story/{story}{}{}", self.via, self.key),
        }
    }
}

impl Selection {
    /// The rows to read whole, in order. A run has the id of its task.
    pub fn fetch(&self) -> impl Iterator<Item = &Key> {
        self.fetch.iter()
    }

    /// The budget that will hold.
    pub fn budget(&self) -> u32 {
        self.budget
    }
}

/// Usual budgets, in tokens.
const BASE_ARCHITECT: usize = 8_192;
const BASE: usize = 4_096;
const MOST_EXTRA: usize = 4_096;
const PER_TASK: usize = 256;
const PER_DECISION: usize = 128;

/// As many tokens as a role usually gets: more the more there is to know.
pub fn usual_budget(role: fleet_types::Role, role_tasks: usize, decisions: usize) -> u32 {
    let base = match role {
        fleet_types::Role::Architect => BASE_ARCHITECT,
        _ => BASE,
    };
    let per_task = role_tasks.saturating_mul(PER_TASK);
    let extra = per_task.saturating_add(decisions.saturating_mul(PER_DECISION));
    u32::try_from(base + extra.min(MOST_EXTRA)).unwrap_or(u32::MAX)
}

impl Assembler<'_> {
    /// Chooses from light rows.
    ///
    /// # Errors
    /// [`Refused`]: no scopes, the story or the task hidden or unknown.
    pub fn select(&self, graph: &StoryGraph, ask: &Ask) -> Result<Selection, Refused> {
        let scopes = self.scopes.of(ask.role, ask.phase)?.clone();
        let story = graph.story.story().ok_or(Refused::StoryGone)?;
        let viewer = Viewer {
            role: ask.role,
            story: Some(story),
        };
        if graph.story.is_deleted() {
            return Err(Refused::StoryGone);
        }
        if !self.policies.sees(viewer, &graph.story) {
            return Err(Refused::StoryHidden { role: ask.role });
        }
        let tasks = own(story, &graph.tasks);
        let decisions = own(story, &graph.decisions);
        let asked = match &ask.task {
            None => None,
            Some(task) => {
                let task = task.clone();
                let Some(item) = tasks.get(task.as_str()).copied() else {
                    return Err(Refused::NoSuchTask { task });
                };
                if !self.policies.sees(viewer, item) {
                    let role = ask.role;
                    return Err(Refused::TaskHidden { role, task });
                }
                Some(item)
            }
        };
        let asked_id = asked.map(Item::id);
        let links = Links::new(graph, &tasks, &decisions, ask.role, asked_id);
        let mut sieve = Sieve {
            rules: *self,
            viewer,
            story,
            scopes,
            excluded: Vec::new(),
            sections: BTreeMap::new(),
        };
        let shown_tasks = sieve.tasks(&tasks, &links, asked_id);
        let relevant = sieve.decisions(graph, &decisions, &links, &shown_tasks);
        let relations = sieve.relations(graph, &decisions);
        sieve.plans(graph);
        sieve.epic(graph);
        sieve.timeline(graph);
        sieve.summaries(graph);
        let mut head = vec![mandatory_item(&graph.story, "")];
        head.extend(asked.map(|task| mandatory_item(task, "-HAS_TASK->")));
        let budget = match ask.budget {
            None | Some(0) => usual_budget(ask.role, links.role_tasks(), relevant),
            Some(budget) => budget,
        };
        Ok(sieve.finish(graph, ask.clone(), budget, head, relations))
    }
}

fn mandatory_item(item: &Item, via: &'static str) -> Chosen {
    Chosen {
        key: item.key().clone(),
        via,
        score: mandatory(),
        detail: Detail::Full,
        least: 0,
        near: Vec::new(),
    }
}

impl Sieve<'_> {
    /// Orders the candidates and says what to read of them.
    fn finish(
        mut self,
        graph: &StoryGraph,
        ask: Ask,
        budget: u32,
        head: Vec<Chosen>,
        relations: BTreeMap<String, Item>,
    ) -> Selection {
        let mut fetch: BTreeSet<Key> = BTreeSet::new();
        let mut sections = Vec::new();
        for (section, mut chosen) in std::mem::take(&mut self.sections) {
            chosen.sort_by(|a, b| {
                let by_score = b.score.total.cmp(&a.score.total);
                by_score.then_with(|| a.key.cmp(&b.key))
            });
            let window = window(&chosen, budget);
            for beyond in chosen.drain(window..) {
                self.excluded.push(Excluded {
                    section,
                    kind: beyond.key.entity,
                    id: beyond.key.id,
                    reason: Reason::Budget,
                    detail: String::new(),
                });
            }
            let read = chosen.iter().filter(|c| c.key.entity != Entity::Relation);
            fetch.extend(read.map(|c| c.key.clone()));
            sections.push((section, chosen));
        }
        fetch.extend(head.iter().map(|c| c.key.clone()));
        // A task is told together with its run.
        let runs = own(self.story, &graph.runs);
        let with_run = fetch
            .iter()
            .filter(|key| key.entity == Entity::Task && runs.contains_key(key.id.as_str()))
            .map(|key| Key::new(Entity::Run, key.id.clone()))
            .collect::<Vec<_>>();
        fetch.extend(with_run);
        Selection {
            ask,
            story: self.story.clone(),
            budget,
            scopes: self.scopes,
            head,
            sections,
            relations,
            excluded: self.excluded,
            fetch,
        }
    }
}

/// How many of the chosen can be of any use: as many as fill the budget alone.
fn window(chosen: &[Chosen], budget: u32) -> usize {
    let mut room = budget;
    let fits = |chosen: &&Chosen| -> bool {
        let fits = room > 0;
        room = room.saturating_sub(chosen.least);
        fits
    };
    chosen.iter().take(MAX_WINDOW).take_while(fits).count()
}
