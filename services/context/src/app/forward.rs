//! Stories and tasks are planning's: this asks it to create them, in the caller's name.

use std::path::Path;
use std::time::Duration;

use fleet_proto::context::v1 as pb;
use fleet_proto::planning::v2 as planning;
use fleet_proto::planning::v2::planning_service_client::PlanningServiceClient;
use fleet_service::{
    CORRELATION_HEADER, Call, Fault, MAX_RECEIVE_BYTES, MAX_SEND_BYTES, client_tls,
};
use fleet_types::{StoryId, Violations};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt as _;

use crate::StartError;
use crate::domain::Phase;

/// How long a connection may take to come about.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// The planning service, connected when it is first needed.
#[derive(Debug, Clone)]
pub struct Planning {
    client: PlanningServiceClient<Channel>,
}

/// What lets a request through elsewhere as the one it is here: the caller's identity, the
/// correlation, and how long there is.
#[derive(Debug, Clone)]
pub struct Passport {
    authorization: Option<MetadataValue<Ascii>>,
    call: Call,
}

impl Passport {
    /// That of a request.
    pub fn of<T>(request: &Request<T>, call: &Call) -> Self {
        Self {
            authorization: request.metadata().get("authorization").cloned(),
            call: call.clone(),
        }
    }

    fn stamp<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.call.deadline.left());
        let metadata = request.metadata_mut();
        if let Some(authorization) = &self.authorization {
            metadata.insert("authorization", authorization.clone());
        }
        if let Ok(correlation) = MetadataValue::try_from(&self.call.correlation) {
            metadata.insert(CORRELATION_HEADER, correlation);
        }
        if let Ok(traceparent) = MetadataValue::try_from(&self.call.traceparent)
            && !traceparent.is_empty()
        {
            metadata.insert("traceparent", traceparent);
        }
        request
    }
}

/// What planning made of it.
#[derive(Debug)]
pub enum Forwarded<T> {
    /// It did it.
    Done(T),
    /// It refused, in words of the fields that the caller knows.
    Refused(Box<Status>),
}

/// A story that somebody wants; checked at the edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedStory {
    /// Its id, if the caller chose it.
    pub story_id: Option<StoryId>,
    /// Title.
    pub title: String,
    /// Who wants what, and why.
    pub description: String,
    /// Who creates it.
    pub created_by: String,
    /// The phase it starts in.
    pub phase: Phase,
}

impl Planning {
    /// At this address; `https` trusts the authorities of the file, without one the system's.
    ///
    /// # Errors
    /// If it is none, or the file is of no use.
    pub fn at(uri: &str, ca_file: Option<&Path>) -> Result<Self, StartError> {
        let refused = |source| {
            let found = uri.to_owned();
            StartError::Planning { found, source }
        };
        let mut endpoint = Endpoint::from_shared(uri.to_owned()).map_err(refused)?;
        if endpoint.uri().scheme_str() == Some("https") {
            let tls = client_tls(ca_file).map_err(|source| StartError::File {
                key: "FLEET_PLANNING_CA_FILE",
                file: ca_file.unwrap_or(Path::new("")).to_owned(),
                source,
            })?;
            endpoint = endpoint.tls_config(tls).map_err(refused)?;
        }
        let channel = endpoint.connect_timeout(CONNECT_WITHIN).connect_lazy();
        Ok(Self::through(channel))
    }

    /// By a way that is there already.
    pub fn through(channel: Channel) -> Self {
        let client = PlanningServiceClient::new(channel)
            .max_decoding_message_size(MAX_SEND_BYTES)
            .max_encoding_message_size(MAX_RECEIVE_BYTES);
        Self { client }
    }

    /// Creates a story without epic, in DRAFT.
    ///
    /// # Errors
    /// Planning is away, or time is up.
    pub async fn create_story(
        &self,
        passport: &Passport,
        wanted: &WantedStory,
        request_id: &str,
    ) -> Result<Forwarded<StoryId>, Fault> {
        let request = passport.stamp(planning::CreateStoryRequest {
            story_id: wanted.story_id.as_ref().map(ToString::to_string),
            title: wanted.title.clone(),
            brief: wanted.description.clone(),
            created_by: wanted.created_by.clone(),
            without_epic: true,
            request_id: request_id.to_owned(),
            ..Default::default()
        });
        let mut client = self.client.clone();
        let answer = passport.within(client.create_story(request)).await?;
        match answer {
            Forwarded::Done(answer) => {
                let story = answer.story.unwrap_or_default();
                let id = StoryId::parse(&story.story_id).map_err(Fault::internal)?;
                Ok(Forwarded::Done(id))
            }
            Forwarded::Refused(status) => Ok(Forwarded::Refused(status)),
        }
    }

