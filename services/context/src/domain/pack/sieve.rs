//! Which rows are candidates, and why the others are not.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use fleet_types::StoryId;

use super::receipt::Points;
use super::score::{Links, by_age};
use super::select::{Chosen, Detail};
use super::table::{Edge, Table};
use super::{Assembler, Excluded, Note, Reason, RelationKind, Section, StoryGraph};
use crate::domain::entity::relation_id;
use crate::domain::{Between, Entity, Item, Key, Scope, Viewer};

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

/// What became of the decisions of a story. All by decision.
pub(super) struct Standing {
    /// Why it does not hold any more.
    fallen: Vec<Option<Gone>>,
    /// What took its place.
    successors: Vec<Option<usize>>,
    /// Whether it stands and has to do with the role.
    relevant: Vec<bool>,
}

impl Standing {
    pub fn of(graph: &StoryGraph, story: &StoryId, links: &Links<'_>) -> Self {
        let decisions = &links.decisions;
        let mut rejected = vec![false; decisions.len()];
        for review in &graph.reviews {
            if review.story() == Some(story)
                && review.text("verdict") == "rejected"
                && let Some(decision) = decisions.place(review.id())
            {
                rejected[decision] = true;
            }
        }
        let fallen = decisions.iter().zip(rejected);
        let fallen: Vec<Option<Gone>> = fallen.map(|(item, no)| fallen_by(item, no)).collect();
        let mut successors: Vec<Option<usize>> = vec![None; decisions.len()];
        for edge in links.edges.iter() {
            if edge.kind == RelationKind::Supersedes
                && let Some(old) = edge.to
                && takes_place(
                    decisions.at(edge.from),
                    decisions.at(old),
                    fallen[edge.from],
                )
            {
                // They are in order: the first one stays.
                successors[old].get_or_insert(edge.from);
            }
        }
        let stands = fallen.iter().zip(&successors);
        let stands = stands.map(|(fallen, successor)| fallen.is_none() && successor.is_none());
        let relevant = links.relevant(&stands.collect::<Vec<_>>());
        Self {
            fallen,
            successors,
            relevant,
        }
    }

    /// How many of those that stand have to do with the role.
    pub fn relevant(&self) -> usize {
        self.relevant.iter().filter(|relevant| **relevant).count()
    }
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

