//! Which part of which list.

use fleet_graph::{Index, MAX_PAGE};
use fleet_proto::planning::v2 as pb;
use fleet_service::Fault;
use fleet_types::{EpicId, ProjectId, StoryId, Violations};

use super::filter;
use crate::app::{Listing, PageRequest, token};
use crate::domain::{Lifecycle, StoryState, TaskStatus};

/// Entries of a page when the caller does not say.
const DEFAULT_LIMIT: usize = 100;

/// ListProjects.
pub fn list_projects(r: &pb::ListProjectsRequest) -> Result<(Listing, PageRequest), Fault> {
    let mut v = Violations::new();
    let status: Option<Lifecycle> = filter(&mut v, "status_filter", r.status_filter.as_ref());
    let listing = match status {
        None => listing(Index::Projects, &[]),
        Some(status) => listing(Index::ProjectsByStatus, &[status.as_str()]),
    };
    page(v, listing, r.limit, r.offset, &r.page_token)
}

/// ListEpics.
pub fn list_epics(r: &pb::ListEpicsRequest) -> Result<(Listing, PageRequest), Fault> {
    let mut v = Violations::new();
    let project: Option<ProjectId> = filter(&mut v, "project_id", r.project_id.as_ref());
    let status: Option<Lifecycle> = filter(&mut v, "status_filter", r.status_filter.as_ref());
    let listing = match (&project, status) {
        (None, None) => listing(Index::Epics, &[]),
        (Some(project), None) => listing(Index::EpicsByProject, &[project.as_str()]),
        (None, Some(status)) => listing(Index::EpicsByStatus, &[status.as_str()]),
        (Some(project), Some(status)) => listing(
            Index::EpicsByProjectStatus,
            &[project.as_str(), status.as_str()],
        ),
    };
    page(v, listing, r.limit, r.offset, &r.page_token)
}

/// ListStories.
pub fn list_stories(r: &pb::ListStoriesRequest) -> Result<(Listing, PageRequest), Fault> {
    let mut v = Violations::new();
    let state: Option<StoryState> = filter(&mut v, "state_filter", r.state_filter.as_ref());
    let epic: Option<EpicId> = filter(&mut v, "epic_id", r.epic_id.as_ref());
    let listing = match (&epic, state) {
        (None, None) => listing(Index::Stories, &[]),
        (Some(epic), None) => listing(Index::StoriesByEpic, &[epic.as_str()]),
        (None, Some(state)) => listing(Index::StoriesByState, &[state.as_str()]),
        (Some(epic), Some(state)) => {
            listing(Index::StoriesByEpicState, &[epic.as_str(), state.as_str()])
        }
    };
    page(v, listing, r.limit, r.offset, &r.page_token)
}

/// ListTasks.
pub fn list_tasks(r: &pb::ListTasksRequest) -> Result<(Listing, PageRequest), Fault> {
    let mut v = Violations::new();
    let story: Option<StoryId> = filter(&mut v, "story_id", r.story_id.as_ref());
    let status: Option<TaskStatus> = filter(&mut v, "status_filter", r.status_filter.as_ref());
    let listing = match (&story, status) {
        (None, None) => listing(Index::Tasks, &[]),
        (Some(story), None) => listing(Index::TasksByStory, &[story.as_str()]),
        (None, Some(status)) => listing(Index::TasksByStatus, &[status.as_str()]),
        (Some(story), Some(status)) => listing(
            Index::TasksByStoryStatus,
            &[story.as_str(), status.as_str()],
        ),
    };
    page(v, listing, r.limit, r.offset, &r.page_token)
}

/// GetStoryHistory.
pub fn story_history(
    r: &pb::GetStoryHistoryRequest,
) -> Result<(StoryId, (Listing, PageRequest)), Fault> {
    let mut v = Violations::new();
    let story: Option<StoryId> = v.parse("story_id", &r.story_id);
    let values = [story.as_ref().map_or("", StoryId::as_str)];
    let listing = listing(Index::StoryTransitionsByStory, &values);
    let page = page(v, listing, r.limit, 0, &r.page_token)?;
    Ok((
        story.expect("page refuses when a violation was noted"),
        page,
    ))
}

fn listing(index: Index, values: &[&str]) -> Listing {
    Listing {
        index,
        values: values.iter().map(|value| (*value).into()).collect(),
    }
}

fn page(
    mut v: Violations,
    listing: Listing,
    limit: i32,
    offset: i32,
    page_token: &str,
) -> Result<(Listing, PageRequest), Fault> {
    let limit = match usize::try_from(limit) {
        Ok(0) | Err(_) => DEFAULT_LIMIT,
        Ok(limit) => limit.min(MAX_PAGE),
    };
    let (after, offset) = match page_token.trim() {
        "" => (None, usize::try_from(offset).unwrap_or(0)),
        // With a wrong filter the token would only be blamed for it.
        given if v.is_empty() => match token::decode(&listing, given) {
            Ok(after) => (Some(after), 0),
            Err(problem) => {
                v.add("page_token", problem);
                (None, 0)
            }
        },
        _ => (None, 0),
    };
    v.into_result()?;
    Ok((
        listing,
        PageRequest {
            limit,
            offset,
            after,
        },
    ))
}
