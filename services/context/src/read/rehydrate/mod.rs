//! RehydrateSession: what each of several roles needs to take a story up, read in the same two
//! round trips whatever their number.

mod pack;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fleet_proto::context::v1 as pb;
use fleet_service::{Call, Fault, Reason};
use fleet_types::{Role, StoryId, Violations};

use super::story::{self, Told};
use super::{hub, receipt};
use crate::app::{App, caller};
use crate::domain::Key;
use crate::domain::pack::{RelationKind, StoryGraph};

use pack::{Choice, Wishes};

const MOST_ROLES: usize = 6;
const USUAL_EVENTS: usize = 50;
const MOST_EVENTS: i32 = 1_000;
const USUAL_TTL: Duration = Duration::from_secs(3_600);
const MOST_TTL: i32 = 604_800;
/// Begins the id of every bundle.
const BUNDLE: &str = "HB-";

enum Asked {
    Bundle(String),
    Packs {
        story: StoryId,
        roles: BTreeSet<Role>,
        wishes: Wishes,
        keep: Option<Duration>,
    },
}

fn parse(request: &pb::RehydrateSessionRequest) -> Result<Asked, Fault> {
    let mut v = Violations::new();
    if !request.bundle_id.is_empty() {
        return bundle(v, request);
    }
    let story: Option<StoryId> = v.parse("case_id", &request.case_id);
    let mut roles = BTreeSet::new();
    let given = &request.roles;
    if given.is_empty() || given.len() > MOST_ROLES {
        v.add(
            "roles",
            format!("has {} roles; 1 to {MOST_ROLES}", given.len()),
        );
    }
    for (at, role) in given.iter().take(MOST_ROLES).enumerate() {
        let field = format!("roles[{at}]");
        if role.trim().is_empty() {
            v.add(field, "is required");
        } else if let Some(role) = caller::named(&mut v, &field, role)
            && !roles.insert(role)
        {
            v.add(field, format!("{role} is named twice"));
        }
    }
    if request.timeline_events > MOST_EVENTS {
        let n = request.timeline_events;
        v.add("timeline_events", format!("{n} is more than {MOST_EVENTS}"));
    }
    if request.ttl_seconds > MOST_TTL {
        let n = request.ttl_seconds;
        v.add("ttl_seconds", format!("{n} is more than {MOST_TTL}"));
    }
    v.into_result()?;
    let events = usize::try_from(request.timeline_events).unwrap_or(0);
    let ttl = u64::try_from(request.ttl_seconds).unwrap_or(0);
    Ok(Asked::Packs {
        story: story.expect("no violation: it is there"),
        roles,
        wishes: Wishes {
            timeline: request.include_timeline.then_some(if events == 0 {
                USUAL_EVENTS
            } else {
                events
            }),
            summary: request.include_summaries,
        },
        keep: request.persist_bundle.then_some(if ttl == 0 {
            USUAL_TTL
        } else {
            Duration::from_secs(ttl)
        }),
    })
}

fn bundle(mut v: Violations, request: &pb::RehydrateSessionRequest) -> Result<Asked, Fault> {
    let id = &request.bundle_id;
    let own = id.strip_prefix(BUNDLE).unwrap_or_default();
    let fits = (1..=100).contains(&own.len())
        && own.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !fits {
        v.add(
            "bundle_id",
            format!("is not an id that begins with {BUNDLE}"),
        );
    }
    let alone = pb::RehydrateSessionRequest {
        bundle_id: id.clone(),
        ..pb::RehydrateSessionRequest::default()
    };
    if *request != alone {
        v.add("bundle_id", "stands alone: the other fields must be empty");
    }
    v.into_result()?;
    Ok(Asked::Bundle(id.clone()))
}

