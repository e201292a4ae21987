//! The first step: which items are candidates, in which order, and which of them to read whole.

use std::collections::{BTreeMap, BTreeSet};

use fleet_types::StoryId;

use super::receipt::Points;
use super::score::{Links, mandatory};
use super::sieve::{Sieve, Standing};
use super::table::{Edge, Table};
use super::{
    Ask, Assembler, DecisionEdge, Excluded, Note, Reason, Refused, RelationKind, Section,
    StoryGraph,
};
use crate::domain::{Entity, Id, Item, Key, Scope, Viewer};

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
    /// Of decisions: among all of the story. Of relations: among those that were chosen.
    pub place: usize,
    /// Of decisions that are read whole: the tasks in which they have a say, as far as they may
    /// be named.
    pub near: Vec<Id>,
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
    /// The chosen relations, by place.
    pub(super) relations: Vec<DecisionEdge>,
    pub(super) excluded: Vec<Excluded>,
    fetch: BTreeSet<Key>,
}

impl Chosen {
    /// How it is reached, as the receipt says it.
    pub fn path(&self, selection: &Selection) -> String {
        let (story, via) = (&selection.story, self.via);
        match selection.relation(self) {
            _ if via.is_empty() => format!("Story/{story}"),
            Some(DecisionEdge { from, kind, to }) => {
                format!("Story/{story}{via}Decision/{from}-{kind}->Decision/{to}")
            }
            None => format!("Story/{story}{via}{}", self.key),
        }
    }
}

impl Selection {
    /// The relation that a candidate is, if it is one.
    pub(super) fn relation(&self, chosen: &Chosen) -> Option<&DecisionEdge> {
        let is_relation = chosen.key.entity == Entity::Relation;
        is_relation.then(|| &self.relations[chosen.place])
    }

    /// The rows to read whole, in order. A run has the id of its task.
    pub fn fetch(&self) -> impl Iterator<Item = &Key> {
        self.fetch.iter()
    }

    /// What was left out so far, with room for all that was not.
    pub(super) fn excluded(&self) -> Vec<Excluded> {
        let chosen: usize = self.sections.iter().map(|(_, chosen)| chosen.len()).sum();
        let mut excluded = Vec::with_capacity(self.excluded.len() + chosen);
        excluded.extend_from_slice(&self.excluded);
        excluded
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

/// The budget of a role that names none and asks about the story as a whole.
pub fn story_budget(graph: &StoryGraph, story: &StoryId, role: fleet_types::Role) -> u32 {
    let tasks = Table::own(story, &graph.tasks);
    let decisions = Table::own(story, &graph.decisions);
    let links = Links::new(graph, tasks, decisions, role, None);
    let relevant = Standing::of(graph, story, &links).relevant();
    usual_budget(role, links.role_tasks(), relevant)
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
        let tasks = Table::own(story, &graph.tasks);
        let asked = match &ask.task {
            None => None,
            Some(task) => {
                let task = task.clone();
                let Some(place) = tasks.place(task.as_str()) else {
                    return Err(Refused::NoSuchTask { task });
                };
                if !self.policies.sees(viewer, tasks.at(place)) {
                    let role = ask.role;
                    return Err(Refused::TaskHidden { role, task });
                }
                Some(place)
            }
        };
        let decisions = Table::own(story, &graph.decisions);
        let links = Links::new(graph, tasks, decisions, ask.role, asked);
        let standing = Standing::of(graph, story, &links);
        let mut sieve = Sieve {
            rules: *self,
            viewer,
            story,
            scopes,
            // Hardly anything but decisions and their relations is many.
            excluded: Vec::with_capacity(links.decisions.len() + graph.edges.len()),
            sections: BTreeMap::new(),
        };
        let named = sieve.tasks(&links);
        let decided = sieve.decisions(&links, &standing);
        let relations = sieve.relations(&links, &decided);
        sieve.plans(graph);
        sieve.epic(graph);
        sieve.timeline(graph);
        sieve.summaries(graph);
        let asked = asked.map(|place| links.tasks.at(place));
        let mut head = vec![mandatory_item(&graph.story, "")];
        head.extend(asked.map(|task| mandatory_item(task, "-HAS_TASK->")));
        let budget = match ask.budget {
            None | Some(0) => usual_budget(ask.role, links.role_tasks(), standing.relevant()),
            Some(budget) => budget,
        };
        let found = Found {
            links,
            named,
            relations,
        };
        Ok(sieve.finish(graph, ask.clone(), budget, head, &found))
    }
}

/// What is known of the candidates beside their scores.
struct Found<'a> {
    links: Links<'a>,
    /// By task: whether it may be named.
    named: Vec<bool>,
    /// The chosen relations, by place.
    relations: Vec<Edge<'a>>,
}

