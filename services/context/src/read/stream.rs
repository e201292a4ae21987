//! StreamContextUpdates: a snapshot, taken after the watcher began to listen, so that nothing
//! falls between the two; then every change, as far as the role may hear of it.

use std::sync::Arc;

use fleet_graph::Deadline;
use fleet_proto::context::v1 as pb;
use fleet_proto::context::v1::stream_context_updates_response::Kind;
use fleet_service::{Call, Fault, Reason};
use fleet_types::{Role, StoryId, Violations};
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::hub::{Change, Hub, Seat, Told, WITHIN, phase_of};
use super::story;
use crate::app::{App, caller};
use crate::domain::{Item, Policies, Viewer};

/// What a caller of StreamContextUpdates gets.
pub(crate) type Updates = ReceiverStream<Result<pb::StreamContextUpdatesResponse, Status>>;

/// Messages between a watcher's task and its connection.
const IN_FLIGHT: usize = 64;

/// Follows a story.
///
/// # Errors
/// See the contract.
pub async fn stream_context_updates(
    app: &Arc<App>,
    call: &Call,
    request: pb::StreamContextUpdatesRequest,
) -> Result<Updates, Fault> {
    let mut v = Violations::new();
    let story: Option<StoryId> = v.parse("story_id", &request.story_id);
    let role = caller::named(&mut v, "role", &request.role);
    v.into_result()?;
    let story = story.expect("no violation: it is there");
    let role = caller::viewer(call, role)?;
    let hub = &app.reads.hub;
    let seat = hub.sit(&story).ok_or_else(|| Fault::Exhausted {
        message: "as many watchers as this server takes; try again later".to_owned(),
    })?;
    if !hub.is_live(call.deadline.left().min(WITHIN)).await {
        return Err(Fault::Unavailable { dependency: "bus" });
    }
    let (out, updates) = mpsc::channel(IN_FLIGHT);
    let watcher = Watcher {
        hub: hub.clone(),
        policies: app.policies.clone(),
        role,
        story,
        seat,
        out,
    };
    let snapshot = watcher.snapshot(app, call.deadline).await?;
    app.tasks
        .spawn("stream_context_updates", watcher.run(snapshot));
    Ok(ReceiverStream::new(updates))
}

struct Watcher {
    hub: Arc<Hub>,
    policies: Arc<Policies>,
    role: Role,
    story: StoryId,
    seat: Seat,
    out: mpsc::Sender<Result<pb::StreamContextUpdatesResponse, Status>>,
}

impl Watcher {
    /// The state now.
    async fn snapshot(
        &self,
        app: &App,
        deadline: Deadline,
    ) -> Result<pb::StreamContextUpdatesResponse, Fault> {
        let told = story::read(app, &self.story, deadline, |graph| {
            if self.policies.sees(self.viewer(), &graph.story) {
                return Ok(((), Vec::new()));
            }
            let message = format!("{} may not see {}", self.role, self.story);
            Err(Fault::denied(Reason::RoleNotAllowed, message))
        })
        .await?;
        let seen = |item: &&Item| {
            let own = item.story() == Some(&self.story) && !item.is_deleted();
            own && self.policies.sees(self.viewer(), item)
        };
        let decisions = told.graph.decisions.iter().filter(seen).count();
        let context = told.context.as_ref();
        Ok(pb::StreamContextUpdatesResponse {
            kind: Kind::Snapshot.into(),
            story_id: self.story.to_string(),
            version: context.map_or(0, |node| node.version),
            phase: phase_of(context),
            changed: Vec::new(),
            hash: String::new(),
            graph_version: told.graph_version,
            decisions: i32::try_from(decisions).unwrap_or(i32::MAX),
        })
    }

    async fn run(mut self, snapshot: pb::StreamContextUpdatesResponse) {
        let shutdown = self.hub.shutdown.clone();
        let out = self.out.clone();
        let ended = tokio::select! {
            biased;
            () = shutdown.cancelled() => Err(Fault::Unavailable { dependency: "this server (it stops)" }),
            () = out.closed() => return,
            ended = self.tell(snapshot) => ended,
        };
        if let Err(fault) = ended {
            // A caller who does not even read this learns it from the closed stream.
            let _ = out.send_timeout(Err(fault.into()), WITHIN).await;
        }
    }

    async fn tell(&mut self, snapshot: pb::StreamContextUpdatesResponse) -> Result<(), Fault> {
        let mut next = Some(snapshot);
        loop {
            if let Some(message) = next
                && self.out.send(Ok(message)).await.is_err()
            {
                return Ok(());
            }
            next = match self.seat.told.recv().await {
                Ok(Told::Change(change)) => {
                    (change.story == self.story).then(|| self.message(&change))
                }
                Ok(Told::Missed(story)) if story == self.story => {
                    return Err(Fault::Unavailable {
                        dependency: "graph",
                    });
                }
                Ok(Told::Missed(_)) => None,
                Ok(Told::Lost) | Err(broadcast::error::RecvError::Closed) => {
                    return Err(Fault::Unavailable { dependency: "bus" });
                }
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    let message =
                        format!("the watcher reads too slowly and missed {missed} changes");
                    return Err(Fault::Exhausted { message });
                }
            };
        }
    }

    fn viewer(&self) -> Viewer<'_> {
        Viewer {
            role: self.role,
            story: Some(&self.story),
        }
    }

    fn message(&self, change: &Change) -> pb::StreamContextUpdatesResponse {
        let heard = change.changed.iter().filter(|changed| {
            let item = changed.item.as_ref();
            item.is_some_and(|item| self.policies.sees(self.viewer(), item))
        });
        pb::StreamContextUpdatesResponse {
            kind: Kind::Change.into(),
            story_id: change.story.to_string(),
            version: change.version,
            phase: change.phase.clone(),
            changed: heard.map(|changed| changed.word.clone()).collect(),
            hash: change.hash.clone(),
            graph_version: change.graph_version.clone(),
            decisions: 0,
        }
    }
}
