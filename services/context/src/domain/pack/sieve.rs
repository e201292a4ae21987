//! Which rows are candidates, and why the others are not.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::receipt::Points;
use super::score::{Links, by_age, is_of};
use super::select::{Chosen, Detail};
use super::{Assembler, DecisionEdge, Excluded, Reason, RelationKind, Section, StoryGraph};
use crate::domain::{Entity, Item, Key, Scope, Viewer};
use fleet_types::StoryId;

/// Most milestones and phase changes that are told.
const TIMELINE: usize = 10;

/// The first step while it is taken.
pub(super) struct Sieve<'a> {
    pub rules: Assembler<'a>,
    pub viewer: Viewer<'a>,
    pub story: &'a StoryId,
    pub scopes: BTreeSet<Scope>,
    pub excluded: Vec<Excluded>,
    pub sections: BTreeMap<Section, Vec<Chosen>>,
}

/// Rows of the story that were not deleted, by id.
pub(super) fn own<'a>(story: &StoryId, items: &'a [Item]) -> HashMap<&'a str, &'a Item> {
    items
        .iter()
        .filter(|item| item.story() == Some(story) && !item.is_deleted())
        .map(|item| (item.id(), item))
        .collect()
}

/// The items, the newest by `time` first; ties in order of ids.
fn newest_first<'a>(items: impl Iterator<Item = &'a Item>, time: &str) -> Vec<&'a Item> {
    let mut items: Vec<_> = items.collect();
    items.sort_by_cached_key(|item| (Reverse(item.text(time)), item.key()));
    items
}

impl<'a> Sieve<'a> {
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    fn sees(&self, item: &Item) -> bool {
        self.rules.policies.sees(self.viewer, item)
    }

    pub fn out(&mut self, section: Section, item: &Key, reason: Reason, detail: impl Into<String>) {
        self.excluded.push(Excluded {
            section,
            kind: item.entity,
            id: item.id.clone(),
            reason,
            detail: detail.into(),
        });
    }

    /// Refuses a row that the role may not see, or a section that it has no scope for.
    fn admitted(&mut self, section: Section, item: &Item, scoped: bool) -> bool {
        if !self.sees(item) {
            self.out(section, item.key(), Reason::RolePolicy, "");
            return false;
        }
        if !scoped {
            let detail = "not of this role and phase";
            self.out(section, item.key(), Reason::OutOfScope, detail);
        }
        scoped
    }

    fn choose(
        &mut self,
        section: Section,
        item: &Item,
        via: &'static str,
        score: Points,
        detail: Detail,
    ) {
        let chosen = Chosen {
            key: item.key().clone(),
            least: least(item, detail),
            via,
            score,
            detail,
            near: Vec::new(),
        };
        self.put(section, chosen);
    }

    pub fn put(&mut self, section: Section, chosen: Chosen) {
        self.sections.entry(section).or_default().push(chosen);
    }

