//! Rows by place: choosing looks at a thousand of them many times over, and numbers are cheaper
//! to look at than ids.

use fleet_types::StoryId;

use super::{DecisionEdge, RelationKind};
use crate::domain::Item;

/// Rows of the story that were not deleted, in order of their ids. What is said of a row is said
/// of its place.
pub(super) struct Table<'a>(Vec<&'a Item>);

impl<'a> Table<'a> {
    /// Those of `items` that are of the story and were not deleted.
    pub fn own(story: &StoryId, items: &'a [Item]) -> Self {
        let own = |item: &&Item| item.story() == Some(story) && !item.is_deleted();
        let mut rows: Vec<&Item> = items.iter().filter(own).collect();
        rows.sort_by(|a, b| a.id().cmp(b.id()));
        rows.dedup_by(|a, b| a.id() == b.id());
        Self(rows)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The place of the row with that id.
    pub fn place(&self, id: &str) -> Option<usize> {
        self.0.binary_search_by(|item| item.id().cmp(id)).ok()
    }

    /// The row at a place.
    pub fn at(&self, place: usize) -> &'a Item {
        self.0[place]
    }

    /// All rows, by place.
    pub fn iter(&self) -> impl Iterator<Item = &'a Item> {
        self.0.iter().copied()
    }

    /// The places, the newest by `time` first; ties in order of ids.
    pub fn newest_first(&self, time: &str) -> Vec<usize> {
        let mut places: Vec<(&str, usize)> =
            self.iter().map(|item| item.text(time)).zip(0..).collect();
        places.sort_by(|(a, at), (b, bt)| b.cmp(a).then(at.cmp(bt)));
        places.into_iter().map(|(_, place)| place).collect()
    }
}

/// A relationship that starts at a decision of the story.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edge<'a> {
    /// The place of the decision.
    pub from: usize,
    /// How it stands to what is at the other end.
    pub kind: RelationKind,
    /// The place of that among tasks ([`RelationKind::Affects`]) or decisions, if it is there.
    pub to: Option<usize>,
    /// With ids.
    pub ids: &'a DecisionEdge,
}

/// The relationships that start at decisions of the story: in order, each once.
pub(super) struct Edges<'a> {
    all: Vec<Edge<'a>>,
    /// Where those of each decision begin, and where the last ends.
    starts: Vec<usize>,
}

impl<'a> Edges<'a> {
    pub fn new(edges: &'a [DecisionEdge], tasks: &Table<'_>, decisions: &Table<'_>) -> Self {
        let mut all = Vec::with_capacity(edges.len());
        // Those of one decision mostly stand together.
        let mut last: Option<(&str, Option<usize>)> = None;
        for ids in edges {
            let from = match last {
                Some((id, place)) if id == ids.from.as_str() => place,
                _ => decisions.place(&ids.from),
            };
            last = Some((&ids.from, from));
            let Some(from) = from else { continue };
            let to = match ids.kind {
                RelationKind::Affects => tasks.place(&ids.to),
                _ => decisions.place(&ids.to),
            };
            let kind = ids.kind;
            all.push(Edge {
                from,
                kind,
                to,
                ids,
            });
        }
        all.sort_by(|a: &Edge<'_>, b: &Edge<'_>| {
            let places = (a.from, a.kind).cmp(&(b.from, b.kind));
            places.then_with(|| a.ids.to.cmp(&b.ids.to))
        });
        all.dedup_by(|a, b| a.from == b.from && a.kind == b.kind && a.ids.to == b.ids.to);
        let mut starts = vec![0; decisions.len() + 1];
        for edge in &all {
            starts[edge.from + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        Self { all, starts }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Edge<'a>> {
        self.all.iter()
    }

    /// Those that start at a decision.
    pub fn of(&self, decision: usize) -> &[Edge<'a>] {
        &self.all[self.starts[decision]..self.starts[decision + 1]]
    }

    /// Where those of one kind lead that start at a decision, as far as it is there; in order of
    /// ids.
    pub fn ends(&self, decision: usize, kind: RelationKind) -> impl Iterator<Item = usize> {
        let of_kind = self
            .of(decision)
            .iter()
            .filter(move |edge| edge.kind == kind);
        of_kind.filter_map(|edge| edge.to)
    }
}

/// Every place that can be reached by one step or more, as a mark for each.
pub(super) fn reach<S: Iterator<Item = usize>>(
    places: usize,
    from: impl Iterator<Item = usize>,
    step: impl Fn(usize) -> S,
) -> Vec<bool> {
    let mut found = vec![false; places];
    let mut todo: Vec<usize> = from.collect();
    while let Some(at) = todo.pop() {
        for next in step(at) {
            if !std::mem::replace(&mut found[next], true) {
                todo.push(next);
            }
        }
    }
    found
}