impl Found<'_> {
    /// What goes with a candidate, see [`Chosen::near`].
    fn near(&self, chosen: &Chosen) -> Vec<Id> {
        if chosen.key.entity != Entity::Decision {
            return Vec::new();
        }
        let links = &self.links;
        let tasks = links.edges.ends(chosen.place, RelationKind::Affects);
        let named = tasks.filter(|task| self.named[*task]);
        let ids = named.map(|task| links.tasks.at(task).key().id.clone());
        ids.collect()
    }
}

fn mandatory_item(item: &Item, via: &'static str) -> Chosen {
    Chosen {
        key: item.key().clone(),
        via,
        score: mandatory(),
        detail: Detail::Full,
        least: 0,
        place: 0,
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
        found: &Found<'_>,
    ) -> Selection {
        let mut fetch: BTreeSet<Key> = BTreeSet::new();
        let mut sections = Vec::new();
        for (section, candidates) in std::mem::take(&mut self.sections) {
            let (mut chosen, beyond) = divide(candidates, budget);
            self.excluded
                .extend(beyond.into_iter().map(|beyond| Excluded {
                    section,
                    kind: beyond.key.entity,
                    id: beyond.key.id,
                    reason: Reason::Budget,
                    detail: Note::default(),
                }));
            for chosen in &mut chosen {
                chosen.near = found.near(chosen);
                if chosen.key.entity != Entity::Relation {
                    fetch.insert(chosen.key.clone());
                }
            }
            sections.push((section, chosen));
        }
        fetch.extend(head.iter().map(|c| c.key.clone()));
        // A task is told together with its run.
        let runs = Table::own(self.story, &graph.runs);
        let with_run = fetch
            .iter()
            .filter(|key| key.entity == Entity::Task && runs.place(&key.id).is_some())
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
            relations: found.relations.iter().map(|r| r.ids.clone()).collect(),
            excluded: self.excluded,
            fetch,
        }
    }
}

/// Those that can be of any use, as many as fill the budget alone, the most relevant first; and
/// the others, as they came.
fn divide(candidates: Vec<Chosen>, budget: u32) -> (Vec<Chosen>, Vec<Chosen>) {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_unstable_by(|a, b| {
        let (a, b) = (&candidates[*a], &candidates[*b]);
        let by_score = b.score.total.cmp(&a.score.total);
        by_score.then_with(|| a.key.cmp(&b.key))
    });
    let mut room = budget;
    let fits = |at: &&usize| -> bool {
        let fits = room > 0;
        room = room.saturating_sub(candidates[**at].least);
        fits
    };
    let window = order.iter().take(MAX_WINDOW).take_while(fits).count();
    order.truncate(window);
    let mut places = vec![None; candidates.len()];
    for (place, at) in order.into_iter().enumerate() {
        places[at] = Some(place);
    }
    let (mut chosen, mut beyond) = (Vec::with_capacity(window), Vec::new());
    for (candidate, place) in candidates.into_iter().zip(places) {
        match place {
            Some(place) => chosen.push((place, candidate)),
            None => beyond.push(candidate),
        }
    }
    chosen.sort_unstable_by_key(|(place, _)| *place);
    (
        chosen.into_iter().map(|(_, chosen)| chosen).collect(),
        beyond,
    )
}