    /// The tasks other than the asked one; gives those that may be named.
    pub fn tasks(
        &mut self,
        tasks: &HashMap<&'a str, &'a Item>,
        links: &Links<'a>,
        asked: Option<&str>,
    ) -> HashSet<&'a str> {
        let mut named: HashSet<&str> = HashSet::new();
        let by_age = newest_first(tasks.values().copied(), "updated_at");
        for (rank, task) in by_age.into_iter().enumerate() {
            if Some(task.id()) == asked {
                named.insert(task.id());
                continue;
            }
            let direct = links.direct.contains(task.id());
            let section = if direct {
                Section::Dependencies
            } else {
                Section::Tasks
            };
            let of_role = is_of(task, self.viewer.role);
            let full = self.has(Scope::SubtasksAll) || of_role && self.has(Scope::SubtasksRole);
            let min =
                self.has(Scope::SubtasksAllMin) || of_role && self.has(Scope::SubtasksRoleMin);
            // What the asked task waits for belongs to it: without that it cannot be done.
            if !self.admitted(section, task, direct || full || min) {
                continue;
            }
            if task.text("status") == "cancelled" {
                self.out(section, task.key(), Reason::Stale, "cancelled");
                continue;
            }
            named.insert(task.id());
            let score = links.task(task, rank);
            let detail = if direct || full {
                Detail::Full
            } else {
                Detail::Min
            };
            self.choose(section, task, "-HAS_TASK->", score, detail);
        }
        named
    }

    /// Decisions; gives how many of those that stand are relevant to the role.
    pub fn decisions(
        &mut self,
        graph: &'a StoryGraph,
        decisions: &HashMap<&'a str, &'a Item>,
        links: &Links<'a>,
        named: &HashSet<&str>,
    ) -> usize {
        let section = Section::Decisions;
        let rejected: HashSet<&str> = graph
            .reviews
            .iter()
            .filter(|r| r.story() == Some(self.story) && r.text("verdict") == "rejected")
            .map(Item::id)
            .collect();
        let gone = |d: &Item| fallen(d, rejected.contains(d.id()));
        let mut successors: HashMap<&str, &str> = HashMap::new();
        for edge in &graph.edges {
            if edge.kind == RelationKind::Supersedes
                && let Some(new) = decisions.get(edge.from.as_str())
                && let Some(old) = decisions.get(edge.to.as_str())
                && takes_place(new, old, gone(new))
            {
                let successor = successors.entry(old.id()).or_insert(new.id());
                *successor = (*successor).min(new.id());
            }
        }
        let stands = |d: &Item| gone(d).is_none() && !successors.contains_key(d.id());
        let by_age = newest_first(decisions.values().copied(), "created_at");
        let standing: Vec<&Item> = by_age.iter().copied().filter(|d| stands(d)).collect();
        let relevant = links.relevant(&standing);
        let global = self.has(Scope::DecisionsGlobal);
        let role = self.has(Scope::DecisionsRelevantRole);
        let min = self.has(Scope::DecisionsGlobalMin);
        for (rank, decision) in by_age.into_iter().enumerate() {
            let (id, key) = (decision.id(), decision.key());
            if !self.admitted(section, decision, global || role || min) {
                continue;
            }
            if let Some(successor) = successors.get(id) {
                let detail = format!("by {successor}");
                self.out(section, key, Reason::Superseded, detail);
                continue;
            }
            if let Some((reason, detail)) = gone(decision) {
                self.out(section, key, reason, detail);
                continue;
            }
            let of_role = role && relevant.contains(id);
            if !(global || min || of_role) {
                let detail = "has no say in the role's tasks";
                self.out(section, key, Reason::OutOfScope, detail);
                continue;
            }
            let status = decision.text("status");
            let settled = ["APPROVED", "IMPLEMENTED"];
            let settled = settled.iter().any(|s| status.eq_ignore_ascii_case(s));
            let affected = links.affects.get(id).into_iter().flatten();
            let near = affected.filter(|t| named.contains(*t));
            let detail = match global || of_role {
                true => Detail::Full,
                false => Detail::Min,
            };
            let chosen = Chosen {
                key: key.clone(),
                via: "-HAS_DECISION->",
                score: links.decision(decision, settled, rank),
                detail,
                least: least(decision, detail),
                near: near.map(|t| (*t).to_owned()).collect(),
            };
            self.put(section, chosen);
        }
        relevant.len()
    }

    /// Relations between decisions; gives those that were chosen as items, by id.
    pub fn relations(
        &mut self,
        graph: &StoryGraph,
        decisions: &HashMap<&str, &Item>,
    ) -> BTreeMap<String, Item> {
        let section = Section::Relations;
        let chosen = self.sections.get(&Section::Decisions);
        let chosen: HashMap<String, Points> = chosen
            .into_iter()
            .flatten()
            .map(|d| (d.key.id.clone(), d.score))
            .collect();
        let scoped = self.has(Scope::DepsDecisions) || self.has(Scope::DepsRelevant);
        let between = |edge: &&DecisionEdge| edge.kind != RelationKind::Affects;
        let mut edges: Vec<&DecisionEdge> = graph.edges.iter().filter(between).collect();
        edges.sort();
        edges.dedup();
        let mut items = BTreeMap::new();
        for edge in edges {
            let Some(from) = decisions.get(edge.from.as_str()) else {
                continue;
            };
            let item = Item::relation(self.story, &edge.from, edge.kind.as_str(), &edge.to);
            let key = item.key();
            let to = decisions.get(edge.to.as_str());
            if !self.sees(from) || to.is_some_and(|to| !self.sees(to)) {
                self.out(section, key, Reason::RolePolicy, "");
            } else if !self.admitted(section, &item, scoped) {
            } else if to.is_none() {
                let detail = "ends at nothing of this story";
                self.out(section, key, Reason::Stale, detail);
            } else if let Some(score) = chosen.get(&edge.from) {
                let chosen = Chosen {
                    key: key.clone(),
                    via: "-HAS_DECISION->",
                    score: *score,
                    detail: Detail::Full,
                    least: least(&item, Detail::Full),
                    near: vec![edge.from.clone()],
                };
                self.put(section, chosen);
                items.insert(key.id.clone(), item);
            } else {
                let detail = format!("{} is left out", edge.from);
                self.out(section, key, Reason::OutOfScope, detail);
            }
        }
        items
    }

    pub fn plans(&mut self, graph: &StoryGraph) {
        let section = Section::Plan;
        let scoped = self.has(Scope::PlanHeader);
        let mut plans: Vec<_> = own(self.story, &graph.plans).into_values().collect();
        plans.sort_by_key(|plan| (Reverse(plan.number("number")), plan.key()));
        self.only_first(section, &plans, "-HAS_PLAN->", scoped);
    }

    pub fn summaries(&mut self, graph: &StoryGraph) {
        let scoped = self.has(Scope::SummaryLast);
        let summaries = own(self.story, &graph.summaries);
        let newest = newest_first(summaries.into_values(), "created_at");
        self.only_first(Section::Summary, &newest, "-HAS_SUMMARY->", scoped);
    }

    /// Chooses the first of the items that the role may see; it takes the place of the others.
    fn only_first(&mut self, section: Section, items: &[&Item], via: &'static str, scoped: bool) {
        let mut first: Option<&str> = None;
        for item in items {
            if !self.admitted(section, item, scoped) {
                continue;
            }
            match first {
                Some(first) => {
                    let detail = format!("by {first}");
                    self.out(section, item.key(), Reason::Superseded, detail);
                }
                None => {
                    first = Some(item.id());
                    self.choose(section, item, via, by_age(0), Detail::Full);
                }
            }
        }
    }

    pub fn epic(&mut self, graph: &StoryGraph) {
        if let Some(epic) = graph.epic.as_ref().filter(|epic| !epic.is_deleted()) {
            let scoped = self.has(Scope::CaseHeader);
            if self.admitted(Section::Epic, epic, scoped) {
                let via = "<-CONTAINS-";
                self.choose(Section::Epic, epic, via, by_age(0), Detail::Full);
            }
        }
    }

    pub fn timeline(&mut self, graph: &StoryGraph) {
        let section = Section::Timeline;
        let scoped = self.has(Scope::Milestones);
        let happened = own(self.story, &graph.milestones).into_values();
        let steps = own(self.story, &graph.phases).into_values();
        let mut rank = 0;
        for item in newest_first(happened.chain(steps), "at") {
            if !self.admitted(section, item, scoped) {
                continue;
            }
            if rank == TIMELINE {
                let detail = format!("older than the newest {TIMELINE}");
                self.out(section, item.key(), Reason::Stale, detail);
                continue;
            }
            let via = match item.entity() {
                Entity::Phase => "-HAS_PHASE->",
                _ => "-HAS_EVENT->",
            };
            self.choose(section, item, via, by_age(rank), Detail::Full);
            rank += 1;
        }
    }
}

