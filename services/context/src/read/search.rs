//! SearchDecisions: decisions and tasks by their words.
//!
//! A hit counts only with what the role may see of it, redacted: nobody finds out by searching
//! what he is not shown. So the store is asked for all that it weighs, whatever is wanted, and
//! what may not be seen is gone before anything is counted or cut. A row that cannot be read is
//! named only to who would see every word of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use fleet_graph::{
    Deadline, Direction, EdgeType, Hits, Label, MAX_HITS, MAX_TERMS, Node, NodeKey, Props, Search,
    SearchIndex, Step, Subgraph, Walk, terms, weight,
};
use fleet_proto::context::v1 as pb;
use fleet_service::{Call, Fault, Reason};
use fleet_types::{Role, StoryId, Violations};

use super::items::{self, Corrupt};
use super::left_out::LeftOut;
use super::show;
use crate::app::{App, caller};
use crate::domain::{Item, View, Viewer};
use crate::rows;

const USUAL: usize = 20;
const MOST: i32 = 100;
/// Longest query, in bytes.
const MOST_QUERY: usize = 2_048;
/// Tasks of one decision that are named in a hit.
const MOST_AFFECTED: usize = 5_000;

struct Asked {
    words: Vec<String>,
    story: Option<StoryId>,
    role: Option<Role>,
    limit: usize,
}

fn parse(request: &pb::SearchDecisionsRequest) -> Result<Asked, Fault> {
    let mut v = Violations::new();
    let mut words: Vec<String> = Vec::new();
    if request.query.len() > MOST_QUERY {
        v.add("query", format!("has more than {MOST_QUERY} bytes"));
    } else {
        for word in terms(&request.query).filter(|word| !word.is_empty()) {
            if !words.contains(&word) {
                words.push(word);
            }
        }
        if words.is_empty() {
            v.add("query", "has no word: letters or digits");
        } else if words.len() > MAX_TERMS {
            v.add(
                "query",
                format!("has {} words; at most {MAX_TERMS}", words.len()),
            );
        }
    }
    let story: Option<StoryId> = v.parse_optional("story_id", &request.story_id);
    let role = caller::named(&mut v, "role", &request.role);
    let limit = match request.limit {
        0 => USUAL,
        n if (1..=MOST).contains(&n) => n as usize,
        n => {
            v.add("limit", format!("{n} is not 1 to {MOST}"));
            USUAL
        }
    };
    v.into_result()?;
    Ok(Asked {
        words,
        story,
        role,
        limit,
    })
}

/// Finds decisions and tasks.
///
/// # Errors
/// See the contract.
pub async fn search_decisions(
    app: &Arc<App>,
    call: &Call,
    request: pb::SearchDecisionsRequest,
) -> Result<pb::SearchDecisionsResponse, Fault> {
    let asked = parse(&request)?;
    let role = caller::viewer(call, asked.role)?;
    let viewer = Viewer {
        role,
        story: asked.story.as_ref(),
    };
    let of = |index| Search {
        index,
        terms: asked.words.clone(),
        story_id: asked.story.as_ref().map(ToString::to_string),
        limit: MAX_HITS,
    };
    let (decisions, tasks) = (of(SearchIndex::Decisions), of(SearchIndex::Tasks));
    let (known, found_decisions, found_tasks) = tokio::try_join!(
        known(app, viewer, call.deadline),
        candidates(app, viewer, &decisions, call.deadline),
        candidates(app, viewer, &tasks, call.deadline),
    )?;
    known?;
    let mut read = Reading {
        app,
        viewer,
        left_out: LeftOut::default(),
    };
    let (decisions, more_decisions) = read.seen(&decisions, found_decisions, asked.limit);
    let (tasks, more_tasks) = read.seen(&tasks, found_tasks, asked.limit);
    let (affected, runs) = tokio::try_join!(
        affected(app, &decisions, call.deadline),
        runs(app, &tasks, call.deadline),
    )?;
    let affects = read.named(affected);
    let runs = read.runs(&tasks, &runs);
    Ok(pb::SearchDecisionsResponse {
        decisions: decisions
            .iter()
            .map(|hit| {
                let affects = affects.get(hit.item.id()).cloned().unwrap_or_default();
                pb::DecisionHit {
                    decision: Some(show::decision(&hit.view, hit.story(), affects)),
                    weight: hit.weight,
                }
            })
            .collect(),
        tasks: tasks
            .iter()
            .map(|hit| pb::TaskHit {
                task: Some(show::subtask(&hit.view, runs.get(hit.item.id()))),
                story_id: hit.story().to_owned(),
                weight: hit.weight,
            })
            .collect(),
        more: more_decisions || more_tasks,
        warnings: read.left_out.told(&app.reads.metrics),
    })
}

