//! The second step: from whole rows to the text, within the budget.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::lines::Fragment;
use super::select::Chosen;
use super::{
    Assembler, DecisionEdge, Excluded, Included, Note, Reason, Receipt, Refused, Section,
    Selection, head, render, words,
};
use crate::domain::versions::sha256_hex;
use crate::domain::{Entity, Id, Item, Key, Scope, Tokens, View, Viewer};

/// Whole rows, by key; shared between those who read them at the same version.
pub type WholeRows = BTreeMap<Key, Arc<Item>>;

/// A context as an agent is given it.
#[derive(Debug, Clone, PartialEq)]
pub struct Pack {
    /// Who the agent is and what it is to do.
    pub system: String,
    /// What it has to know.
    pub context: String,
    /// How it may act.
    pub tools: String,
    /// The three under their headings.
    pub text: String,
    /// The tokens of `text`, exactly.
    pub token_count: u32,
    /// The scopes that something was rendered for.
    pub scopes: Vec<Scope>,
    /// SHA-256 of `text`, hex.
    pub hash: String,
    /// What went in, what did not and why.
    pub receipt: Receipt,
}

/// The text while it grows.
struct Body<'a> {
    tokens: &'a dyn Tokens,
    selection: &'a Selection,
    budget: u32,
    used: u32,
    /// Used by what must be said.
    head: u32,
    text: String,
    included: Vec<Included>,
    /// The decisions among them.
    decisions: HashSet<Id>,
    excluded: Vec<Excluded>,
}

impl Assembler<'_> {
    /// Makes the text. `rows` are the whole rows of [`Selection::fetch`]; a row that is not
    /// among them is told to be gone. `graph_version` goes into the receipt as it is.
    ///
    /// # Errors
    /// [`Refused`]: the story or the task is gone, or the budget too small for what must be
    /// said.
    pub fn assemble(
        &self,
        selection: &Selection,
        rows: &WholeRows,
        graph_version: &str,
    ) -> Result<Pack, Refused> {
        let ask = &selection.ask;
        let viewer = Viewer {
            role: ask.role,
            story: Some(&selection.story),
        };
        let look = |key: &Key| {
            let item = rows.get(key)?;
            Some(match key.entity {
                // Its row does not say how it was reached; the first step did.
                Entity::Epic => {
                    let item = Item::clone(item).reached_through(&selection.story);
                    self.policies.view(viewer, &item)
                }
                _ => self.policies.view(viewer, item),
            })
        };
        let run_of = |key: &Key| {
            let run = Key::new(Entity::Run, key.id.clone());
            (key.entity == Entity::Task)
                .then(|| look(&run))
                .flatten()
                .flatten()
        };
        let system = words::system(ask.role, ask.phase, ask.task.is_some());
        let front = format!("# System\n\n{system}\n\n---\n\n# Context\n\n");
        let back = format!("---\n\n# Tools\n\n{}", words::TOOLS);
        let mut body = Body {
            tokens: self.tokens,
            selection,
            budget: selection.budget,
            used: self.tokens.count(&front) + self.tokens.count(&back),
            head: 0,
            text: String::new(),
            included: Vec::new(),
            decisions: HashSet::new(),
            excluded: selection.excluded(),
        };
        for chosen in &selection.head {
            let view = look(&chosen.key).flatten().ok_or(Refused::StoryGone)?;
            let (section, fragment) = match chosen.key.entity {
                Entity::Task => {
                    let run = run_of(&chosen.key);
                    let fragment = head::task(self.tokens, &view, run.as_ref());
                    (Section::Task, fragment)
                }
                _ => (Section::Story, head::story(self.tokens, &view)),
            };
            body.used += fragment.tokens;
            body.text.push_str(&fragment.text);
            body.include(section, chosen, fragment.tokens);
        }
        body.head = body.used;
        if body.used > body.budget {
            return Err(Refused::BudgetTooSmall {
                budget: body.budget,
                needed: body.used,
            });
        }
        let mut said: BTreeMap<Vec<String>, Id> = BTreeMap::new();
        for (section, candidates) in &selection.sections {
            let mut ready: Vec<(&Chosen, Fragment)> = Vec::with_capacity(candidates.len());
            for chosen in candidates {
                let view = match self.visible(selection, viewer, &look, chosen, &body) {
                    Ok(view) => view,
                    Err((reason, detail)) => {
                        body.exclude(*section, &chosen.key, reason, detail);
                        continue;
                    }
                };
                if let Some(content) = content(&view) {
                    let id = &view.key().id;
                    let first = said.entry(content).or_insert_with(|| id.clone());
                    if first != id {
                        let of = Note::new("of ", first.clone(), "");
                        body.exclude(*section, &chosen.key, Reason::Duplicate, of);
                        continue;
                    }
                }
                let run = run_of(&chosen.key);
                let fragment = match section {
                    Section::Dependencies => render::dependency(self.tokens, &view, run.as_ref()),
                    _ => {
                        let near = &chosen.near;
                        render::item(self.tokens, &view, run.as_ref(), chosen.detail, near)
                    }
                };
                ready.push((chosen, fragment));
            }
            body.fill(*section, ready);
        }
        Ok(self.pack(selection, graph_version, body, [system, front, back]))
    }

    /// What is to be seen of a candidate, or why nothing is.
    fn visible(
        &self,
        selection: &Selection,
        viewer: Viewer<'_>,
        look: &dyn Fn(&Key) -> Option<Option<View>>,
        chosen: &Chosen,
        body: &Body<'_>,
    ) -> Result<View, (Reason, &'static str)> {
        let hidden = (Reason::RolePolicy, "");
        let view = if let Some(relation) = selection.relation(chosen) {
            let DecisionEdge { from, kind, to } = relation;
            if !body.decisions.contains(from) {
                return Err((Reason::Budget, "its decision is left out"));
            }
            let item = Item::relation(&selection.story, from, kind.as_str(), to);
            self.policies.view(viewer, &item).ok_or(hidden)?
        } else {
            let gone = (Reason::Stale, "gone");
            look(&chosen.key).ok_or(gone)?.ok_or(hidden)?
        };
        if view.is_emptied() {
            return Err((Reason::Redacted, ""));
        }
        Ok(view)
    }

    fn pack(
        &self,
        selection: &Selection,
        graph_version: &str,
        mut body: Body<'_>,
        [system, front, back]: [String; 3],
    ) -> Pack {
        let text = format!("{front}{}{back}", body.text);
        let hash = sha256_hex(&text);
        let scopes = rendered(&selection.scopes, &body.included);
        body.excluded.sort();
        let items: u32 = body.included.iter().map(|item| item.tokens).sum();
        let receipt = Receipt {
            story: selection.story.clone(),
            ask: selection.ask.clone(),
            budget: selection.budget,
            tokens: body.used,
            frame_tokens: body.used.saturating_sub(items),
            head_tokens: body.head,
            hash: hash.clone(),
            graph_version: graph_version.to_owned(),
            policy_version: self.policies.version().to_owned(),
            scopes_version: self.scopes.version().to_owned(),
            counted_by: self.policies.counted_by(),
            scopes: scopes.clone(),
            included: body.included,
            excluded: body.excluded,
        };
        Pack {
            system,
            context: body.text.trim_end().to_owned(),
            tools: words::TOOLS.to_owned(),
            text,
            token_count: receipt.tokens,
            scopes,
            hash,
            receipt,
        }
    }
}