/// Why a decision does not hold any more.
fn fallen(decision: &Item, rejected: bool) -> Option<(Reason, &'static str)> {
    let status = decision.text("status");
    let is = |word: &str| status.eq_ignore_ascii_case(word);
    if is("SUPERSEDED") {
        return Some((Reason::Superseded, ""));
    }
    if is("REJECTED") {
        return Some((Reason::Stale, "rejected"));
    }
    if is("DEPRECATED") {
        return Some((Reason::Stale, "deprecated"));
    }
    rejected.then_some((Reason::Stale, "rejected"))
}

/// Whether a decision takes the place of an older one. Only what is newer can, so there are no
/// circles; what was rejected cannot, nor a mere proposal push out what was settled. (What fell
/// for another reason had taken the place before.)
fn takes_place(new: &Item, old: &Item, new_fell: Option<(Reason, &str)>) -> bool {
    let age = |d: &Item| (d.text("created_at").to_owned(), d.id().to_owned());
    let proposed = |d: &Item| d.text("status").eq_ignore_ascii_case("PROPOSED");
    let rejected = new_fell.is_some_and(|(_, why)| why.starts_with("rejected"));
    age(new) > age(old) && !rejected && (!proposed(new) || proposed(old))
}

/// How many tokens an item takes at the very least, guessed low from what is known of it.
fn least(item: &Item, detail: Detail) -> u32 {
    let stored: u32 = match detail {
        Detail::Full => item
            .counts()
            .iter()
            .fold(0, |sum, (_, n)| sum.saturating_add(*n)),
        Detail::Min => 0,
    };
    // Hardly any text has more than six bytes to a token.
    let heading = (item.id().len() + item.text("title").len()) / 6;
    stored.saturating_add(u32::try_from(heading).unwrap_or(u32::MAX).max(4))
}
