//! What is played on the product: stories with tasks, and the way of a task from role to role.

use std::time::{Duration, Instant};

use fleet_proto::planning::v2::planning_service_client::PlanningServiceClient;
use fleet_proto::planning::v2::{
    CreateEpicRequest, CreateProjectRequest, CreateStoryRequest, CreateTaskRequest,
    GetStoryRequest, TransitionStoryRequest,
};
use fleet_proto::workflow::v1::workflow_orchestration_service_client::WorkflowOrchestrationServiceClient;
use fleet_proto::workflow::v1::{
    ClaimTaskRequest, GetWorkflowStateRequest, RequestValidationRequest, WorkResult,
};
use tonic::transport::{Channel, Endpoint};

/// How long the workflow may take to take up the tasks of a released story.
const PATIENCE: Duration = Duration::from_secs(60);

/// Steps of a task before the product owner's: claims and validations in turn.
pub const STEPS: usize = 6;

/// Both services.
#[derive(Clone)]
pub struct Clients {
    /// Planning.
    pub planning: PlanningServiceClient<Channel>,
    /// Workflow.
    pub workflow: WorkflowOrchestrationServiceClient<Channel>,
}

/// A released story.
pub struct Story {
    /// Its id.
    pub id: String,
    /// Its tasks, all free.
    pub tasks: Vec<String>,
}

impl Clients {
    /// One connection to each.
    pub async fn connect(planning: &str, workflow: &str) -> Self {
        let open = async |uri: &str| {
            let endpoint = Endpoint::from_shared(uri.to_owned())
                .unwrap()
                .tcp_nodelay(true);
            endpoint.connect().await.unwrap()
        };
        Self {
            planning: PlanningServiceClient::new(open(planning).await),
            workflow: WorkflowOrchestrationServiceClient::new(open(workflow).await),
        }
    }

    /// A project with an epic; gives the epic's id.
    pub async fn epic(&self) -> String {
        let mut planning = self.planning.clone();
        let project = CreateProjectRequest {
            name: "Speed".into(),
            ..Default::default()
        };
        let project = planning
            .create_project(project)
            .await
            .unwrap()
            .into_inner()
            .project
            .unwrap();
        let epic = CreateEpicRequest {
            project_id: project.project_id,
            title: "What it costs".into(),
            ..Default::default()
        };
        planning
            .create_epic(epic)
            .await
            .unwrap()
            .into_inner()
            .epic
            .unwrap()
            .epic_id
    }

    /// A story in DRAFT; gives its id.
    pub async fn draft(&self, epic: &str) -> String {
        let words = |text: &str| vec![text.to_owned()];
        let story = CreateStoryRequest {
            epic_id: epic.to_owned(),
            title: "Guests pay without an account".into(),
            brief: "As a guest I want to pay without an account, so that I need no password."
                .into(),
            created_by: "po".into(),
            acceptance_criteria: words("A guest pays with an address and a card."),
            constraints: words("No card number is stored."),
            size: "M".into(),
            ..Default::default()
        };
        let answer = self.planning.clone().create_story(story).await.unwrap();
        answer.into_inner().story.unwrap().story_id
    }

    /// A story with so many tasks, released, and taken up by the workflow.
    pub async fn story(&self, epic: &str, tasks: usize) -> Story {
        let mut planning = self.planning.clone();
        let id = self.draft(epic).await;
        let mut ids = Vec::with_capacity(tasks);
        for n in 0..tasks {
            let task = CreateTaskRequest {
                story_id: id.clone(),
                title: format!("Part {n}"),
                description: "What has to be done, in a sentence of usual length.".into(),
                estimated_hours: 4,
                priority: 1,
                ..Default::default()
            };
            let answer = planning.create_task(task).await.unwrap().into_inner();
            ids.push(answer.task.unwrap().task_id);
        }
        for state in [
            "PO_REVIEW",
            "READY_FOR_PLANNING",
            "PLANNED",
            "READY_FOR_EXECUTION",
        ] {
            let transition = TransitionStoryRequest {
                story_id: id.clone(),
                target_state: state.into(),
                transitioned_by: "po".into(),
                override_reason: if state == "READY_FOR_PLANNING" {
                    "measured".into()
                } else {
                    String::new()
                },
                ..Default::default()
            };
            planning.transition_story(transition).await.unwrap();
        }
        let until = Instant::now() + PATIENCE;
        for task in &ids {
            while self.state(task).await.is_err() {
                assert!(
                    Instant::now() < until,
                    "the workflow does not take {task} up"
                );
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Story { id, tasks: ids }
    }

    /// GetWorkflowState.
    pub async fn state(
        &self,
        task: &str,
    ) -> Result<fleet_proto::workflow::v1::GetWorkflowStateResponse, tonic::Status> {
        let ask = GetWorkflowStateRequest {
            task_id: task.to_owned(),
        };
        Ok(self
            .workflow
            .clone()
            .get_workflow_state(ask)
            .await?
            .into_inner())
    }

    /// GetStory.
    pub async fn get_story(&self, id: &str) -> fleet_proto::planning::v2::Story {
        let ask = GetStoryRequest {
            story_id: id.to_owned(),
        };
        self.planning
            .clone()
            .get_story(ask)
            .await
            .unwrap()
            .into_inner()
    }

    /// One step of a task, 0 to [`STEPS`] − 1, with the epoch of the claim before it; gives
    /// the epoch after it.
    pub async fn step(&self, task: &str, step: usize, epoch: i64) -> i64 {
        match step {
            0 => self.claim(task, "developer", "dev-mira").await,
            1 => {
                self.act(task, "developer", "dev-mira", "commit_code", epoch)
                    .await
            }
            2 => self.claim(task, "architect", "arch-lin").await,
            3 => {
                self.act(task, "architect", "arch-lin", "approve_design", epoch)
                    .await
            }
            4 => self.claim(task, "qa", "qa-sol").await,
            _ => self.act(task, "qa", "qa-sol", "approve_tests", epoch).await,
        }
    }

    async fn claim(&self, task: &str, role: &str, agent: &str) -> i64 {
        let claim = ClaimTaskRequest {
            task_id: task.to_owned(),
            agent_id: agent.to_owned(),
            role: role.to_owned(),
            ..Default::default()
        };
        self.workflow
            .clone()
            .claim_task(claim)
            .await
            .unwrap()
            .into_inner()
            .claim_epoch
    }

    async fn act(&self, task: &str, role: &str, agent: &str, action: &str, epoch: i64) -> i64 {
        let artifacts = [
            ("branch", "task/part"),
            ("commit_sha", "8c7d1f0a2b3c4d5e6f708192a3b4c5d6e7f80912"),
            ("files_changed", "src/lib.rs,tests/behaviour.rs"),
        ];
        let artifacts = artifacts
            .into_iter()
            .map(|(k, v)| (k.to_owned(), v.to_owned()));
        let act = RequestValidationRequest {
            task_id: task.to_owned(),
            role: role.to_owned(),
            action: action.to_owned(),
            agent_id: agent.to_owned(),
            claim_epoch: Some(epoch),
            result: Some(WorkResult {
                success: true,
                artifacts: if action == "commit_code" {
                    artifacts.collect()
                } else {
                    Default::default()
                },
                ..Default::default()
            }),
            ..Default::default()
        };
        self.workflow
            .clone()
            .request_validation(act)
            .await
            .unwrap()
            .into_inner()
            .claim_epoch
    }
}