    /// Creates a task.
    ///
    /// # Errors
    /// Planning is away, or time is up.
    pub async fn create_task(
        &self,
        passport: &Passport,
        wanted: pb::CreateTaskRequest,
    ) -> Result<Forwarded<planning::Task>, Fault> {
        let task_id = Some(wanted.task_id).filter(|id| !id.is_empty());
        let request = passport.stamp(planning::CreateTaskRequest {
            story_id: wanted.story_id,
            task_id,
            title: wanted.title,
            description: wanted.description,
            role: wanted.role,
            depends_on: wanted.dependencies,
            priority: wanted.priority,
            estimated_hours: wanted.estimated_hours,
            request_id: wanted.request_id,
            ..Default::default()
        });
        let mut client = self.client.clone();
        Ok(match passport.within(client.create_task(request)).await? {
            Forwarded::Done(answer) => Forwarded::Done(answer.task.unwrap_or_default()),
            Forwarded::Refused(status) => Forwarded::Refused(status),
        })
    }
}

impl Passport {
    /// Waits for an answer as long as the call has time.
    async fn within<T>(
        &self,
        answer: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<Forwarded<T>, Fault> {
        match tokio::time::timeout(self.call.deadline.left(), answer).await {
            Err(_) => Err(Fault::Deadline),
            Ok(Ok(response)) => Ok(Forwarded::Done(response.into_inner())),
            Ok(Err(status)) => refused(status).map(|status| Forwarded::Refused(Box::new(status))),
        }
    }
}

/// A refusal of planning as one of ours. What did not come from planning itself (nobody there,
/// no time left) has no details: that is planning being away.
fn refused(status: Status) -> Result<Status, Fault> {
    let from_planning = status.get_details_error_info().is_some();
    match status.code() {
        Code::DeadlineExceeded => Err(Fault::Deadline),
        Code::InvalidArgument => match status.get_details_bad_request() {
            Some(bad) => {
                let mut violations = Violations::new();
                for violation in bad.field_violations {
                    violations.add(in_our_words(&violation.field), violation.description);
                }
                Ok(Fault::from(violations).into())
            }
            None => Ok(status),
        },
        _ if from_planning => Ok(status),
        _ => {
            tracing::warn!(error = %status, "planning did not answer");
            let dependency = "planning";
            Err(Fault::Unavailable { dependency })
        }
    }
}

/// What the caller calls a field of planning's.
fn in_our_words(field: &str) -> String {
    let (name, rest) = match field.find(['[', '.']) {
        Some(at) => field.split_at(at),
        None => (field, ""),
    };
    let ours = match name {
        "brief" => "description",
        "depends_on" => "dependencies",
        other => other,
    };
    format!("{ours}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violations_name_the_fields_that_the_caller_sent() {
        let mut v = Violations::new();
        v.add("brief", "is required");
        v.add("depends_on[1]", "is the task itself");
        let status = refused(Fault::from(v).into()).unwrap();
        assert_eq!(status.code(), Code::InvalidArgument);
        let fields = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(fields[0].field, "description");
        assert_eq!(fields[1].field, "dependencies[1]");
        assert!(!status.message().contains("brief"), "{status:?}");
        assert!(status.get_details_error_info().is_some());
    }

    #[test]
    fn what_planning_says_passes_and_its_absence_is_ours() {
        let said = Status::from(Fault::not_found("story", "s-1"));
        let passed = refused(said.clone()).unwrap();
        assert_eq!(passed.message(), said.message());
        assert!(passed.get_details_resource_info().is_some());
        let gone = refused(Status::unavailable("tcp connect error")).unwrap_err();
        assert_eq!(gone.code(), Code::Unavailable);
        assert!(gone.to_string().contains("planning"));
        let late = refused(Status::deadline_exceeded("late")).unwrap_err();
        assert_eq!(late.code(), Code::DeadlineExceeded);
    }
}