/// Refuses a story that does not exist, or that the role may not see.
async fn known(
    app: &App,
    viewer: Viewer<'_>,
    deadline: Deadline,
) -> Result<Result<(), Fault>, Fault> {
    let Some(story) = viewer.story else {
        return Ok(Ok(()));
    };
    let found = app.store.get(&[rows::story(story)], deadline).await?;
    let Some(node) = found.into_iter().next().flatten() else {
        return Ok(Err(Fault::not_found("story", story)));
    };
    let item = items::item(node, &app.policies.counted_by()).map_err(Fault::internal)?;
    Ok(match app.policies.view(viewer, &item) {
        Some(_) => Ok(()),
        None => {
            let message = format!("{} may not see {story}", viewer.role);
            Err(Fault::denied(Reason::RoleNotAllowed, message))
        }
    })
}

/// What has the words; nothing, unasked, where the role sees no row without a story.
async fn candidates(
    app: &App,
    viewer: Viewer<'_>,
    search: &Search,
    deadline: Deadline,
) -> Result<Hits, Fault> {
    let entity = items::entity_of(search.index.label()).expect("what is searched can be shown");
    if viewer.story.is_none() && !app.policies.sees_beyond_stories(viewer.role, entity) {
        return Ok(Hits::default());
    }
    Ok(app.store.search(search, deadline).await?)
}

struct Hit {
    item: Item,
    view: View,
    weight: i64,
}

impl Hit {
    fn story(&self) -> &str {
        self.item.story().map_or("", StoryId::as_str)
    }
}

/// What a role may see of what was read.
struct Reading<'a> {
    app: &'a App,
    viewer: Viewer<'a>,
    left_out: LeftOut,
}