    /// The columns that the role is told of an entity.
    fn told(&self, entity: Entity) -> Vec<&'static str> {
        self.rules
            .policies
            .columns(self.viewer.role, entity)
            .collect()
    }

    pub fn out(&mut self, section: Section, item: &Key, reason: Reason, detail: impl Into<Note>) {
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
        let seen = self.sees(item);
        self.admitted_if(seen, section, item.key(), scoped)
    }

    fn admitted_if(&mut self, seen: bool, section: Section, key: &Key, scoped: bool) -> bool {
        if !seen {
            self.out(section, key, Reason::RolePolicy, "");
            return false;
        }
        if !scoped {
            let detail = "not of this role and phase";
            self.out(section, key, Reason::OutOfScope, detail);
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
            least: least(item, detail, &self.told(item.entity())),
            via,
            score,
            detail,
            place: 0,
            near: Vec::new(),
        };
        self.put(section, chosen);
    }

    pub fn put(&mut self, section: Section, chosen: Chosen) {
        self.sections.entry(section).or_default().push(chosen);
    }

    /// The tasks other than the asked one; says of each whether it may be named.
    pub fn tasks(&mut self, links: &Links<'a>) -> Vec<bool> {
        let mut named = vec![false; links.tasks.len()];
        let by_age = links.tasks.newest_first("updated_at");
        for (rank, place) in by_age.into_iter().enumerate() {
            if links.asked == Some(place) {
                named[place] = true;
                continue;
            }
            let task = links.tasks.at(place);
            let direct = links.direct[place];
            let section = if direct {
                Section::Dependencies
            } else {
                Section::Tasks
            };
            let of_role = links.of_role[place];
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
            named[place] = true;
            let score = links.task(place, rank);
            let detail = if direct || full {
                Detail::Full
            } else {
                Detail::Min
            };
            self.choose(section, task, "-HAS_TASK->", score, detail);
        }
        named
    }

    /// Decisions. Gives by decision its score, if it was chosen.
    pub fn decisions(&mut self, links: &Links<'a>, standing: &Standing) -> Vec<Option<Points>> {
        let section = Section::Decisions;
        let decisions = &links.decisions;
        let Standing {
            fallen,
            successors,
            relevant,
        } = standing;
        let global = self.has(Scope::DecisionsGlobal);
        let role = self.has(Scope::DecisionsRelevantRole);
        let min = self.has(Scope::DecisionsGlobalMin);
        let mut scores = vec![None; decisions.len()];
        let mut candidates = Vec::with_capacity(decisions.len());
        let mut ranks = vec![0; decisions.len()];
        for (rank, place) in decisions.newest_first("created_at").into_iter().enumerate() {
            ranks[place] = rank;
        }
        let told = self.told(Entity::Decision);
        // In order of ids, as all of it is needed in the end.
        for (place, decision) in decisions.iter().enumerate() {
            let key = decision.key();
            if !self.admitted(section, decision, global || role || min) {
                continue;
            }
            if let Some(successor) = successors[place] {
                let successor = decisions.at(successor).key().id.clone();
                let by = Note::new("by ", successor, "");
                self.out(section, key, Reason::Superseded, by);
                continue;
            }
            if let Some((reason, detail)) = fallen[place] {
                self.out(section, key, reason, detail);
                continue;
            }
            let of_role = role && relevant[place];
            if !(global || min || of_role) {
                let detail = "has no say in the role's tasks";
                self.out(section, key, Reason::OutOfScope, detail);
                continue;
            }
            let status = decision.text("status");
            let settled = ["APPROVED", "IMPLEMENTED"];
            let settled = settled.iter().any(|s| status.eq_ignore_ascii_case(s));
            let detail = match global || of_role {
                true => Detail::Full,
                false => Detail::Min,
            };
            let score = links.decision(place, settled, ranks[place]);
            scores[place] = Some(score);
            candidates.push(Chosen {
                key: key.clone(),
                via: "-HAS_DECISION->",
                score,
                detail,
                least: least(decision, detail, &told),
                place,
                near: Vec::new(),
            });
        }
        if !candidates.is_empty() {
            self.sections.insert(section, candidates);
        }
        scores
    }

    /// Relations between decisions. A chosen one has its place among those given back.
    pub fn relations(&mut self, links: &Links<'a>, decided: &[Option<Points>]) -> Vec<Edge<'a>> {
        let section = Section::Relations;
        let scoped = self.has(Scope::DepsDecisions) || self.has(Scope::DepsRelevant);
        let decisions = &links.decisions;
        let seen: Vec<bool> = decisions.iter().map(|d| self.sees(d)).collect();
        let mut chosen = Vec::new();
        for edge in links.edges.iter() {
            if edge.kind == RelationKind::Affects {
                continue;
            }
            let from = &decisions.at(edge.from).key().id;
            let (kind, to) = (edge.kind.as_str(), &edge.ids.to);
            let id = relation_id(from, kind, to);
            let key = Key::new(Entity::Relation, id);
            let relation = Between {
                story: self.story,
                id: &key.id,
                from,
                kind,
                to,
            };
            let may = seen[edge.from]
                && edge.to.is_none_or(|to| seen[to])
                && self.rules.policies.sees_relation(self.viewer, relation);
            if !self.admitted_if(may, section, &key, scoped) {
            } else if edge.to.is_none() {
                let detail = "ends at nothing of this story";
                self.out(section, &key, Reason::Stale, detail);
            } else if let Some(score) = decided[edge.from] {
                let relation = Chosen {
                    least: least_of(&key.id, "", 0),
                    key,
                    via: "-HAS_DECISION->",
                    score,
                    detail: Detail::Full,
                    place: chosen.len(),
                    near: Vec::new(),
                };
                chosen.push(*edge);
                self.put(section, relation);
            } else {
                let left_out = Note::new("", from.clone(), " is left out");
                self.out(section, &key, Reason::OutOfScope, left_out);
            }
        }
        chosen
    }

    pub fn plans(&mut self, graph: &StoryGraph) {
        let section = Section::Plan;
        let scoped = self.has(Scope::PlanHeader);
        let mut plans: Vec<_> = Table::own(self.story, &graph.plans).iter().collect();
        plans.sort_by_key(|plan| (Reverse(plan.number("number")), plan.key()));
        self.only_first(section, &plans, "-HAS_PLAN->", scoped);
    }

    pub fn summaries(&mut self, graph: &StoryGraph) {
        let scoped = self.has(Scope::SummaryLast);
        let summaries = Table::own(self.story, &graph.summaries);
        let newest = newest_first(summaries.iter(), "created_at");
        self.only_first(Section::Summary, &newest, "-HAS_SUMMARY->", scoped);
    }

    /// Chooses the first of the items that the role may see; it takes the place of the others.
    fn only_first(&mut self, section: Section, items: &[&Item], via: &'static str, scoped: bool) {
        let mut first: Option<&Key> = None;
        for item in items {
            if !self.admitted(section, item, scoped) {
                continue;
            }
            match first {
                Some(first) => {
                    let by = Note::new("by ", first.id.clone(), "");
                    self.out(section, item.key(), Reason::Superseded, by);
                }
                None => {
                    first = Some(item.key());
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
        let happened = Table::own(self.story, &graph.milestones);
        let steps = Table::own(self.story, &graph.phases);
        let mut rank = 0;
        for item in newest_first(happened.iter().chain(steps.iter()), "at") {
            if !self.admitted(section, item, scoped) {
                continue;
            }
            if rank == TIMELINE {
                let detail = Note::new("older than the newest ", TIMELINE.to_string(), "");
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

/// Why something does not hold any more.
type Gone = (Reason, &'static str);

/// Why a decision does not hold any more.
fn fallen_by(decision: &Item, rejected: bool) -> Option<Gone> {
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
fn takes_place(new: &Item, old: &Item, new_fell: Option<Gone>) -> bool {
    let age = [new, old].map(|d| (d.text("created_at"), d.id()));
    let proposed = |d: &Item| d.text("status").eq_ignore_ascii_case("PROPOSED");
    let rejected = new_fell.is_some_and(|(_, why)| why.starts_with("rejected"));
    age[0] > age[1] && !rejected && (!proposed(new) || proposed(old))
}

/// How many tokens an item takes at the very least when these columns are told, guessed low from
/// what is known of it.
fn least(item: &Item, detail: Detail, told: &[&str]) -> u32 {
    let counts = item.counts().filter(|(column, _)| told.contains(column));
    let stored = match detail {
        Detail::Full => counts.fold(0, |sum: u32, (_, n)| sum.saturating_add(n)),
        Detail::Min => 0,
    };
    let title = match told.contains(&"title") {
        true => item.text("title"),
        false => "",
    };
    least_of(item.id(), title, stored)
}

fn least_of(id: &str, title: &str, stored: u32) -> u32 {
    // Hardly any text has more than six bytes to a token.
    let heading = (id.len() + title.len()) / 6;
    stored.saturating_add(u32::try_from(heading).unwrap_or(u32::MAX).max(4))
}