/// The packs of several roles.
///
/// # Errors
/// See the contract.
pub async fn rehydrate_session(
    app: &Arc<App>,
    call: &Call,
    request: pb::RehydrateSessionRequest,
) -> Result<pb::RehydrateSessionResponse, Fault> {
    match parse(&request)? {
        Asked::Bundle(id) => kept(app, call, &id).await,
        Asked::Packs {
            story,
            roles,
            wishes,
            keep,
        } => {
            for role in &roles {
                caller::viewer(call, Some(*role))?;
            }
            let mut made = make(app, call, &story, &roles, wishes).await?;
            if let Some(ttl) = keep {
                made.bundle_id = format!("{BUNDLE}{}", app.ids.uuid());
                if !app.reads.packs.keep_bundle(&made, ttl).await {
                    made.bundle_id = String::new();
                    made.warnings.push(
                        "the bundle is not kept: it is too large, or the cache is away".to_owned(),
                    );
                }
            }
            Ok(made)
        }
    }
}

/// A bundle that was kept, for who may read all of it.
async fn kept(app: &App, call: &Call, id: &str) -> Result<pb::RehydrateSessionResponse, Fault> {
    let found = app.reads.packs.bundle(id).await;
    let found = found.ok_or_else(|| Fault::not_found("bundle", id))?;
    let may = |role: &String| {
        let role = role.parse().ok();
        role.is_some_and(|role| receipt::may_read(call, role))
    };
    if found.packs.keys().all(may) {
        return Ok(found);
    }
    let message = "the bundle holds packs of roles that the caller does not have";
    Err(Fault::denied(Reason::RoleNotAllowed, message))
}

async fn make(
    app: &App,
    call: &Call,
    story: &StoryId,
    roles: &BTreeSet<Role>,
    wishes: Wishes,
) -> Result<pb::RehydrateSessionResponse, Fault> {
    let told = story::read(app, story, call.deadline, |graph| {
        let mut keys: BTreeSet<Key> = BTreeSet::new();
        let mut choices = Vec::with_capacity(roles.len());
        for role in roles {
            let choice = Choice::of(app, graph, story, *role, wishes)?;
            keys.extend(choice.keys().cloned());
            choices.push(choice);
        }
        Ok((choices, keys.into_iter().collect()))
    })
    .await?;
    let phase = hub::phase_of(told.context.as_ref());
    let mut warnings = told.warnings.clone();
    let mut packs = BTreeMap::new();
    for choice in &told.chosen {
        let pack = choice.pack(app, &told, &phase, &mut warnings);
        packs.insert(choice.role.to_string(), pack);
    }
    Ok(pb::RehydrateSessionResponse {
        case_id: story.to_string(),
        generated_at_ms: app.clock.now().millis(),
        packs,
        stats: Some(stats(&told, roles)),
        bundle_id: String::new(),
        graph_version: told.graph_version,
        warnings,
    })
}

fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

fn stats(told: &Told<Vec<Choice>>, roles: &BTreeSet<Role>) -> pb::RehydrationStats {
    let StoryGraph {
        decisions,
        tasks,
        milestones,
        edges,
        ..
    } = &*told.graph;
    let alive = |items: &[crate::domain::Item]| -> BTreeSet<String> {
        let items = items.iter().filter(|item| !item.is_deleted());
        items.map(|item| item.id().to_owned()).collect()
    };
    let (decisions, tasks) = (alive(decisions), alive(tasks));
    let from = |id: &str| decisions.contains(id);
    let (mut between, mut impacts) = (0, 0);
    for edge in edges.iter().filter(|edge| from(&edge.from)) {
        match edge.kind {
            RelationKind::Affects if tasks.contains(edge.to.as_str()) => impacts += 1,
            RelationKind::Affects => {}
            _ if decisions.contains(edge.to.as_str()) => between += 1,
            _ => {}
        }
    }
    pb::RehydrationStats {
        decisions: count(decisions.len()),
        decision_edges: count(between),
        impacts: count(impacts),
        events: count(alive(milestones).len()),
        roles: roles.iter().map(ToString::to_string).collect(),
    }
}