impl Reading<'_> {
    fn view(&mut self, node: &Node, of: Option<&StoryId>) -> Option<(Item, View)> {
        let item = match items::item(node.clone(), &self.app.policies.counted_by()) {
            Ok(item) => item,
            Err(corrupt) => {
                self.leave_out(corrupt, of);
                return None;
            }
        };
        let view = self.app.policies.view(self.viewer, &item)?;
        Some((item, view))
    }

    /// Leaves out a row of a story, or of whichever it may be.
    fn leave_out(&mut self, corrupt: Corrupt, of: Option<&StoryId>) {
        let (policies, label) = (&self.app.policies, corrupt.key.label());
        let Some(entity) = items::entity_of(label) else {
            return;
        };
        let rows = policies.sees_any(self.viewer, entity, of);
        // That it was found says that it has the words, in whatever column.
        let searched = SearchIndex::of(label).map_or(&[][..], SearchIndex::fields);
        let columns = |field: &&str| {
            policies
                .columns(self.viewer.role, entity)
                .any(|c| c == *field)
        };
        let named = rows && searched.iter().all(columns);
        self.left_out.add(corrupt, named);
    }

    /// The hits with what the role may see of them, weighed by that; whether there are more of
    /// those. That the store has more says nothing: they may be what the role never sees.
    fn seen(&mut self, search: &Search, found: Hits, limit: usize) -> (Vec<Hit>, bool) {
        let of = self.viewer.story;
        for row in &found.corrupt {
            self.leave_out(Corrupt::from(row), of);
        }
        let mut hits: Vec<Hit> = found
            .nodes
            .into_iter()
            .filter_map(|node| {
                let (item, view) = self.view(&node, of)?;
                let shown = Node {
                    props: visible(search, &view),
                    ..node
                };
                let words = search.index.terms_of(&shown.props);
                let all = search.terms.iter().all(|term| words.contains(term));
                all.then(|| Hit {
                    weight: i64::try_from(weight(search, &shown)).unwrap_or(i64::MAX),
                    item,
                    view,
                })
            })
            .collect();
        hits.sort_by(|a, b| {
            let by_weight = b.weight.cmp(&a.weight);
            by_weight.then_with(|| a.item.key().cmp(b.item.key()))
        });
        let more = hits.len() > limit;
        hits.truncate(limit);
        (hits, more)
    }

    /// By decision, those of the tasks that may be named.
    fn named(&mut self, affected: Subgraph) -> BTreeMap<String, Vec<String>> {
        for row in &affected.corrupt {
            self.leave_out(Corrupt::from(row), None);
        }
        let tasks: BTreeMap<NodeKey, bool> = affected
            .nodes
            .iter()
            .filter(|node| node.key.label() == Label::Task)
            .map(|node| (node.key.clone(), self.view(node, None).is_some()))
            .collect();
        let mut named: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for edge in affected.edges {
            if tasks.get(&edge.to) == Some(&true) {
                let of = named.entry(edge.from.id().to_owned()).or_default();
                of.push(edge.to.id().to_owned());
            }
        }
        named.values_mut().for_each(|tasks| tasks.sort_unstable());
        named
    }

    /// By task, what the role may see of its run.
    fn runs(&mut self, tasks: &[Hit], found: &Subgraph) -> BTreeMap<String, View> {
        let stories: BTreeMap<&str, &StoryId> = tasks
            .iter()
            .filter_map(|hit| Some((hit.item.id(), hit.item.story()?)))
            .collect();
        let of = |key: &NodeKey| stories.get(key.id()).copied();
        for row in &found.corrupt {
            self.leave_out(Corrupt::from(row), of(&row.key));
        }
        found
            .nodes
            .iter()
            .filter_map(|node| Some((node.key.id().to_owned(), self.view(node, of(&node.key))?.1)))
            .collect()
    }
}

fn visible(search: &Search, view: &View) -> Props {
    let columns = view.columns();
    columns
        .filter(|(name, _)| search.index.fields().contains(name))
        .map(|(name, value)| (name.to_owned(), value.clone()))
        .collect()
}

/// The tasks in which the decisions have a say.
async fn affected(app: &App, decisions: &[Hit], deadline: Deadline) -> Result<Subgraph, Fault> {
    if decisions.is_empty() {
        return Ok(Subgraph::default());
    }
    let key = |hit: &Hit| NodeKey::new(Label::Decision, hit.item.id());
    let walk = Walk {
        roots: decisions.iter().map(key).collect(),
        steps: vec![Step {
            edge: EdgeType::Affects,
            direction: Direction::Out,
            hops: 1,
        }],
        max_nodes: MOST_AFFECTED,
    };
    Ok(app.store.walk(&walk, deadline).await?)
}

/// The runs of the tasks; a run has the id of its task. Not by keys: one that cannot be read
/// would take the others with it.
async fn runs(app: &App, tasks: &[Hit], deadline: Deadline) -> Result<Subgraph, Fault> {
    if tasks.is_empty() {
        return Ok(Subgraph::default());
    }
    let key = |hit: &Hit| NodeKey::new(Label::TaskRun, hit.item.id());
    let walk = Walk {
        roots: tasks.iter().map(key).collect(),
        steps: Vec::new(),
        max_nodes: tasks.len(),
    };
    Ok(app.store.walk(&walk, deadline).await?)
}