/// What an item says, for finding others that say the same; `None` if that does not matter.
fn content(view: &View) -> Option<Vec<String>> {
    if view.key().entity != Entity::Decision {
        return None;
    }
    let mut content = vec![
        view.text("title").to_owned(),
        view.text("rationale").to_owned(),
    ];
    content.extend(view.texts("alternatives").into_iter().map(str::to_owned));
    // Of two decisions whose reasons are not to be seen nobody knows that they are the same.
    (!content[1].is_empty()).then_some(content)
}

impl Body<'_> {
    fn include(&mut self, section: Section, chosen: &Chosen, tokens: u32) {
        if chosen.key.entity == Entity::Decision {
            self.decisions.insert(chosen.key.id.clone());
        }
        self.included.push(Included {
            id: chosen.key.id.clone(),
            kind: chosen.key.entity,
            path: chosen.path(self.selection),
            section,
            score: chosen.score.into(),
            tokens,
        });
    }

    fn exclude(&mut self, section: Section, key: &Key, reason: Reason, detail: impl Into<Note>) {
        self.excluded.push(Excluded {
            section,
            kind: key.entity,
            id: key.id.clone(),
            reason,
            detail: detail.into(),
        });
    }

    /// Puts in what fits, in order, whole; says how many more there were, if that fits.
    fn fill(&mut self, section: Section, ready: Vec<(&Chosen, Fragment)>) {
        let heading = format!("{}\n\n", words::heading(section));
        // With its heading, as long as it is not closed by a blank line.
        let mut text = heading.clone();
        let mut tokens = self.tokens.count(&heading);
        let mut closing: i64 = 0;
        let mut any = false;
        for (chosen, fragment) in ready {
            if self.fits(tokens + fragment.tokens, fragment.closing) {
                text.push_str(&fragment.text);
                tokens += fragment.tokens;
                closing = fragment.closing;
                any = true;
                self.include(section, chosen, fragment.tokens);
            } else {
                self.exclude(section, &chosen.key, Reason::Budget, "");
            }
        }
        let left_out = self
            .excluded
            .iter()
            .filter(|item| item.section == section && item.reason == Reason::Budget)
            .count();
        if left_out > 0 {
            let line = words::cut(left_out);
            let with_line = tokens + self.tokens.count(&line);
            if self.fits(with_line, 0) {
                text.push_str(&line);
                (tokens, closing, any) = (with_line, 0, true);
            }
        }
        if any {
            let closed = i64::from(tokens) + closing;
            self.used += u32::try_from(closed).expect("a blank line never takes a whole text away");
            self.text.push_str(&text);
            if !text.ends_with("\n\n") {
                self.text.push('\n');
            }
        }
    }

    /// Whether a section of so many tokens, and so many more when closed, still fits.
    fn fits(&self, tokens: u32, closing: i64) -> bool {
        i64::from(self.used) + i64::from(tokens) + closing <= i64::from(self.budget)
    }
}

/// Which of the pair's scopes have something to show.
fn rendered(scopes: &BTreeSet<Scope>, included: &[Included]) -> Vec<Scope> {
    let sections: BTreeSet<Section> = included.iter().map(|item| item.section).collect();
    let section_of = |scope: &Scope| match scope {
        Scope::CaseHeader => Section::Story,
        Scope::PlanHeader => Section::Plan,
        Scope::SubtasksRole
        | Scope::SubtasksRoleMin
        | Scope::SubtasksAll
        | Scope::SubtasksAllMin => Section::Tasks,
        Scope::DecisionsRelevantRole | Scope::DecisionsGlobal | Scope::DecisionsGlobalMin => {
            Section::Decisions
        }
        Scope::DepsRelevant | Scope::DepsDecisions => Section::Relations,
        Scope::Milestones => Section::Timeline,
        Scope::SummaryLast => Section::Summary,
    };
    let shows = |scope: &&Scope| sections.contains(&section_of(scope));
    scopes.iter().filter(shows).copied().collect()
}
